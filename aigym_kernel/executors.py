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
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, Protocol, TypeVar

from aigym_kernel.errors import AigymError, RunError, SandboxFull, check_whole

T = TypeVar("T")
R = TypeVar("R")
T_in = TypeVar("T_in", contravariant=True)
R_out = TypeVar("R_out", covariant=True)

AHEAD = 32  # items per worker between the result that is waited for and the item drawn last
PATIENCE_S = 30.0  # how long a machine may be full for the only item that is worked on
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


def patiently(
    work: Callable[[], R], stopped: threading.Event, give_up: Callable[[], bool] = lambda: False
) -> R:
    """What ``work`` returns, begun again as long as it raises SandboxFull. That is raised after `PATIENCE_S`,
    at once when ``give_up``, which is asked each time, says so, and when ``stopped`` is set."""
    until, pause = float("inf"), 0.02
    while True:
        try:
            return work()
        except SandboxFull:
            if give_up() or stopped.is_set() or time.monotonic() > until:
                raise
        until = min(until, time.monotonic() + PATIENCE_S)
        stopped.wait(pause)
        pause = min(2 * pause, 1.0)


class Threads(Generic[T, R]):
    """A `Crew` of threads, started as they are needed. What blocks in ``function`` has to be ended by
    ``stop_running``; its exceptions are dropped from then on.

    Where ``function`` raises SandboxFull, its thread leaves the item to the others and ends, for threads
    fill a machine too; the last one is patient. Each time that as many items have succeeded as there are
    threads, one more is tried.
    """

    def __init__(
        self, function: Callable[[T], R], workers: int, stop_running: Callable[[], None] = lambda: None
    ) -> None:
        self.workers = workers
        self._function = function
        self._stop_running = stop_running
        self._outcomes: SimpleQueue[tuple[int, R | BaseException]] = SimpleQueue()
        self._stopped = threading.Event()
        self._changed = threading.Condition()  # guards all that follows
        self._jobs: deque[tuple[int, T]] = deque()
        self._threads: set[threading.Thread] = set()
        self._most = workers  # threads that there may be
        self._idle = self._succeeded = 0

    def give(self, number: int, item: T) -> None:
        """See `Crew.give`."""
        with self._changed:
            self._jobs.append((number, item))
            self._changed.notify()
            if len(self._jobs) > self._idle:
                self._start()

    def take(self, *, wait: bool) -> tuple[int, R | BaseException] | None:
        """See `Crew.take`."""
        if not wait and self._outcomes.empty():
            return None
        return self._outcomes.get()

    def stop(self) -> None:
        """See `Crew.stop`."""
        self._stopped.set()
        with self._changed:
            self._jobs.clear()
            self._changed.notify_all()
            threads = list(self._threads)
        self._stop_running()
        for thread in threads:
            thread.join()

    def _start(self) -> None:
        if len(self._threads) >= self._most or self._stopped.is_set():
            return
        thread = threading.Thread(target=self._work, daemon=True, name="aigym-map")
        try:
            thread.start()
        except RuntimeError as error:  # no more threads on this machine: those there are will do
            if not self._threads:
                raise SandboxFull(
                    f"cannot start a thread: {error}. End something, or raise ulimit -u"
                ) from None
            self._most = len(self._threads)
        else:
            self._threads.add(thread)

    def _work(self) -> None:
        while job := self._next():
            number, item = job
            try:
                outcome: R | BaseException = patiently(
                    partial(self._function, item), self._stopped, partial(self._leave, job)
                )
            except BaseException as error:
                if threading.current_thread() not in self._threads:
                    return
                outcome = error
            else:
                self._grow()
            self._outcomes.put((number, outcome))

    def _next(self) -> tuple[int, T] | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._jobs or self._stopped.is_set())
            self._idle -= 1
            return None if self._stopped.is_set() else self._jobs.popleft()

    def _leave(self, job: tuple[int, T]) -> bool:
        """Whether the calling thread is none of this crew any more, and its item another one's."""
        with self._changed:
            if len(self._threads) == 1:
                return False
            self._threads.remove(threading.current_thread())
            self._most, self._succeeded = len(self._threads), 0
            self._jobs.appendleft(job)
            self._changed.notify()
            return True

    def _grow(self) -> None:
        with self._changed:
            self._succeeded += 1
            if self._succeeded >= self._most < self.workers:
                self._most, self._succeeded = self._most + 1, 0
            if len(self._jobs) > self._idle:
                self._start()


