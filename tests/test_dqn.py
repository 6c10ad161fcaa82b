"""DQN: the replay buffer against its definition, targets by hand, learning with thresholds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from test_ppo import Constant
from torch import nn

from aigym_kernel.batches import Update, empty
from aigym_kernel.errors import AigymError, TrainingError, UnknownName
from aigym_kernel.train import ALGORITHMS, DQNConfig, Policy, dqn, evaluate
from aigym_kernel.train.collect import Rollout
from aigym_kernel.train.dqn import Learner, epsilon, targets
from aigym_kernel.train.finished import finished_before
from aigym_kernel.train.replay import Replay, _SumTree

BOX = spaces.Box(-1, 1, (3,), np.float32)
TINY: dict[str, Any] = {
    "total_timesteps": 2_048,
    "n_envs": 4,
    "train_freq": 4,
    "gradient_steps": 2,
    "batch_size": 16,
    "learning_starts": 64,
    "buffer_size": 1_000,
    "network": (16,),
    "device": "cpu",
}


def tiny(**changes: Any) -> DQNConfig:
    return DQNConfig(**{**TINY, **changes})


def rollouts(
    random: np.random.Generator, sizes: list[int], envs: int, width: int = 1, ends: float = 0.25
) -> Iterator[Rollout]:
    """Steps that can be told apart: every observation is a number of its own."""
    number = itertools.count()
    here = np.array([[next(number)] * width for _ in range(envs)], np.float32)
    for steps in sizes:
        observations = np.empty((steps + 1, envs, width), np.float32)
        observations[0] = here
        dones = random.random((steps, envs)) < ends
        truncated = []
        for t, index in itertools.product(range(steps), range(envs)):
            observations[t + 1, index] = next(number)
            if dones[t, index] and random.random() < 0.5:
                truncated.append((t, index, np.array([next(number)], np.float32)))
        here = observations[-1]
        yield Rollout(
            observations=observations,
            actions=torch.from_numpy(random.integers(0, 2, (steps, envs))),
            rewards=random.normal(size=(steps, envs)).astype(np.float32),
            dones=dones,
            truncated=tuple(truncated),
            trajectories=empty(),
        )


Transition = tuple[int, float, float, float]  # action, n-step reward, next observation, discount


def defined(steps: list[Rollout], envs: int, n: int, gamma: float) -> dict[float, Transition]:
    """By observation, what a transition is: up to n discounted rewards, up to the episode's end."""
    found = {}
    for index in range(envs):
        rows = [
            (
                float(r.observations[t, index, 0]),
                int(r.actions[t, index]),
                float(r.rewards[t, index]),
                bool(r.dones[t, index]),
                next((float(o[0]) for s, i, o in r.truncated if (s, i) == (t, index)), None),
                float(r.observations[t + 1, index, 0]),
            )
            for r in steps
            for t in range(len(r.rewards))
        ]
        for t in range(len(rows) - n + 1):
            total = 0.0
            for k in range(n):
                _, _, reward, done, final, following = rows[t + k]
                total += gamma**k * reward
                if done or k == n - 1:
                    ended = done and final is None
                    after = following if final is None else final
                    found[rows[t][0]] = (rows[t][1], total, after, 0.0 if ended else gamma ** (k + 1))
                    break
    return found


