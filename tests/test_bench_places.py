"""Which cores and GPUs the cells of each worker get."""

from __future__ import annotations

import os

import pytest

from aigym_kernel import slots
from aigym_kernel.bench.places import places, visible_gpus
from aigym_kernel.bench.records import Budget
from aigym_kernel.errors import BenchError


def gpus(budget: Budget, workers: int | None, cells: int = 100) -> list[tuple[str, ...] | None]:
    return [place.gpus for place in places(budget, workers, cells)]


def test_gpus_are_shared_out_or_belong_to_one_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,GPU-aa,7")
    assert visible_gpus() == ["4", "5", "GPU-aa", "7"]
    assert gpus(Budget(), 2) == [("4", "GPU-aa"), ("5", "7")]
    assert gpus(Budget(), 5) == [("4",), ("5",), ("GPU-aa",), ("7",), ("4",)]
    assert gpus(Budget(gpus=2), 2) == [("4", "5"), ("GPU-aa", "7")]
    assert gpus(Budget(gpus=0), 1) == [()]
    assert len(gpus(Budget(gpus=3), None)) == 1
    with pytest.raises(BenchError, match=r"asks for 5 GPUs .gpus=5. and this machine has 4"):
        places(Budget(gpus=5), None, 1)
    with pytest.raises(
        BenchError, match=r"3 workers with 2 GPUs each .* need 6, and there are 4; take 2 workers"
    ):
        places(Budget(gpus=2), 3, 1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus(Budget(), 2) == [None, None]
    with pytest.raises(BenchError, match=r"asks for 1 GPU .gpus=1. and this machine has none"):
        places(Budget(gpus=1), None, 1)


def test_cores_belong_to_one_cell_where_there_are_enough() -> None:
    there, count = sorted(os.sched_getaffinity(0)), slots.cores()
    assert [place.cores for place in places(Budget(), None, 100)] == [(core,) for core in there]
    assert [place.cores for place in places(Budget(threads=count), None, 100)] == [tuple(there)]
    assert [place.cores for place in places(Budget(), count + 1, 100)] == [()] * (count + 1)
    assert len(places(Budget(threads=10 * count), None, 100)) == 1
    assert len(places(Budget(), None, 1)) == 1
    with pytest.raises(BenchError, match="workers=0 must be a whole number from 1 to 1024"):
        places(Budget(), 0, 1)
