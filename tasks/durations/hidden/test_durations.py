"""What durations.py must do. Written for the judge, which hands over plain values and stand-ins."""

# ruff: noqa: PT009, PT027  (unittest and pytest side by side)
import unittest

import durations
import pytest
from durations import DurationError, Stopwatch, parse, render

RIGHT = {
    "2h": 7200,
    "90m": 5400,
    "1w2d3h4m5s": 788645,
    "1h 30m": 5400,
    "  1D  12H  ": 129600,
    "0s": 0,
    "-0s": 0,
    "-1m 1s": -61,
    " -2w": -1209600,
    "007s": 7,
    "100000000000w": 60480000000000000,
}
WRONG = [
    "",
    " ",
    "-",
    "h",
    "5",
    "1 h",
    "1h1h",
    "1m 1h",
    "1.5h",
    "+1h",
    "--1h",
    "1h -1m",
    "1y",
    "1h,2m",
    "٣h",
    "1h\0",
    "x1h",
    "1hx",
]


@pytest.mark.parametrize(("text", "seconds"), RIGHT.items())
def test_parse(text, seconds):
    assert parse(text) == seconds


@pytest.mark.parametrize("text", WRONG)
def test_parse_refuses(text):
    with pytest.raises(DurationError) as caught:
        parse(text)
    assert caught.value.text == text
    assert text in str(caught.value) or repr(text)[1:-1] in str(caught.value)


def test_error_is_a_value_error():
    with pytest.raises(ValueError, match="soon"):
        parse("soon")


class TestRender(unittest.TestCase):
    def test_shortest(self):
        cases = {
            0: "0s",
            59: "59s",
            60: "1m",
            5400: "1h 30m",
            -61: "-1m 1s",
            788645: "1w 2d 3h 4m 5s",
            604801: "1w 1s",
        }
        for seconds, text in cases.items():
            with self.subTest(seconds=seconds):
                self.assertEqual(render(seconds), text)

    def test_there_and_back(self):
        for seconds in range(-100_000, 100_000, 7919):
            self.assertEqual(parse(render(seconds)), seconds)

    def test_types(self):
        for value in (1.0, "1", None, True, [1]):
            with self.subTest(value=value), self.assertRaises(TypeError):
                render(value)


class Clock:
    """Tells the times that it was given."""

    def __init__(self, *times):
        self.times = list(times)

    def __call__(self):
        return self.times.pop(0)


def test_stopwatch_adds_up():
    watch = Stopwatch(Clock(10, 12.5, 20, 21))
    with watch as entered:
        pass
    assert entered is watch
    assert watch.total == 2.5
    with watch:
        pass
    assert watch.total == 3.5


def test_stopwatch_while_it_runs():
    with Stopwatch(Clock(100, 103, 175)) as watch:
        assert watch.total == 3
    assert watch.total == 75
    assert str(watch) == "1m 15s"


def test_stopwatch_not_begun():
    assert str(Stopwatch(Clock())) == "0s"


def test_stopwatch_lets_exceptions_through():
    watch = Stopwatch(Clock(0, 5))
    with pytest.raises(KeyError), watch:
        raise KeyError("inside")
    assert watch.total == 5


def test_units_do_not_leak():
    before = render(3661)
    parse("1w")
    assert durations.render(3661) == before == "1h 1m 1s"
