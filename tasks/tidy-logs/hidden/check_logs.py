"""The empty logs are gone, every other file of logs/ is as it was, and nothing was added beside."""

import hashlib
import json
from pathlib import Path

EXPECTED = {
    "logs/2024-03-01.log": "f2d1365ad315bf9e",
    "logs/2024-03-02.log": "94219050685b4dd8",
    "logs/2024-03-03 (late).log": "9ad6e55891da03d0",
    "logs/2024-03-04.log": "46e70f1b615ec1ce",
    "logs/KEEP": "e3b0c44298fc1c14",
}


def found(folder: str) -> dict[str, str]:
    """Digest of every file below ``folder``."""
    return {
        p.as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()[:16]
        for p in sorted(Path(folder).rglob("*"))
        if p.is_file()
    }


got = found("logs")
told = [f"missing: {name}" for name in EXPECTED if name not in got]
told += [f"should be gone: {name}" for name in got if name not in EXPECTED]
told += [f"was changed: {name}" for name in EXPECTED if name in got and got[name] != EXPECTED[name]]
told += [
    f"not asked for: {p}" for p in sorted(Path().iterdir()) if p.name not in ("config", "logs", "report")
]
feedback = "\n".join(told) or "only what had to go is gone"
print(json.dumps({"value": float(not told), "feedback": feedback}))
