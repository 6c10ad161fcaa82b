"""Boxes made by bubblewrap: unprivileged Linux namespaces, nothing to install or start.

`BwrapSandbox().open(limits)` starts one ``bwrap`` with the runner (`inside`) as process 1 of fresh user,
pid, mount, network, ipc and host-name namespaces. Inside there are read-only ``/usr``, this interpreter's
installation at ``/opt/python``, sized tmpfs at ``/work``, ``/tmp`` and ``/dev/shm``, and nothing else of
the host: no home folder, no environment variable, no network, no installed Python package but those in
``Limits.packages`` and what they require.

Limits: memory, CPU time and processes are watched by the runner. Where this user may make control groups
(`cgroups`; root mostly), the box is in one, which also counts what no process maps, such as filled pipes,
and which the runner reads, to hear of what the kernel ended between two looks;
elsewhere each process has an address-space limit. `BwrapSandbox.memory` says which. A container has one
CPU, where a box here may use all of them. With ``Limits(network=True)`` a box shares this machine's network,
its loopback too.
Not here: starting processes (`starter`), anything but Linux.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from aigym_kernel.errors import SandboxError
from aigym_kernel.executors import Ray
from aigym_kernel.sandboxes import cgroups, folders, inside, packages
from aigym_kernel.sandboxes.cgroups import Group
from aigym_kernel.sandboxes.gpus import Gpus, check, devices, library_folders
from aigym_kernel.sandboxes.inside.run import ENVIRONMENT
from aigym_kernel.sandboxes.links import Link, hang_up, receive_exactly, send_all, wait_for
from aigym_kernel.sandboxes.mapping import Program, run_many
from aigym_kernel.sandboxes.protocol import Execution
from aigym_kernel.sandboxes.remote import SHM_MB, RunnerBox, bytes_in_memory, cannot_open, settings
from aigym_kernel.sandboxes.starter import NOBODY, Starter, starter
from aigym_kernel.tasks import Limits

WAY_OUT = (
    "If this machine forbids user namespaces, its administrator can allow them (Debian: sysctl "
    "kernel.unprivileged_userns_clone=1; Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0), "
    "or use Docker: AIGYM_SANDBOX=docker."
)


class BwrapSandbox:
    """A `Sandbox` of bubblewrap namespaces, with GPUs where asked for (`gpus`)."""

    name = "bwrap"

    def __init__(self, *, gpus: Gpus | None = None) -> None:
        self._gpus = check(gpus)

    @property
    def memory(self) -> str:
        """See `Sandbox.memory`."""
        return _memory(cgroups.place(os.getpid()), self._gpus)

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
            return _start(limits, level, self._gpus)
        except OSError as error:
            raise cannot_open(f"bwrap cannot be started: {error}", WAY_OUT) from None

    def box(self, link: Link, limits: Limits, end: Callable[[bool], str] | None = None) -> RunnerBox:
        """See `RunnerBox`, whose errors are put into bubblewrap's words."""
        try:
            box = RunnerBox(link, limits, end)
            if link.group:
                link.group.gather()
            return box
        except SandboxError as error:
            raise cannot_open(f"bwrap could not open a box: {error}", WAY_OUT) from None

    def map(
        self, programs: Iterable[Program], *, workers: int | None = None, executor: Ray | None = None
    ) -> Iterator[Execution]:
        """See `Sandbox.map`."""
        return run_many(self, programs, workers, executor)


class _ProcessLink:
    """One end of a socket pair whose other end is the runner's descriptors 0 and 1."""

    def __init__(
        self, process: subprocess.Popen[bytes], ours: socket.socket, printed: int, group: Group | None
    ) -> None:
        self.group = group
        self._process = process
        self._socket = ours
        self._printed = printed  # a memory file that takes what bwrap and the runner say on stderr

    def send(self, data: bytes, deadline: float) -> None:
        send_all(self._socket, data, deadline)

    def wait(self, deadline: float) -> None:
        wait_for(self._socket, deadline)

    def receive(self, size: int, deadline: float) -> bytes:
        return receive_exactly(self._socket, size, deadline)

    def keep(self, name: str, archive: bytes) -> str:
        return folders.keep_folder(name, archive)

    def hang_up(self) -> None:
        hang_up(self._socket)

    def ended_for_memory(self) -> bool:
        return self.group is not None and self.group.end().killed > 0

    def forget(self) -> None:
        os.close(self._socket.detach())  # whoever else refers to the socket object

    def close(self) -> str:
        self._socket.close()  # the runner, process 1, ends with its input, and the namespace with it
        _wait(self._process, 2)
        if self._process.poll() is None:
            self._process.kill()  # --die-with-parent passes it on to process 1
            self._process.wait()
        printed = os.pread(self._printed, 4000, 0).decode("utf-8", "replace")
        os.close(self._printed)
        if self.group:
            self.group.remove()
        return printed


