"""The way from this process to a runner: what a `Link` does, and how one over a socket does it.

Not here: what the bytes mean (`remote`), how a runner is started (`bwrap`, `containers`)."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import Protocol

from aigym_kernel.sandboxes.cgroups import Group


class Link(Protocol):
    """The way to a runner. Deadlines are `time.monotonic` seconds; past them TimeoutError is raised."""

    def send(self, data: bytes, deadline: float) -> None:
        """All of ``data``."""
        ...

    def wait(self, deadline: float) -> None:
        """Until there is something to receive, or no runner any more."""
        ...

    def receive(self, size: int, deadline: float) -> bytes:
        """Exactly ``size`` bytes. Raises EOFError when the runner is gone."""
        ...

    def hang_up(self) -> None:
        """Make a `send` or `receive` that waits in another thread fail. Never raises."""
        ...

    @property
    def group(self) -> Group | None:
        """The control group that the box's processes are in, where this side looks after it."""
        ...

    def keep(self, name: str, archive: bytes) -> str:
        """Keep a snapshot; where it is."""
        ...

    def ended_for_memory(self) -> bool:
        """Whether the kernel killed for memory. Asked when an exchange broke: the runner itself may have
        been the process to go, which is the program's doing."""
        ...

    def forget(self) -> None:
        """In a forked process: let go of the box, which stays its parent's."""
        ...

    def close(self) -> str:
        """End the box; what it printed beside the frames."""
        ...


def send_all(to: socket.socket, data: bytes, deadline: float) -> None:
    """`Link.send` for a socket."""
    to.settimeout(max(deadline - time.monotonic(), 0.001))
    to.sendall(data)


def wait_for(source: socket.socket, deadline: float) -> None:
    """`Link.wait` for a socket."""
    poller = select.poll()
    poller.register(source, select.POLLIN)
    if not poller.poll(max(deadline - time.monotonic(), 0) * 1000):
        raise TimeoutError("no answer")


def receive_exactly(source: socket.socket, size: int, deadline: float) -> bytes:
    """`Link.receive` for a socket."""
    data = bytearray()
    while len(data) < size:
        source.settimeout(max(deadline - time.monotonic(), 0.001))
        piece = source.recv(min(size - len(data), 1 << 20))
        if not piece:
            raise EOFError("the runner is gone")
        data += piece
    return bytes(data)


def hang_up(connection: socket.socket) -> None:
    """`Link.hang_up` for a socket."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
