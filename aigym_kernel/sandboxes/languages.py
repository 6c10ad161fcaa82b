"""What a program's language means: the file that holds it and the command that runs that file."""

from __future__ import annotations

#: File that the code is written to, and the command that runs it, by language.
LANGUAGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "python": ("main.py", ("python3", "main.py")),
    "bash": ("main.sh", ("bash", "main.sh")),
}
