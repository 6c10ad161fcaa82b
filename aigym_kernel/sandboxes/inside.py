"""The runner inside a box: process 1 of its pid namespace, standard library only.

The host starts it as ``python3 -I -S inside.py`` with a pipe or socket as descriptors 0 and 1 and sends
frames (`pack`, `unpack`): ``open`` first, then ``write``, ``run``, ``read``, ``export`` and ``clear`` as
often as it likes. Each gets one answer. When descriptor 0 ends, so does the runner, and the kernel then
ends every process of the namespace.

What a program started here can do to its runner: nothing. The runner is undumpable, so the same user
can neither trace it nor open its descriptors; it ignores every signal; and no descriptor of its own is
passed on. Not here: the namespaces, mounts and users around it (`bwrap`, `containers`).
"""

# Descriptors throughout, and importing pathlib would cost every box 10 ms.
# ruff: noqa: PTH101, PTH123, PTH208
from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import signal
import stat
import struct
import time

TYPE_CHECKING = False  # the name is what type checkers look for; importing typing costs 4 ms per box
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

WORK = "/work"
ENVIRONMENT = {"PATH": "/opt/bin:/usr/local/bin:/usr/bin:/bin", "HOME": WORK, "LANG": "C.UTF-8"}
# Where an interpreter finds its own library, if it was not built to know.
LIBRARIES = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
TICK_S = 0.01  # how often the process tree is looked at, at most
MAX_DEPTH = 64  # folders below /work; deeper ones are not exported
MAX_INODES = 20_000  # files per tmpfs: empty ones cost kernel memory that no size limit sees
MAX_HEADER = 64 << 20
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


# Frames: 4 bytes length of a JSON header, 8 bytes length of what follows it, header, blobs.


