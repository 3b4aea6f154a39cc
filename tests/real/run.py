#!/usr/bin/env python3
"""Runs the stories: published MCP servers, and real clients, with the broker between them.

    run.py                     all that is installed (see setup.sh)
    run.py --only valkey       the stories whose line contains one of these words
    run.py --direct            the same servers without a broker: proves servers, back-ends and checks themselves
    run.py --agents            also Claude Code with a mocked model (setup.sh --agents)

One line per story; the last line is `N passed, N failed, N skipped`; exit code 1 when one failed.
COUNTERSIGN_BIN names the broker's binary (else target/release or target/debug, the newer).
"""

import argparse
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOME = Path(os.environ.get("COUNTERSIGN_TEST_HOME") or HERE.parent / ".venv").resolve()
PYTHON = HOME / "python/bin/python"


class Skip(Exception):
    """A story that cannot be told here, and why."""


class Report:
    """Counts the stories and prints a line for each."""

    def __init__(self, words, folder):
        self.words, self.folder = words, folder
        self.passed = self.failed = self.skipped = 0

    def tell(self, name, story):
        """Runs one story; its exception is its failure. Returns whether it passed."""
        if self.words and not any(word in name for word in self.words):
            return False
        started = time.monotonic()
        try:
            story()
        except Skip as why:
            self.skipped += 1
            print(f"skip  {name}: {why}", flush=True)
            return False
        except Exception as error:
            self.failed += 1
            print(f"FAIL  {name}: {_in_short(error)}", flush=True)
            with open(self.folder / "failures.log", "a") as log:
                log.write(f"== {name}\n{traceback.format_exc()}\n")
            return False
        self.passed += 1
        print(f"ok    {name} ({time.monotonic() - started:.1f} s)", flush=True)
        return True


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

    folder = Path(tempfile.mkdtemp(prefix="countersign-real-"))
    report = Report(arguments.only, folder)
    if arguments.direct:
        stories.direct(report, HOME, agents=arguments.agents)
    else:
        stories.brokered(report, HOME, agents=arguments.agents)
    if report.failed:
        print(f"logs are in {folder}")
    print(f"{report.passed} passed, {report.failed} failed, {report.skipped} skipped")
    sys.exit(1 if report.failed else 0)


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--direct", action="store_true")
    parser.add_argument("--agents", action="store_true")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD")
    return parser.parse_args()


def _in_short(error):
    text = str(error) or type(error).__name__
    return text if isinstance(error, AssertionError) else f"{type(error).__name__}: {text}"


if __name__ == "__main__":
    main()
