"""The system calls that no program in a box may make, as a classic BPF program for Linux' seccomp.

`program()` returns its bytes, or nothing for a processor whose call numbers are not listed. It is a
second wall behind namespaces and dropped capabilities: calls that reach much kernel code (bpf, io_uring,
userfaultfd, keyrings), that look into other processes (ptrace), that make namespaces or mounts, that hold
memory outside of any process (memfd, System V, message queues), socket families other than Unix, IP and
netlink, and the calls by which a process may change limits and priority of process 1, the runner.
Not here: files and processes, which the mount and pid namespaces limit.

Source: seccomp(2) and <linux/filter.h>; numbers from the kernel's syscall tables.
"""

from __future__ import annotations

import platform
import struct
from functools import lru_cache

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _SECOND_ARGUMENT = (
    0,
    4,
    16,
    24,
)  # offsets in struct seccomp_data (little endian)
_NEW_NAMESPACES = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_UNIX = 1
_FAMILIES = (_UNIX, 2, 10, 16)  # and AF_INET, AF_INET6, AF_NETLINK

# AUDIT_ARCH, {call: number}; calls above 423 have one number everywhere.
_COMMON = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_getfd": 438, "mount_setattr": 442, "memfd_secret": 447,
}  # fmt: skip
_MACHINES: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (0xC000003E, {
        "socket": 41, "clone": 56, "clone3": 435,
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312,
        "keyctl": 250, "add_key": 248, "request_key": 249, "bpf": 321, "userfaultfd": 323,
        "perf_event_open": 298, "memfd_create": 319, "shmget": 29, "msgget": 68, "semget": 64, "mq_open": 240,
        "mount": 165, "umount2": 166, "pivot_root": 155, "unshare": 272, "setns": 308,
        "open_by_handle_at": 304, "name_to_handle_at": 303, "kexec_load": 246, "kexec_file_load": 320,
        "init_module": 175, "finit_module": 313, "delete_module": 176, "syslog": 103, "quotactl": 179,
        "acct": 163, "swapon": 167, "swapoff": 168, "reboot": 169,
    }),
    "aarch64": (0xC00000B7, {
        "socket": 198, "clone": 220, "clone3": 435,
        "ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
        "keyctl": 219, "add_key": 217, "request_key": 218, "bpf": 280, "userfaultfd": 282,
        "perf_event_open": 241, "memfd_create": 279, "shmget": 194, "msgget": 186, "semget": 190,
        "mq_open": 180, "mount": 40, "umount2": 39, "pivot_root": 41, "unshare": 97, "setns": 268,
        "open_by_handle_at": 265, "name_to_handle_at": 264, "kexec_load": 104, "kexec_file_load": 294,
        "init_module": 105, "finit_module": 273, "delete_module": 106, "syslog": 116, "quotactl": 60,
        "acct": 89, "swapon": 224, "swapoff": 225, "reboot": 142,
    }),
}  # fmt: skip

# Calls whose first argument is the process that they change, by machine.
_OF_A_PROCESS = {
    "x86_64": (302, 203, 144, 142, 314),
    "aarch64": (261, 122, 119, 118, 274),
}  # prlimit64, sched_setaffinity, sched_setscheduler, sched_setparam, sched_setattr
# The same in their second argument, unless the first one says: all of a user.
_OF_SOME = {
    "x86_64": ((141, 2), (251, 3)),
    "aarch64": ((140, 2), (30, 3)),
}  # setpriority and PRIO_USER, ioprio_set and IOPRIO_WHO_USER


def _op(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("<HBBI", code, yes, no, value)


def _runner_untouched() -> list[bytes]:
    code = []
    for number in _OF_A_PROCESS[platform.machine()]:
        code += [_op(_EQUAL, number, no=4), _op(_LOAD, _FIRST_ARGUMENT)]
        code += [_op(_EQUAL, 1, no=1), _refuse(_EPERM), _op(_RETURN, _ALLOW)]
    for number, user in _OF_SOME[platform.machine()]:
        code += [_op(_EQUAL, number, no=6), _op(_LOAD, _FIRST_ARGUMENT), _op(_EQUAL, user, yes=2)]
        code += [_op(_LOAD, _SECOND_ARGUMENT), _op(_EQUAL, 1, no=1), _refuse(_EPERM), _op(_RETURN, _ALLOW)]
    return code


def _refuse(errno: int) -> bytes:
    return _op(_RETURN, _ERRNO | errno)


@lru_cache(maxsize=2)
def program(*, network: bool = False) -> bytes:
    """The filter for this machine as an array of ``struct sock_filter``; empty if it is unknown.

    With ``network`` no Unix socket can be opened: a network shared with the host would share its abstract
    ones (X11, D-Bus, containerd) too, which no mount namespace hides. Socket pairs are not affected.
    """
    if platform.machine() not in _MACHINES:
        return b""
    architecture, numbers = _MACHINES[platform.machine()]
    calls = {**_COMMON, **numbers}
    socket, clone, clone3 = (calls.pop(name) for name in ("socket", "clone", "clone3"))
    code = [
        _op(_LOAD, _ARCHITECTURE),
        _op(_EQUAL, architecture, yes=1),
        _refuse(_ENOSYS),  # another call table, such as 32-bit calls on a 64-bit machine
        _op(_LOAD, _NUMBER),
    ]
    if platform.machine() == "x86_64":
        code += [_op(_AT_LEAST, 0x40000000, no=1), _refuse(_ENOSYS)]  # the x32 call table
    for number in calls.values():
        code += [_op(_EQUAL, number, no=1), _refuse(_EPERM)]
    code += _runner_untouched()
    # clone3 passes its flags in memory, where no filter sees them; libc falls back to clone.
    code += [_op(_EQUAL, clone3, no=1), _refuse(_ENOSYS)]
    code += [_op(_EQUAL, clone, no=4), _op(_LOAD, _FIRST_ARGUMENT)]
    code += [_op(_ANY_BIT, _NEW_NAMESPACES, no=1), _refuse(_EPERM), _op(_RETURN, _ALLOW)]
    families = [family for family in _FAMILIES if not (network and family == _UNIX)]
    code += [_op(_EQUAL, socket, no=len(families) + 2), _op(_LOAD, _FIRST_ARGUMENT)]
    for at, family in enumerate(families):
        code.append(_op(_EQUAL, family, yes=len(families) - at))
    code += [_refuse(_EAFNOSUPPORT), _op(_RETURN, _ALLOW)]
    return b"".join(code)