def pack(message: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> bytes:
    """One frame: ``message`` as JSON, then ``blobs``."""
    header = json.dumps({**message, "sizes": [len(blob) for blob in blobs]}).encode()
    return b"".join([struct.pack(">IQ", len(header), sum(map(len, blobs))), header, *blobs])


def unpack(read: Callable[[int], bytes], most: int) -> tuple[dict[str, Any], list[bytes]]:
    """The next frame from ``read(n)``, which returns exactly n bytes or raises EOFError.

    Raises:
        ValueError: not a frame, or blobs of more than ``most`` bytes.
    """
    header_size, blob_size = struct.unpack(">IQ", read(12))
    if header_size > MAX_HEADER or blob_size > most:
        raise ValueError(f"a frame of {header_size} + {blob_size} bytes")
    message = json.loads(read(header_size))
    body = memoryview(read(blob_size))
    blobs = []
    for size in message.pop("sizes"):
        blobs.append(bytes(body[:size]))
        body = body[size:]
    return message, blobs


# Files below /work. No process of the solution is alive while these run, so nothing can change meanwhile.


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if path.startswith("/") or not parts or ".." in parts or "\0" in path:
        raise ValueError(f"{path!r} is not a path below {WORK}")
    return parts


def _folder(parts: Sequence[str], *, make: bool) -> int:
    """A descriptor of the folder, reached without following a link. With ``make``, whatever stands in
    the way is replaced."""
    os.chmod(WORK, 0o755)  # every right here may have been taken away, by the user that this is
    here = os.open(WORK, _DIRECTORY)
    for part in parts:
        try:
            if make:
                kind = _kind(part, here)
                if kind and not stat.S_ISDIR(kind):
                    os.unlink(part, dir_fd=here)
                    kind = 0
                if not kind:
                    os.mkdir(part, 0o755, dir_fd=here)
            below = _descend(part, here)
        finally:
            os.close(here)
        here = below
    return here


def _kind(name: str, folder: int) -> int:
    """The mode of a directory entry itself; 0 where there is none."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return 0


def _descend(name: str, folder: int) -> int:
    kind = _kind(name, folder)
    if stat.S_ISDIR(kind) and kind & 0o700 != 0o700:
        os.chmod(name, 0o755, dir_fd=folder)
    return os.open(name, _DIRECTORY, dir_fd=folder)


def _remove(name: str, folder: int) -> None:
    """Remove an entry and all below it, however deep."""
    if not stat.S_ISDIR(_kind(name, folder)):
        os.unlink(name, dir_fd=folder)
        return
    inner = _descend(name, folder)
    try:
        _empty(inner)
    finally:
        os.close(inner)
    os.rmdir(name, dir_fd=folder)


def _empty(folder: int) -> None:
    """Remove all entries of a folder. A folder in a folder is moved up, under a name that nobody can have
    guessed: so neither the stack nor the number of open descriptors grows with the depth."""
    while names := os.listdir(folder):
        for name in names:
            if not stat.S_ISDIR(_kind(name, folder)):
                os.unlink(name, dir_fd=folder)
                continue
            inner = _descend(name, folder)
            try:
                for below in os.listdir(inner):
                    if not stat.S_ISDIR(_kind(below, inner)):
                        os.unlink(below, dir_fd=inner)
                        continue
                    os.close(_descend(below, inner))  # which gives back the right to move it
                    os.rename(below, os.urandom(16).hex(), src_dir_fd=inner, dst_dir_fd=folder)
            finally:
                os.close(inner)
            os.rmdir(name, dir_fd=folder)


def clear() -> None:
    """Remove all files that a program may have left anywhere. Links are removed, never followed."""
    for path in (WORK, "/tmp", "/dev/shm"):
        with contextlib.suppress(PermissionError):  # a container's /dev/shm is not this user's own
            os.chmod(path, 0o755)
        folder = os.open(path, _DIRECTORY)
        try:
            _empty(folder)
        finally:
            os.close(folder)


def write(files: Mapping[str, bytes]) -> None:
    """Write files below /work. Links, pipes and folders in their place are replaced, never followed."""
    for path, content in files.items():
        *above, name = _parts(path)
        try:
            folder = _folder(above, make=True)
            try:
                if _kind(name, folder):
                    _remove(name, folder)
                _create(name, folder, content)
            finally:
                os.close(folder)
        except OSError as error:
            raise OSError(f"cannot write {path!r} below {WORK}: {error.strerror}") from None


def _create(name: str, folder: int, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        with open(os.open(name, flags, 0o644, dir_fd=folder), "wb") as file:
            file.write(content)
    except OSError:  # a full disk: half a file is worse than none
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        raise


def _content(name: str, folder: int) -> int:
    """A descriptor of a regular file; a link, pipe or device raises OSError."""
    kind = _kind(name, folder)
    if not stat.S_ISREG(kind):
        raise FileNotFoundError(f"{name!r} is not a regular file")
    if not kind & 0o400:
        os.chmod(name, 0o600, dir_fd=folder)
    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)


def read(path: str, most: int) -> bytes:
    """A regular file below /work of at most ``most`` bytes."""
    *above, name = _parts(path)
    try:
        folder = _folder(above, make=False)
        try:
            with open(_content(name, folder), "rb") as file:
                content = file.read(most + 1)
        finally:
            os.close(folder)
    except OSError:
        raise FileNotFoundError(f"there is no regular file {path!r} below {WORK}") from None
    if len(content) > most:
        raise ValueError(f"{path!r} is larger than the box's disk, {most >> 20} MiB")
    return content


def export(most: int) -> dict[str, bytes]:
    """Every regular file below /work. Together they hold at most ``most`` bytes, the size of the disk:
    only sparse files can exceed that, and the ones that no longer fit are left out."""
    found: dict[str, bytes] = {}

    def walk(folder: int, prefix: str, depth: int) -> None:
        nonlocal most
        for name in sorted(os.listdir(folder)):
            kind = _kind(name, folder)
            if stat.S_ISDIR(kind) and depth < MAX_DEPTH:
                inner = _descend(name, folder)
                try:
                    walk(inner, f"{prefix}{name}/", depth + 1)
                finally:
                    os.close(inner)
            elif stat.S_ISREG(kind) and os.stat(name, dir_fd=folder, follow_symlinks=False).st_size <= most:
                with open(_content(name, folder), "rb") as file:
                    found[prefix + name] = file.read()
                most -= len(found[prefix + name])

    folder = _folder((), make=False)
    try:
        walk(folder, "", 0)
    finally:
        os.close(folder)
    return found


# Running


class Tree:
    """All processes of one run, as far as this looks at them: what has ended, what they use now."""

    def __init__(self, limits: Mapping[str, Any]) -> None:
        self.limits = limits
        self.ended: dict[int, int] = {}  # wait status by pid
        self.cpu_s = 0.0  # of ended processes
        self.peak_kb = 0

    def reap(self, *, block: bool = False) -> bool:
        """Take note of processes that ended; False when there are none left to wait for."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, 0 if block else os.WNOHANG)
            except ChildProcessError:
                return False
            if not pid:
                return True
            self.ended[pid] = status
            self.cpu_s += usage.ru_utime + usage.ru_stime
            if block:
                return True

    def excess(self) -> tuple[str, str] | None:
        """The limit that the living processes break, and by how much. Counts anonymous and shared
        memory, not pages of files; pages shared between processes once, where the kernel tells."""
        memory_kb, tasks, cpu_s = 0, 0, self.cpu_s
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]
        most_kb = self.limits["memory_mb"] << 10
        for pid in pids:
            status = _proc(pid, "status")
            memory_kb += _field(status, b"RssAnon:") + _field(status, b"RssShmem:")
            tasks += _field(status, b"Threads:")
            if self.limits["cpu_s"] is not None:
                cpu_s += _cpu_s(_proc(pid, "stat"))
        if memory_kb > self.peak_kb and len(pids) > 1:  # the sum counts shared pages again and again
            memory_kb = sum(map(_proportional_kb, pids))
        self.peak_kb = max(self.peak_kb, memory_kb)
        if memory_kb > most_kb:
            return "memory_limit", f"{memory_kb >> 10} MiB in use, {self.limits['memory_mb']} allowed"
        if self.limits["cpu_s"] is not None and cpu_s > self.limits["cpu_s"]:
            return "cpu_limit", f"{cpu_s:.2f} s of CPU time used, {self.limits['cpu_s']} allowed"
        if tasks > self.limits["pids"]:
            return "signal", f"killed: {tasks} processes and threads, {self.limits['pids']} allowed"
        for folder in (WORK, "/tmp"):
            disk = os.statvfs(folder)
            if disk.f_files - disk.f_ffree > MAX_INODES:
                return "signal", f"killed: more than {MAX_INODES} files in {folder}"
        return None

    def kill(self) -> None:
        """End every process but this one. kill(-1) is atomic against fork; what it misses while being
        cloned shows up as a child to wait for, and the next round takes it."""
        alive = True
        while alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(-1, signal.SIGKILL)
            alive = self.reap(block=True)


