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

MAX_KEYS, MAX_NAME = 3, 60
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


def names(configs: Sequence[Mapping[str, Any]], groups: Sequence[Sequence[RunRecord]]) -> list[str]:
    """In which words a reader knows each group: the values of the few keys that tell them apart, else the
    name of its first run; a number where that is not enough."""
    keys: list[str] = []
    told = 1
    candidates = dict.fromkeys(key for config in configs for key in config)
    while told < len(configs) and len(keys) < MAX_KEYS:
        counts = {key: len({_label(config, [*keys, key]) for config in configs}) for key in candidates}
        best = max(counts, key=lambda key: counts[key], default="")
        if not best or counts[best] <= told:
            break
        keys, told = [*keys, best], counts[best]
    labels = [_label(config, keys) for config in configs]
    labels = [
        label if 0 < len(label) <= MAX_NAME else group[0].name or group[0].run_id
        for label, group in zip(labels, groups)
    ]
    twice = {label for label in labels if labels.count(label) > 1}
    return [f"{label} ({i})" if label in twice else label for i, label in enumerate(labels, start=1)]


def _label(config: Mapping[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(f"{key.rpartition('.')[2]}={text(config[key])}" for key in keys if key in config)


def text(value: Any) -> str:
    """A value of a configuration in one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
