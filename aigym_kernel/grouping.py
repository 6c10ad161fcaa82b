"""Which runs belong together: those that were asked the same, but for the seed.

    grouped(records, tasks)       the runs in groups
    flat(config)                  nested keys as one level: {"ppo": {"lr": 1}} gives {"ppo.lr": 1}
    common(group)                 the configuration that a group shares

Knows configurations only, no results.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from aigym_kernel.store import RunRecord

_TASK_KEYS = ("env", "env_id", "env_kwargs", "task", "task_id")


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested keys as one level: ``{"ppo": {"seed": 1}}`` gives ``{"ppo.seed": 1}``. Lists stay values."""
    plain: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            plain |= flat(value, f"{name}.")
        else:
            plain[name] = value
    return plain


def is_seed(name: str) -> bool:
    """Whether a key of a flat configuration is a seed."""
    return name.rpartition(".")[2] == "seed"


def _is_task(name: str) -> bool:
    return name.partition(".")[0] in _TASK_KEYS


def grouped(records: Sequence[RunRecord], tasks: Mapping[str, set[str]]) -> list[list[RunRecord]]:
    """The runs by what they were asked, in the order in which they were given."""
    by_seed: dict[str, list[RunRecord]] = defaultdict(list)
    by_setting: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        config = {name: value for name, value in flat(record.config).items() if not is_seed(name)}
        setting = {name: value for name, value in config.items() if not _is_task(name)}
        for table, key in ((by_seed, config), (by_setting, setting)):
            table[json.dumps([record.kind, key], sort_keys=True, default=str)].append(record)
    covered = [set().union(*(tasks[r.run_id] for r in group)) for group in by_setting.values()]
    shared = sum(map(len, covered)) > len(set().union(*covered))
    return list((by_setting if len(by_setting) > 1 and shared else by_seed).values())


def common(group: Sequence[RunRecord]) -> dict[str, Any]:
    """The configuration that the runs of a group share."""
    first, *rest = [flat(run.config) for run in group]
    return {
        name: value
        for name, value in first.items()
        if not is_seed(name) and all(text(other.get(name)) == text(value) for other in rest)
    }


def name_of(config: Mapping[str, Any], group: Sequence[RunRecord]) -> str:
    """In which words a reader knows the group: its differing values where they are few and short."""
    words = [f"{name.rpartition('.')[2]}={text(value)}" for name, value in config.items()]
    line = ", ".join(words)
    return line if 0 < len(line) <= 48 else group[0].name or group[0].run_id


def text(value: Any) -> str:
    """A value of a configuration in one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
