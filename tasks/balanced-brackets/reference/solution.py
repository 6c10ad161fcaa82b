OPENER = {")": "(", "]": "[", "}": "{"}


def first_unbalanced(text: str) -> int:
    open_at: list[int] = []
    for position, character in enumerate(text):
        if character in "([{":
            open_at.append(position)
        elif character in OPENER:
            if not open_at or text[open_at[-1]] != OPENER[character]:
                return position
            open_at.pop()
    return open_at[-1] if open_at else -1
