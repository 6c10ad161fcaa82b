"""Minari's datasets of numeric environments: read and written; needs the extra ``minari``.

    read(path)                     a trajectory per episode, from a dataset's folder
    write(path, trajectories)      a new folder named like ``cartpole-expert-v0``, which MinariDataset reads,
                                   and minari.load_dataset where it lies in Minari's own folder
    folder_of("D4RL/door/human-v2")    that folder, if a dataset of this id is on this machine

Observations and actions are numbers, or dicts and tuples of numbers that have the same keys, dtypes and
shapes throughout. Whole numbers (int64) become a Discrete space, others a Box without bounds. Written
datasets have Minari's ``arrow`` format, images uncompressed; what an episode has no place for (agent,
infos, score, messages, ...) is in its metadata under ``aigym``, as `plain` writes it, so nothing is lost but
the order of the keys in dicts, which Dict spaces sort.
"""

from __future__ import annotations

import copy
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aigym_kernel import rendering
from aigym_kernel.errors import ExchangeError
from aigym_kernel.exchange import files, plain
from aigym_kernel.trajectories import Trajectory

_OURS = "aigym"
_NEEDED = "a dataset of Minari needs minari, h5py and Pillow"


def folder_of(name: str) -> Path | None:
    """The folder of the dataset with this id, where Minari keeps what it fetched; None if there is none."""
    if not re.fullmatch(r"(?:[-\w]+/)*[-\w]+-v\d+", name):
        return None
    kept = os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets"
    folder = Path(kept) / name
    return folder if is_dataset(folder) else None


def is_dataset(folder: Path) -> bool:
    """Whether a folder looks like a dataset: the whole of it, or its ``data``."""
    return _data(folder) is not None


def _data(folder: Path) -> Path | None:
    for data in (folder / "data", folder):
        with_metadata = data / "metadata.json"
        if with_metadata.is_file() and '"data_format"' in with_metadata.read_text("utf-8", "replace"):
            return data
    return None


# Reading


def read(path: Path) -> Iterator[Trajectory]:
    """The episodes in their order, one in memory at a time.

    Raises:
        ExchangeError: minari is missing, or there is no dataset that it can read.
    """
    data = _data(path)
    if data is None:
        raise ExchangeError(f"{path}: is no dataset of Minari: it has no data/metadata.json")
    minari = _minari(path)
    with _told(path):
        dataset = minari.MinariDataset(str(data))
        total = dataset.total_episodes
    for i in range(total):
        with _told(path):
            episode = next(iter(dataset.storage.get_episodes([i])))
            [metadata] = dataset.storage.get_episode_metadata([i])
            steps, expected = len(episode["rewards"]), metadata["total_steps"]
        if steps != expected:
            raise ExchangeError(f"{path}: episode {i} has {expected} steps, but {steps} can be read")
        try:
            yield _trajectory(dataset, i, episode, metadata)
        except (ValueError, KeyError, TypeError, IndexError) as e:
            raise ExchangeError(f"{path}: episode {i}: {e}") from None


def _minari(path: Path) -> Any:
    try:
        import minari
    except ImportError as e:
        raise _missing(path, e) from None
    return minari


def _missing(path: Path, error: ImportError) -> ExchangeError:
    return ExchangeError(f"{path}: {_NEEDED} ({error}); pip install 'aigym-kernel[minari]'")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Whatever minari cannot read is one error; it raises what its libraries raise."""
    try:
        yield
    except ImportError as e:
        raise _missing(path, e) from None
    except Exception as e:
        told = rendering.short(f"{type(e).__name__}: {e}", 200)
        raise ExchangeError(f"{path}: is no dataset that minari can read, or a damaged one: {told}") from None


def _trajectory(dataset: Any, i: int, episode: Mapping[str, Any], metadata: Mapping[str, Any]) -> Trajectory:
    steps = len(episode["rewards"])
    columns: dict[str, Any] = {
        "observations": _rows(episode["observations"], steps + 1),
        "actions": _rows(episode["actions"], steps),
        "rewards": np.asarray(episode["rewards"], dtype=np.float64),
    }
    if isinstance(ours := metadata.get(_OURS), Mapping):
        return plain.to_trajectory(dict(ours), **columns)
    spec = dataset.env_spec
    infos = episode.get("infos") or {}
    seed = metadata.get("seed")
    return Trajectory(
        env_id=dataset.id if spec is None else spec.id,
        env_kwargs={} if spec is None else spec.kwargs,
        agent=str(dataset.storage.metadata.get("algorithm_name") or "minari"),
        terminated=bool(steps and episode["terminations"][-1]),
        truncated=bool(steps and episode["truncations"][-1]),
        seed=int(seed) if isinstance(seed, int | np.integer) else None,
        infos=tuple(_row(infos, t, steps) for t in range(steps)) if infos else (),
        final_info={"minari": {"dataset": dataset.id, "episode": i}},
        **columns,
    )


def _rows(values: Any, rows: int) -> Any:
    """A column of the whole episode as one array, or as one dict or tuple per step."""
    if isinstance(values, Mapping):
        parts = {k: _rows(v, rows) for k, v in values.items()}
        return [{k: part[t] for k, part in parts.items()} for t in range(rows)]
    if isinstance(values, tuple):
        held = [_rows(v, rows) for v in values]
        return [tuple(part[t] for part in held) for t in range(rows)]
    return values


def _row(infos: Mapping[str, Any], t: int, steps: int) -> dict[str, Any]:
    """What step ``t`` brought: Minari's infos begin with that of the reset."""
    return {
        str(k): _row(v, t, steps) if isinstance(v, Mapping) else v[t + (len(v) > steps)]
        for k, v in infos.items()
        if isinstance(v, Mapping) or len(v) >= steps
    }


