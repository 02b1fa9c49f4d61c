"""Prints what Autobahn|Testsuite found, a line for each group of cases, and fails on what is not as it must be."""

import collections
import json
import sys

SLOWEST_MS = 5000
GOOD = {"OK", "INFORMATIONAL"}

with open(sys.argv[1], encoding="utf-8") as report:
    cases = json.load(report)["carillon"]

groups = collections.defaultdict(collections.Counter)
slowest = collections.Counter()
bad = []
for name, case in cases.items():
    group = int(name.split(".")[0])
    groups[group][case["behavior"]] += 1
    slowest[group] = max(slowest[group], case["duration"])
    if not {case["behavior"], case["behaviorClose"]} <= GOOD or case["duration"] > SLOWEST_MS:
        bad.append((name, case["behavior"], case["behaviorClose"], case["duration"]))

print(f"{'group':>5} {'cases':>5} {'slowest ms':>10}  behaviour")
for group, found in sorted(groups.items()):
    behaviours = ", ".join(f"{count} {behaviour}" for behaviour, count in found.most_common())
    print(f"{group:>5} {sum(found.values()):>5} {slowest[group]:>10}  {behaviours}")
for name, behaviour, close, duration in bad:
    print(f"case {name}: {behaviour}, close {close}, {duration} ms")
print(f"{len(cases) - len(bad)} passed, {len(bad)} failed")
sys.exit(1 if bad or not cases else 0)
