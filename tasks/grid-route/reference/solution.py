import heapq
import sys


def main() -> None:
    lines = sys.stdin.read().split("\n")
    rows, columns = map(int, lines[0].split())
    field = lines[1 : rows + 1]
    gates: dict[str, list[tuple[int, int]]] = {}
    start = end = (0, 0)
    for r, line in enumerate(field):
        for c, square in enumerate(line):
            if square == "S":
                start = (r, c)
            elif square == "E":
                end = (r, c)
            elif square.isalpha():
                gates.setdefault(square, []).append((r, c))

    # States are squares, and (letter) for being between two gates: one edge per gate, not one per pair.
    best: dict[object, tuple[int, int]] = {start: (0, 0)}
    queue: list[tuple[int, int, int, object]] = [(0, 0, 0, start)]
    tie = 0
    while queue:
        cost, moves, _, at = heapq.heappop(queue)
        if best[at] < (cost, moves):
            continue
        if at == end:
            print(cost)
            print(moves)
            return
        around: list[tuple[object, int, int]] = []
        if isinstance(at, str):
            # A jump back to the gate that one came from costs more than having stayed: it does no harm.
            around = [(square, 1, 1) for square in gates[at]]
        else:
            r, c = at
            for nr, nc in ((r + 1, c), (r - 1, c), (r, c + 1), (r, c - 1)):
                if 0 <= nr < rows and 0 <= nc < columns and field[nr][nc] != "#":
                    square = field[nr][nc]
                    around.append(((nr, nc), int(square) if square.isdigit() else 1, 1))
            if field[r][c].islower():
                around.append((field[r][c], 1, 0))
        for target, price, move in around:
            reached = (cost + price, moves + move)
            if target not in best or reached < best[target]:
                best[target] = reached
                tie += 1
                heapq.heappush(queue, (*reached, tie, target))
    print("no way")


main()
