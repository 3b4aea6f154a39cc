#!/usr/bin/env python3
"""How published clients wait for a person: each makes one call, which is approved 5, 70 or 200 s later.

    ladder.py                     approval after 5 s, 70 s and 200 s; about four minutes
    ladder.py --after 5           only this
    ladder.py --only Claude       the clients whose line contains one of these words
    ladder.py --table FILE        writes the results as a table (CLIENTS.md)

All clients wait at the same time, at one broker, each with a grant of its own. For each: the tool ran once, not before
the approval, and the client has the answer, at once or from the call that it made again. One line per client and delay;
the last line is `N passed, N failed, N skipped`; exit code 1 when one failed. What is not installed is skipped (setup.sh).
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

DELAYS = (5, 70, 200)


def main():
    arguments = _arguments()
    if Path(sys.prefix).resolve() != (HOME / "python").resolve():
        if not PYTHON.exists():
            sys.exit(f"nothing is installed under {HOME}: run {HERE / 'setup.sh'} first")
        os.execv(PYTHON, [str(PYTHON), __file__, *sys.argv[1:]])
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ.pop(name, None)
        os.environ.pop(name.upper(), None)
    from rungs import Run, rows, table

    folder = Path(tempfile.mkdtemp(prefix="countersign-ladder-"))
    chosen = [row for row in rows() if not arguments.only or any(word in row.title for word in arguments.only)]
    run = Run(HOME, folder, chosen)
    try:
        results = run.all(arguments.after)
    finally:
        run.close()
    if arguments.table:
        arguments.table.write_text(table(chosen, results))
    seen = [result.state for column in results.values() for result in column]
    failed = seen.count("FAIL")
    if failed:
        print(f"logs are in {folder}")
    else:
        shutil.rmtree(folder)
    print(f"{seen.count('ok')} passed, {failed} failed, {seen.count('skip')} skipped")
    sys.exit(1 if failed else 0)


def _arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--after", nargs="+", type=int, default=list(DELAYS), metavar="SECONDS")
    parser.add_argument("--only", nargs="+", default=[], metavar="WORD")
    parser.add_argument("--table", type=Path, metavar="FILE")
    return parser.parse_args()


if __name__ == "__main__":
    main()