# Writing


def write(path: Path, trajectories: Iterable[Trajectory]) -> int:
    """A dataset of trajectories of one environment.

    Raises:
        ExchangeError: minari is missing, the name is taken or none of Minari's, or a trajectory has no
            steps, holds no numbers, or others than the first one.
    """
    files.check_new(path)
    if not re.fullmatch(r"[-\w]+-v\d+", path.name):
        raise ExchangeError(f"{path}: Minari wants a name that ends in a version, such as cartpole-expert-v0")
    minari = _minari(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        (temporary / "data").mkdir(parents=True)
        count = _write(minari, path.name, temporary / "data", trajectories)
        temporary.rename(path)
    except ImportError as e:
        raise _missing(path, e) from None
    except OSError as e:
        raise ExchangeError(f"{path}: cannot be written: {e.strerror}") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count


def _write(minari: Any, name: str, data: Path, trajectories: Iterable[Trajectory]) -> int:
    from minari.data_collector.episode_buffer import EpisodeBuffer
    from minari.dataset.minari_storage import MinariStorage

    remaining = iter(trajectories)
    first = next(remaining, None)
    if first is None:
        raise ExchangeError(f"{name}: a dataset of Minari needs a trajectory; there is none")
    ranges = dict[str, tuple[int, int]]()
    kinds = {
        column: _space(_stacked(first, column), ranges, column) for column in ("observations", "actions")
    }
    storage = MinariStorage.new(
        data,
        observation_space=kinds["observations"],
        action_space=kinds["actions"],
        env_spec=_spec(first),
        data_format="arrow",
        jpeg_encoding=False,
    )
    size = storage.get_size
    storage.get_size = lambda: 0.0  # it looks at every file, and is asked after every episode
    agents, count = set[str](), 0

    def buffers() -> Iterator[Any]:
        nonlocal count
        trajectory: Trajectory | None = first
        while trajectory is not None:
            columns = {column: _stacked(trajectory, column) for column in kinds}
            for column, kind in kinds.items():
                if _space(columns[column], ranges, column, seen=True) != kind:
                    raise ExchangeError(
                        f"trajectory {trajectory.id!r}: its {column} are others than those of {first.id!r}; "
                        "a dataset of Minari is of one environment"
                    )
            agents.add(trajectory.agent)
            yield _buffer(EpisodeBuffer, count, trajectory, columns)
            _add_record(data / str(count) / "metadata.json", trajectory)
            count += 1
            trajectory = next(remaining, None)

    storage.update_episodes(buffers())
    storage.update_metadata(
        {
            "dataset_id": name,
            "minari_version": minari.__version__,
            "algorithm_name": ", ".join(sorted(agents))[:200].encode("utf-8", "replace").decode("utf-8"),
            "dataset_size": float(size()),
        }
    )
    _set_ranges(data / "metadata.json", ranges)
    return count


def _buffer(buffer: Any, i: int, trajectory: Trajectory, columns: Mapping[str, Any]) -> Any:
    flags = {name: np.zeros(len(trajectory), dtype=np.bool_) for name in ("terminated", "truncated")}
    for name, flag in flags.items():
        flag[-1] = getattr(trajectory, name)
    return buffer(
        id=i,
        seed=trajectory.seed if trajectory.seed is None else int(trajectory.seed),
        rewards=np.asarray(trajectory.rewards, dtype=np.float64),
        terminations=flags["terminated"],
        truncations=flags["truncated"],
        **columns,
    )


def _add_record(path: Path, trajectory: Trajectory) -> None:
    metadata = json.loads(path.read_text())
    metadata[_OURS] = plain.facts(trajectory)
    path.write_text(plain.dumps(metadata, trajectory.id), encoding="utf-8")


def _spec(trajectory: Trajectory) -> Any:
    """What makes the environment again, where gymnasium knows it."""
    import gymnasium

    try:
        spec = copy.deepcopy(gymnasium.spec(trajectory.env_id))
        spec.kwargs |= dict(trajectory.env_kwargs)
        spec.to_json()
    except Exception:  # unknown, or with arguments that JSON has no word for: the spaces say enough
        return None
    return spec


def _stacked(trajectory: Trajectory, column: str) -> Any:
    """Observations or actions as Minari has them: arrays, or dicts and tuples of arrays."""
    values = getattr(trajectory, column)
    if not len(trajectory):
        raise ExchangeError(f"trajectory {trajectory.id!r} has no steps; export those with length above 0")
    try:
        return _stack(values)
    except (ValueError, TypeError, AttributeError) as e:
        raise ExchangeError(
            f"trajectory {trajectory.id!r}: its {column} are not numbers of one shape throughout ({e}), and "
            "a dataset of Minari holds no others; use Parquet or JSON Lines"
        ) from None


def _stack(values: Any) -> Any:
    if not isinstance(values, np.ndarray):
        values = list(values)
        if isinstance(values[0], Mapping):
            if any(not isinstance(v, Mapping) or list(v) != list(values[0]) for v in values):
                raise ValueError("dicts with other keys")
            if not values[0] or any(not isinstance(k, str) for k in values[0]):
                raise ValueError("a dict without names")
            return {k: _stack([v[k] for v in values]) for k in values[0]}
        if isinstance(values[0], tuple):
            if not values[0] or any(not isinstance(v, tuple) or len(v) != len(values[0]) for v in values):
                raise ValueError("tuples of other lengths")
            return tuple(_stack([v[i] for v in values]) for i in range(len(values[0])))
        arrays = [np.asarray(v) for v in values]
        if any(a.dtype != arrays[0].dtype for a in arrays):
            raise ValueError("several dtypes")
        values = np.stack(arrays)
    if values.dtype.kind not in "iuf" or values.dtype.itemsize > 8 or not values.dtype.isnative:
        raise ValueError(f"dtype {values.dtype}")
    if not values.size:
        raise ValueError(f"shape {values.shape[1:]}")
    return values


def _space(values: Any, ranges: dict[str, tuple[int, int]], place: str, *, seen: bool = False) -> Any:
    """The space of stacked values; notes the range of whole numbers where they are ``seen``, since how many
    there are is known in the end only."""
    from gymnasium import spaces

    if isinstance(values, dict):
        return spaces.Dict({k: _space(v, ranges, f"{place}/{k}", seen=seen) for k, v in values.items()})
    if isinstance(values, tuple):
        return spaces.Tuple([_space(v, ranges, f"{place}/{i}", seen=seen) for i, v in enumerate(values)])
    if values.dtype == np.int64 and values.ndim == 1:
        if seen:
            low, high = ranges.get(place, (0, 0))
            ranges[place] = min(low, int(values.min())), max(high, int(values.max()))
        return spaces.Discrete(2)
    low, high = _bounds(values)
    return spaces.Box(low, high, values.shape[1:], values.dtype)


def _bounds(values: NDArray[Any]) -> tuple[Any, Any]:
    if values.dtype.kind == "f":
        return -np.inf, np.inf
    limits = np.iinfo(values.dtype)
    return limits.min, limits.max


def _set_ranges(path: Path, ranges: Mapping[str, tuple[int, int]]) -> None:
    """Into the dataset's metadata, how many values its Discrete spaces have."""
    metadata = json.loads(path.read_text())
    for column, key in (("observations", "observation_space"), ("actions", "action_space")):
        described = json.loads(metadata[key])
        _set_range(described, ranges, column)
        metadata[key] = json.dumps(described)
    path.write_text(json.dumps(metadata))


def _set_range(space: dict[str, Any], ranges: Mapping[str, tuple[int, int]], place: str) -> None:
    inner = space.get("subspaces", {})
    for name, sub in inner.items() if isinstance(inner, dict) else enumerate(inner):
        _set_range(sub, ranges, f"{place}/{name}")
    if space["type"] == "Discrete":
        low, high = ranges[place]
        if high - low >= 2**63 - 1:
            raise ExchangeError(f"{place}: whole numbers from {low} to {high} do not fit a Discrete space")
        space["start"], space["n"] = low, high - low + 1
