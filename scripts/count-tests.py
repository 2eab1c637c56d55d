#!/usr/bin/env python3
"""Sums the tests in the output of cargo test, cargo nextest and pytest; fails if none ran or one
failed.

usage: count-tests.py [--left-out FILE] LOG... prints "N passed, N failed, N skipped"; each line of
FILE is a test that passed only because this machine cannot run it, or a whole check that did not run
"""

import re
import sys

# test result: ok. 22 passed; 0 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.11s
CARGO = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored;", re.MULTILINE)
# Summary [   0.4s] 20/22 tests run: 18 passed (1 slow), 1 failed, 1 timed out, 3 skipped
NEXTEST = re.compile(r"^ *Summary \[.*?\] +(?:(\d+)/)?(\d+) tests? run: (.*)$", re.MULTILINE)
# ===== 20 passed, 1 skipped, 2 errors in 3.21s =====
PYTEST = re.compile(r"^=+ (\d+ .*) in [\d.]+s.* =+$", re.MULTILINE)
PIECE = re.compile(r"^(\d+) (.+)$")


def count(text):
    """(passed, failed, skipped) in one log."""
    passed = failed = skipped = 0
    for ok, bad, ignored in CARGO.findall(text):
        passed, failed, skipped = passed + int(ok), failed + int(bad), skipped + int(ignored)
    for ran, planned, summary in NEXTEST.findall(text):
        if ran:
            failed += int(planned) - int(ran)  # never started
        for piece in re.sub(r"\([^)]*\)", "", summary).split(","):
            match = PIECE.match(piece.strip())
            if match is None:
                continue
            number, what = int(match[1]), match[2].strip()
            if what == "passed":
                passed += number
            elif what == "skipped":
                skipped += number
            else:  # failed, timed out, exec failed
                failed += number
    for summary in PYTEST.findall(text):
        for piece in summary.split(", "):
            number, what = piece.split(" ", 1)
            if what == "passed":
                passed += int(number)
            elif what in ("skipped", "deselected"):
                skipped += int(number)
            elif what not in ("warning", "warnings"):  # failed, error, errors, xfailed, xpassed
                failed += int(number)
    return passed, failed, skipped


def main(logs):
    totals = [0, 0, 0]
    tests = checks = 0
    if logs[:1] == ["--left-out"]:
        with open(logs[1], encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith('LEFT OUT the check "'):
                    checks += 1
                else:
                    tests += 1
        logs = logs[2:]
    for log in logs:
        with open(log, encoding="utf-8", errors="replace") as file:
            totals = [total + part for total, part in zip(totals, count(file.read()))]
    passed, failed, skipped = totals
    passed, skipped = passed - tests, skipped + tests + checks
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    if passed + failed == 0:
        print("count-tests: no test ran", file=sys.stderr)
    return 0 if passed > 0 and failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