@dataclass(frozen=True, kw_only=True)
class Ray:
    """A Ray cluster (extra ``ray``). Every node needs this package; items and results are pickled.

    ``address``: ``"host:port"`` of the cluster's head. None: the cluster that this process is connected
    to, else the one that RAY_ADDRESS names or that runs on this machine, else one made of this machine
    alone, which ends with this process. Usage reports to Ray's makers are switched off unless
    RAY_USAGE_STATS_ENABLED says otherwise.
    """

    address: str | None = None

    def crew(
        self,
        function: Callable[[T], R],
        workers: int | None = None,
        *,
        cpus: int = 1,
        gpus: int | None = 0,
        retries: int = RETRIES,
    ) -> RayCrew[T, R]:
        """Workers that run ``function``, each with ``cpus`` CPUs and ``gpus`` GPUs to itself (None: an even
        share of the cluster's); ``workers`` None: as many as the cluster has room for. An item whose node or
        worker process dies is begun again on another one, ``retries`` times, then it is a RunError.

        Raises:
            RunError: Ray is not installed, no cluster answers there, or no node of it has so many CPUs or
                GPUs: Ray itself would wait for one to join.
        """
        ray = self._connect()
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        for wanted, kind in ((cpus, "CPU"), (gpus or 0, "GPU")):
            most = int(max((node.get(kind, 0) for node in nodes), default=0))
            if wanted > most:
                raise RunError(
                    f"{wanted} {kind}s are asked for at a time, and no node of the Ray cluster has more than "
                    f"{most}; ask for fewer, or add a node that has them"
                )
        total = ray.cluster_resources()
        if workers is None:
            rooms = [int(total.get("CPU", 1) // cpus), int(total.get("GPU", 0) // gpus) if gpus else None]
            workers = max(1, min(room for room in rooms if room is not None))
        share = total.get("GPU", 0) / workers if gpus is None else gpus
        # What Ray can give: whole ones, or a part of one.
        share = int(share) if share > 1 else int(share * 100) / 100
        return RayCrew(ray, function, workers, num_cpus=cpus, num_gpus=share, max_retries=retries)

    def share(self, value: T) -> Shared[T]:
        """Put a value where items can refer to it, so that it travels once to each node.

        Raises:
            RunError: Ray is not installed, no cluster answers there, or the value has no room in its memory.
        """
        ray = self._connect()
        try:
            return Shared(ray.put(value))
        except ray.exceptions.RayError as error:
            raise RunError(f"Ray cannot hold what the nodes need: {error}") from None

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
        except ray.exceptions.RayError as error:  # such as an AuthenticationError, which is no RuntimeError
            raise RunError(
                f"the Ray cluster at {address or 'this machine'} does not let this process in: set "
                "RAY_AUTH_MODE to what it was where the cluster was started, token (the same one everywhere, "
                f"as in ~/.ray/auth_token) or disabled. Ray says: {error}"
            ) from None
        return ray


def _reach(address: str | None) -> None:
    """Raise OSError or ValueError where nothing listens: Ray itself would wait for five minutes."""
    if address and "://" not in address and address not in ("auto", "local"):
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()


@dataclass(frozen=True)
class Shared(Generic[T]):
    """A value that `Ray.share` put into the memory of a cluster."""

    reference: Any

    def get(self) -> T:
        """The value; on a worker of the cluster, or where it was put."""
        import ray

        value: T = ray.get(self.reference)
        return value


class RayCrew(Generic[T, R]):
    """A `Crew` of Ray tasks with these options each."""

    def __init__(self, ray: Any, function: Callable[[T], R], workers: int, **options: Any) -> None:
        self.workers = workers
        self._ray = ray
        self._task = ray.remote(**options)(_call)
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

    def drop(self, number: int) -> bool:
        """Forget an item: nothing comes of it any more. Whether it was given to the cluster already; its
        worker process is killed then."""
        for reference, running in list(self._running.items()):
            if running == number:
                with contextlib.suppress(self._ray.exceptions.RayError):
                    self._ray.cancel(reference, force=True)
                del self._running[reference]
                self._begin()
                return True
        self._queued = deque((one, item) for one, item in self._queued if one != number)
        return False

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
