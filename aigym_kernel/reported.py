"""What a notebook says that it came to: `report` in the notebook, `of` on the executed one.

    aigym.report(return_mean=412.3)                                   the first name is the main metric
    aigym.report(loss=0.1, seconds=12.0, lower=("loss", "seconds"), measured=("seconds",))
    metrics, declared = of(notebook)

`report` shows a table and keeps the numbers in the notebook's output, as `MIME`; `run_notebook` and a bench
take them from there into the store. Outside a notebook the numbers are printed, and kept nowhere.
"""

from __future__ import annotations

import math
import numbers
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from aigym_kernel import rendering
from aigym_kernel.errors import NotebookError, UnknownName

MIME = "application/vnd.aigym.report+json"

Direction = Literal["higher", "lower"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One number that a notebook reports. ``tolerance`` is relative. ``measured``: a clock decides it, so
    that a bench's `verify` does not ask for the same value again."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012  (in files that people write: `bench.suites`)

    name: str
    direction: Direction = "higher"
    tolerance: float = 0.0
    measured: bool = False


# Where each name was reported in this process: the number of the execution, and the id of its code cell.
_SEEN: dict[str, tuple[int, str | None]] = {}


def report(*, lower: Iterable[str] | str = (), measured: Iterable[str] | str = (), **metrics: Any) -> None:
    """Say what this notebook came to, in one or several calls with different names.

    A cell that is run again in an open notebook replaces what it said before.

    Args:
        lower: those of these metrics of which less is better.
        measured: those that a clock decides, which differ from one time to the next.
        metrics: name to number; arrays and tensors of one number are numbers too.

    Raises:
        NotebookError: no metric at all, a value that is no finite number, or a name reported before.
        UnknownName: ``lower`` or ``measured`` names none of these metrics.
    """
    if not metrics:
        raise NotebookError("report() without a metric: name one, such as report(return_mean=412.3)")
    values = {name: _number(name, value) for name, value in metrics.items()}
    less, clocked = _names("lower", lower, values), _names("measured", measured, values)
    now = _execution()
    for name in values:
        before = _SEEN.get(name)
        again = before is not None and now[1] is not None and before[1] == now[1] and before[0] != now[0]
        if before is not None and not again:
            raise _twice(name)
    _SEEN.update(dict.fromkeys(values, now))
    declared = [
        Metric(name=name, direction="lower" if name in less else "higher", measured=name in clocked)
        for name in values
    ]
    _show(values, declared)


def of(notebook: Any) -> tuple[dict[str, float], tuple[Metric, ...]]:
    """What the outputs of an executed notebook (a node of nbformat) report, in the order of reporting.

    Raises:
        NotebookError: a name is there twice, a value is no finite number, or an output is damaged.
    """
    metrics: dict[str, float] = {}
    declared: list[Metric] = []
    for output in (each for cell in notebook.cells for each in cell.get("outputs", ())):
        said = output.get("data", {}).get(MIME)
        if said is None:
            continue
        try:
            for each in said["declared"]:
                metric = Metric(**each)
                if metric.name in metrics:
                    raise _twice(metric.name)
                metrics[metric.name] = _number(metric.name, said["metrics"][metric.name])
                declared.append(metric)
        except (KeyError, TypeError, AttributeError) as problem:
            raise NotebookError(
                f"an output of type {MIME} is damaged ({type(problem).__name__}: {problem}); "
                "only aigym.report writes such outputs"
            ) from None
    return metrics, tuple(declared)


def _number(name: str, value: Any) -> float:
    """A finite number from a number, or from an array or tensor that holds one."""
    if not isinstance(value, numbers.Real) and callable(item := getattr(value, "item", None)):
        try:
            value = item()
        except (ValueError, RuntimeError, TypeError):
            raise _no_number(name, value) from None
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise _no_number(name, value)
    try:
        number = float(value)
    except (OverflowError, ValueError):
        raise _no_number(name, value) from None
    if not math.isfinite(number):
        raise NotebookError(
            f"metric {name!r} is {number}: report a finite number, or nothing, so that the failure is seen"
        )
    return number


def _no_number(name: str, value: object) -> NotebookError:
    shown = rendering.short(repr(value), 60)
    return NotebookError(
        f"metric {name!r} is {type(value).__name__} {shown}: report one number, such as float(...)"
    )


def _twice(name: str) -> NotebookError:
    return NotebookError(f"metric {name!r} is reported twice; report it once, or under another name")


def _names(argument: str, names: Iterable[str] | str, metrics: Mapping[str, float]) -> set[str]:
    found = {names} if isinstance(names, str) else set(names)
    for name in found:
        if name not in metrics:
            raise UnknownName(f"metric in {argument}=", name, metrics)
    return found


def _shell() -> Any:
    """IPython's, where this is a notebook or IPython; it is not imported for that."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython is not None and hasattr(ipython, "get_ipython") else None


def _execution() -> tuple[int, str | None]:
    """The number of the running execution, and its code cell's id where a front end gives one."""
    shell = _shell()
    if shell is None:
        return 0, None
    parent = shell.get_parent() if hasattr(shell, "get_parent") else {}
    return shell.execution_count, parent.get("metadata", {}).get("cellId")


def _show(values: Mapping[str, float], declared: Iterable[Metric]) -> None:
    text = "\n".join(f"{name} = {value:g}" for name, value in values.items())
    if _shell() is None:
        print(text)
        return
    from IPython.display import display

    rows = [[metric.name, f"{values[metric.name]:g}", _remark(metric)] for metric in declared]
    said = {"metrics": dict(values), "declared": [_plain(metric) for metric in declared]}
    table = rendering.table(["metric", "value", ""], rows)
    display({"text/plain": text, "text/html": table, MIME: said}, raw=True)  # type: ignore[no-untyped-call]


def _plain(metric: Metric) -> dict[str, Any]:
    """What a notebook may say of its metric: a tolerance is for the plan of a bench to give."""
    return {name: value for name, value in asdict(metric).items() if name != "tolerance"}


def _remark(metric: Metric) -> str:
    said = ["less is better"] if metric.direction == "lower" else []
    return ", ".join([*said, "by a clock"] if metric.measured else said)
