"""The cells of a bench on a Ray cluster: a crew for `scheduling`, and what a node does with an order.

    crew = RemoteCrew(Ray(address="10.0.0.1:6379"), folder, plan, workers=None)

Each cell is one task of Ray with the budget's threads and GPUs, carried out by the same `keeper.attend`. A
node that sees the bench's folder and its store works in them. One that does not (it looks for the ``token``
in the folder) gets the frozen notebook, the modules beside it, the data and the tasks, works in a folder and
a store of its own, and sends the cell's folder and the runs back; until then nothing of the cell is to be
seen here, and who stops the bench loses what it had done.

A node that is lost makes an attempt ``interrupted``, for reason ``machine``. `scheduling` begins it again.
"""

from __future__ import annotations

import dataclasses
import io
import os
import secrets
import shutil
import socket
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from aigym_kernel import parameters, settings
from aigym_kernel.bench import holding, identity, keeper, records
from aigym_kernel.bench.orders import Order, ended
from aigym_kernel.bench.records import Attempt, CellStatus, Plan
from aigym_kernel.errors import AigymError, BenchError, ExchangeError, RunError
from aigym_kernel.executors import Ray, Shared
from aigym_kernel.store import Store, parcels
from aigym_kernel.store.records import replace_file

TOKEN = "token"
CARRIED = ("AIGYM_LLM_MODEL", "AIGYM_LLM_URL", "AIGYM_SANDBOX", "AIGYM_STEP_LIMIT_S", "FORCE_DEVICE")
"""Environment variables that cells have on a node as here; AIGYM_LLM_KEY is not sent over the network."""
_NOT_THERE = (
    "a node of the Ray cluster does not have this version of aigym-kernel; install the same on every node"
)


@dataclass(frozen=True, kw_only=True)
class Supplies:
    """What the cells of a bench need on a node that sees nothing of this machine, as archives (tar).
    ``notebooks``: by where the frozen one lies, with the modules beside the original. ``data``: by name."""

    notebooks: dict[str, bytes]
    beside: dict[str, bytes]
    data: dict[str, bytes]
    tasks: bytes | None


@dataclass(frozen=True, kw_only=True)
class Job:
    """An order as it travels. ``supplies`` None: for nodes that see the bench's folder."""

    order: Order
    token: str
    environment: dict[str, str]
    supplies: Shared[Supplies] | None = None


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """A node's answer that it sees neither the folder nor supplies."""

    host: str


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What became of an order on a node that does not see the bench's folder: the cell's folder as an archive
    and its runs, by id, as `parcels` packs them."""

    attempt: Attempt
    cell: bytes
    runs: dict[str, bytes]


class RemoteCrew:
    """A `Crew` that takes Orders and gives Attempts, or None for what never began."""

    def __init__(self, ray: Ray, folder: Path, plan: Plan, workers: int | None = None) -> None:
        """Raises RunError: Ray or the cluster is missing, or has no node for the budget."""
        self._ray, self._folder, self._plan = ray, folder.resolve(), plan
        self._token = secrets.token_hex(8)
        replace_file(self._folder / TOKEN, self._token)
        self._crew = ray.crew(work, workers, cpus=plan.budget.threads, gpus=plan.budget.gpus, retries=0)
        self._orders: dict[int, Order] = {}  # given and not taken back
        self._supplied: set[int] = set()  # of these, those that run where this folder is not seen
        self._supplies: Shared[Supplies] | None = None
        self._dropped: list[tuple[int, Attempt | None]] = []

    @property
    def workers(self) -> int:
        """See `Crew.workers`."""
        return self._crew.workers

    def give(self, number: int, item: Order) -> None:
        """See `Crew.give`."""
        # Ray says which GPUs a task has, but for one that has none: that could see all of them.
        gpus: tuple[str, ...] | None = () if self._plan.budget.gpus == 0 else None
        self._orders[number] = order = dataclasses.replace(item, folder=self._folder, gpus=gpus)
        if self._supplies is not None:
            self._supplied.add(number)
        self._crew.give(number, self._job(order))

    def take(self, *, wait: bool) -> tuple[int, Attempt | BaseException | None] | None:
        """See `Crew.take`."""
        while True:
            if self._supplied and holding.stop_asked(self._folder):
                self._drop()
            if self._dropped:
                return self._dropped.pop()
            outcome = self._crew.take(wait=wait)
            if outcome is None:
                return None
            number, made = outcome
            if not isinstance(made, Unseen):
                return number, self._kept(number, made)
            if holding.stop_asked(self._folder):
                del self._orders[number]
                return number, None
            if self._supplies is None:
                self._supplies = self._ray.share(_supplies(self._plan, self._folder))
            self._supplied.add(number)
            self._crew.give(number, self._job(self._orders[number]))

    def stop(self) -> None:
        """See `Crew.stop`."""
        self._crew.stop()
        self._orders.clear()

    def _job(self, order: Order) -> Job:
        environment = {name: os.environ[name] for name in CARRIED if name in os.environ}
        environment["AIGYM_TASKS"] = str(settings.tasks_dir())
        return Job(order=order, token=self._token, environment=environment, supplies=self._supplies)

    def _kept(
        self, number: int, made: Attempt | Sent | BaseException | None
    ) -> Attempt | BaseException | None:
        order = self._orders.pop(number)
        self._supplied.discard(number)
        if isinstance(made, Sent):
            try:
                _unpack(made, order)
            except ExchangeError as problem:
                return ended(order, "failed", "machine", str(problem))
            return made.attempt
        if isinstance(made, RunError):  # not an exception of the node's: those come as they are
            return _lost(order)
        if isinstance(made, BaseException) and "No module named 'aigym_kernel" in str(made):
            return ended(order, "failed", "machine", _NOT_THERE)
        return made

    def _drop(self) -> None:
        """The nodes that see no folder see no ``stop`` in it either."""
        for number in sorted(self._supplied):
            order = self._orders.pop(number)
            began = self._crew.drop(number)
            dropped = ended(order, "interrupted", "stopped", "stopped; what its node had done is lost")
            self._dropped.append((number, dropped if began else None))
        self._supplied.clear()


def work(job: Job) -> Attempt | Sent | Unseen | None:
    """What a node does with a job. None: the bench is ending, it never began."""
    order = job.order
    if problem := _other_version(order):
        return ended(order, "failed", "machine", problem)
    if _sees(job):
        if holding.stop_asked(order.folder):
            return None
        with _environment(job.environment):
            return keeper.attend(order, lambda: holding.stop_asked(order.folder))
    if job.supplies is None:
        return Unseen(host=socket.gethostname())
    home = Path(tempfile.mkdtemp(prefix="aigym-bench-"))
    try:
        with _environment({**job.environment, "AIGYM_TASKS": str(home / "given" / "tasks")}):
            return _apart(order, job.supplies.get(), home)
    except (OSError, AigymError) as problem:
        return ended(order, "failed", "machine", f"{socket.gethostname()}: {problem}")
    finally:
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """The variables, in a process that does one task at a time."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _other_version(order: Order) -> str | None:
    """What on this node is not what the cell's id says."""
    what = {
        "code": "another version of aigym-kernel",
        "lock": "another Python, or other versions of packages",
    }
    versions = {"code": identity.code_version, "lock": identity.lock_version}
    for part, version in versions.items():
        if order.cell.parts.get(part) not in (None, version()):
            return (
                f"node {socket.gethostname()} has {what[part]} than the machine that the bench was planned "
                "on, so that results would not compare; install the same on every node"
            )
    return None


