"""What trainings compute on: the table of devices, the meter, and advice when memory runs out."""

from __future__ import annotations

import numpy as np
import psutil
import pytest
import torch

from aigym_kernel.devices import Meter, devices, out_of_memory, share
from aigym_kernel.train import DQNConfig, PPOConfig


def test_the_table_names_the_device_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_DEVICE", raising=False)
    found = devices()
    cpu = found.found[0]
    assert len(found) == 1 + torch.cuda.device_count() + torch.backends.mps.is_available()
    assert cpu.memory_total == psutil.virtual_memory().total
    assert found.chosen in [d.name for d in found]
    assert f"{found.chosen} is used: FORCE_DEVICE is not set" in repr(found)
    assert "used" in found._repr_html_()
    monkeypatch.setenv("FORCE_DEVICE", "cpu")
    forced = devices()
    assert forced.chosen == "cpu"
    assert "FORCE_DEVICE=cpu is set and wins" in forced.why
    assert share("cuda") == ("cpu", 0)
    monkeypatch.setenv("FORCE_DEVICE", "cuda:99")
    missing = devices()
    assert missing.chosen == ""
    assert "FORCE_DEVICE='cuda:99'" in missing.why


def test_the_meter_reads_when_it_is_due() -> None:
    read = Meter(0.0).read()
    assert set(read) == {"cpu_percent", "rss_mb"}
    assert read["rss_mb"] > 50
    assert Meter(3600.0).read() == {}


def test_out_of_memory_becomes_advice() -> None:
    for allocate in (lambda: np.empty(2**50, np.float32), lambda: torch.empty(2**50)):
        with pytest.raises((MemoryError, RuntimeError)) as caught:
            allocate()
        told = str(out_of_memory(caught.value, PPOConfig()))
        assert "4" in told.split(" more was needed")[0], told
        assert "a smaller n_envs (now 16)" in told
        assert "of " in told.split("needed, ")[1]
    assert "a smaller buffer_size (now 100000)" in str(out_of_memory(MemoryError(), DQNConfig()))
    of_a_gpu = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total")
    assert "out of memory: 20.00 GiB more was needed" in str(out_of_memory(of_a_gpu, PPOConfig()))
    assert out_of_memory(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling"), PPOConfig()) is not None
    assert out_of_memory(RuntimeError("shapes do not fit"), PPOConfig()) is None
