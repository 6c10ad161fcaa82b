"""One run of a program: forked, limited, fed, drained, watched, ended, and told apart by cause.

`run(argv, stdin, limits)` returns the answer's message and blobs. Not here: what the tree uses (`tree`)."""

# Descriptors throughout, and importing pathlib would cost every box 10 ms.
# ruff: noqa: PTH101, PTH123
from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import time

from aigym_kernel.sandboxes.inside.confine import dumpable
from aigym_kernel.sandboxes.inside.files import DISKS, WORK
from aigym_kernel.sandboxes.inside.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from aigym_kernel.sandboxes.inside.interpreter import Waiting

ENVIRONMENT = {
    "PATH": "/opt/bin:/usr/local/bin:/usr/bin:/bin",
    "HOME": WORK,
    "LANG": "C.UTF-8",
    # NumPy's library else starts a thread for each processor, and on a large machine dies of the limit.
    "OMP_NUM_THREADS": "1",
}
# Where an interpreter finds its own library, if it was not built to know.
LIBRARIES = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
TICK_S = 0.01  # how often the process tree is looked at, at most


def become(argv: Sequence[str], pipes: Mapping[int, int], limits: Mapping[str, Any]) -> None:
    """In the forked child: the program takes its place. Never returns."""
    try:
        for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        settle(pipes, limits)
        os.execvpe(argv[0], list(argv), {**LIBRARIES, **ENVIRONMENT})
    except BaseException as error:
        os.write(2, f"cannot run {argv[0]!r}: {error}\n".encode("utf-8", "replace"))
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def settle(pipes: Mapping[int, int], limits: Mapping[str, Any]) -> None:
    """Give this new process its descriptors (what each is to be a copy of), the place and the limits of a
    program."""
    os.setsid()
    _go_first()
    kept = sorted(pipes)
    for target in kept:
        os.dup2(pipes[target], target)
    for first, last in zip(kept, [*kept[1:], 65536]):
        os.closerange(first + 1, last)
    os.umask(0o022)
    os.chmod(WORK, 0o755)
    os.chdir(WORK)
    for which, value in _rlimits(limits).items():
        resource.setrlimit(which, (value, value))


def _go_first() -> None:
    """Where memory runs out, the kernel should end the program, not the runner: unless told, it ends whoever
    is largest, and a program of many small processes is smaller than the runner."""
    dumpable(True)  # which the file wants; becoming another program would do the same
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "wb", 0) as file:
        file.write(b"1000")


def _rlimits(limits: Mapping[str, Any]) -> dict[int, int]:
    rlimits = {
        resource.RLIMIT_FSIZE: limits["disk_mb"] << 20,
        resource.RLIMIT_NOFILE: _at_most(resource.RLIMIT_NOFILE, limits["open_files"]),
        # 0 would still feed a host that pipes core dumps to a program; 1 is the kernel's word for none.
        resource.RLIMIT_CORE: _at_most(resource.RLIMIT_CORE, 1),
    }
    if limits["memory"] == "address space":
        # No measure of memory in use (threads and allocators reserve plenty): this bounds what one
        # process can grab between two looks, the looks do the counting.
        reserves_mb = 1024 + limits.get("reserves_mb", 0)
        rlimits[resource.RLIMIT_AS] = (2 * limits["memory_mb"] + reserves_mb) << 20
    if limits["nproc"]:
        rlimits[resource.RLIMIT_NPROC] = limits["pids"] + limits["nproc"]
    return rlimits


def _at_most(which: int, value: int) -> int:
    """``value``, or what may be had where that is less."""
    most = resource.getrlimit(which)[1]
    return value if most == resource.RLIM_INFINITY else min(value, most)


def run(
    argv: Sequence[str], stdin: bytes, limits: Mapping[str, Any], waiting: Waiting | None = None
) -> tuple[dict[str, Any], list[bytes]]:
    """Run a program to its end or to a limit; nothing of it is alive afterwards. The answer holds
    status, exit_code, detail, wall_s, cpu_s, peak_kb; the blobs are stdout and stderr. Where an
    interpreter is ``waiting`` and the program is one for it, nothing is started."""
    started = time.monotonic()
    inner, outer = zip(os.pipe(), os.pipe()[::-1], os.pipe()[::-1])
    tree = Tree(limits)
    child = waiting.take(argv, inner, limits) if waiting else 0
    if not child:
        child = os.fork()
        if child == 0:
            become(argv, dict(enumerate(inner)), limits)
    for descriptor in inner:
        os.close(descriptor)
    outputs = {outer[1]: bytearray(), outer[2]: bytearray()}
    cause = _watch(child, tree, outer[0], stdin, outputs, started + limits["wall_s"])
    tree.kill()
    most = limits["output_kb"] << 10
    for descriptor, output in outputs.items():  # what was still in the pipes; the writers are dead
        with contextlib.suppress(OSError):
            while len(output) <= most and (piece := os.read(descriptor, 65536)):
                output += piece
        os.close(descriptor)
        if len(output) > most and cause is None:
            cause = too_much(limits)
    stdout, stderr = (bytes(output[:most]) for output in outputs.values())
    status, code, detail = verdict(tree.ended[child], cause or tree.struck(), stderr, limits)
    if status in ("error", "signal"):
        detail = "; ".join(filter(None, (detail, met(tree, detail, stderr))))
    used = {"wall_s": time.monotonic() - started, "cpu_s": tree.used_cpu_s, "peak_kb": tree.highest_kb()}
    return {"status": status, "exit_code": code, "detail": detail, **used}, [stdout, stderr]


