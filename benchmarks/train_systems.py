"""One training on CartPole-v1 by one system: what `benchmarks/train.py` starts anew each time.

    python benchmarks/train_systems.py SYSTEM SEED STEPS STARTED RESULT.json

STARTED is the time (`time.time`) at which the caller started this process: all is counted from there. The
functions below are the systems, ours and peers, each with hyperparameters that its makers publish; what it
needs is imported inside. Written to RESULT: wall and processor time up to the end of the training, the mean
return of 20 greedy episodes with seeds that no training saw, and when the mean return of the last 100
finished training episodes first reached 475.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ENV = "CartPole-v1"
GOAL, LAST, EPISODES, FIRST_SEED = 475.0, 100, 20, 1_000_000
Act = Callable[[Any], int]


class Progress:
    """The returns of the training, as episodes finish, and when their mean reached the goal."""

    def __init__(self, started: float) -> None:
        self.reached: float | None = None
        self._started, self._last = started, deque[float](maxlen=LAST)

    def finished(self, total: float) -> None:
        self._last.append(total)
        if self.reached is None and len(self._last) == LAST and sum(self._last) >= GOAL * LAST:
            self.reached = round(time.time() - self._started, 2)


def counted(progress: Progress) -> Any:
    """The environment for peers, in the one wrapper that tells `progress` of each episode."""
    import gymnasium

    class Counted(gymnasium.Wrapper):
        def reset(self, **given: Any) -> Any:
            self.total = 0.0
            return self.env.reset(**given)

        def step(self, action: Any) -> Any:
            answer = self.env.step(action)
            self.total += float(answer[1])
            if answer[2] or answer[3]:
                progress.finished(self.total)
            return answer

    return Counted(gymnasium.make(ENV))


def _ours(algo: str, config: dict[str, Any]) -> Callable[[int, int, Progress], Act]:
    def train(seed: int, steps: int, progress: Progress) -> Act:
        import aigym_kernel as aigym

        configs = {"ppo": aigym.PPOConfig, "dqn": aigym.DQNConfig}
        trainer = {"ppo": aigym.ppo, "dqn": aigym.dqn}[algo]
        made = configs[algo].preset(ENV, seed=seed, **{"total_timesteps": steps, "device": "cpu"} | config)
        for update in trainer(ENV, made):
            for total in update.trajectories.returns:
                progress.finished(float(total))
        return lambda observation: int(update.policy.act(observation))

    return train


PPO_ZOO = {
    "n_envs": 8,
    "n_steps": 32,
    "n_epochs": 20,
    "n_minibatches": 1,
    "gamma": 0.98,
    "gae_lambda": 0.8,
    "learning_rate": 1e-3,
    "clip_range": 0.2,
    "clip_range_schedule": "linear",
    "ent_coef": 0.0,
}
# SB3 copies its target every 10 environment steps, but learns in phases of 128 batches between 256 of them:
# in each phase the target stands still.
DQN_ZOO = {
    "n_envs": 1,
    "train_freq": 256,
    "gradient_steps": 128,
    "batch_size": 64,
    "buffer_size": 100_000,
    "learning_starts": 1_000,
    "learning_rate": 2.3e-3,
    "learning_rate_schedule": "constant",
    "gamma": 0.99,
    "n_step": 1,
    "tau": 1.0,
    "target_update_interval": 128,
    "exploration_fraction": 0.16,
    "exploration_final_eps": 0.04,
    "double": False,
    "dueling": False,
    "priority_exponent": 0.0,
    "network": (256, 256),
}
CLEANRL_PPO = {
    "n_envs": 4,
    "n_steps": 128,
    "n_epochs": 4,
    "n_minibatches": 4,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "learning_rate": 2.5e-4,
    "clip_range": 0.2,
    "clip_range_vf": 0.2,
    "ent_coef": 0.01,
}
CLEANRL_DQN = {
    "n_envs": 1,
    "train_freq": 10,
    "gradient_steps": 1,
    "batch_size": 128,
    "buffer_size": 10_000,
    "learning_starts": 10_000,
    "learning_rate": 2.5e-4,
    "learning_rate_schedule": "constant",
    "gamma": 0.99,
    "n_step": 1,
    "tau": 1.0,
    "target_update_interval": 50,
    "exploration_fraction": 0.5,
    "exploration_final_eps": 0.05,
    "double": False,
    "dueling": False,
    "priority_exponent": 0.0,
    "network": (120, 84),
}


def _sb3(package: str, algo: str) -> Callable[[int, int, Progress], Act]:
    """Stable-Baselines3, or SBX (the same on JAX), with the hyperparameters of SB3's zoo."""

    def train(seed: int, steps: int, progress: Progress) -> Act:
        if package == "sbx":
            import sbx as found
        else:
            import stable_baselines3 as found
            import torch

            torch.set_num_threads(1)
        from stable_baselines3.common.vec_env import DummyVecEnv

        n_envs = 8 if algo == "ppo" else 1
        envs = DummyVecEnv([lambda: counted(progress)] * n_envs)
        more = {} if package == "sbx" else {"device": "cpu"}
        if algo == "ppo":
            model = found.PPO(
                *("MlpPolicy", envs),
                n_steps=32,
                batch_size=256,
                n_epochs=20,
                gamma=0.98,
                gae_lambda=0.8,
                ent_coef=0.0,
                learning_rate=lambda left: left * 0.001,
                # SBX takes no schedule for the clip range.
                clip_range=0.2 if package == "sbx" else lambda left: left * 0.2,
                seed=seed,
                **more,
            )
        else:
            model = found.DQN(
                *("MlpPolicy", envs),
                learning_rate=2.3e-3,
                batch_size=64,
                buffer_size=100_000,
                learning_starts=1_000,
                gamma=0.99,
                target_update_interval=10,
                train_freq=256,
                gradient_steps=128,
                exploration_fraction=0.16,
                exploration_final_eps=0.04,
                policy_kwargs={"net_arch": [256, 256]},
                seed=seed,
                **more,
            )
        model.learn(steps)
        return lambda observation: int(model.predict(observation, deterministic=True)[0])

    return train


