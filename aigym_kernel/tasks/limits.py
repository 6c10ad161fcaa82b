"""What a program in a sandbox may use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, get_type_hints

from pydantic import Field, TypeAdapter, ValidationError

from aigym_kernel import documents
from aigym_kernel.errors import TaskError
from aigym_kernel.tasks.fields import FORBID, Count, Package, Seconds


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a program in a sandbox may use: seconds, MiB, processes, KiB per output stream.

    ``wall_s`` and ``cpu_s`` hold for one run of a program, and for one case when a function is
    called. ``cpu_s`` None: only the wall time counts. ``open_files`` are descriptors per process, ``files``
    how many there may be in ``/work`` and in ``/tmp``, each of ``disk_mb``. ``network``: whether the
    program may reach others; with it, it can open no Unix sockets. ``packages``: installed Python packages
    that may be imported, by the names that ``pip install`` knows; without any, the standard library is all
    there is.

    Raises:
        TaskError: a value is of the wrong type, not positive, or beyond a day, 1 TiB, 1 GiB of output;
            fewer than 16 ``open_files`` start no interpreter.
    """

    wall_s: Seconds = 10.0
    cpu_s: Seconds | None = None
    memory_mb: Annotated[Count, Field(le=1 << 20)] = 512
    pids: Annotated[Count, Field(le=32_768)] = 64
    disk_mb: Annotated[Count, Field(le=1 << 20)] = 64
    output_kb: Annotated[Count, Field(le=1 << 20)] = 1024
    open_files: Annotated[Count, Field(ge=16, le=1 << 20)] = 256
    files: Annotated[Count, Field(le=10_000_000)] = 20_000
    network: Annotated[bool, Field(strict=True)] = False
    packages: tuple[Package, ...] = ()

    __pydantic_config__ = FORBID

    def __post_init__(self) -> None:
        for name, allowed in _limit_types().items():
            try:
                allowed.validate_python(getattr(self, name))
            except ValidationError as error:
                told = documents.told(dict(error.errors()[0]))
                raise TaskError(f"Limits({name}=...): {told}") from None
        object.__setattr__(self, "packages", tuple(self.packages))  # a list would not be hashable


@lru_cache(maxsize=1)
def _limit_types() -> dict[str, TypeAdapter[Any]]:
    return {name: TypeAdapter(hint) for name, hint in get_type_hints(Limits, include_extras=True).items()}
