"""Our own files of trajectories: nothing is lost, nothing is held that need not be, mistakes are named."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trajectory_examples import same, trajectories

from aigym_kernel.errors import ExchangeError
from aigym_kernel.exchange import files, jsonl, parquet
from aigym_kernel.trajectories import Trajectory

OWN = [(jsonl, "x.jsonl"), (parquet, "x.parquet")]
few = settings(max_examples=60, deadline=None)


def numeric(length: int = 3, **fields: object) -> Trajectory:
    given = {
        "env_id": "CartPole-v1",
        "agent": "random",
        "observations": np.arange(4 * (length + 1), dtype=np.float32).reshape(length + 1, 4),
        "actions": np.arange(length) % 2,
        "rewards": np.ones(length),
        "terminated": True,
        "truncated": False,
    }
    return Trajectory(**{**given, **fields})


@pytest.mark.parametrize(("own", "name"), OWN, ids=["jsonl", "parquet"])
@few
@given(st.lists(trajectories(), max_size=3))
def test_nothing_is_lost(own: ModuleType, name: str, recorded: list[Trajectory]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        assert own.write(path, recorded) == len(recorded)
        if own is jsonl and not recorded:
            assert path.read_bytes() == b""
            return
        found = list(own.read(path))
    assert len(found) == len(recorded)
    for a, b in zip(found, recorded):
        assert same(a, b)
