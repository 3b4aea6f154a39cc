#!/usr/bin/env python3
"""Runs the stories: published MCP servers, and real clients, with the broker between them.

    run.py                     all that is installed (see setup.sh)
    run.py --only valkey       the stories whose line contains one of these words
    run.py --direct            the same servers without a broker: proves servers, back-ends and checks themselves
    run.py --strict            a skipped story is a failure (for CI, where all must be installed)
    run.py --agents            also Claude Code with a mocked model (setup.sh --agents)

One line per story; the last line is `N passed, N failed, N skipped`; exit code 1 when one failed.
COUNTERSIGN_BIN names the broker's binary (else target/release or target/debug, the newer).
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = Path(os.environ.get("COUNTERSIGN_TEST_HOME") or HERE.parent / ".venv").resolve()
PYTHON = HOME / "python/bin/python"


def main():
    arguments = _arguments()
    if Path(sys.prefix).resolve() != (HOME / "python").resolve():
        if not PYTHON.exists():
            sys.exit(f"nothing is installed under {HOME}: run {HERE / 'setup.sh'} first")
        os.execv(PYTHON, [str(PYTHON), __file__, *sys.argv[1:]])
    # Nothing here may leave the machine: a proxy from the environment would carry loopback calls away.
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    import stories
    from report import Report

    folder = Path(tempfile.mkdtemp(prefix="countersign-real-"))
    report = Report(arguments.only, folder)
    if arguments.direct:
        stories.direct(report, HOME, agents=arguments.agents)
    else:
        stories.brokered(report, HOME, agents=arguments.agents)
    if report.failed:
        print(f"logs are in {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{report.passed} passed, {report.failed} failed, {report.skipped} skipped")
    sys.exit(1 if report.failed or (arguments.strict and report.skipped) else 0)


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--direct", action="store_true")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--agents", action="store_true")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD")
    return parser.parse_args()


if __name__ == "__main__":
    main()
