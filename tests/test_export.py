"""Exported policies: what other programs compute from the file is what torch computes here."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import missing
from gymnasium import spaces
from numpy.typing import NDArray
from torch import nn

from aigym_kernel.errors import TrainingError, UnknownName
from aigym_kernel.train import Policy, export

VECTOR = spaces.Box(-1, 1, (4,), np.float32)
PICTURE = spaces.Box(0, 255, (10, 12, 3), np.uint8)
CONV = {
    "layers": [
        {"type": "conv", "filters": 4, "kernel_size": 3},
        {"type": "flatten"},
        {"type": "dense", "units": 9},
    ]
}
MEMORY = {
    "layers": [
        {"type": "lstm", "units": 5},
        {"type": "gru", "units": 6},
        {"type": "layer_norm"},
        {"type": "dropout", "rate": 0.5},
    ]
}
POLICIES: dict[str, dict[str, Any]] = {
    "remembers": {"spaces": (VECTOR, spaces.Discrete(3, start=2)), "network": MEMORY, "normalize": True},
    "sees": {"spaces": (PICTURE, spaces.Box(-0.01, 0.01, (2, 2), np.float32)), "network": CONV},
    "values": {"spaces": (PICTURE, spaces.Discrete(3, start=2)), "network": CONV, "head": "dueling"},
    "many": {"spaces": (VECTOR, spaces.MultiDiscrete([[2, 3]], start=[[1, 2]]))},
    "one number": {"spaces": (VECTOR, spaces.Box(-1, 1, (), np.float32))},
    "switches": {"spaces": (spaces.Discrete(4, start=1), spaces.MultiBinary(3))},
}


def made(name: str) -> tuple[Policy, NDArray[Any]]:
    """A policy whose actions differ from one observation to the next, and a batch of these."""
    given = dict(POLICIES[name])
    observation, action = given.pop("spaces")
    policy = Policy(observation, action, generator=torch.Generator().manual_seed(1), **given)
    with torch.no_grad():
        list(policy.actor.parameters())[-2].mul_(100)
    observation.seed(1)
    seen = np.stack([observation.sample() for _ in range(7)])
    policy.update_normalization(seen)
    return policy, seen


def through_onnx(path: Path, *inputs: torch.Tensor) -> list[NDArray[Any]]:
    if not importlib.util.find_spec("onnxruntime"):
        missing("onnxruntime is not installed")
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    names = [argument.name for argument in session.get_inputs()]
    assert names == ["observation", "state"][: len(inputs)]
    assert [o.name for o in session.get_outputs()] == ["action", "outputs", "state_after"][: len(inputs) + 1]
    found: list[NDArray[Any]] = session.run(None, dict(zip(names, (given.numpy() for given in inputs))))
    return found


def through_torch(path: Path, *inputs: torch.Tensor) -> list[NDArray[Any]]:
    load: Any = torch.export.load if path.suffix == ".pt2" else torch.jit.load
    program = load(path)
    run = program.module() if path.suffix == ".pt2" else program
    return [found.numpy() for found in run(*inputs)]


CASES = [(name, ".pt") for name in POLICIES]
CASES += [(name, suffix) for name in ("remembers", "sees") for suffix in (".pt2", ".onnx")]


@pytest.mark.parametrize(("name", "suffix"), CASES)
@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_a_file_acts_as_the_policy_does(name: str, suffix: str, tmp_path: Path) -> None:
    if suffix == ".onnx" and not (
        importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxscript")
    ):
        missing("onnx or onnxscript is not installed")
    policy, seen = made(name)
    path = policy.export(tmp_path / f"policy{suffix}")
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    run = through_onnx if suffix == ".onnx" else through_torch
    state = policy.initial_state(7)
    for _ in range(2):  # the second time with what was remembered of the first
        inputs = [torch.from_numpy(seen)] + [state.clone()] * policy.recurrent
        found = run(path, *inputs)
        with torch.no_grad():
            encoded = policy.encode(seen)
            outputs = policy.step(encoded, state)[0] if policy.recurrent else policy.outputs(encoded)
        assert found[1] == pytest.approx(outputs.numpy(), rel=1e-4, abs=1e-4)
        wanted = policy.act_batch(seen, state=state)
        assert found[0] == pytest.approx(wanted, abs=1e-6)
        assert len(np.unique(wanted, axis=0)) > 1
        if policy.recurrent:
            assert found[2] == pytest.approx(state.numpy(), abs=1e-5)


def test_what_cannot_be_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Branches(nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return inputs if float(inputs.sum()) > 0 else -inputs

    policy = Policy(VECTOR, spaces.Discrete(2))
    with pytest.raises(UnknownName, match=r"ending of an exported policy: '\.tflite'\. Known: \.onnx"):
        policy.export(tmp_path / "policy.tflite")
    with pytest.raises(TrainingError, match=r"cannot be written as \.pt2: .*what torch\.export can follow"):
        Policy(VECTOR, spaces.Discrete(2), Branches()).export(tmp_path / "policy.pt2")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    for write in (policy.export, policy.save):
        with pytest.raises(TrainingError, match=r"file/policy\.pt cannot be written: .*exists"):
            write(tmp_path / "file" / "policy.pt")
    monkeypatch.setattr(export, "_is_here", lambda name: name != "onnxscript")
    with pytest.raises(TrainingError, match=r"needs onnxscript: pip install 'aigym-kernel\[onnx\]'"):
        policy.export(tmp_path / "policy.onnx")
