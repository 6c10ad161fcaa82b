"""Compare report/errors.csv with the counts that the logs hold."""

import json
from pathlib import Path

EXPECTED = [
    "day,service,count",
    "2024-03-01,auth,1",
    "2024-03-01,mail,1",
    "2024-03-01,payments,2",
    "2024-03-02,auth,1",
    "2024-03-02,payments,1",
    "2024-03-02,search,1",
    "2024-03-03,search,3",
]

report = Path("report/errors.csv")
others = [p.name for p in report.parent.iterdir() if p != report] if report.parent.is_dir() else []
if not report.is_file():
    verdict = {"value": 0.0, "feedback": "there is no file report/errors.csv"}
else:
    lines = report.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    rows = [line.rstrip("\r") for line in lines]
    if rows[0] != EXPECTED[0]:
        verdict = {"value": 0.0, "feedback": f"the header must be {EXPECTED[0]}"}
    elif sorted(rows) == sorted(EXPECTED) and rows != EXPECTED:
        verdict = {"value": 0.5, "feedback": "the rows are right, their order is not"}
    elif rows != EXPECTED:
        right = len(set(rows[1:]) & set(EXPECTED[1:]))
        verdict = {
            "value": 0.0,
            "feedback": f"{right} of {len(EXPECTED) - 1} rows are right, {len(rows) - 1} given",
        }
    elif others:
        verdict = {"value": 0.5, "feedback": f"not asked for in report/: {', '.join(others)[:200]}"}
    else:
        verdict = {"value": 1.0, "feedback": "all rows right"}
print(json.dumps(verdict))
