"""Runs the chart's tests and ends with a line that scripts/count-tests.py reads.

usage: python scripts/chart [NAME…], where NAME is a part of a test's name
"""

import contextlib
import sys
import unittest
from pathlib import Path

from render import CI, Refused, at_once, text_of

HERE = Path(__file__).resolve().parent


class Sentences(unittest.TextTestResult):
    """Failures by the tests' names, which are sentences."""

    def getDescription(self, test):
        return test.id()


def chosen(suite, parts):
    for it in suite:
        if isinstance(it, unittest.TestSuite):
            yield from chosen(it, parts)
        elif not parts or any(part in it.id() for part in parts):
            yield it


def prepare(render):
    """Renders once what is then kept; the tests say what is wrong with it."""
    with contextlib.suppress(Refused):
        text_of(*render)


def main(parts):
    if not parts:
        # What most tests look at.
        at_once(prepare, [(file, kube) for file in CI for kube in ("1.30.0", "1.25.0", "1.37.0")])
    suite = unittest.TestLoader().discover(str(HERE), top_level_dir=str(HERE))
    result = unittest.TextTestRunner(verbosity=1, resultclass=Sentences).run(
        unittest.TestSuite(chosen(suite, parts))
    )
    failed = len({test.id().split(" ")[0] for test, _ in result.failures + result.errors})
    for test, reason in result.skipped:
        print(f"left out: {test.id()}: {reason}")
    passed = result.testsRun - failed - len(result.skipped)
    verdict = "FAILED" if failed else "ok"
    print(f"test result: {verdict}. {passed} passed; {failed} failed; "
          f"{len(result.skipped)} ignored;")
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
