"""The game that is played live beside a training: the current policy on an environment of its own.

    live = Live(folder, "aigym/Snake-v0", {"size": 10}, seed=0)
    live.turn(update.policy, update.step)                  at full speed: a step, where it hardly costs
    live.turn(update.policy, update.step, paced=True)      about ten steps a second, waits for its turn
    live.close()

What is seen of it is ``live.json`` in the run's folder (see `Live.look`). It is played as the policy samples,
nothing of it is recorded or learnt from, and no random number that a training uses is drawn for it. It never
breaks a training: an environment that fails here is not played any more.
"""

from __future__ import annotations

import json
import time
import traceback
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from aigym_kernel.envs import EnvSource
from aigym_kernel.envs.vector import AnyEnv, make_one
from aigym_kernel.pictures import data_uri, shrunk
from aigym_kernel.train import Policy
from aigym_kernel.train.networks import one_thread

SHARE = 0.007
"""The largest share of a training's time that it takes at full speed."""
STEP_S = 0.1
WRITE_S = 0.5
SHOWN_S = 3.0
PIXELS = 160
LIVE_SEED = 20_000
"""Added to a training's seed: what is watched is neither trained on nor evaluated."""


class Live:
    """Plays step by step; making one builds nothing before the first `turn`."""

    def __init__(self, folder: Path, env: EnvSource, env_kwargs: Mapping[str, Any], seed: int) -> None:
        self._path = folder / "live.json"
        self._source, self._kwargs = env, dict(env_kwargs)
        self._seed = seed + LIVE_SEED
        self._env: AnyEnv | None = None
        self._broken = False
        self._generator: torch.Generator | None = None
        self._state: torch.Tensor | None = None  # what a recurrent policy remembers of the episode
        self._observation: Any = None
        self._frames: deque[tuple[float, str]] = deque()  # as JSON
        self._count, self._episode, self._return, self._ended = 0, 0, 0.0, "new"
        self._since = self._next = self._written = self._last = 0.0
        self._spent = 0.0

    def turn(self, policy: Policy, step: int, *, paced: bool = False) -> None:
        """Play at most one step; ``step`` is how far the training is.

        Args:
            paced: play one in any case, and return when it is due; otherwise only while all of it takes less
                than `SHARE` of the time since somebody began to look.
        """
        if self._broken:
            return
        now = time.perf_counter()
        if now - self._last > 2.0:  # Nobody looked meanwhile, or nothing was to be done.
            self._since, self._spent = now, 0.0
        self._last = now
        if paced:
            time.sleep(max(0.0, min(STEP_S, self._next - now)))
        elif now < self._next or self._spent > SHARE * (now - self._since):
            return
        try:
            self._play(policy, step, paced=paced)
        except Exception:
            print("the game beside the training failed and is not shown any more:", flush=True)
            traceback.print_exc()
            self._broken = True
            self.close()

    def _play(self, policy: Policy, step: int, *, paced: bool) -> None:
        if self._env is None:
            self._build(policy)
        began = time.perf_counter()
        self._next = max(began, self._next + STEP_S) if paced else began + STEP_S
        if self._ended:
            self._reset()
        else:
            self._advance(policy)
        if began - self._written >= WRITE_S:
            self._written = began
            self._write(step)
        self._spent += time.perf_counter() - began

    def _build(self, policy: Policy) -> None:
        """The environment, drawn as a picture where it can be and has no board."""
        env = make_one(self._source, self._kwargs)
        modes = env.metadata.get("render_modes", ())
        can_draw = isinstance(self._source, str) and "rgb_array" in modes and env.render_mode is None
        if can_draw and not hasattr(env.unwrapped, "board"):
            with suppress(Exception):  # a package for drawing that is not here: it is played without
                drawn = make_one(self._source, {**self._kwargs, "render_mode": "rgb_array"})
                drawn.reset(seed=self._seed)
                drawn.render()  # The first picture loads what draws: not to be counted as playing.
                env.close()
                env = drawn
        self._env = env
        self._generator = torch.Generator(policy.device).manual_seed(self._seed)

    def _reset(self) -> None:
        assert self._env is not None
        self._observation, _ = self._env.reset(seed=self._seed + self._episode)
        self._episode += 1
        self._return, self._ended, self._state = 0.0, "", None
        self._keep(0.0, None, start=True)

    def _advance(self, policy: Policy) -> None:
        assert self._env is not None
        action = self._sample(policy)
        self._observation, reward, terminated, truncated, info = self._env.step(action)
        self._return += float(reward)
        if terminated or truncated:
            self._ended = str(info.get("outcome") or ("truncated" if truncated else "terminated"))
        self._keep(float(reward), np.asarray(action).tolist(), start=False)

    @torch.no_grad()
    def _sample(self, policy: Policy) -> Any:
        with one_thread(policy):
            inputs = policy.encode(np.asarray(self._observation)[None])
            if not policy.recurrent:
                return policy.to_env(policy.sample(inputs, self._generator))[0]
            before = policy.initial_state(1) if self._state is None else self._state
            action, self._state = policy.sample_recurrent(inputs, before, self._generator)
            return policy.to_env(action)[0]

    def _keep(self, reward: float, action: Any, *, start: bool) -> None:
        """Note a frame, and forget those that are older than `SHOWN_S`."""
        assert self._env is not None
        now, own = time.perf_counter(), self._env.unwrapped
        board = np.asarray(own.board()).tolist() if hasattr(own, "board") else None
        image = self._drawn(self._env) if board is None else None
        frame: dict[str, Any] = {"n": self._count, "board": board, "image": image}
        frame |= {"reward": reward, "action": action, "start": start}
        frame |= {"return": self._return, "ended": self._ended or None}
        self._frames.append((now, json.dumps(frame)))
        self._count += 1
        while now - self._frames[0][0] > SHOWN_S:
            self._frames.popleft()

    def _drawn(self, env: gymnasium.Env[Any, Any]) -> str | None:
        if env.render_mode != "rgb_array":
            return None
        with suppress(gymnasium.error.Error):
            pixels: Any = env.render()
            return data_uri(shrunk(np.asarray(pixels, dtype=np.uint8), PIXELS, PIXELS))
        return None

    def _write(self, step: int) -> None:
        """Replace the file: ``n`` frames so far, ``episode`` from 1 on, ``step`` of the training, the frames
        of the last 3 s, ``return`` so far and ``ended``, the outcome of an episode that is over, or null;
        each frame has these two of its own."""
        shown = {
            "n": self._count,
            "episode": self._episode,
            "step": step,
            "return": self._return,
            "ended": self._ended or None,
        }
        # Not flushed to the disk: a power cut may take the picture of a game, and a flush takes its time.
        temporary = self._path.with_name("live.json.tmp")
        frames = ", ".join(frame for _, frame in self._frames)
        temporary.write_text(f'{json.dumps(shown)[:-1]}, "frames": [{frames}]}}', encoding="utf-8")
        temporary.replace(self._path)

    def close(self) -> None:
        """Close the environment; the last frames stay in the file."""
        if self._env is not None:
            with suppress(Exception):
                self._env.close()
            self._env = None
