def merge(bookings: list[list[int]]) -> list[list[int]]:
    merged: list[list[int]] = []
    for start, end in sorted(bookings):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return merged


def free(bookings: list[list[int]], opens: int, closes: int, least: int) -> list[list[int]]:
    gaps: list[list[int]] = []
    since = opens
    for start, end in merge(bookings):
        until = min(start, closes)
        if until - since >= least:
            gaps.append([since, until])
        since = max(since, end)
    if closes - since >= least:
        gaps.append([since, closes])
    return gaps
