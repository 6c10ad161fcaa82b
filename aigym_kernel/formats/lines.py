"""JSONL files written elsewhere: one JSON object per line, perhaps compressed with gzip.

    for number, record in read_objects(path): ...       # line numbers count from 1

A mistake is a TaskError that names file, line and way out. Not here: what the objects mean.
"""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from aigym_kernel import documents, rendering
from aigym_kernel.errors import TaskError

SHOWN = 8
_GZIP = b"\x1f\x8b"


def read_objects(path: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """Every line's object with its line number; empty lines are passed over.

    Raises:
        TaskError: the file cannot be read or unpacked, holds no object, or a line is no JSON object.
    """
    source = Path(path).expanduser()
    text = _text(source)
    if text.lstrip().startswith("["):
        raise TaskError(
            f"{source}: is one JSON list; write one object per line instead, such as jq -c '.[]' does"
        )
    found, problems = [], []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if isinstance(record, dict):
                found.append((number, record))
            else:
                problems.append(f"line {number}: expected an object, got {documents.shown(record)}")
        except json.JSONDecodeError as e:
            problems.append(f"line {number}, column {e.colno}: is not JSON: {e.msg}")
        except (ValueError, RecursionError):
            problems.append(f"line {number}: a number too long or lists nested too deep")
    if not found and not problems:
        raise TaskError(f"{source}: is empty; expected one JSON object per line")
    refuse(source, problems)
    return found


def refuse(source: Path, problems: list[str]) -> None:
    """Raise TaskError with the first few of ``problems``, if there are any."""
    if len(problems) > SHOWN:
        listed = [*problems[:SHOWN], f"and {len(problems) - SHOWN} more"]
        raise TaskError("\n  ".join([f"{source}: {len(problems)} problems", *listed]))
    if problems:
        raise TaskError(documents.message(source, problems))


def text_field(record: dict[str, Any], name: str, known: str, hint: str) -> str:
    """What is wrong with a field that must be text, or nothing. ``known`` says where it is, ``hint`` what
    the field is for."""
    if name not in record:
        near = documents.suggest(name, sorted(record))
        return f"{known}: the field {name!r} ({hint}) is missing; the line has other fields: {near}"
    if not isinstance(record[name], str):
        return f"{known}: the field {name!r} must be text ({hint}), not {documents.shown(record[name])}"
    return ""


def _text(source: Path) -> str:
    try:
        data = source.read_bytes()
    except (OSError, ValueError) as e:
        told = getattr(e, "strerror", None) or e
        raise TaskError(f"{rendering.short(str(source), 200)}: cannot be read: {told}") from None
    try:
        if data.startswith(_GZIP):
            data = gzip.decompress(data)
        elif source.suffix == ".gz":
            raise TaskError(f"{source}: is not compressed with gzip, whatever its name says; rename it")
        return data.decode("utf-8-sig")
    except (OSError, EOFError, zlib.error) as e:
        raise TaskError(f"{source}: is damaged: {e}; fetch or compress it anew") from None
    except UnicodeDecodeError as e:
        raise TaskError(f"{source}: is not UTF-8 text (byte {e.start})") from None
