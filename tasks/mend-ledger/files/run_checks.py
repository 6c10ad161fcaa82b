"""The accountant's checks: run them with python3 run_checks.py. They stop at the first that fails."""

import ledger

CHECKS = [
    ("parse_amount", ["1.234,50"], 123450),
    ("parse_amount", ["12,5"], 1250),
    ("parse_amount", ["-0,50"], -50),
    ("split", [1000, [1, 1, 1]], [334, 333, 333]),
    ("split", [-1000, [1, 1, 1]], [-334, -333, -333]),
    ("running", [[["11.3.2024", "10"], ["2.3.2024", "5,50"]]], [["2.3.2024", 550], ["11.3.2024", 1550]]),
]

for number, (name, args, expected) in enumerate(CHECKS, 1):
    call = f"{name}({', '.join(map(repr, args))})"
    got = getattr(ledger, name)(*args)
    if got != expected:
        raise SystemExit(f"check {number} of {len(CHECKS)}: {call} gave {got}, it should give {expected}")
print(f"all {len(CHECKS)} checks hold")
