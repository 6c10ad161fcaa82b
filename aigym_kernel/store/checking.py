"""Looks for everything that is wrong with a store: `check`.

    for problem in check(folder):
        print(problem)                  one line: the file or run, what is wrong, the way out

Every byte of every segment is read, and compared with the checksum that each page has. Nothing is changed.
What a run that still goes on has not finished is no problem.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from aigym_kernel.errors import StoreError, StoreWarning
from aigym_kernel.store import compaction, index, leftovers, runs, segments
from aigym_kernel.store.records import RunRecord, RunStatus, from_file
from aigym_kernel.store.snapshot import Snapshot, open_snapshot


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong. ``where``: the file, or the run. ``str(problem)`` is one line."""

    where: str
    what: str
    way_out: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.way_out}"


def check(folder: Path) -> list[Problem]:
    """All that is wrong, the files first.

    Raises:
        StoreError: there is no store, or it is newer than this version.
    """
    found = [*_run_files(folder), *_segment_files(folder), *_unfinished(folder), *_index(folder)]
    with warnings.catch_warnings():
        # They name damaged segments, which are among the problems already.
        warnings.simplefilter("ignore", StoreWarning)
        with open_snapshot(folder, "") as asked:
            found += [*_rows(asked, folder), *_twice(asked)]
    return found


def _run_files(folder: Path) -> Iterator[Problem]:
    for run_id in segments.entries(f"{folder}/runs"):
        place = folder / "runs" / run_id
        if not place.is_dir():
            yield Problem(where=str(place), what="it is no run's folder", way_out="move it away")
            continue
        if not (place / "run.json").is_file():
            yield Problem(
                where=str(place / "run.json"),
                what="it is missing, so that the table runs lacks this run",
                way_out="restore it from a copy, or move the run's folder out of the store",
            )
            continue
        for name in ("run.json", "status.json"):
            try:
                if name == "run.json":
                    from_file(RunRecord, place / name)
                else:
                    from_file(RunStatus, place / name)
            except StoreError as error:
                what, _, way_out = str(error).rpartition("; ")
                what = what.removeprefix(f"{place / name} ")
                yield Problem(where=str(place / name), what=what, way_out=way_out)


def _segment_files(folder: Path) -> Iterator[Problem]:
    found = segments.segments(folder)
    for segment in found.values():
        if (what := segments.fault(segment, whole=True, again=True)) is not None:
            yield Problem(
                where=segment.path,
                what=f"it is damaged and left out of every answer ({what})",
                way_out="restore it from a copy, or delete it to give up its rows",
            )
    for held in _held(folder):
        run_id, table, name, *_ = held
        place = folder / "runs" / run_id / table
        if held in found or not (folder / "runs" / run_id).is_dir() or (place / name).exists():
            continue
        if not segments.merged(place / name):
            yield Problem(
                where=str(place / name),
                what="it was there when the index was built, and is missing",
                way_out="restore it from a copy, or accept that its rows are lost with Store().index()",
            )


def _held(folder: Path) -> list[segments.Key]:
    path = index.generation(folder)
    if path is None:
        return []
    try:
        with index.connect() as connection:
            return list(index.attach(connection, path))
    except (index.Outdated, duckdb.Error, OSError):
        return []


def _unfinished(folder: Path) -> Iterator[Problem]:
    for run_id in segments.entries(f"{folder}/runs"):
        run = folder / "runs" / run_id
        for path in sorted([*run.glob("*/*" + leftovers.SUFFIX), *run.glob("*.json.*.tmp")]):
            if leftovers.is_abandoned(path):
                yield Problem(
                    where=str(path),
                    what="a process that was killed left it; nothing in it counts",
                    way_out="Store().index() removes it once its run is over"
                    if path.name.endswith(leftovers.SUFFIX)
                    else "delete it",
                )
    for path in compaction.covered(folder):
        yield Problem(
            where=str(path),
            what="a killed compaction left it; its rows are in a larger segment and count once",
            way_out="Store().compact() removes it",
        )


def _index(folder: Path) -> Iterator[Problem]:
    path = index.generation(folder)
    if path is None:
        return
    try:
        with index.connect() as connection:
            index.attach(connection, path)
    except index.Outdated:
        return
    except (duckdb.Error, OSError) as error:
        what = "it is gone" if isinstance(error, FileNotFoundError) else "it is unreadable"
        yield Problem(
            where=str(path),
            what=f"{what}, so that every reader reads all segments",
            way_out="Store().index(rebuild=True) builds it again",
        )


_LACKING = """
    SELECT run_id, count(*) AS n, min(trajectory_id) AS one, arg_min(length, trajectory_id) AS length,
           arg_min(coalesce(there, 0), trajectory_id) AS there
    FROM recorded.trajectories LEFT JOIN (
      SELECT run_id, trajectory_id, count(*) AS there FROM steps GROUP BY ALL) USING (run_id, trajectory_id)
    WHERE coalesce(there, 0) < length GROUP BY 1 ORDER BY 1"""
_ORPHANS = """
    SELECT run_id, count(*) AS n, sum(rows) AS rows, min(trajectory_id) AS one
    FROM (SELECT run_id, trajectory_id, count(*) AS rows FROM {} GROUP BY ALL)
    ANTI JOIN recorded.trajectories USING (run_id, trajectory_id) GROUP BY 1 ORDER BY 1"""


def _rows(asked: Snapshot, folder: Path) -> Iterator[Problem]:
    for row in asked.rows(_LACKING):
        yield Problem(
            where=f"run {row['run_id']}",
            what=f"{row['n']:,} of its trajectories lack steps ({row['one']!r} has {row['there']:,} of "
            f"{row['length']:,})",
            way_out="restore the damaged or missing segments of its table steps",
        )
    for table in ("steps", "messages", "recorded.marks"):
        for row in asked.rows(_ORPHANS.format(table)):
            if runs.active(folder / "runs" / row["run_id"]):
                continue
            yield Problem(
                where=f"run {row['run_id']}",
                what=f"{row['rows']:,} {table.removeprefix('recorded.')} belong to {row['n']:,} trajectories "
                f"without a row of their own (such as {row['one']!r}): they never finished, or it is lost",
                way_out="restore missing segments of trajectories, if any; SQL reads the rows as they are",
            )


def _twice(asked: Snapshot) -> Iterator[Problem]:
    query = """
        SELECT trajectory_id, list(run_id ORDER BY run_id) AS runs FROM recorded.trajectories
        GROUP BY 1 HAVING count(*) > 1 ORDER BY 1 LIMIT 100"""
    for row in asked.rows(query):
        yield Problem(
            where=f"trajectory {row['trajectory_id']}",
            what=f"it is recorded {len(row['runs'])} times, in {', '.join(sorted(set(row['runs'])))}",
            way_out="delete all but one of these runs",
        )