@pytest.mark.parametrize("alpha", [0.0, 0.6])
@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 5),
    sizes=st.lists(st.integers(1, 30), min_size=2, max_size=9),
)
def test_what_is_drawn_is_what_was_done(alpha: float, seed: int, n: int, sizes: list[int]) -> None:
    envs, gamma = 3, 0.9
    added = list(rollouts(np.random.default_rng(seed), sizes, envs))
    replay = Replay(20 * envs, n_envs=envs, n_step=n, gamma=gamma, alpha=alpha, seed=0)
    for rollout in added:
        replay.add(rollout)
    rows = min(sum(sizes), 20)
    assert len(replay) == max(0, rows - n + 1) * envs
    if not len(replay):
        return
    batch = replay.sample(200, 0.5)
    known = defined(added, envs, n, gamma)
    oldest = sorted(float(o) for r in added for o in r.observations[:-1].ravel())
    assert set(batch.observations.ravel()) <= set(oldest)
    drawn = set()
    for i, observation in enumerate(batch.observations.ravel()):
        action, reward, after, discount = known[float(observation)]
        drawn.add(float(observation))
        assert batch.actions[i] == action
        assert batch.rewards[i] == pytest.approx(reward, rel=1e-4, abs=1e-4)
        assert batch.discounts[i] == pytest.approx(discount, rel=1e-5)
        if discount:
            assert batch.next_observations[i] == after
    assert len(drawn) > len(replay) / 2  # all of them have their chance


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_returns_end_where_an_episode_was_lost(alpha: float) -> None:
    first, second = rollouts(np.random.default_rng(0), [4, 4], 2, ends=0.0)
    replay = Replay(100, n_envs=2, n_step=3, gamma=0.9, alpha=alpha, seed=0)
    replay.add(first)
    replay.cut([1])
    replay.add(second)
    batch = replay.sample(400, 0.5)
    for env, discount, after in ((0, 0.9**3, second.observations[2, 0]), (1, 0.9, first.observations[4, 1])):
        last = batch.observations[:, 0] == first.observations[3, env]
        assert last.any()
        assert batch.discounts[last] == pytest.approx(discount)
        assert (batch.next_observations[last] == after).all()


def test_old_rows_are_gone() -> None:
    added = list(rollouts(np.random.default_rng(0), [30, 30], 2))
    for alpha in (0.0, 1.0):
        replay = Replay(40, n_envs=2, n_step=2, gamma=0.9, alpha=alpha, seed=0)
        for rollout in added:
            replay.add(rollout)
        assert replay.sample(500, 1.0).observations.min() >= added[1].observations[10].min()


def test_several_batches_at_once_are_those_drawn_one_by_one() -> None:
    together, singly = (Replay(60, n_envs=3, n_step=2, gamma=0.9, alpha=0.0, seed=1) for _ in range(2))
    for rollout in rollouts(np.random.default_rng(0), [30, 5], 3):
        together.add(rollout)
        singly.add(rollout)
    batch, parts = together.sample(8, 1.0, 4), [singly.sample(8, 1.0) for _ in range(4)]
    for name, values in vars(batch).items():
        assert np.array_equal(values, np.concatenate([getattr(part, name) for part in parts])), name


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=70), st.integers(0, 2**32))
def test_the_tree_finds_what_the_running_sum_says(priorities: list[float], seed: int) -> None:
    values = np.array(priorities)
    tree = _SumTree(len(values))
    tree.set(np.arange(len(values)), values)
    assert tree.total == pytest.approx(values.sum())
    if values.sum() < 1e-6:
        return
    amounts = np.random.default_rng(seed).random(50) * tree.total
    expected = np.searchsorted(np.cumsum(values), amounts, side="right")
    found = tree.find(amounts)
    assert (values[found] > 0).all()
    edges = np.abs(np.cumsum(values)[None] - amounts[:, None]).min(axis=1) < 1e-9 * max(1.0, tree.total)
    assert (found == expected)[~edges].all()


def test_priorities_are_drawn_in_proportion_and_corrected_by_weights() -> None:
    [rollout] = rollouts(np.random.default_rng(0), [8], 1)
    replay = Replay(8, n_envs=1, n_step=1, gamma=0.9, alpha=0.5, seed=0)
    replay.add(rollout)
    everything = replay.sample(4_000, 1.0)
    errors = np.array([1.0, 4.0, 9.0, 16.0, 25.0, 36.0, 49.0, 64.0])[everything.indices]
    replay.set_priorities(everything, errors)
    batch = replay.sample(36_000, 1.0)
    counts = np.bincount(batch.indices, minlength=8)
    assert counts / 1_000 == pytest.approx(np.arange(1, 9), abs=0.05)  # the root of 1, 4, 9 ... of 36 in all
    weight = {int(i): float(w) for i, w in zip(batch.indices, batch.weights)}
    assert [weight[i] for i in range(8)] == pytest.approx([1 / i for i in range(1, 9)], rel=1e-3)


