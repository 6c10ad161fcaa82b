"""What the runner does to itself before it answers anything: undumpable, no new privileges, seccomp."""

from __future__ import annotations

import os
import struct


def confine(program: bytes) -> None:
    """Undumpable, and under a seccomp filter that every program started here inherits."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    calls = [(4, 0, 0), (38, 1, 0)]  # PR_SET_DUMPABLE no, PR_SET_NO_NEW_PRIVS yes
    if program:
        code = ctypes.create_string_buffer(program, len(program))
        header = struct.pack("HP", len(program) // 8, ctypes.addressof(code))
        calls.append((22, 2, ctypes.addressof(ctypes.create_string_buffer(header, len(header)))))
    for option, first, second in calls:
        if libc.prctl(option, first, second, 0, 0):
            raise OSError(ctypes.get_errno(), f"prctl {option}: {os.strerror(ctypes.get_errno())}")
