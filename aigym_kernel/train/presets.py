"""What was found to work for an environment, as differences from the defaults of `PPOConfig` and `DQNConfig`.

    PPOConfig.preset("Acrobot-v1", seed=3)
    DQNConfig.preset("MountainCar-v0")

Mean return of greedy episodes whose seeds no training saw, after the steps of the preset, on one CPU thread:

| environment | seeds | mean return | reference (one run each) |
|---|---|---|---|
| Acrobot-v1 | 0, 1, 2 | -84, -82, -82 | -74, after 1,000,000 steps |
| LunarLander-v3 | 0, 1, 2 | 268, 255, 267 | 242 (v2), after 1,000,000 steps |
| MinAtar/Breakout-v1 | 0, 1 | 11, 16 | |
| Pendulum-v1 | 0, 1, 2 | -196, -193, -209 | -172, after 100,000 steps |
| MountainCar-v0 (DQN) | 0, 1, 2 | -102, -121, -102 | -101, after 120,000 steps |

50 episodes each. References: PPO and DQN in the benchmark table of RL Baselines3 Zoo. MountainCar-v0 is
trained with its hyperparameters, but for a learning rate that falls.
"""

from __future__ import annotations

from typing import Any

PPO: dict[str, dict[str, Any]] = {
    "CartPole-v1": {
        "total_timesteps": 100_352,
        "n_envs": 32,
        "n_steps": 32,
        "n_epochs": 6,
        "n_minibatches": 4,
        "learning_rate": 2.5e-3,
        "gamma": 0.98,
        "gae_lambda": 0.9,
    },
    "Acrobot-v1": {
        "total_timesteps": 98_304,
        "n_steps": 256,
        "n_epochs": 8,
        "learning_rate": 1e-3,
        "ent_coef": 0.01,
        "normalize_rewards": True,
    },
    "Pendulum-v1": {
        "total_timesteps": 65_536,
        "n_envs": 32,
        "n_steps": 64,
        "n_epochs": 8,
        "learning_rate": 2e-3,
        "gamma": 0.9,
        "normalize_rewards": True,
    },
    "LunarLander-v3": {
        "total_timesteps": 704_512,
        "n_envs": 32,
        "n_steps": 256,
        "n_minibatches": 16,
        "learning_rate": 1.5e-3,
        "gamma": 0.995,
        "gae_lambda": 0.97,
        "ent_coef": 0.005,
        "normalize_rewards": True,
    },
    "MinAtar/Breakout-v1": {
        "total_timesteps": 655_360,
        "n_envs": 64,
        "n_steps": 64,
        "n_epochs": 4,
        "learning_rate": 1.5e-3,
        "ent_coef": 0.01,
        "network": {
            "layers": [
                {"type": "conv", "filters": 16, "kernel_size": 3, "activation": "relu"},
                {"type": "flatten"},
                {"type": "dense", "units": 64, "activation": "relu"},
            ]
        },
    },
    "aigym/Snake-v0": {
        "total_timesteps": 524_288,
        "n_envs": 64,
        "n_steps": 32,
        "n_epochs": 4,
        "n_minibatches": 4,
        "learning_rate": 2.5e-3,
    },
}
"""By environment's id. An environment that is not here trains with the defaults."""

DQN: dict[str, dict[str, Any]] = {
    "CartPole-v1": {
        "total_timesteps": 100_000,
        "learning_rate": 2e-3,
        "n_step": 5,
        "exploration_fraction": 0.5,
        "exploration_final_eps": 0.02,
        "network": (64, 64),
    },
    # One environment: with eight at once the goal was not found by chance in 120,000 steps.
    "MountainCar-v0": {
        "total_timesteps": 120_000,
        "n_envs": 1,
        "train_freq": 16,
        "gradient_steps": 8,
        "buffer_size": 10_000,
        "learning_starts": 1_000,
        "learning_rate": 4e-3,
        "gamma": 0.98,
        "n_step": 1,
        "tau": 1.0,
        "target_update_interval": 300,
        "exploration_fraction": 0.2,
        "exploration_final_eps": 0.07,
        "double": False,
        "dueling": False,
        "priority_exponent": 0.0,
        "network": (256, 256),
    },
}
