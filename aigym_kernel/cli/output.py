"""What all commands share: the option ``--json``, how data is printed, the exit code of Ctrl-C."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import click

INTERRUPTED = 130
as_json = click.option("--json", "json_", is_flag=True, help="Print one JSON document.")


def answer(data: Any, json_: bool, text: Callable[[], Any] | None = None) -> None:
    """``data`` as JSON (infinite and NaN as null), or ``text()`` for people."""
    if json_:
        click.echo(json.dumps(_plain(data), indent=2))
    else:
        click.echo(str(text() if text else data))


def _plain(value: Any) -> Any:
    """As JSON has it: NaN and no time are null, a time is ISO text, bytes hexadecimal, the rest text."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(v) for v in value]
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars
        return _plain(value.tolist())
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float | Decimal):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, bytes | bytearray):
        return value.hex()
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    return None if text in ("NaT", "<NA>") else text


def records(frame: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = frame.to_dict("records")
    return rows


def table(frame: Any) -> str:
    """Rows for people. What is longer than the longest id of a run (70) is cut."""
    seconds = {name: frame[name].dt.floor("s") for name in frame.select_dtypes("datetime")}
    texts = {name: frame[name].where(frame[name].notna(), "") for name in frame.select_dtypes("object")}
    shown = frame.assign(**seconds, **texts)
    return "nothing" if frame.empty else str(shown.to_string(index=False, max_colwidth=80, na_rep=""))
