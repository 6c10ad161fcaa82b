"""Every error a user can cause, as one tree. Each message names the culprit, the value and the way out.

    AigymError
      UnknownName       a task, environment, parameter, column ... that does not exist ("Did you mean")
      TaskError         a task's YAML, files or limits are wrong
      SolutionError     what was handed in as a solution or program cannot be one
      SandboxError      no sandbox can be opened here, or it broke (never the solution's fault)
        SandboxFull     the machine has no room for another box just now
      StoreError        the store is missing, newer than this version, damaged, or the disk is full
      QueryError        SQL that does not run
      RunError          a run that does not exist, or that failed
      TrainingError     a space, configuration or environment that an algorithm cannot use
      EnvError          an environment that raised, hung, or broke its own spaces
      NotebookError     a notebook or its parameters
      BenchError        a bench that does not exist, is being worked on, or whose plan cannot be
      ExchangeError     a file of trajectories that cannot be read or written

    StoreWarning        something recorded is unreadable and was skipped; the rest is fine

In a notebook an AigymError shows its message alone, not this package's internals.
Not for bugs: an unexpected exception keeps its whole traceback.
"""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Iterable


class AigymError(Exception):
    """The base of every error that a user can cause and mend."""

    def _render_traceback_(self) -> list[str]:
        """What IPython prints instead of a traceback (its documented hook for exceptions)."""
        return [f"{type(self).__name__}: {self}"]


class UnknownName(AigymError, LookupError):
    """A name that nothing answers to. Message: what it was, the nearest names, and all of them."""

    def __init__(self, kind: str, name: object, known: Iterable[str], hint: str = "") -> None:
        names = sorted(known)
        near = [one for one in names if one.lower() == str(name).lower()]
        near = near or difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
        parts = [f"unknown {kind} {str(name)!r}."]
        if near:
            parts.append(f"Did you mean {' or '.join(map(repr, near))}?")
        elif names:
            shown = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
            parts.append(f"Known: {shown}.")
        if hint:
            parts.append(hint)
        super().__init__(" ".join(parts))
        self._arguments = (kind, name, names, hint)

    def __reduce__(self) -> tuple[type[UnknownName], tuple[object, ...]]:
        """How it travels between processes: an exception is otherwise rebuilt from its message alone."""
        return type(self), self._arguments


class TaskError(AigymError, ValueError):
    """A task's YAML or one of its files is wrong."""


class SolutionError(AigymError, TypeError):
    """What was handed in cannot be a solution (not text, not a mapping of files)."""


class SandboxError(AigymError, RuntimeError):
    """No sandbox can be opened here, or it broke. Never the fault of the code that ran inside."""


class SandboxFull(SandboxError):
    """No process, memory, descriptor or daemon answer is left for another box. Later there may be."""


class StoreError(AigymError, OSError):
    """The store is missing, newer than this version, damaged, or its disk is full."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class QueryError(AigymError, ValueError):
    """SQL that does not run."""


class RunError(AigymError, RuntimeError):
    """A run that does not exist, or that failed."""


class TrainingError(AigymError, ValueError):
    """A space, configuration or environment that an algorithm cannot use."""


class EnvError(AigymError, RuntimeError):
    """An environment raised, hung, ended its process, or broke its own spaces."""


class NotebookError(AigymError, ValueError):
    """A notebook that cannot be read, or parameters that it does not have."""


class BenchError(AigymError, ValueError):
    """A bench that does not exist, that another process works on, or whose plan cannot be carried out."""


class ExchangeError(AigymError, ValueError):
    """A file of trajectories that cannot be read or written in the format asked for."""


class StoreWarning(UserWarning):
    """Something recorded is unreadable and was skipped; the rest is fine."""


def check_whole(
    what: str, value: object, least: int, most: int = 2**63 - 1, error: type[AigymError] = AigymError
) -> None:
    """Raise an ``error`` unless ``value`` is a whole number from ``least`` to ``most``."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not whole or not least <= int(str(value)) <= most:
        limit = f"from {least} on" if most == 2**63 - 1 else f"from {least} to {most}"
        raise error(f"{what}={value!r} must be a whole number {limit}")