def too_much(limits: Mapping[str, Any]) -> tuple[str, str]:
    """The cause of an end for too much output."""
    return "output_limit", f"more than {limits['output_kb']} KiB on one stream"


def met(tree: Tree, detail: str, stderr: bytes) -> str:
    """Which limit a program met that ended as an error or by a signal. A limit that only refuses (a file,
    a process, a descriptor more) leaves the ending to the program: this is what is known of why."""
    limits, last = tree.limits, stderr[-2000:].lower()
    if "SIGXFSZ" in detail or b"file too large" in last:
        return f"a file of more than {limits['disk_mb']} MiB, as much as the disk holds"
    for at in DISKS:
        disk = os.statvfs(at)
        if not disk.f_bavail:
            return f"the disk is full: {limits['disk_mb']} MiB allowed in {at}"
        if not disk.f_ffree and disk.f_files:
            return f"more than {limits['files']} files in {at}"
    if b"too many open files" in last:
        return f"too many open files: {limits['open_files']} allowed"
    refused = tree.most_tasks >= limits["pids"] or b"resource temporarily unavailable" in last
    if refused and "processes" not in detail:
        return f"as many processes and threads as allowed: {limits['pids']}"
    return ""


def _watch(
    child: int, tree: Tree, stdin_end: int, stdin: bytes, outputs: dict[int, bytearray], deadline: float
) -> tuple[str, str] | None:
    """Feed and drain the program until it ends (None) or breaks a limit (which one, and how)."""
    poller = select.poll()
    poller.register(0, 0)  # the host hanging up
    poller.register(stdin_end, select.POLLOUT)
    for descriptor in (stdin_end, *outputs):
        os.set_blocking(descriptor, False)
        if descriptor in outputs:
            poller.register(descriptor, select.POLLIN)
    try:
        ended = os.pidfd_open(child)
        poller.register(ended, select.POLLIN)
    except OSError:  # an old kernel: the next tick notices
        ended = -1
    rest, most, look = memoryview(stdin), tree.limits["output_kb"] << 10, 0.0
    try:
        while True:
            for descriptor, _ in poller.poll(TICK_S * 1000):
                if descriptor == 0:
                    os._exit(1)
                elif descriptor == stdin_end:
                    rest = feed(stdin_end, rest)
                    if not rest:
                        poller.unregister(stdin_end)
                        os.close(stdin_end)
                        stdin_end = -1
                elif descriptor in outputs:
                    piece = os.read(descriptor, 65536)
                    outputs[descriptor] += piece
                    if not piece:
                        poller.unregister(descriptor)
                    if len(outputs[descriptor]) > most:
                        return too_much(tree.limits)
            tree.reap()
            if child in tree.ended:
                return None
            now = time.monotonic()
            if now > deadline:
                return "timeout", f"still running after {tree.limits['wall_s']} s"
            if now >= look:
                if cause := tree.excess() or tree.struck():
                    return cause
                spent = time.monotonic() - now
                look = now + max(TICK_S, 5 * spent)  # many processes take long to look at
    finally:
        for descriptor in (stdin_end, ended):
            if descriptor >= 0:
                os.close(descriptor)


def feed(descriptor: int, rest: memoryview) -> memoryview:
    """Write what fits; what is left, nothing when the program closed its end."""
    try:
        return rest[os.write(descriptor, rest[:65536]) :] if rest else rest
    except BlockingIOError:
        return rest
    except OSError:
        return rest[:0]


def verdict(
    wait_status: int, cause: tuple[str, str] | None, stderr: bytes, limits: Mapping[str, Any]
) -> tuple[str, int | None, str]:
    """Status, exit code, detail. The cause that ended the run counts first.

    One status rests on the program's word: an uncaught MemoryError (exit code 1, last line of stderr) is
    ``memory_limit``, because a request refused by the address-space limit leaves no other trace. A
    program that only claims it can accuse nobody but itself.
    """
    if cause:
        return cause[0], None, cause[1]
    if os.WIFSIGNALED(wait_status):
        number = os.WTERMSIG(wait_status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = str(number)
        return "signal", None, f"killed by signal {name}"
    code = os.WEXITSTATUS(wait_status)
    last = stderr.rstrip().rpartition(b"\n")[2]
    if code == 1 and (last == b"MemoryError" or last.startswith(b"MemoryError:")):
        return "memory_limit", 1, f"uncaught MemoryError: {limits['memory_mb']} MiB allowed"
    return ("error" if code else "ok"), code, ""