def _wait(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Until it has ended, at most so long. `Popen.wait` with a time limit looks ever less often instead,
    which cost each box 20 ms of 140 on a busy machine."""
    try:
        ended = os.pidfd_open(process.pid)
    except OSError:  # an old kernel, or it is known to have ended
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        return
    try:
        poller = select.poll()
        poller.register(ended, select.POLLIN)
        poller.poll(1000 * seconds)
    finally:
        os.close(ended)


def _start(limits: Limits, level: str, gpus: Gpus | None) -> _ProcessLink:
    begun = starter()
    with contextlib.ExitStack() as stack, contextlib.ExitStack() as failed:
        passed: list[int] = []

        def data(content: bytes) -> str:
            descriptor = os.memfd_create("box")
            stack.callback(os.close, descriptor)
            passed.append(descriptor)
            os.write(descriptor, content)
            os.lseek(descriptor, 0, os.SEEK_SET)
            return str(descriptor)

        arguments = [*_namespaces(limits), *_system(begun.prefix, data)]
        arguments += _packages(limits.packages, begun)
        arguments += [*(_network(data) if limits.network else ()), *(_gpus(gpus) if gpus else ())]
        arguments += _disks(limits)
        if group := cgroups.make(bytes_in_memory(limits, level)):
            failed.callback(group.remove)
            arguments += ["--ro-bind", str(group.folder), group.inside_at]
        arguments += ["--remount-ro", "/", "--chdir", "/work"]
        arguments += _resident() if level else [_interpreter(), "-I", "-S"]
        arguments += ["-c", inside.BOOT]
        ours, theirs = socket.socketpair()
        failed.callback(ours.close)
        stack.callback(theirs.close)
        printed = os.memfd_create("printed")
        failed.callback(os.close, printed)

        def start() -> subprocess.Popen[bytes]:
            with group.inside() if group else contextlib.nullcontext():
                end = theirs.fileno()
                return begun.spawn(
                    arguments, stdin=end, stdout=end, stderr=printed, env={}, cwd="/", pass_fds=passed
                )

        process = begun.call(start)
        failed.pop_all()
    if group:
        group.parent = process.pid
    link = _ProcessLink(process, ours, printed, group)
    own = 3 if level else 1  # resident, maker and runner, or the runner alone
    with contextlib.suppress(OSError):  # who waits for its hello hears why it ended
        told = settings(limits, level, nproc=own, memory=_memory(group, gpus))
        link.send(inside.code(told), time.monotonic() + 30)
    return link


def _resident() -> list[str]:
    """The start of an interpreter that lends itself to programs, and makes namespaces for them."""
    environment = [word for item in ENVIRONMENT.items() for word in ("--setenv", *item)]
    capabilities = [w for name in ("SYS_ADMIN", "NET_ADMIN", "SETPCAP") for w in ("--cap-add", f"CAP_{name}")]
    return [*capabilities, *environment, "/opt/bin/python3"]


def _memory(group: object, gpus: Gpus | None) -> str:
    return "cgroup" if group else "looks" if gpus else "address space"


def _namespaces(limits: Limits) -> list[str]:
    kinds = ("user", "pid", "ipc", "uts", "cgroup-try", *(() if limits.network else ("net",)))
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
    for name in ("alternatives", "ld.so.cache", *_IN_ETC):
        for path in Path("/etc").glob(name):
            arguments += ["--ro-bind", str(path), str(path)]
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


#: What Debian's Java and R keep of themselves in /etc, but no file where an administrator sets them up.
_IN_ETC = ("java-*-openjdk/jvm-*.cfg", "java-*-openjdk/security", "R/ldpaths", "R/Renviron")


def _packages(names: Sequence[str], begun: Starter) -> list[str]:
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
        arguments += ["--ro-bind", f"{begun.show(root)}/{path}", f"{folders[0]}/{path}"]
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


def _network(data: Callable[[bytes], str]) -> list[str]:
    """What names are resolved and certificates checked with."""
    arguments = []
    with contextlib.suppress(OSError):  # a link into /run, often, so its content is what enters
        resolver = Path("/etc/resolv.conf").read_bytes()
        arguments += ["--perms", "0444", "--file", data(resolver), "/etc/resolv.conf"]
    for folder in ("/etc/ssl/certs", "/etc/pki/tls/certs", "/etc/pki/ca-trust/extracted"):
        if Path(folder).is_dir():
            arguments += ["--ro-bind", folder, folder]
    return arguments


def _gpus(gpus: Gpus) -> list[str]:
    """Device files, and the driver's libraries where they lie outside /usr."""
    arguments = [word for device in devices(gpus) for word in ("--dev-bind", device, device)]
    folders = library_folders()
    for number, folder in enumerate(folders):
        arguments += ["--ro-bind", folder, f"/opt/driver/{number}"]
    if folders:
        paths = [f"/opt/driver/{number}" for number in range(len(folders))]
        arguments += ["--setenv", "LD_LIBRARY_PATH", ":".join([*paths, "/opt/lib"])]
    return arguments


def _below_usr() -> bool:
    return Path(sys.base_prefix).is_relative_to("/usr")


def _interpreter() -> str:
    """Where this interpreter (the one below a virtual environment) is inside the box."""
    real = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    prefix = Path(sys.base_prefix).resolve()
    if _below_usr() or not real.is_relative_to(prefix):
        return str(real)
    return str("/opt/python" / real.relative_to(prefix))
