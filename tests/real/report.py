"""What a run prints: one line per story, and the counts."""

import time
import traceback


class Skip(Exception):
    """A story that cannot be told here, and why."""


class Report:
    """Counts the stories and prints a line for each."""

    def __init__(self, words, folder):
        self.words, self.folder = words, folder
        self.passed = self.failed = self.skipped = 0

    def tell(self, name, story, always=False):
        """Runs one story; its exception is its failure. Returns whether it passed; `always` is for what others need."""
        if self.words and not always and not any(word in name for word in self.words):
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


def _in_short(error):
    text = str(error) or type(error).__name__
    return text if isinstance(error, AssertionError) else f"{type(error).__name__}: {text}"
