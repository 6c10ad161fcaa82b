"""The store as one object: `Store`. What it does is done by the modules beside this one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aigym_kernel import settings
from aigym_kernel.errors import AigymError, StoreError, UnknownName
from aigym_kernel.store import checking, compaction, curves, index, reader, runs, snapshot, statements, trash
from aigym_kernel.store.checking import Problem
from aigym_kernel.store.compaction import Compacted
from aigym_kernel.store.reader import InfoKind, Page
from aigym_kernel.store.records import (
    RunRecord,
    RunStatus,
    cannot_write,
    check_run_id,
    from_file,
    replace_file,
    settled,
)
from aigym_kernel.store.schema import json_text
from aigym_kernel.store.writer import Writer
from aigym_kernel.trajectories import Note, Score, Trajectory

if TYPE_CHECKING:
    import pandas
    import pyarrow


class Store:
    """One folder of recorded runs. Making a Store touches nothing; see the package's text.

    Every method raises StoreError where the store is missing, broken or newer than this version.
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        """``folder``: where the store is; by default `settings.data_dir()`, looked up now."""
        self.folder = Path(folder).expanduser().absolute() if folder is not None else settings.data_dir()

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r})"

    def create(self) -> None:
        """Makes the folders and store.json where they are missing.

        Raises:
            StoreError: the folder cannot be written, or holds a newer or broken store.
        """
        path = self.folder / "store.json"
        snapshot.check_folder(self.folder)
        try:
            (self.folder / "runs").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        if not path.exists():
            replace_file(path, f'{{"version": {snapshot.VERSION}}}\n')
        snapshot.check_version(self.folder)

    # Runs

    def add_run(self, run: RunRecord, status: RunStatus | None = None) -> Path:
        """Writes run.json and the first status.json (``queued`` unless given); returns the run's folder.

        Raises:
            StoreError: a run of this id exists, or the folder cannot be written.
        """
        self.create()
        folder = self.run_folder(run.run_id)
        if (folder / "run.json").exists():
            raise StoreError(f"run {run.run_id!r} exists already in {folder}; choose another run id")
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error
        # The status first: whoever sees a run.json finds a status beside it.
        self._write_status(folder, status or RunStatus(state="queued"))
        replace_file(folder / "run.json", json_text(run.to_dict()) + "\n")
        return folder

    def write_status(self, run_id: str, status: RunStatus) -> None:
        """Replaces the run's status. Raises UnknownName for an unknown run."""
        self._write_status(self._known_folder(run_id), status)

    def _write_status(self, folder: Path, status: RunStatus) -> None:
        replace_file(folder / "status.json", json_text(status.to_dict()) + "\n")

    def run(self, run_id: str) -> RunRecord:
        """The run's record. Raises UnknownName for an unknown run."""
        return from_file(RunRecord, self._known_folder(run_id) / "run.json")

    def status(self, run_id: str) -> RunStatus:
        """The run's status, ``killed`` where its process is gone. Raises UnknownName for an unknown run."""
        return settled(lambda: from_file(RunStatus, self._known_folder(run_id) / "status.json"))

    def run_folder(self, run_id: str) -> Path:
        """Where the run's files are. Raises StoreError for an id that cannot name a folder."""
        return self.folder / "runs" / check_run_id(run_id)

    def _known_folder(self, run_id: str) -> Path:
        folder = self.run_folder(run_id)
        if not (folder / "run.json").is_file():
            snapshot.check_version(self.folder)
            raise UnknownName("run", run_id, self.run_ids())
        return folder

    def run_ids(self) -> list[str]:
        """The ids of all runs, sorted."""
        snapshot.check_version(self.folder)
        return runs.run_ids(self.folder)

    def writer(self, run_id: str) -> Writer:
        """What records into the run; use it in a ``with`` statement."""
        self.create()
        return Writer(self.run_folder(run_id), run_id)

    def review(self, trajectory_id: str, name: str, value: float, *, note: str = "", by: str = "") -> Score:
        """Records a person's ``value`` for the mark ``name`` of a recorded trajectory, in a segment of its
        own, and returns the score that counts from then on. The judge's value is kept beside it.

        Raises:
            UnknownName: no finished trajectory has this id, or its score no such mark.
            AigymError: it has no score, or the value is no number in [0, 1].
        """
        trajectory = self.load(trajectory_id)
        if trajectory.score is None or trajectory.run_id is None:
            raise AigymError(f"trajectory {trajectory_id!r} has no score that could be reviewed")
        score = trajectory.score.reviewed(name, value, note=note, by=by)
        mark = next(m for m in score.marks if m.name == name)
        assert mark.review is not None
        with self.writer(trajectory.run_id) as writer:
            writer.review(trajectory.id, name, value, mark.review)
        return score

    def tag(self, trajectory_id: str, *tags: str, remove: Iterable[str] = ()) -> tuple[str, ...]:
        """Gives a recorded trajectory tags, and takes those in ``remove`` away; returns those it then has.

        Raises:
            UnknownName: no finished trajectory has this id.
            AigymError: a tag is no text of 1 to 200 characters, or is both given and taken away.
        """
        remove = list(remove) if not isinstance(remove, str) else [remove]
        if both := [tag for tag in tags if tag in remove]:
            raise AigymError(f"tag {both[0]!r} is both given and taken away; name it once")
        with self.writer(reader.run_of(self.folder, trajectory_id)) as writer:
            writer.tag(trajectory_id, tags, remove)
        return reader.tags(self.folder, trajectory_id)

    def note(self, trajectory_id: str, text: str, by: str = "") -> Note:
        """Writes a note on a recorded trajectory and returns it.

        Raises:
            UnknownName: no finished trajectory has this id.
            AigymError: the text is empty.
        """
        note = Note(text=text, by=by)
        with self.writer(reader.run_of(self.folder, trajectory_id)) as writer:
            writer.note(trajectory_id, note)
        return note

    def delete(self, run_id: str, *, ask: bool = True) -> Path | None:
        """Moves a run with all that is recorded in it to the store's folder ``trash`` and returns its place
        there; `restore` undoes it. None if the answer was no.

        Args:
            ask: a question first, on the terminal or in the notebook.

        Raises:
            UnknownName: there is no such run.
            StoreError: it is queued or running, or the folder cannot be written.
            AigymError: nobody is there to be asked.
        """
        folder = self.run_folder(run_id)
        if not folder.is_dir():
            self._known_folder(run_id)
        return trash.delete(self.folder, folder, ask=ask)

    def deleted(self) -> list[str]:
        """What can be restored, the last deleted first: run ids with ``@`` and the time (UTC)."""
        return trash.names(self.folder)

    def restore(self, run_id: str) -> Path:
        """Brings a deleted run back and returns its folder. Of several of one id the last deleted, unless
        one of the names that `deleted` gives says which.

        Raises:
            UnknownName: no such run was deleted.
            StoreError: there is a run of this id, or the folder cannot be written.
        """
        return trash.restore(self.folder, run_id)

    def merge(self, other: Store | Path | str) -> list[str]:
        """Copies the runs of another store into this one; returns the ids of those that were new or had
        grown. Runs that are here already are skipped; code (pickles) stays there, as with `import_run`.

        Raises:
            StoreError: there is no store, or it is this one; runs there have the id of a different run here
                (all are named, and nothing was copied); the disk is full, or the folder cannot be written.
        """
        from aigym_kernel.store import merging

        return merging.merge(self, other.folder if isinstance(other, Store) else Path(other).expanduser())

    # Reading

    def sql(
        self, query: str, parameters: Sequence[Any] | None = None, *, timeout_s: float = 60.0
    ) -> pandas.DataFrame:
        """The answer to one reading SQL statement (DuckDB's dialect); ``?`` stand for ``parameters``.

        Ctrl-C and `cancel` end it. It may use a quarter of the machine's memory, and its answer as much.

        Raises:
            QueryError: it is not text, does not run, is more than one statement, or would write or read
                other files; it took more than ``timeout_s`` seconds, was cancelled, or its answer is too
                large.
        """
        return reader.sql(self.folder, query, parameters, timeout_s=timeout_s)

    def arrow(
        self, query: str, parameters: Sequence[Any] | None = None, *, timeout_s: float = 60.0
    ) -> pyarrow.Table:
        """The same as `sql`, as Arrow columns: nothing is converted."""
        return reader.arrow(self.folder, query, parameters, timeout_s=timeout_s)

    def cancel(self) -> int:
        """Ends every statement that `sql` and `arrow` run on this folder in this process, from whichever
        thread; they raise QueryError there. Returns how many there were."""
        return statements.cancel(self.folder)

    def load(self, trajectory_id: str) -> Trajectory:
        """One whole trajectory as it was recorded, with its messages, and the tags and notes of today.

        Observations and actions have the same types, dtypes, shapes and order of keys, infos are plain
        values (arrays in them are lists), a time is exact to the microsecond.

        Raises:
            UnknownName: no finished trajectory has this id.
            StoreError: the id is not text.
        """
        return reader.load(self.folder, trajectory_id)

    def page(
        self,
        *,
        where: Mapping[str, Any] | None = None,
        search: str = "",
        order_by: str = "started_at",
        descending: bool = True,
        limit: int = 50,
        offset: int = 0,
    ) -> Page:
        """Some rows of ``trajectories``, each with the ``kind`` of its run.

        Args:
            where: column (or ``info.<key>``) to the value that it must have (None: NULL), a list of such
                values, or a range ``(low, high)``, open where one is None. Of ``tags``, one that is there.
            search: text that the id, env, agent or outcome must contain, in any case of letters.

        Raises:
            UnknownName: a column that trajectories do not have.
        """
        return reader.page(
            self.folder,
            where=where,
            search=search,
            order_by=order_by,
            descending=descending,
            limit=limit,
            offset=offset,
        )

    def trajectories(
        self,
        *,
        search: str = "",
        order_by: str = "started_at",
        descending: bool = True,
        limit: int | None = None,
        **filters: Any,
    ) -> pandas.DataFrame:
        """Trajectories as a table, one row each, the newest first.

        Args:
            search: text that the id, env, agent or outcome must contain, in any case of letters.
            filters: column to value, list of values or range, as ``where`` of `page`; ``return_`` for
                ``return``, and ``**{"info.food": (3, None)}`` for a key of the final info.

        Raises:
            UnknownName: a column that trajectories do not have.
            AigymError: a tuple that is no range, or a limit that is no whole number.
        """
        return reader.trajectories(
            self.folder, filters, search=search, order_by=order_by, descending=descending, limit=limit
        )

    def info_keys(self) -> dict[str, InfoKind]:
        """The keys of final infos that SQL reads without JSON, with their kind, the most frequent first.

        ``info_numbers['food']`` and ``info_texts['cause']`` of ``trajectories`` have the values: numbers (a
        boolean is 0 or 1) and texts of up to 200 characters, those of nested mappings as ``episode.r``.
        Trajectories of a version that had no such columns have none.
        """
        return reader.info_keys(self.folder)

    def values(self, column: str) -> list[tuple[Any, int]]:
        """The distinct values of a column of ``trajectories`` (or ``kind``), each with its count,
        the most frequent first.

        Raises:
            UnknownName: a column that trajectories do not have.
        """
        return reader.values(self.folder, column)

    def returns(self, run_ids: Sequence[str] | str | None = None, *, bins: int = 100) -> pandas.DataFrame:
        """How returns grew: per run and stretch of environment steps ``step`` (its end), ``n``, ``mean``,
        ``q05``, ``q25``, ``q50``, ``q75`` and ``q95`` of the trajectories that ended in it. All runs share
        the stretches; steps are counted by the trajectories that finished, without evaluations.

        Raises:
            UnknownName: there is no such run.
        """
        return curves.returns(self.folder, run_ids, bins)

    def histogram(
        self, column: str, *, where: Mapping[str, Any] | None = None, bins: int = 30
    ) -> pandas.DataFrame:
        """How often a column of trajectories (or ``kind``, or ``info.<key>``) has which values, where
        ``where`` holds (as in `page`): ``low``, ``high``, ``n`` per bin of numbers and times, all but the
        last without ``high``; ``value``, ``n`` of anything else. What is NULL, NaN or infinite has no bin.

        Raises:
            UnknownName: a column that trajectories do not have.
        """
        return curves.histogram(self.folder, column, where, bins)

    # Files of trajectories

    def export(
        self, path: Path | str, format: str | None = None, *, where: Mapping[str, Any] | None = None
    ) -> int:
        """Writes trajectories into a new file (for some formats a folder) and returns how many.

        Args:
            format: a name of `exchange.FORMATS`; by default what the name of the file ends in.
            where: as of `page`; by default all of them.

        Raises:
            ExchangeError: nothing fits ``where``, the format cannot hold a trajectory, the name is taken,
                or the disk is full. No file is left then.
            UnknownName: a format, or a column that trajectories do not have.
        """
        from aigym_kernel.store import transfer

        return transfer.export(self, Path(path).expanduser(), format, where)

    def import_(
        self,
        path: Path | str,
        format: str | None = None,
        *,
        run_id: str | None = None,
        name: str | None = None,
    ) -> str:
        """Records the trajectories of a file as a new run of kind ``import`` and returns its id.

        A trajectory keeps the id that it has in the file unless the store has one of this id already.
        The run's provenance holds the file's name, format and SHA-256.

        Args:
            path: a file, a folder, or the id of a Minari dataset.
            format: a name of `exchange.FORMATS`; by default what name and content agree on.
            name: of the run; by default the file's.

        Raises:
            ExchangeError: the file is not what it should be; says where. No run is left then.
            StoreError: there is a run of this id, or the store cannot be written.
            UnknownName: a format that there is not.
        """
        from aigym_kernel.store import transfer

        return transfer.import_(self, path, format, run_id, name)

    def compact(self, run_id: str | None = None) -> Compacted:
        """Merges the small segments of a run, or of all runs, into few large ones; returns how many became
        how many. Others may write and read meanwhile.

        Raises:
            UnknownName: there is no such run.
            StoreError: the store is missing, the disk is full or the folder cannot be written. What was
                merged stays merged.
        """
        snapshot.check_version(self.folder)
        if run_id is not None and not self.run_folder(run_id).is_dir():
            raise UnknownName("run", run_id, self.run_ids())
        return compaction.compact(self.folder, run_id)

    def check(self) -> list[Problem]:
        """Everything that is wrong with the store: damaged and missing segments, what killed processes left,
        runs without a record, steps without a trajectory. Each problem is one line, ``str(problem)``, and
        ends with the way out. Reads every byte, and changes nothing.
        """
        snapshot.check_version(self.folder)
        return checking.check(self.folder)

    def index(self, *, rebuild: bool = False) -> Path:
        """Publishes the next generation of the index and returns its file.

        Args:
            rebuild: from the segments alone, for instance after deleting some.

        Raises:
            StoreError: the disk is full or the folder cannot be written.
        """
        snapshot.check_version(self.folder)
        path = index.build(self.folder, rebuild=rebuild)
        assert path is not None, "waiting for the lock ends with a generation"
        return path