def _tianshou(algo: str) -> Callable[[int, int, Progress], Act]:
    """Tianshou, with the hyperparameters of its own CartPole examples."""

    def train(seed: int, steps: int, progress: Progress) -> Act:
        import torch
        from tianshou import algorithm, data, env, trainer
        from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
        from tianshou.algorithm.modelfree.reinforce import DiscreteActorPolicy
        from tianshou.algorithm.optim import AdamOptimizerFactory
        from tianshou.utils.net.common import Net
        from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic

        torch.set_num_threads(1)
        torch.manual_seed(seed)
        np.random.seed(seed)
        envs = env.DummyVectorEnv([lambda: counted(progress)] * (20 if algo == "ppo" else 10))
        envs.seed(seed)
        space = envs.action_space[0]
        if algo == "ppo":
            net = Net(state_shape=(4,), hidden_sizes=(64, 64))
            actor = DiscreteActor(preprocess_net=net, action_shape=2, softmax_output=False)
            policy: Any = DiscreteActorPolicy(actor=actor, action_space=space, deterministic_eval=True)
            made: Any = algorithm.PPO(
                policy=policy,
                critic=DiscreteCritic(preprocess_net=net),
                optim=AdamOptimizerFactory(lr=3e-4),
                gamma=0.99,
                gae_lambda=0.95,
                ent_coef=0.0,
                max_grad_norm=0.5,
            )
        else:
            q_net = Net(state_shape=(4,), action_shape=2, hidden_sizes=(128, 128, 128, 128))
            policy = DiscreteQLearningPolicy(model=q_net, action_space=space, eps_training=0.1)
            made = algorithm.DQN(
                policy=policy,
                optim=AdamOptimizerFactory(lr=1e-3),
                gamma=0.9,
                n_step_return_horizon=3,
                target_update_freq=320,
            )
        size = 20_000
        buffer = data.VectorReplayBuffer(size, envs.env_num)
        collector = data.Collector(made, envs, buffer, exploration_noise=algo == "dqn")
        shared = {"training_collector": collector, "max_epochs": 1, "epoch_num_steps": steps}
        shared |= {"show_progress": False, "verbose": False, "test_collector": None}
        if algo == "ppo":
            made.run_training(
                trainer.OnPolicyTrainerParams(
                    **shared,
                    collection_step_num_env_steps=2_000,
                    batch_size=64,
                    update_step_num_repetitions=10,
                )
            )
        else:
            collector.reset()
            made.run_training(
                trainer.OffPolicyTrainerParams(
                    **shared,
                    collection_step_num_env_steps=10,
                    batch_size=64,
                    update_step_num_gradient_steps_per_sample=0.1,
                )
            )
        policy.eval()

        def act(observation: Any) -> int:
            with torch.no_grad():
                answer = policy(data.Batch(obs=observation[None], info={}))
            return int(np.asarray(answer.act)[0])

        return act

    return train