def _sees(job: Job) -> bool:
    """Whether folder and store here are those of the machine that gave the job."""
    order = job.order
    try:
        if (order.folder / TOKEN).read_text(encoding="utf-8") != job.token:
            return False
    except OSError:
        return False
    return order.parent is None or (Store(order.store).run_folder(order.parent) / "run.json").is_file()


def _apart(order: Order, supplies: Supplies, home: Path) -> Sent:
    """Carry an order out in a folder and a store of its own."""
    folder, store = home / "bench", Store(home / "data")
    source, beside = folder / order.cell.source, home / "beside"
    source.parent.mkdir(parents=True)
    source.write_bytes(supplies.notebooks[order.cell.source])
    _extract(supplies.beside[order.cell.source], beside)
    data = {}
    for name, archive in supplies.data.items():
        _extract(archive, home / "in" / name)
        data[name] = str(home / "in" / name / Path(name).name)
    if supplies.tasks is not None:
        _extract(supplies.tasks, home / "given")
    own = dataclasses.replace(
        order,
        folder=folder,
        cell=dataclasses.replace(order.cell, folder=str(beside)),
        store=str(store.folder),
        data=data,
    )
    attempt = keeper.attend(own, lambda: False)
    runs = {}
    for run_id in store.run_ids():
        runs[run_id] = parcels.export_run(store, run_id, home / f"{run_id}.zip").read_bytes()
    place = own.place
    files = {path.name: path for path in place.iterdir() if path.name != "status.json"}
    return Sent(attempt=attempt, cell=_archive(files), runs=runs)


def _unpack(sent: Sent, order: Order) -> None:
    """Put what a node sent to where it would have been here; the result, which makes the cell done, last."""
    store, place = Store(order.store), order.place
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place, prefix="incoming-") as name:
        incoming = Path(name)
        for run_id, archive in sent.runs.items():
            parcel = incoming / f"{run_id}.zip"
            parcel.write_bytes(archive)
            parcels.import_run(store, parcel)
            parcel.unlink()
        _extract(sent.cell, incoming)
        shutil.rmtree(order.attempt_folder, ignore_errors=True)
        for path in sorted(incoming.iterdir(), key=lambda one: one.name == "result.json"):
            path.replace(place / path.name)


def _supplies(plan: Plan, folder: Path) -> Supplies:
    """Everything that the plan's cells need, read now."""
    sources = {cell.source: Path(cell.folder) for cell in plan.cells}
    beside = {}
    for source, home in sources.items():
        found = identity.modules(parameters.read(folder / source), home)
        beside[source] = _archive({path.name: path for path in found})
    tasks = settings.tasks_dir()
    return Supplies(
        notebooks={source: (folder / source).read_bytes() for source in sources},
        beside=beside,
        data={name: _archive({Path(name).name: Path(path)}) for name, path in plan.data.items()},
        tasks=_archive({"tasks": tasks}) if tasks.is_dir() else None,
    )


def _archive(files: Mapping[str, Path]) -> bytes:
    """Files and folders under these names, as tar; links inside them are left out."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, path in sorted(files.items()):
            archive.add(path.resolve(), name, filter=_plain)
    return buffer.getvalue()


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return entry if entry.isreg() or entry.isdir() else None


def _extract(data: bytes, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")


def _lost(order: Order) -> Attempt:
    """The attempt of a node that does not answer any more, with what it last said of itself, if it did."""
    attempt = ended(order, "interrupted", "machine", "the node that ran it, or its worker process, was lost")
    with suppress(BenchError):
        status = records.load(CellStatus, order.place / "status.json")
        if status.attempt == order.attempt:
            began = status.started_at or attempt.started_at
            return dataclasses.replace(attempt, host=status.host, started_at=began)
    return attempt