class Rows(nn.Module):
    """Values by the first input: row 0, row 1, ..."""

    def __init__(self, *rows: list[float]) -> None:
        super().__init__()
        self.rows = torch.tensor(rows)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.rows[inputs[:, 0].long()]


def test_targets_by_hand() -> None:
    after, rewards, discounts = (
        torch.tensor([[0.0], [1.0]]),
        torch.tensor([1.0, 2.0]),
        torch.tensor([0.5, 0.0]),
    )
    online, target = Rows([0.0, 9.0, 1.0], [1.0, 2.0, 3.0]), Rows([8.0, 2.0, 4.0], [7.0, 7.0, 7.0])
    assert targets(online, target, after, rewards, discounts, double=False).tolist() == [1 + 0.5 * 8, 2.0]
    assert targets(online, target, after, rewards, discounts, double=True).tolist() == [1 + 0.5 * 2, 2.0]


def test_a_duelling_network_splits_value_and_advantage() -> None:
    policy = Policy(BOX, spaces.Discrete(4), (16, 8), torch.Generator().manual_seed(0), head="dueling")
    inputs = torch.randn(5, 3, generator=torch.Generator().manual_seed(1))
    features = policy.actor.body(inputs).relu()  # type: ignore[operator]
    value = policy.actor.value(features)  # type: ignore[operator]
    assert torch.allclose(policy.actor(inputs).mean(-1, keepdim=True), value, atol=1e-6)


@pytest.mark.parametrize("head", ["q", "dueling"])
def test_a_saved_policy_acts_the_same(head: Any, tmp_path: Path) -> None:
    policy = Policy(BOX, spaces.Discrete(4, start=2), (16,), torch.Generator().manual_seed(0), head=head)
    loaded = Policy.load(policy.save(tmp_path / "policy.safetensors"))
    observations = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    assert loaded.head == head
    np.testing.assert_array_equal(loaded.act_batch(observations), policy.act_batch(observations))


def test_epsilon_falls_and_is_the_share_of_random_actions() -> None:
    config = tiny(exploration_fraction=0.5, exploration_final_eps=0.1)
    assert [epsilon(config, p) for p in (0, 0.25, 0.5, 1)] == pytest.approx([1.0, 0.55, 0.1, 0.1])
    policy = Policy(BOX, spaces.Discrete(4), (16,), torch.Generator().manual_seed(0), head="q")
    policy.epsilon = 0.4
    inputs = torch.zeros(20_000, 3)
    actions = policy.sample(inputs, torch.Generator().manual_seed(0))
    best = int(policy.actor(inputs[:1]).argmax())
    assert float((actions != best).float().mean()) == pytest.approx(0.4 * 3 / 4, abs=0.02)


def last(updates: Iterator[Update]) -> Update:
    *_, update = updates
    return update


@pytest.mark.parametrize(("end", "value"), [("truncated", 1 / (1 - 0.8)), ("terminated", 1.0)])
@pytest.mark.parametrize("n_step", [1, 3])
def test_a_cut_off_episode_is_bootstrapped_and_an_ended_one_is_not(
    end: str, value: float, n_step: int
) -> None:
    config = tiny(total_timesteps=6_000, gamma=0.8, n_step=n_step, learning_rate=5e-3, tau=0.1)
    update = last(dqn(lambda: Constant(1 if end == "terminated" else 4, end), config))
    with torch.no_grad():
        values = update.policy.actor(update.policy.encode(np.ones((1, 1), np.float32)))
    assert values.max().item() == pytest.approx(value, rel=0.05)


def metrics_of(config: DQNConfig) -> list[dict[str, float]]:
    return [
        {k: v for k, v in update.metrics.items() if k != "steps_per_second"}
        for update in dqn("CartPole-v1", config)
    ]


