def two_sum(numbers: list[int], target: int) -> list[int]:
    seen: dict[int, int] = {}
    for j, number in enumerate(numbers):
        i = seen.get(target - number)
        if i is not None:
            return [i, j]
        seen.setdefault(number, j)
    return []
