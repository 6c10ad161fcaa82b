"""A policy or module of the user's in a training's own process: it gets there, and nowhere else."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import pytest
import torch
from torch import nn

import aigym_kernel as aigym
from aigym_kernel import carried
from aigym_kernel.agents import PolicyAgent
from aigym_kernel.envs import make
from aigym_kernel.errors import RunError, TrainingError
from aigym_kernel.runs import Run, train
from aigym_kernel.store import RunRecord, RunStatus, Store
from aigym_kernel.train import Policy, PPOConfig, dqn, ppo

pytestmark = pytest.mark.usefixtures("store_dir")

SHORT: dict[str, Any] = {"n_envs": 4, "n_steps": 50, "n_minibatches": 4, "n_epochs": 2, "device": "cpu"}


def until(condition: Callable[[], Any], what: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


def local() -> type[nn.Module]:
    """A class that no other process can import, as one of a notebook's."""

    class Net(nn.Module):
        def __init__(self, space: gymnasium.Space[Any] | None = None) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 16)
            self.scale = nn.Parameter(torch.ones(16))

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.layer(inputs)) * self.scale

    return Net


def learnt(agent: Any) -> dict[str, torch.Tensor]:
    policy: Policy = agent.policy
    return dict(policy.state_dict())


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def spaces_of(env_id: str) -> tuple[Any, Any]:
    env = make(env_id)
    return env.observation_space, env.action_space


def test_a_module_is_trained_and_resumed_in_the_background_to_the_last_bit(tmp_path: Path) -> None:
    kind = local()
    module = kind()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    asked: dict[str, Any] = {"total_timesteps": 50_000_000, "seed": 2, **SHORT}
    run = train("CartPole-v1", policy=module, **asked)
    until(lambda: run.status().step > 0 or run.finished, "an update")
    run.stop()
    stopped_at = run.wait(240).status().step
    run.resume()
    until(lambda: run.status().step > stopped_at or run.finished, "a further update")
    run.stop()
    reached = run.wait(240).status().step
    assert reached > stopped_at > 0
    assert run.record.config["policy"] == {"module": "Net"}
    updates = ppo("CartPole-v1", PPOConfig.preset("CartPole-v1", **asked), policy=module)
    last = next(update for update in updates if update.step == reached)
    assert same(learnt(run.agent()), dict(last.policy.state_dict()))
    assert same(learnt(aigym.load_agent(run.id, which="latest")), learnt(run.agent()))
    assert same(dict(module.state_dict()), before), "a copy learns"

    arrived = aigym.import_run(run.export(tmp_path / "run.zip"), Store(tmp_path / "there"))
    with pytest.raises(TrainingError, match=r"a network of your own, Net, .* network=Net\(\.\.\.\)"):
        arrived.agent()
    assert same(learnt(aigym.load_agent(arrived, network=kind())), learnt(run.agent()))
    with pytest.raises(RunError, match=r"cannot be resumed here: its network is Net.*network=Net\(\.\.\.\)"):
        arrived.resume()


def test_a_network_that_a_function_builds_arrives_with_its_weights(tmp_path: Path) -> None:
    policy = Policy(*spaces_of("CartPole-v1"), local(), head="dueling")
    carried.send(tmp_path, env=b"", policy=policy, network=carried.own_network(policy))
    arrived = carried.policy(tmp_path)
    assert arrived is not None
    begun = next(dqn("CartPole-v1", policy=arrived))
    assert same(dict(begun.policy.state_dict()), dict(policy.state_dict()))


