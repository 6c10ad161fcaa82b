import re

UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
PATTERN = re.compile(r"\s*(-?)" + "".join(rf"(?:\s*([0-9]+){unit}\s*)?" for unit in UNITS), re.IGNORECASE)


class DurationError(ValueError):
    def __init__(self, text):
        super().__init__(f"no duration: {text!r}")
        self.text = text


def parse(text: str) -> int:
    found = PATTERN.fullmatch(text)
    if found is None or not any(found.groups()[1:]):
        raise DurationError(text)
    sign, *numbers = found.groups()
    seconds = sum(int(n) * size for n, size in zip(numbers, UNITS.values()) if n)
    return -seconds if sign else seconds


def render(seconds: int) -> str:
    if isinstance(seconds, bool) or not isinstance(seconds, int):
        raise TypeError(f"an int is needed, not {type(seconds).__name__}")
    rest, parts = abs(seconds), []
    for unit, size in UNITS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return ("-" if seconds < 0 else "") + (" ".join(parts) or "0s")


class Stopwatch:
    def __init__(self, clock):
        self.clock = clock
        self.measured = 0
        self.started = None

    def __enter__(self):
        self.started = self.clock()
        return self

    def __exit__(self, *error):
        self.measured += self.clock() - self.started
        self.started = None

    @property
    def total(self):
        return self.measured if self.started is None else self.measured + self.clock() - self.started

    def __str__(self):
        return render(int(self.total))
