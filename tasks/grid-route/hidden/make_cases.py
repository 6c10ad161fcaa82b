"""Write cases.yaml and large.json again: python make_cases.py. Own data, made by formula, CC0.

Expected outputs of the small maps come from a slow method that shares nothing with the reference
solution: costs are lowered over all moves, jumps pair by pair, until nothing changes.
"""

import json
import random
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
HAND_MADE = [
    "S1#a\n9##E\na111",
    "SE",
    "S#E",
    "S\n1\nE",
    "S99\n#9#\n11E",
    "Sa###\n#####\n##aE#",
    "Sa#bE\n11#1#\n1b#a1",
    "S1111E\n1####1\n111111",
    "ab#E\nS##c\n1bc#",
    "S2E\n111",
    "z9S9E\n1###1\n1z111",
]


def slow(field: list[str]) -> str:
    squares = {(r, c): s for r, line in enumerate(field) for c, s in enumerate(line) if s != "#"}
    moves = []
    for (r, c), square in squares.items():
        for target in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
            if target in squares:
                moves.append(((r, c), target, int(squares[target]) if squares[target].isdigit() else 1))
        if square.islower():
            moves += [((r, c), t, 2) for t, s in squares.items() if s == square and t != (r, c)]
    best = {next(p for p, s in squares.items() if s == "S"): (0, 0)}
    changed = True
    while changed:
        changed = False
        for here, there, price in moves:
            if here in best:
                reached = (best[here][0] + price, best[here][1] + 1)
                if there not in best or reached < best[there]:
                    best[there], changed = reached, True
    end = next(p for p, s in squares.items() if s == "E")
    return "{}\n{}\n".format(*best[end]) if end in best else "no way\n"


def drawn(rng: random.Random, rows: int, columns: int, squares: str) -> list[str]:
    cells = [rng.choice(squares) for _ in range(rows * columns)]
    s, e = rng.sample(range(rows * columns), 2)
    cells[s], cells[e] = "S", "E"
    return ["".join(cells[r * columns : (r + 1) * columns]) for r in range(rows)]


def stdin(field: list[str]) -> str:
    return f"{len(field)} {len(field[0])}\n" + "\n".join(field) + "\n"


def main() -> None:
    rng = random.Random(20)
    fields = [text.split("\n") for text in HAND_MADE]
    for squares in ("11239#", "123456789##", "19##a", "1199###ab", "9999#abc", "1#"):
        for size in (4, 7):
            fields.append(drawn(rng, size, size + 1, squares))
    fields = [[line.ljust(max(map(len, f)), "#") for line in f] for f in fields]
    lines = []
    for i, field in enumerate(fields):
        case = {"stdin": stdin(field), "stdout": slow(field)} | ({"visible": True} if i < 3 else {})
        lines.append("- " + json.dumps(case) + "\n")
    (HERE / "cases.yaml").write_text("# Made by make_cases.py.\n" + "".join(lines))

    large = [
        drawn(rng, 150, 150, "1123456789##"),
        # Every square a gate of one letter, and no way: pair by pair that is half a milliard jumps.
        ["S" + "a" * 149, *["a" * 150] * 147, "a" * 148 + "##", "a" * 148 + "#E"],
        drawn(rng, 150, 150, "99999999##ab"),
    ]
    cases = []
    for field in large:
        reference = [sys.executable, str(HERE.parent / "reference" / "solution.py")]
        done = subprocess.run(reference, input=stdin(field), capture_output=True, text=True, check=True)
        cases.append({"stdin": stdin(field), "stdout": done.stdout})
    (HERE / "large.json").write_text("[\n" + ",\n".join(map(json.dumps, cases)) + "\n]\n")


if __name__ == "__main__":
    main()
