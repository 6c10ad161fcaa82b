"""A Ray cluster of two nodes on this machine, one of which can be lost."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psutil
from conftest import missing


class TwoNodes:
    """Two nodes of one CPU each, of which the second can be killed."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 1, "include_dashboard": False, **_ports()}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self.address: str = self._cluster.address
        self._second = self._cluster.add_node(num_cpus=1, **_ports())

    def kill_second(self) -> None:
        self._cluster.remove_node(self._second, allow_graceful=False)

    def shutdown(self) -> None:
        import ray

        ray.shutdown()
        self._cluster.shutdown()


TRIES = 4


def _started() -> TwoNodes:
    """Both, on a busy machine with some patience: Ray gives the agents of a node 15 seconds to start, which
    nobody can change (github.com/ray-project/ray/issues/65983)."""
    for left in reversed(range(TRIES)):
        try:
            with _first():
                return TwoNodes()
        except Exception as problem:  # Ray raises no other
            if not left or "timed out during startup" not in str(problem):
                raise
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if any("/ray/" in word for word in process.cmdline()):
                        process.kill()
    raise AssertionError


@contextmanager
def _first() -> Iterator[None]:
    """Processes that are started here come before what else the machine does, where this user may say so:
    on Linux this session before others, and they first in it."""
    session = Path("/proc/self/autogroup")
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, before - 10)
        session.write_text("-10", encoding="utf-8")
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)
        with suppress(OSError):
            session.write_text("0", encoding="utf-8")


def _ports() -> dict[str, int]:
    """Free ports for a node's agents: those that they find themselves they are slower to tell. Below those
    that the system gives to whoever asks for any, who might come between."""
    names = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port")
    found: dict[str, int] = {}
    with ExitStack() as held:
        for name in (*names, "runtime_env_agent_port"):
            while name not in found:
                each = held.enter_context(socket.socket())
                with suppress(OSError):
                    each.bind(("", random.randrange(20_000, 32_000)))
                    found[name] = each.getsockname()[1]
    return found


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """Both, and nothing left of them afterwards."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Else a driver that finds the cluster itself would ask for the token of this user, which no node has.
    os.environ["RAY_AUTH_MODE"] = "disabled"
    try:
        import ray  # noqa: F401
    except ImportError:
        missing("ray: pip install 'aigym-kernel[ray]'")
    cluster = _started()
    yield cluster
    cluster.shutdown()
    # What was told to end may take a moment to be gone on a busy machine.
    _, left = psutil.wait_procs(_of_ray(), timeout=60)
    assert not left


def _of_ray() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it may end while it is looked at
            if "ray" in process.name():
                found.append(process)
    return found