def test_a_policy_of_data_travels_without_code(tmp_path: Path) -> None:
    policy = Policy(*spaces_of("CartPole-v1"), {"layers": [{"type": "gru", "units": 4}]}, normalize=True)
    policy.critic.requires_grad_(False)
    assert carried.policy(tmp_path) is None
    assert carried.own_network(policy) is None
    carried.send(tmp_path, env=carried.pickled(len, "env"), policy=policy, network=None)
    arrived = carried.policy(tmp_path)
    assert arrived is not None
    assert same(dict(arrived.state_dict()), dict(policy.state_dict()))
    assert [weight.requires_grad for weight in arrived.parameters()] == [
        weight.requires_grad for weight in policy.parameters()
    ]
    assert carried.network(tmp_path) is None


class Locked(nn.Module):
    """Holds what no other process can have, and copies itself as if it did not."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.lock = nn.Linear(4, 3), threading.Lock()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(inputs)
        return result

    def __deepcopy__(self, memo: Any) -> Locked:
        return Locked()


def test_what_cannot_work_is_refused_before_a_process_starts(store_dir: Path) -> None:
    spaces = spaces_of("CartPole-v1")
    plain, module = Policy(*spaces), nn.Linear(4, 3)
    module.held = threading.Lock()  # type: ignore[assignment]
    broken = nn.Linear(4, 3)
    broken.bias.data[1] = torch.nan
    memory = {"layers": [{"type": "lstm", "units": 4}]}
    for algo, policy, changes, says in (
        (
            "ppo",
            Policy(*spaces_of("aigym/Snake-v0")),
            {},
            "policy was made for observation_space",
        ),
        ("ppo", Policy(*spaces, head="q"), {}, "head 'q', actor-critic is needed"),
        ("dqn", plain, {}, "'actor-critic', which gives no action values"),
        ("ppo", nn.Linear(5, 3), {}, "Linear cannot take a batch of observations"),
        (
            "ppo",
            PolicyAgent(policy=plain, name="mine"),
            {},
            "policy='mine' is an agent; give .* agent.policy",
        ),
        ("ppo", "some-run", {}, r"policy='some-run' is a name; .* aigym.load_agent\('some-run'\).policy"),
        ("dqn", module, {}, "policy=Linear cannot be copied: .*lock.*; give a function"),
        (
            "ppo",
            Locked(),
            {},
            r"policy=Locked.* cannot be sent to the run's own process: .*lock.*; give a function",
        ),
        ("ppo", plain, {"network": (8,)}, "both policy and network are given"),
        ("ppo", Policy(*spaces, memory), {"compile": True}, "compile=True: layers of the types lstm"),
        ("ppo", broken, {}, "ppo: policy cannot be used: .*weight body.bias is NaN"),
        ("ppo", 7, {}, "network=7 is neither units"),
    ):
        with pytest.raises(TrainingError, match=says):
            train("CartPole-v1", algo, policy=policy, **changes)
    assert not list(store_dir.glob("runs/*"))


def test_a_class_that_is_not_here_is_named(
    store_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nets_of_mine.py").write_text(
        "import torch\n\n\nclass Net(torch.nn.Linear):\n"
        "    def __init__(self):\n        super().__init__(4, 3)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import nets_of_mine  # type: ignore[import-not-found]

    policy = Policy(*spaces_of("CartPole-v1"), nets_of_mine.Net())
    store = Store(store_dir)
    store.add_run(RunRecord(run_id="a", kind="train", name="a"), RunStatus(state="done"))
    folder, network = store.run_folder("a"), carried.own_network(policy)
    carried.send(folder, env=b"", policy=policy, network=network)
    policy.save(folder / "artifacts" / "policy.safetensors")
    assert same(learnt(Run("a", store).agent()), dict(policy.state_dict()))
    given = nets_of_mine.Net()
    del sys.modules["nets_of_mine"]
    (tmp_path / "nets_of_mine.py").unlink()
    sys.path_importer_cache.clear()
    with pytest.raises(
        TrainingError, match=r"network\.pkl: .*nets_of_mine.*; the modules .* importable here"
    ):
        aigym.load_agent("a")
    assert same(learnt(aigym.load_agent("a", network=given)), dict(policy.state_dict()))