def test_the_same_seed_gives_the_same_metrics_whatever_else_used_torch() -> None:
    first = metrics_of(tiny(seed=3))
    torch.rand(7)
    np.random.rand(7)
    assert metrics_of(tiny(seed=3)) == first
    assert metrics_of(tiny(seed=4)) != first


def test_updates_carry_every_metric_and_whole_trajectories() -> None:
    updates = list(dqn("CartPole-v1", tiny()))
    assert [u.step for u in updates] == [0, 1_008, 2_016, 2_048]
    names = {
        "td_loss",
        "q_mean",
        "epsilon",
        "learning_rate",
        "steps_per_second",
        "return_mean",
        "return_q10",
        "return_q90",
        "length_mean",
    }
    assert set(updates[1].metrics) == names
    played = [t for u in updates for t in u.trajectories]
    assert sum(map(len, played)) <= 2_048
    assert all(t.agent == "dqn" and (t.terminated or t.truncated) for t in played)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"n_step": 0}, "n_step=0 must be a whole number from 1"),
        ({"tau": 1.5}, "tau=1.5 must be a share of at most 1"),
        ({"gamma": -0.1}, r"gamma=-0.1 must lie in \[0, 1\]"),
        ({"double": 1}, "double=1 must be True or False"),
        ({"learning_starts": 2_000}, "learning_starts=2000 exceeds buffer_size=1000"),
        ({"seed": -1}, "seed=-1 must be a whole number from 0"),
    ],
)
def test_values_that_cannot_be(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(TrainingError, match=f"DQNConfig: {says}"):
        tiny(**changes)


def test_what_cannot_be_trained_is_told_first() -> None:
    with pytest.raises(TrainingError, match=r"Pendulum-v1: action_space Box.* action values need Discrete"):
        next(iter(dqn("Pendulum-v1")))
    with pytest.raises(UnknownName, match="Did you mean 'CartPole-v1'"):
        next(iter(dqn("CartPole-v11")))
    with pytest.raises(UnknownName, match="unknown field of DQNConfig 'n_stepp'"):
        DQNConfig.preset("CartPole-v1", n_stepp=2)
    with pytest.raises(AigymError, match="no DQNConfig"):
        next(iter(dqn("CartPole-v1", {"n_step": 1})))  # type: ignore[arg-type]
    assert set(ALGORITHMS) == {"ppo", "dqn"}


def history(updates: Iterator[Update], rest: int = 99) -> list[Any]:
    """All that can be compared of the next updates: metrics, whole trajectories, weights."""
    return [
        (
            update.step,
            {k: v for k, v in update.metrics.items() if k != "steps_per_second"},
            [
                (t.seed, t.observations.tolist(), t.actions.tolist(), t.rewards.tolist())
                for t in update.trajectories
            ],
            [value.tolist() for value in update.policy.state_dict().values()],
        )
        for update in itertools.islice(updates, rest)
    ]


SNAKE_PICTURE = {
    "layers": [
        {"type": "conv", "filters": 4, "kernel_size": 3, "activation": "relu"},
        {"type": "flatten"},
        {"type": "dense", "units": 16, "activation": "relu"},
    ]
}


@pytest.mark.parametrize(
    ("env", "env_kwargs", "changes"),
    [
        ("CartPole-v1", None, {"n_step": 3}),
        ("CartPole-v1", None, {"buffer_size": 300, "total_timesteps": 3_000}),  # the ring has gone round
        (
            "CartPole-v1",
            None,
            {"priority_exponent": 0.0, "tau": 1.0, "target_update_interval": 7, "double": False},
        ),
        (
            "aigym/Snake-v0",
            {"size": 5, "observation": "image"},
            {"network": SNAKE_PICTURE, "dueling": False, "total_timesteps": 1_200},
        ),
    ],
)
def test_a_resumed_training_goes_on_to_the_last_bit(
    env: str, env_kwargs: Any, changes: dict[str, Any], tmp_path: Path
) -> None:
    config = tiny(**changes)
    whole = history(dqn(env, config, env_kwargs=env_kwargs))
    updates = dqn(env, config, env_kwargs=env_kwargs)
    assert history(updates, 1) == whole[:1]
    path = next(updates).checkpoint(tmp_path / "latest.safetensors")
    updates.close()
    resumed = history(dqn(env, env_kwargs=env_kwargs, resume=path))
    step, metrics, _, weights = whole[1]
    assert resumed[0] == (step, metrics, [], weights)
    assert resumed[1:] == whole[2:]


def test_a_training_that_has_not_begun_or_is_over_is_resumed_too(tmp_path: Path) -> None:
    config = tiny(total_timesteps=1_500)
    updates = dqn("CartPole-v1", config)
    start = next(updates).checkpoint(tmp_path / "start")
    *_, over = updates
    assert history(dqn("CartPole-v1", resume=start))[-1][-1] == [
        value.tolist() for value in over.policy.state_dict().values()
    ]
    end = over.checkpoint(tmp_path / "end")
    assert [u.step for u in dqn("CartPole-v1", resume=end)] == [1_504]
    longer = DQNConfig(**{**TINY, "total_timesteps": 3_000})
    assert [u.step for u in dqn("CartPole-v1", longer, resume=end)] == [1_504, 2_512, 3_008]


def test_a_checkpoint_holds_the_filled_rows_alone_and_is_of_its_update(tmp_path: Path) -> None:
    updates = dqn("CartPole-v1", tiny(buffer_size=100_000))
    first = next(updates)
    next(updates)
    second = next(updates)
    # 2,016 steps of twice 4 float32 and five numbers more, and two networks with Adam's moments.
    assert second.checkpoint(tmp_path / "second").stat().st_size < 200_000
    with pytest.raises(TrainingError, match=r"this update is past: call update\.checkpoint before"):
        first.checkpoint(tmp_path / "first")
    assert [path.name for path in tmp_path.iterdir()] == ["second"]


def test_the_learning_rate_can_be_changed_and_falls_on_from_there(tmp_path: Path) -> None:
    def rates(resume_at: int | None) -> list[float]:
        updates = dqn("CartPole-v1", tiny(total_timesteps=3_000))
        found = [next(updates).step * 0.0, next(updates).metrics["learning_rate"]]
        update = updates.send({"learning_rate": 0.5})
        if resume_at is not None:
            path = update.checkpoint(tmp_path / "one")
            updates = dqn("CartPole-v1", resume=path)
            update = next(updates)
        return [*found, update.metrics["learning_rate"], *(u.metrics["learning_rate"] for u in updates)]

    found = rates(None)
    assert found[1] < 1e-3
    assert 0.2 < found[2] < 0.5
    assert found[2:] == sorted(found[2:], reverse=True)
    assert found[-1] < 0.05
    assert rates(2) == found
    constant = tiny(learning_rate=2e-3, learning_rate_schedule="constant")
    assert {update.metrics.get("learning_rate", 2e-3) for update in dqn("CartPole-v1", constant)} == {2e-3}
    updates = dqn("CartPole-v1", tiny())
    next(updates)
    with pytest.raises(UnknownName, match="learning_rate"):
        updates.send({"rate": 0.5})


def test_a_training_starts_from_a_policy_or_a_module() -> None:
    *_, trained = dqn("CartPole-v1", tiny(total_timesteps=1_000))
    before = [value.tolist() for value in trained.policy.state_dict().values()]
    updates = dqn("CartPole-v1", tiny(network=(7,)), policy=trained.policy)
    first = next(updates)
    assert [value.tolist() for value in first.policy.state_dict().values()] == before
    next(updates)
    assert [value.tolist() for value in trained.policy.state_dict().values()] == before  # a copy learns
    own = nn.Sequential(nn.Flatten(), nn.Linear(4, 5), nn.ReLU())
    *_, learned = dqn("CartPole-v1", tiny(total_timesteps=1_000), policy=own)
    assert learned.metrics["td_loss"] > 0
    for policy, says in (
        (Policy(BOX, spaces.Discrete(2), head="q"), "policy was made for observation_space Box"),
        (Policy(*spaces_of("CartPole-v1")), "'actor-critic', which gives no action values"),
    ):
        with pytest.raises(TrainingError, match=f"dqn: .*{says}"):
            next(dqn("CartPole-v1", tiny(), policy=policy))


def spaces_of(env_id: str) -> tuple[Any, Any]:
    env = gymnasium.make(env_id)
    return env.observation_space, env.action_space


class Levers(gymnasium.Env[Any, Any]):
    """Two things to choose at once."""

    observation_space, action_space = BOX, spaces.MultiDiscrete([2, 3])


def test_several_choices_at_once_are_told_what_can_take_them() -> None:
    says = r"Levers: action_space MultiDiscrete.* action values need Discrete; ppo acts in MultiDiscrete"
    with pytest.raises(TrainingError, match=says):
        next(dqn(Levers))


class Unseeded(gymnasium.Env[Any, Any]):
    """Goes another way each time, whatever the seed."""

    observation_space, action_space = BOX, spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return self.observation_space.sample(), 1.0, self.steps == 50, False, {}


def test_a_target_network_follows_batch_normalisation_too() -> None:
    policy = Policy(*spaces_of("CartPole-v1"), nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)), head="q")
    learner = Learner(policy, tiny(target_update_interval=2), rounds=4)
    learner.replay.add(next(rollouts(np.random.default_rng(0), [9], 4, 4)))
    learner.learn(1)
    ours, theirs = policy.actor.state_dict(), learner.state()["target"]
    name = "body.1.running_mean"
    assert ours[name].any()
    assert torch.equal(ours[name], theirs[name])