def _proc(pid: int, name: str) -> bytes:
    try:
        descriptor = os.open(f"/proc/{pid}/{name}", os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(descriptor, 8192)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _field(text: bytes, name: bytes) -> int:
    """A number of a /proc table. The line break keeps a process from naming itself like a field."""
    at = text.find(b"\n" + name)
    return int(text[at + 1 + len(name) :].split(None, 1)[0]) if at >= 0 else 0


def _cpu_s(text: bytes) -> float:
    """User and system time of a process and of the children that it waited for."""
    fields = text.rpartition(b")")[2].split()[11:15]
    return float(sum(map(int, fields)) / os.sysconf("SC_CLK_TCK"))


def _proportional_kb(pid: int) -> int:
    text = _proc(pid, "smaps_rollup")
    if not text:  # an undumpable process hides this table, and is counted in full
        text = _proc(pid, "status")
        return _field(text, b"RssAnon:") + _field(text, b"RssShmem:")
    return _field(text, b"Pss_Anon:") + _field(text, b"Pss_Shmem:")


def _oom_kills() -> int:
    """How often the kernel's own memory limit of this container struck (0 where there is none)."""
    for path in ("memory.events", "memory/memory.oom_control"):
        with contextlib.suppress(OSError, ValueError), open(f"/sys/fs/cgroup/{path}", "rb") as file:
            return _field(b"\n" + file.read(), b"oom_kill ")
    return 0


def _become(argv: Sequence[str], pipes: Sequence[int], limits: Mapping[str, Any]) -> None:
    """In the forked child: its descriptors, its limits, then the program. Never returns."""
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        for target, descriptor in enumerate(pipes):
            os.dup2(descriptor, target)
        os.closerange(3, 65536)
        os.umask(0o022)
        os.chmod(WORK, 0o755)
        os.chdir(WORK)
        # Address space is no measure of memory in use (threads and allocators reserve plenty): this
        # bounds what one process can grab between two looks, the looks do the counting.
        rlimits = {
            resource.RLIMIT_AS: (2 * limits["memory_mb"] + 1024) << 20,
            resource.RLIMIT_FSIZE: limits["disk_mb"] << 20,
            resource.RLIMIT_NOFILE: 256,
            resource.RLIMIT_CORE: 0,
        }
        if limits["nproc"]:
            rlimits[resource.RLIMIT_NPROC] = limits["pids"] + 1  # and this runner
        for which, value in rlimits.items():
            resource.setrlimit(which, (value, value))
        os.execvpe(argv[0], list(argv), {**LIBRARIES, **ENVIRONMENT})
    except BaseException as error:
        os.write(2, f"cannot run {argv[0]!r}: {error}\n".encode("utf-8", "replace"))
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


def run(argv: Sequence[str], stdin: bytes, limits: Mapping[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
    """Run a program to its end or to a limit; nothing of it is alive afterwards. The answer holds
    status, exit_code, detail, wall_s, cpu_s, peak_kb; the blobs are stdout and stderr."""
    started, oom_kills = time.monotonic(), _oom_kills()
    inner, outer = zip(os.pipe(), os.pipe()[::-1], os.pipe()[::-1])
    child = os.fork()
    if child == 0:
        _become(argv, inner, limits)
    for descriptor in inner:
        os.close(descriptor)
    tree = Tree(limits)
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
            cause = _too_much(limits)
    stdout, stderr = (bytes(output[:most]) for output in outputs.values())
    status, code, detail = _verdict(tree.ended[child], cause, _oom_kills() > oom_kills, stderr, limits)
    used = {"wall_s": time.monotonic() - started, "cpu_s": tree.cpu_s, "peak_kb": tree.peak_kb}
    return {"status": status, "exit_code": code, "detail": detail, **used}, [stdout, stderr]


def _too_much(limits: Mapping[str, Any]) -> tuple[str, str]:
    return "output_limit", f"more than {limits['output_kb']} KiB on one stream"


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
                    os._exit(0)
                elif descriptor == stdin_end:
                    rest = _feed(stdin_end, rest)
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
                        return _too_much(tree.limits)
            tree.reap()
            if child in tree.ended:
                return None
            now = time.monotonic()
            if now > deadline:
                return "timeout", f"still running after {tree.limits['wall_s']} s"
            if now >= look:
                if cause := tree.excess():
                    return cause
                spent = time.monotonic() - now
                look = now + max(TICK_S, 5 * spent)  # many processes take long to look at
    finally:
        for descriptor in (stdin_end, ended):
            if descriptor >= 0:
                os.close(descriptor)


def _feed(descriptor: int, rest: memoryview) -> memoryview:
    """Write what fits; what is left, nothing when the program closed its end."""
    try:
        return rest[os.write(descriptor, rest[:65536]) :] if rest else rest
    except BlockingIOError:
        return rest
    except OSError:
        return rest[:0]


def _verdict(
    wait_status: int, cause: tuple[str, str] | None, oom: bool, stderr: bytes, limits: Mapping[str, Any]
) -> tuple[str, int | None, str]:
    """Status, exit code, detail. The cause that ended the run counts first, then the kernel's word.

    One status rests on the program's word: an uncaught MemoryError (exit code 1, last line of stderr) is
    ``memory_limit``, because a request refused by the address-space limit leaves no other trace. A
    program that only claims it can accuse nobody but itself.
    """
    if cause:
        return cause[0], None, cause[1]
    if oom:
        return "memory_limit", None, f"the kernel ended a process: {limits['memory_mb']} MiB allowed"
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


# The loop


def _confine(program: bytes) -> None:
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


def _answer(
    message: dict[str, Any], blobs: list[bytes], limits: Mapping[str, Any]
) -> tuple[dict[str, Any], list[bytes]]:
    most = limits["disk_mb"] << 20
    if message["do"] == "run":
        return run(message["argv"], blobs[0], {**limits, **message["limits"]})
    if message["do"] == "write":
        write(dict(zip(message["paths"], blobs)))
        return {}, []
    if message["do"] == "read":
        return {}, [read(message["path"], most)]
    if message["do"] == "clear":
        clear()
        return {}, []
    files = export(most)
    return {"paths": list(files)}, list(files.values())


def main() -> None:
    """Answer frames until the host hangs up."""
    os.closerange(3, 65536)
    for number in (signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)

    def take(size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            piece = os.read(0, min(size - len(data), 1 << 20))
            if not piece:
                raise EOFError
            data += piece
        return bytes(data)

    def send(answer: Mapping[str, Any], blobs: Sequence[bytes] = ()) -> None:
        data = memoryview(pack(answer, blobs))
        while data:
            data = data[os.write(1, data) :]

    limits: dict[str, Any] = {}
    while True:
        try:
            message, blobs = unpack(take, 1 << 40)
        except EOFError:
            return
        try:
            if message["do"] == "open":
                _confine(blobs[0])
                limits = message["limits"]
                send({"pid": os.getpid()})
            else:
                send(*_answer(message, blobs, limits))
        except (OSError, ValueError, RecursionError) as error:
            send({"error": f"{error}"})


if __name__ == "__main__":
    main()
