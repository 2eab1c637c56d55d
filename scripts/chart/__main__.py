"""Runs the chart's tests and ends with a line that scripts/count-tests.py reads.

usage: python scripts/chart [NAME…], where NAME is a part of a test's name
"""

import sys
import unittest
from pathlib import Path

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


def main(parts):
    suite = unittest.TestLoader().discover(str(HERE), top_level_dir=str(HERE))
    result = unittest.TextTestRunner(verbosity=1, resultclass=Sentences).run(
        unittest.TestSuite(chosen(suite, parts))
    )
    failed = len({test.id().split(" ")[0] for test, _ in result.failures + result.errors})
    verdict = "FAILED" if failed else "ok"
    print(f"test result: {verdict}. {result.testsRun - failed} passed; {failed} failed; "
          f"{len(result.skipped)} ignored;")
    return 0 if failed == 0 and result.testsRun > 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