def test_a_network_that_has_broken_ends_the_training() -> None:
    with pytest.raises(TrainingError, match=r"dqn: by step 1,\d+ weights .* NaN .*lower learning_rate"):
        last(dqn("CartPole-v1", tiny(learning_rate=1e30)))


def test_what_finished_before_an_environment_failed_is_not_lost() -> None:
    with pytest.raises(TrainingError, match="NaN or infinite reward") as caught:
        list(dqn(lambda: Constant(poison=(30, "reward")), tiny()))
    finished = finished_before(caught.value)
    assert finished.lengths.tolist() == [5] * 20, "of roll-outs of four steps, and of the last one"
    assert len(set(finished.seeds)) == 20


def test_episodes_that_cannot_be_restored_begin_anew_and_are_counted(tmp_path: Path) -> None:
    updates = dqn(Unseeded, tiny(vectorize="sync"))
    next(updates)
    path = next(updates).checkpoint(tmp_path / "one")
    resumed = dqn(Unseeded, resume=path)
    assert next(resumed).metrics["episodes_not_restored"] == 4
    after = next(resumed)
    assert "episodes_not_restored" not in after.metrics
    assert all(len(trajectory) == 50 for trajectory in after.trajectories)


def test_what_cannot_be_resumed_is_named(tmp_path: Path) -> None:
    path = next(dqn("CartPole-v1", tiny())).checkpoint(tmp_path / "one")
    with pytest.raises(TrainingError, match="training on CartPole-v1, not on Acrobot-v1"):
        next(dqn("Acrobot-v1", resume=path))
    with pytest.raises(TrainingError, match=r"trained with gamma=0\.99 and not 0\.5"):
        next(dqn("CartPole-v1", tiny(gamma=0.5), resume=path))


@pytest.mark.learning
def test_cartpole_is_solved() -> None:
    update = last(dqn("CartPole-v1", DQNConfig.preset("CartPole-v1", seed=0, device="cpu")))
    played = evaluate(update.policy, "CartPole-v1", episodes=20, seed=10_000)
    assert np.mean([t.total_reward for t in played]) >= 475
