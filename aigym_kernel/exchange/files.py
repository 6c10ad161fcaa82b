"""Files that others wrote, read with care, and new files that are whole or not there.

    for number, line in lines(path): ...           text, line by line, whatever the size of the file
    document(path)                                  one JSON document
    with new_file(path) as file: file.write(b"...")

Every mistake in a file is an ExchangeError that names file, place and way out. Not here: formats.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from aigym_kernel import rendering
from aigym_kernel.errors import ExchangeError

LARGEST = 100 * 2**20
"""Bytes of one line or of one JSON document. Parsed, it takes about ten times as much memory."""


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, with their numbers from 1.

    Raises:
        ExchangeError: the file cannot be read or is empty; a line is no UTF-8 or larger than `LARGEST`.
    """
    found = False
    with reading(path) as file:
        number = 0
        while data := _read_line(file, path, number + 1):
            number += 1
            text = _decode(data, path, f"line {number}")
            if text.strip():
                found = True
                yield number, text
    if not found:
        raise ExchangeError(f"{path}: is empty")


def _read_line(file: BinaryIO, path: Path, number: int) -> bytes:
    try:
        data = file.readline(LARGEST + 1)
    except OSError as e:
        raise cannot_read(path, e) from None
    if len(data) > LARGEST:
        raise ExchangeError(f"{path}: line {number}: is larger than {LARGEST // 2**20} MiB; use Parquet")
    return data


def document(path: Path) -> Any:
    """The JSON document that a file is.

    Raises:
        ExchangeError: the file cannot be read, is empty, too large, no UTF-8 or no JSON.
    """
    with reading(path) as file:
        try:
            data = file.read(LARGEST + 1)
        except OSError as e:
            raise cannot_read(path, e) from None
    if len(data) > LARGEST:
        raise ExchangeError(f"{path}: is larger than {LARGEST // 2**20} MiB, too large for one JSON document")
    text = _decode(data, path, "")
    if not text.strip():
        raise ExchangeError(f"{path}: is empty")
    return parse(text, path)


def parse(text: str, path: Path, line: int | None = None) -> Any:
    """The JSON in a text; ``line`` is its number in a file of many.

    Raises:
        ExchangeError: it is no JSON, or nested too deep; names line and column.
    """
    place = f"{path}: " if line is None else f"{path}: line {line}: "
    try:
        return json.loads(text)
    except json.JSONDecodeError as e:
        at = f"line {line or e.lineno}, column {e.colno}"
        ends = text.rstrip()
        if not ends.endswith(("}", "]")) and (e.msg.startswith("Unterminated") or len(ends) - e.pos < 32):
            raise ExchangeError(f"{path}: {at}: the JSON ends in the middle; was it cut short?") from None
        raise ExchangeError(f"{path}: {at}: is not JSON: {e.msg}") from None
    except RecursionError:
        raise ExchangeError(f"{place}its lists or objects are nested too deep") from None
    except ValueError as e:  # of a number with thousands of digits
        raise ExchangeError(f"{place}{str(e).partition(';')[0]}") from None


def _decode(data: bytes, path: Path, place: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        at = f"{place}, byte {e.start + 1}" if place else f"byte {e.start + 1}"
        raise ExchangeError(f"{path}: {at}: is not UTF-8 text") from None


@contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """The file, open for reading bytes.

    Raises:
        ExchangeError: it cannot be opened.
    """
    try:
        file = path.open("rb")
    except (OSError, ValueError) as e:
        raise cannot_read(path, e) from None
    with file:
        yield file


def cannot_read(path: Path, error: Exception) -> ExchangeError:
    """The error for what cannot be opened or read."""
    told = getattr(error, "strerror", None) or error
    return ExchangeError(f"{rendering.short(str(path), 200)}: cannot be read: {told}")


def check_new(path: Path) -> None:
    """Raise ExchangeError if there is something of this name, no folder for it, or one that is closed."""
    try:
        taken = path.exists()
    except OSError as e:
        raise ExchangeError(f"{path}: cannot be written: {e.strerror}") from None
    if taken:
        raise ExchangeError(f"{path}: exists already; choose another name, or delete it")
    if not path.parent.is_dir():
        raise ExchangeError(f"{path}: there is no folder {path.parent}; make it first")


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name once the block has ended well, and else is removed.

    Raises:
        ExchangeError: the name is taken, or the disk is full or cannot be written.
    """
    check_new(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as e:
        if isinstance(e, ExchangeError) or e.errno is None:
            raise
        raise ExchangeError(f"{path}: cannot be written: {e.strerror}") from None
    finally:
        with suppress(OSError):  # none was made, or the disk is read-only: what was raised says so
            temporary.unlink()


def members(path: Path, pattern: str) -> list[Path]:
    """The file itself, or the files of a folder (and its sub-folders) whose names match, sorted.

    Raises:
        ExchangeError: the folder has none.
    """
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.rglob(pattern) if p.is_file())
    if not found:
        raise ExchangeError(f"{path}: this folder has no file {pattern}")
    return found
