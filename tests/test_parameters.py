"""The types that a notebook gives its parameters, and what is taken for a value of each."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest

from aigym_kernel.errors import NotebookError
from aigym_kernel.parameters import UNKNOWN, Text, checked, of


def cell(source: str) -> nbformat.NotebookNode:
    made = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("a = 1"), made])


@pytest.mark.parametrize(
    ("source", "good", "bad"),
    [
        ("x: int = 1", [2, Text("2"), Text("2_000"), Text("1e3")], ["2", 2.0, True, Text("2.5"), None]),
        ("x = 0.5", [1, 1e-3, Text("1e-3")], ["1", True, Text("fast")]),
        ("x: 'str' = ''", ["a", Text("5"), Text("null")], [5, None]),
        ("x: bool = True", [False, Text("no"), Text("False")], [0, Text("0")]),
        ("x: Optional[int] = None", [1, None, Text("null"), Text("3")], ["1", 1.5]),
        ("x: float | None = None", [1, None], ["1"]),
        ("x: Union[int, str] = 1", [1, "a", Text("a")], [1.5, [1]]),
        ("x: list[int] = []", [[1], [], Text("[1, 2]")], [1, ["a"], (1,)]),
        ("x: tuple[int, int] = (1, 2)", [(1, 2), [1, 2], Text("[3, 4]")], [[1], 1]),
        ("x: dict[str, float] = {}", [{"a": 1.0}, Text("{a: 1.5}")], [{"a": "b"}, []]),
        ("from typing import Literal\nx: typing.Literal['a', 'b'] = 'a'", ["b", Text("b")], ["c"]),
        ("x: Net | None = None", [object(), Text("a")], []),
        ("x: list[3] = []", [[1]], []),
        ("y = x = [1,\n  2]", [[3]], [3]),
        ("x = None", [1, "a", Text("[1]")], []),
        ("x = max(1, 2)", [1, "a"], []),
    ],
)
def test_what_is_a_value_of_a_type(source: str, good: list[Any], bad: list[Any]) -> None:
    found = of(cell(source), "n.ipynb")
    for value in good:
        checked("n.ipynb", found, {"x": value})
    for value in bad:
        with pytest.raises(NotebookError, match=r"n\.ipynb: parameter x is .* got"):
            checked("n.ipynb", found, {"x": value})


def test_only_literal_defaults_are_known_before_the_notebook_runs() -> None:
    found = of(cell("a = -1\nb = max(1, 2)\nc: int\nd.e = 1\n%env X=1\n"), "n.ipynb")
    assert {name: one.default for name, one in found.items()} == {"a": -1, "b": UNKNOWN}
