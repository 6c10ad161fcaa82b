"""What a process of the runner does to itself before it meets a program: no capabilities, no new privileges,
seccomp, which all that it starts inherits; and undumpable, which a program may be."""

# ruff: noqa: PTH123
from __future__ import annotations

import ctypes
import os
import struct

_DUMPABLE, _SECCOMP, _CAPBSET_DROP, _NO_NEW_PRIVS, _CAP_AMBIENT = 4, 22, 24, 38, 47  # prctl's options
_CAPABILITIES_3 = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


def confine(program: bytes) -> None:
    """Undumpable, and under a seccomp filter that every program started here inherits."""
    dumpable(False)
    _prctl(_NO_NEW_PRIVS, 1)
    if program:
        code = ctypes.create_string_buffer(program, len(program))
        header = ctypes.create_string_buffer(struct.pack("HP", len(program) // 8, ctypes.addressof(code)))
        _prctl(_SECCOMP, 2, ctypes.addressof(header))


def dumpable(yes: bool) -> None:
    """Whether other processes of the same user may trace this one and read its memory."""
    _prctl(_DUMPABLE, int(yes))


def become(user: int) -> None:
    """This user and group, with no capability and no way to get one."""
    with open("/proc/sys/kernel/cap_last_cap") as file:
        last = int(file.read())
    for number in range(last + 1):
        _prctl(_CAPBSET_DROP, number)
    if os.getuid() != user:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    _prctl(_CAP_AMBIENT, 4)  # clear all
    # effective, permitted, inheritable: none, in both halves
    check(libc.capset(struct.pack("II", _CAPABILITIES_3, 0), bytes(24)), "capset")


def _prctl(option: int, first: int, second: int = 0) -> None:
    check(libc.prctl(option, *map(ctypes.c_ulong, (first, second, 0, 0))), f"prctl {option}")


def check(result: int, call: str) -> None:
    """Raise OSError where a call of `libc` failed."""
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")