def torchrl_ppo(seed: int, steps: int, progress: Progress) -> Act:
    """TorchRL's parts as its tutorial puts them together, with CleanRL's hyperparameters."""
    import torch
    from tensordict.nn import TensorDictModule
    from torch import nn
    from torchrl.collectors import Collector
    from torchrl.envs import GymWrapper, SerialEnv
    from torchrl.modules import MLP, ProbabilisticActor, ValueOperator
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value import GAE

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    envs = SerialEnv(4, lambda: GymWrapper(counted(progress), categorical_action_encoding=True))
    envs.set_seed(seed)
    sizes: dict[str, Any] = {"num_cells": [64, 64], "activation_class": nn.Tanh}
    body = TensorDictModule(MLP(4, 2, **sizes), in_keys=["observation"], out_keys=["logits"])
    actor = ProbabilisticActor(
        body, in_keys=["logits"], distribution_class=torch.distributions.Categorical, return_log_prob=True
    )
    critic = ValueOperator(MLP(4, 1, **sizes), in_keys=["observation"])
    loss = ClipPPOLoss(actor, critic, clip_epsilon=0.2, entropy_coeff=0.01, critic_coeff=0.5)
    advantage = GAE(gamma=0.99, lmbda=0.95, value_network=critic)
    optimizer = torch.optim.Adam(loss.parameters(), lr=2.5e-4, eps=1e-5)
    collector = Collector(envs, actor, frames_per_batch=512, total_frames=steps // 512 * 512)
    done = 0
    for frames in collector:
        for group in optimizer.param_groups:
            group["lr"] = 2.5e-4 * (1 - done / steps)
        done += frames.numel()
        for _ in range(4):
            with torch.no_grad():
                advantage(frames)
            flat = frames.reshape(-1)
            for index in torch.randperm(len(flat)).split(128):
                losses = loss(flat[index])
                total = losses["loss_objective"] + losses["loss_critic"] + losses["loss_entropy"]
                optimizer.zero_grad()
                total.backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                optimizer.step()
    collector.shutdown()

    def act(observation: Any) -> int:
        with torch.no_grad():
            return int(body.module(torch.from_numpy(observation)).argmax())

    return act


def cleanrl_ppo(seed: int, steps: int, progress: Progress, n_envs: int = 4) -> Act:
    """PPO as CleanRL publishes it (docs.cleanrl.dev/rl-algorithms/ppo): its hyperparameters and details, in
    the way it does them, one torch call after another."""
    import gymnasium
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    envs = gymnasium.vector.SyncVectorEnv(
        [lambda: counted(progress)] * n_envs, autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP
    )

    def layer(inputs: int, outputs: int, gain: float = 2**0.5) -> nn.Linear:
        made = nn.Linear(inputs, outputs)
        nn.init.orthogonal_(made.weight, gain)
        nn.init.zeros_(made.bias)
        return made

    def network(outputs: int, gain: float) -> nn.Sequential:
        return nn.Sequential(layer(4, 64), nn.Tanh(), layer(64, 64), nn.Tanh(), layer(64, outputs, gain))

    actor, critic = network(2, 0.01), network(1, 1.0)
    parameters = [*actor.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=2.5e-4, eps=1e-5)
    n_steps, updates = 128, steps // (n_envs * 128)
    observations = torch.zeros(n_steps, n_envs, 4)
    actions, log_probs, rewards, dones, values = (torch.zeros(n_steps, n_envs) for _ in range(5))
    seen, done = torch.from_numpy(envs.reset(seed=seed)[0]), torch.zeros(n_envs)
    for update in range(updates):
        optimizer.param_groups[0]["lr"] = 2.5e-4 * (1 - update / updates)
        for t in range(n_steps):
            observations[t], dones[t] = seen, done
            with torch.no_grad():
                chances = torch.distributions.Categorical(logits=actor(seen))
                action = chances.sample()
                values[t] = critic(seen).flatten()
            actions[t], log_probs[t] = action, chances.log_prob(action)
            after, reward, terminated, truncated, _ = envs.step(action.numpy())
            rewards[t] = torch.from_numpy(reward)
            seen, done = torch.from_numpy(after), torch.from_numpy(terminated | truncated).float()
        with torch.no_grad():
            advantages, running, following = torch.zeros_like(rewards), 0.0, critic(seen).flatten()
            goes_on = 1 - done
            for t in reversed(range(n_steps)):
                delta = rewards[t] + 0.99 * following * goes_on - values[t]
                advantages[t] = running = delta + 0.99 * 0.95 * goes_on * running
                following, goes_on = values[t], 1 - dones[t]
            returns = advantages + values
        flat = [part.reshape(-1, *part.shape[2:]) for part in (observations, actions, log_probs)]
        gains, targets, before = advantages.flatten(), returns.flatten(), values.flatten()
        for _ in range(4):
            for index in torch.randperm(len(gains)).split(len(gains) // 4):
                chances = torch.distributions.Categorical(logits=actor(flat[0][index]))
                ratio = (chances.log_prob(flat[1][index]) - flat[2][index]).exp()
                gain = gains[index]
                gain = (gain - gain.mean()) / (gain.std() + 1e-8)
                policy_loss = torch.max(-gain * ratio, -gain * ratio.clamp(0.8, 1.2)).mean()
                value = critic(flat[0][index]).flatten()
                clipped = before[index] + (value - before[index]).clamp(-0.2, 0.2)
                errors = torch.max((value - targets[index]) ** 2, (clipped - targets[index]) ** 2)
                loss = policy_loss - 0.01 * chances.entropy().mean() + 0.5 * 0.5 * errors.mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(parameters, 0.5)
                optimizer.step()
    return lambda observation: int(actor(torch.from_numpy(observation)).argmax())


def cleanrl_dqn(seed: int, steps: int, progress: Progress) -> Act:
    """DQN as CleanRL publishes it (docs.cleanrl.dev/rl-algorithms/dqn)."""
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(seed)
    rng, env = np.random.default_rng(seed), counted(progress)

    def network() -> nn.Sequential:
        return nn.Sequential(nn.Linear(4, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 2))

    online, target = network(), network()
    target.load_state_dict(online.state_dict())
    optimizer = torch.optim.Adam(online.parameters(), lr=2.5e-4)
    size = 10_000
    seen, after = np.zeros((size, 4), np.float32), np.zeros((size, 4), np.float32)
    did, got, over = np.zeros(size, np.int64), np.zeros(size, np.float32), np.zeros(size, np.float32)
    observation, _ = env.reset(seed=seed)
    for step in range(steps):
        if rng.random() < max(1 + step * (0.05 - 1) / (0.5 * steps), 0.05):
            action = int(rng.integers(2))
        else:
            action = int(online(torch.from_numpy(observation)).argmax())
        following, reward, terminated, truncated, _ = env.step(action)
        at = step % size
        seen[at], after[at], did[at], got[at], over[at] = observation, following, action, reward, terminated
        observation = env.reset()[0] if terminated or truncated else following
        if step > 10_000:
            if step % 10 == 0:
                index = rng.integers(size, size=128)
                batch = [torch.from_numpy(part[index]) for part in (seen, after, did, got, over)]
                with torch.no_grad():
                    goal = batch[3] + 0.99 * target(batch[1]).max(1).values * (1 - batch[4])
                value = online(batch[0]).gather(1, batch[2][:, None]).squeeze(1)
                loss = nn.functional.mse_loss(value, goal)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if step % 500 == 0:
                target.load_state_dict(online.state_dict())
    return lambda observation: int(online(torch.from_numpy(observation)).argmax())


SYSTEMS: dict[str, Callable[[int, int, Progress], Act]] = {
    "aigym ppo": _ours("ppo", {}),
    "aigym ppo, zoo": _ours("ppo", PPO_ZOO),
    "aigym ppo, CleanRL's": _ours("ppo", CLEANRL_PPO),
    "sb3 ppo, zoo": _sb3("sb3", "ppo"),
    "sbx ppo, zoo": _sb3("sbx", "ppo"),
    "cleanrl ppo": cleanrl_ppo,
    "torchrl ppo": torchrl_ppo,
    "tianshou ppo": _tianshou("ppo"),
    "aigym dqn": _ours("dqn", {}),
    "aigym dqn, zoo": _ours("dqn", DQN_ZOO),
    "aigym dqn, CleanRL's": _ours("dqn", CLEANRL_DQN),
    "sb3 dqn, zoo": _sb3("sb3", "dqn"),
    "sbx dqn, zoo": _sb3("sbx", "dqn"),
    "cleanrl dqn": cleanrl_dqn,
    "tianshou dqn": _tianshou("dqn"),
}
"""Those whose name begins with aigym are ours; the others run in the peers' own interpreter."""


def greedy(act: Act) -> float:
    """The mean return over `EPISODES` episodes with fixed seeds."""
    import gymnasium

    env, totals = gymnasium.make(ENV), []
    for i in range(EPISODES):
        observation, _ = env.reset(seed=FIRST_SEED + i)
        total, over = 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(act(observation))
            total, over = total + float(reward), terminated or truncated
        totals.append(total)
    return float(np.mean(totals))


def main() -> None:
    name, seed, steps, started, path = sys.argv[1:]
    progress = Progress(float(started))
    act = SYSTEMS[name](int(seed), int(steps), progress)
    wall = time.time() - float(started)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    result = {
        "wall_s": round(wall, 2),
        "cpu_s": round(sum(one.ru_utime + one.ru_stime for one in used), 2),
        "reached_s": progress.reached,
        "greedy": greedy(act),
    }
    Path(path).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
