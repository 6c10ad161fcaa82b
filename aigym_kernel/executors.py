"""One function over many items, results in the order of the items: on threads here, or on a Ray cluster.

    crew = Threads(function, workers=4)                   # or Ray(address="10.0.0.1:6379").crew(function)
    for result in in_order(items, crew): ...

`in_order` is lazy on both sides: it draws at most `AHEAD` items per worker beyond the last result that was
taken, so ``items`` may be a generator without end. Closing the iterator, Ctrl-C and an exception from
``items`` stop the crew. An exception of ``function`` is raised in its item's place.
Not here: processes of this machine; what is worth spreading waits for boxes, which are processes already.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from aigym_kernel.errors import AigymError, RunError, check_whole

T = TypeVar("T")
R = TypeVar("R")
T_in = TypeVar("T_in", contravariant=True)
R_out = TypeVar("R_out", covariant=True)

AHEAD = 32  # items per worker between the result that is waited for and the item drawn last
RETRIES = 5  # how often Ray begins an item again whose node or worker process died


class Crew(Protocol[T_in, R_out]):
    """Who does the work. Called from one thread at a time."""

    @property
    def workers(self) -> int:
        """How many items are worked on at a time, at most."""
        ...

    def give(self, number: int, item: T_in) -> None:
        """Queue an item."""
        ...

    def take(self, *, wait: bool) -> tuple[int, R_out | BaseException] | None:
        """A number and what came of its item; None where nothing is ready and ``wait`` is False."""
        ...

    def stop(self) -> None:
        """Drop what is queued, end what is running, and return when nothing is left of it."""
        ...


def in_order(items: Iterable[T], crew: Crew[T, R]) -> Iterator[R]:
    """What the crew makes of each item, in order. Stops the crew when it ends, however it ends."""
    done: dict[int, R | BaseException] = {}
    first = drawn = 0  # the result to yield next, the item to draw next
    more = True
    source = iter(items)
    try:
        while more or first < drawn:
            while first in done:
                result = done.pop(first)
                if isinstance(result, BaseException):
                    raise result
                first += 1
                yield result
            drawing = more and drawn - first < AHEAD * crew.workers
            if drawing:
                try:
                    item = next(source)
                except StopIteration:
                    more = False
                    continue
                crew.give(drawn, item)
                drawn += 1
            if (outcome := crew.take(wait=not drawing and first < drawn)) is not None:
                done[outcome[0]] = outcome[1]
                more = more and not isinstance(outcome[1], BaseException)
    finally:
        crew.stop()


class Threads(Generic[T, R]):
    """A `Crew` of threads, started as they are needed. What blocks in ``function`` has to be ended by
    ``stop_running``; its exceptions are dropped from then on."""

    def __init__(
        self, function: Callable[[T], R], workers: int, stop_running: Callable[[], None] = lambda: None
    ) -> None:
        self.workers = workers
        self._function = function
        self._stop_running = stop_running
        self._jobs: SimpleQueue[tuple[int, T] | None] = SimpleQueue()
        self._outcomes: SimpleQueue[tuple[int, R | BaseException]] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._stopped = False

    def give(self, number: int, item: T) -> None:
        """See `Crew.give`."""
        self._jobs.put((number, item))
        if len(self._threads) < self.workers:
            thread = threading.Thread(target=self._work, daemon=True, name=f"aigym-map-{len(self._threads)}")
            try:
                thread.start()
            except RuntimeError as error:  # no more threads on this machine: those there are will do
                if not self._threads:
                    raise RunError(
                        f"cannot start a thread: {error}. End something, or raise ulimit -u"
                    ) from None
                return
            self._threads.append(thread)

    def take(self, *, wait: bool) -> tuple[int, R | BaseException] | None:
        """See `Crew.take`."""
        if not wait and self._outcomes.empty():
            return None
        return self._outcomes.get()

    def stop(self) -> None:
        """See `Crew.stop`."""
        self._stopped = True
        for _ in self._threads:
            self._jobs.put(None)
        self._stop_running()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            if self._stopped:
                continue
            number, item = job
            try:
                outcome: R | BaseException = self._function(item)
            except BaseException as error:
                outcome = error
            self._outcomes.put((number, outcome))


@dataclass(frozen=True, kw_only=True)
class Ray:
    """A Ray cluster (extra ``ray``). Every node needs this package; items and results are pickled.

    ``address``: ``"host:port"`` of the cluster's head. None: the cluster that this process is connected
    to, else the one that RAY_ADDRESS names or that runs on this machine, else one made of this machine
    alone, which ends with this process. Usage reports to Ray's makers are switched off unless
    RAY_USAGE_STATS_ENABLED says otherwise.
    """

    address: str | None = None

    def crew(self, function: Callable[[T], R], workers: int | None = None) -> Crew[T, R]:
        """Workers that run ``function``, one CPU each; ``workers`` None: as many as the cluster has CPUs.
        An item whose node dies is begun again on another one, `RETRIES` times.

        Raises:
            RunError: Ray is not installed, or no cluster answers there.
        """
        ray = self._connect()
        if workers is None:
            workers = max(1, int(ray.cluster_resources().get("CPU", 1)))
        return _RayCrew(ray, function, workers)

    def _connect(self) -> Any:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise RunError("Ray is not installed: pip install 'aigym-kernel[ray]'") from None
        if ray.is_initialized():
            here = ray.get_runtime_context().gcs_address
            if self.address not in (None, "auto", here):
                raise RunError(
                    f"this process uses the Ray cluster at {here}, not {self.address}: ray.shutdown() first"
                )
            return ray
        address = self.address or os.environ.get("RAY_ADDRESS")
        try:
            _reach(address)
            ray.init(
                address=address,
                configure_logging=False,
                log_to_driver=False,
                include_dashboard=None if address else False,
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise RunError(
                f"no Ray cluster answers at {address}: {error}. Start one with 'ray start --head', or give "
                "no address for one on this machine"
            ) from None
        return ray


def _reach(address: str | None) -> None:
    """Raise OSError or ValueError where nothing listens: Ray itself would wait for five minutes."""
    if address and "://" not in address and address not in ("auto", "local"):
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


class _RayCrew(Generic[T, R]):
    """A `Crew` of Ray tasks."""

    def __init__(self, ray: Any, function: Callable[[T], R], workers: int) -> None:
        self.workers = workers
        self._ray = ray
        self._task = ray.remote(num_cpus=1, max_retries=RETRIES)(_call)
        self._function = function
        self._queued: deque[tuple[int, T]] = deque()
        self._running: dict[Any, int] = {}

    def give(self, number: int, item: T) -> None:
        """See `Crew.give`."""
        self._queued.append((number, item))
        self._begin()

    def take(self, *, wait: bool) -> tuple[int, R | BaseException] | None:
        """See `Crew.take`."""
        ready, _ = self._ray.wait(list(self._running), timeout=None if wait else 0)
        if not ready:
            return None
        number = self._running.pop(ready[0])
        self._begin()
        try:
            return number, self._ray.get(ready[0])
        except self._ray.exceptions.RayTaskError as error:
            return number, error.cause if isinstance(error.cause, AigymError) else error
        except self._ray.exceptions.RayError as error:
            return number, RunError(f"Ray gave item {number} up: {error}")

    def stop(self) -> None:
        """See `Crew.stop`. The worker processes of running items are killed, and what they started with
        them: a task that waits for a box cannot be interrupted otherwise."""
        self._queued.clear()
        with contextlib.suppress(self._ray.exceptions.RayError):  # the cluster itself may be gone
            for reference in self._running:
                self._ray.cancel(reference, force=True)
            if self._running:
                self._ray.wait(list(self._running), num_returns=len(self._running), timeout=10)
        self._running.clear()

    def _begin(self) -> None:
        while self._queued and len(self._running) < self.workers:
            number, item = self._queued.popleft()
            self._running[self._task.remote(self._function, item)] = number


def _call(function: Callable[[T], R], item: T) -> R:
    return function(item)


def crew_for(
    function: Callable[[T], R], workers: int | None, executor: Ray | None, stop_running: Callable[[], None]
) -> Crew[T, R]:
    """The crew that an ``executor=`` argument asks for: None means threads, one per CPU unless
    ``workers`` says how many.

    Raises:
        AigymError: ``workers`` is not a number from 1 to 1024, or ``executor`` is none.
        RunError: Ray is missing or does not answer.
    """
    if workers is not None:
        check_whole("workers", workers, 1, 1024)
    if executor is None:
        return Threads(function, workers or os.cpu_count() or 1, stop_running)
    if not isinstance(executor, Ray):
        raise AigymError(f"executor={executor!r} must be None (threads) or aigym.Ray(address=...)")
    return executor.crew(function, workers)
