"""Compare config/ with what it must be after the change, file by file."""

import hashlib
import json
from pathlib import Path

EXPECTED = {
    "config/archive/auth.ini": "12703302f69d2302",
    "config/auth.ini": "666e61849c956b66",
    "config/local/search nightly.ini": "f14b049dadabf396",
    "config/mail.ini": "7356b577762381e5",
    "config/notes.txt": "a246461544e67c27",
    "config/payments.ini": "42f7533116364d49",
}


def found(folder: str) -> dict[str, str]:
    """Digest of every file below ``folder``."""
    return {
        p.as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()[:16]
        for p in sorted(Path(folder).rglob("*"))
        if p.is_file()
    }


got = found("config")
missing = [name for name in EXPECTED if name not in got]
added = [name for name in got if name not in EXPECTED]
wrong = [name for name in EXPECTED if name in got and got[name] != EXPECTED[name]]
told = [f"missing: {', '.join(missing)}"] if missing else []
told += [f"not asked for: {', '.join(added)}"] if added else []
told += [f"not as it should be: {', '.join(wrong)}"] if wrong else []
feedback = "\n".join(told) or "all files as they should be"
print(json.dumps({"value": float(not told), "feedback": feedback}))
