"""Prints what testssl.sh found at each listener, and fails on what is neither good nor explained.

usage: report.py EXPLAINED.toml LISTENER=RESULT.json...
"""

import collections
import json
import sys
import tomllib

GOOD = {"OK", "INFO"}
# What a run that looked at everything has found, whatever else it found.
ALWAYS_FOUND = {"TLS1_3", "TLS1_2", "cert_chain_of_trust", "heartbleed", "HTTP_status_code"}


def findings(result):
    """Every finding of a result, those about testssl.sh's own surroundings included."""
    parts = [part for key, part in result.items() if key.startswith("clientProblem")]
    parts += [part for scan in result.get("scanResult", []) for part in scan.values()]
    return [finding for part in parts if isinstance(part, list) for finding in part]


def is_explained(finding, listener, explanation):
    return (
        listener in explanation["listeners"]
        and all(finding[key] == explanation[key] for key in ("id", "severity"))
        and finding["finding"] in explanation["findings"]
    )


def main(explained_path, *results):
    with open(explained_path, "rb") as file:
        explanations = tomllib.load(file)["explained"]
    used, failed = set(), 0
    print(f"{'listener':<9} {'severity':<9} {'id':<20} {'verdict':<11} finding")
    for argument in results:
        listener, path = argument.split("=", 1)
        with open(path, encoding="utf-8") as file:
            found = findings(json.load(file))
        missing = ALWAYS_FOUND - {finding["id"] for finding in found}
        if missing:
            print(f"{listener:<9} testssl.sh did not look at {', '.join(sorted(missing))}: its result is not whole")
            failed += 1
        for finding in found:
            if finding["severity"] in GOOD:
                continue
            reasons = {index for index, known in enumerate(explanations) if is_explained(finding, listener, known)}
            used |= reasons
            failed += not reasons
            verdict = "explained" if reasons else "UNEXPLAINED"
            print(f"{listener:<9} {finding['severity']:<9} {finding['id']:<20} {verdict:<11} {finding['finding']}")
        counts = collections.Counter(finding["severity"] for finding in found)
        print(f"{listener:<9} {counts['OK']} good, {counts['INFO']} for information, {counts.total()} findings in all")
    for index, explanation in enumerate(explanations):
        if index not in used:
            print(f"explained, but not found any more: {explanation['id']}, {explanation['severity']}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
