"""Prints the verdicts of an Autobahn report, and fails where a case has failed or too few have run."""

import collections
import json
import sys

CASES_MIN = 230
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}

with open(sys.argv[1]) as report:
    cases = json.load(report)["relay"]

verdicts = collections.Counter()
failed = []
for name, case in cases.items():
    for verdict in case["behavior"], case["behaviorClose"]:
        verdicts[verdict] += 1
    if not {case["behavior"], case["behaviorClose"]} <= GOOD:
        failed.append(f"{name}: {case['behavior']}, at the end {case['behaviorClose']}")
    elif case["behavior"] != "OK":
        print(f"{name}: {case['behavior']}")

print(f"{len(cases)} cases:", ", ".join(f"{n} {verdict}" for verdict, n in verdicts.items()))
for line in failed:
    print("failed:", line)
if failed or len(cases) < CASES_MIN:
    sys.exit(f"{len(failed)} cases failed; {len(cases)} ran, at least {CASES_MIN} were to")
