"""What goes wrong in a training, seen in its metrics, each with a word of advice.

    found = alerts(series, step=step, total_steps=total, config=config["ppo"], summary=status.summary)
    found[0].text, found[0].advice
    of_run(store, record, status)       the same of a recorded run

Only `of_run` reads anything. ``series`` is {metric: (steps, values)}, as recorded so far. A rule speaks when
the evidence has lasted, not at the first bad point, and falls silent when it is over; a NaN stays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import numpy as np
from numpy.typing import NDArray

from aigym_kernel import rendering
from aigym_kernel.store import RunRecord, RunStatus, Store

Values = NDArray[np.float64]
Series = Mapping[str, tuple[Values, Values]]

RECENT = 0.1
"""What lasted this share of the whole run is no accident."""
LEARNT_BY = 0.3
GAINED = 0.35
"""A return that rose by this share of the spread of single episodes has risen."""
EARLY = 0.5
FALLEN = 0.5
GONE = 0.01
KL_HIGH = 0.1
SLOW = 0.5
ALIKE = 0.05
"""Returns that differ by less than this share of their mean are the same."""
FULL = 0.08
_POINTS = 5
_NOT_FINITE = "not finite"
_FOLLOWS = ("collapse", "no learning", "value fit")
_FINITE = ("policy_loss", "value_loss", "td_loss", "loss", "entropy", "approx_kl", "q_mean")


@dataclass(frozen=True, kw_only=True)
class Alert:
    """One thing that is wrong. ``level``: ``bad`` where going on is in vain as things stand, else ``warn``.
    ``text`` says what was seen, ``advice`` what to change; ``name`` is the rule's."""

    name: str
    level: Literal["bad", "warn"]
    text: str
    advice: str


@dataclass(frozen=True, kw_only=True)
class _Seen:
    series: Series
    step: int
    total_steps: int
    config: Mapping[str, Any]
    summary: Mapping[str, Any]
    free: Mapping[str, float]
    goal: float | None

    @property
    def share(self) -> float:
        return self.step / self.total_steps if self.total_steps else 0.0

    def points(self, name: str) -> tuple[Values, Values]:
        """The finite points of a metric."""
        x, y = self.series.get(name, (np.empty(0), np.empty(0)))
        kept = np.isfinite(y)
        return x[kept], y[kept]

    def recent(self, name: str) -> Values:
        """The values of the last `RECENT` of the run, at least `_POINTS`; none while it is younger."""
        x, y = self.points(name)
        if len(y) < 2 * _POINTS or x[-1] - x[0] < RECENT * self.total_steps:
            return np.empty(0)
        return y[min(int(np.searchsorted(x, x[-1] - RECENT * self.total_steps)), len(y) - _POINTS) :]

    def field(self, name: str) -> str:
        """A field of the configuration with its value, as a reader would change it."""
        return f"{name} (now {self.config[name]:g})" if _is_number(self.config.get(name)) else name


def alerts(
    series: Series,
    *,
    step: int,
    total_steps: int,
    config: Mapping[str, Any],
    summary: Mapping[str, Any] | None = None,
    free: Mapping[str, float] | None = None,
    goal: float | None = None,
) -> list[Alert]:
    """What is wrong as of ``step``, the worst first.

    Args:
        series: the recorded metrics, each as (steps, values), in order.
        config: the algorithm's configuration: fields named in the advice, with their values.
        summary: of the run's status (``eval_return_mean_before``, ``eval_return_mean``, ``warnings``).
        free: what is left of the memory as a share of all, by kind: ``{"memory": 0.05, "GPU memory": 0.3}``.
        goal: the mean return at which the environment counts as solved, see `goal_of`.
    """
    seen = _Seen(
        series=series,
        step=step,
        total_steps=total_steps,
        config=config,
        summary=summary or {},
        free=free or {},
        goal=goal,
    )
    found = [alert for rule in _RULES for alert in rule(seen)]
    # What else is wrong with its learning follows from that.
    if any(alert.name == _NOT_FINITE for alert in found):
        found = [alert for alert in found if alert.name not in _FOLLOWS]
    return sorted(found, key=lambda alert: alert.level != "bad")


def of_run(store: Store, record: RunRecord, status: RunStatus) -> list[Alert]:
    """What is wrong with a run, by what the store has of it."""
    frame = store.sql(
        "SELECT name, step, value FROM metrics WHERE run_id = ? ORDER BY step, time", [record.run_id]
    )
    series = {
        str(name): (part["step"].to_numpy(dtype=float), part["value"].to_numpy(dtype=float))
        for name, part in frame.groupby("name", sort=False)
    }
    return alerts(
        series,
        step=status.step,
        total_steps=status.total_steps,
        config=config_of(record),
        summary=status.summary,
        goal=goal_of(record),
    )


def config_of(record: RunRecord) -> dict[str, Any]:
    """The fields of a training's algorithm; empty for other runs."""
    found = record.config.get(str(record.config.get("algo")))
    return dict(found) if isinstance(found, Mapping) else {}


def goal_of(record: RunRecord) -> float | None:
    """The mean return at which gymnasium counts a run's environment as solved; None where nothing is said,
    or what was given to the environment may change its rewards."""
    spec = gymnasium.registry.get(str(record.config.get("env")))
    return None if spec is None or record.config.get("env_kwargs") else spec.reward_threshold


def html(found: Sequence[Alert]) -> str:
    """The alerts as HTML without script; empty where there are none."""
    return "".join(rendering.alert_line(alert.level, alert.text, alert.advice) for alert in found)


def _not_finite(seen: _Seen) -> list[Alert]:
    for name in _FINITE:
        x, y = seen.series.get(name, (np.empty(0), np.empty(0)))
        if len(bad := np.flatnonzero(~np.isfinite(y))):
            text = f"{name} is {y[bad[0]]:g} since step {int(x[bad[0]]):,}."
            advice = (
                f"The weights cannot recover: start again with a lower {seen.field('learning_rate')} or "
                f"{seen.field('max_grad_norm')}, and look whether rewards or observations are huge."
            )
            return [Alert(name=_NOT_FINITE, level="bad", text=text, advice=advice)]
    return []


def _start(seen: _Seen) -> float | None:
    """The return before learning: that of the first third so far, since the very first episodes to end are
    short ones, and a single evaluation of an untrained policy may be lucky."""
    _, y = seen.points("return_mean")
    return float(y[: -(-len(y) // 3)].mean()) if len(y) else None


def _latest_evaluation(seen: _Seen) -> float | None:
    _, y = seen.points("eval_return_mean")
    latest = float(y[-1]) if len(y) else seen.summary.get("eval_return_mean")
    return latest if isinstance(latest, (int, float)) else None


def _evaluations_rose(seen: _Seen, by: float) -> bool:
    """Whether the latest evaluation is above the first, where there are two."""
    first, latest = seen.summary.get("eval_return_mean_before"), _latest_evaluation(seen)
    return isinstance(first, (int, float)) and latest is not None and latest > first + by


def _spread(seen: _Seen) -> float:
    """How far apart the returns of single episodes lie (10 % to 90 %), usually."""
    low, high = seen.points("return_q10")[1], seen.points("return_q90")[1]
    return float(np.median(high - low)) if len(low) == len(high) > 0 else 0.0


def _collapse(seen: _Seen) -> list[Alert]:
    recent, start = seen.recent("return_mean"), _start(seen)
    if not len(recent) or start is None:
        return []
    x, y = seen.points("return_mean")
    at = int(np.argmax(y))
    gain = y[at] - start
    noise = max(3 * float(np.std(np.diff(y))), GAINED * _spread(seen))
    if at >= len(y) - len(recent) or gain <= noise or recent.max() > y[at] - FALLEN * gain:
        return []
    text = f"The return has collapsed: {recent.mean():.4g} after {y[at]:.4g} at step {int(x[at]):,}."
    advice = (
        f"Take the best checkpoint and go on with a lower {seen.field('learning_rate')}"
        + (f" or {seen.field('clip_range')}." if "clip_range" in seen.config else ".")
        + (f" A larger {seen.field('buffer_size')} forgets less." if "buffer_size" in seen.config else "")
    )
    return [Alert(name="collapse", level="bad", text=text, advice=advice)]


def _no_learning(seen: _Seen) -> list[Alert]:
    recent, start = seen.recent("return_mean"), _start(seen)
    if seen.share < LEARNT_BY or not len(recent) or start is None:
        return []
    _, y = seen.points("return_mean")
    best = np.convolve(y, np.full(_POINTS, 1 / _POINTS), mode="valid").max()
    least = GAINED * _spread(seen) + 1e-9
    if float(best) - start > least or _evaluations_rose(seen, least):
        return []
    now = f"after {seen.share:.0%} of the run the return is {recent.mean():.4g}"
    text = f"No learning: {now}, {start:.4g} at first."
    if "exploration_fraction" in seen.config:
        more = f"Explore for longer with {seen.field('exploration_fraction')}"
    else:
        more = f"Raise {seen.field('ent_coef')} so that it tries more"
    advice = f"{more}, or try another {seen.field('learning_rate')}."
    return [Alert(name="no learning", level="bad", text=text, advice=advice)]


def _entropy_gone(seen: _Seen) -> list[Alert]:
    _, y = seen.points("entropy")
    if seen.share >= EARLY or len(y) < 2 * _POINTS or y[0] <= 0:
        return []
    last = y[-_POINTS:]
    if last.max() > GONE * y[0] or last.min() < 0:  # that of a continuous policy goes through 0
        return []
    text = f"Entropy is gone ({last[-1]:.2g}) after {seen.share:.0%} of the run: it no longer tries anything."
    advice = f"Raise {seen.field('ent_coef')}, to 0.01 for example, or lower {seen.field('learning_rate')}."
    return [Alert(name="entropy gone", level="warn", text=text, advice=advice)]


def _kl_high(seen: _Seen) -> list[Alert]:
    _, y = seen.points("approx_kl")
    if len(y) < _POINTS or (kl := float(np.median(y[-_POINTS:]))) <= KL_HIGH:
        return []
    text = f"Updates go far: the policy changes by a KL of {kl:.2g} each time (0.01 to 0.03 is usual)."
    advice = f"Lower {seen.field('learning_rate')} or {seen.field('n_epochs')}, or set target_kl=0.03."
    return [Alert(name="KL high", level="warn", text=text, advice=advice)]


def _learnt(seen: _Seen) -> bool:
    """Whether the goal is reached, the return rises to what it has never been, or all episodes give the same.
    There is then next to no variance to explain: the values of a pole that never falls are all alike, and the
    smallest error of them is larger than what they differ by. (SB3 and CleanRL give NaN where the variance
    is 0, and do not judge.)"""
    recent, latest = seen.recent("return_mean"), _latest_evaluation(seen)
    now = float(recent.mean()) if len(recent) else None
    if seen.goal is not None and any(value is not None and value >= seen.goal for value in (now, latest)):
        return True
    if now is None:
        return False
    before = seen.points("return_mean")[1][: -len(recent)]
    low, high = seen.recent("return_q10"), seen.recent("return_q90")
    alike = len(low) == len(high) > 0 and float(np.median(high - low)) <= ALIKE * abs(now)
    return alike or (len(before) > 0 and now > float(before.max()))


def _value_fit(seen: _Seen) -> list[Alert]:
    recent = seen.recent("explained_variance")
    if not len(recent) or seen.share < 2 * RECENT or (fit := float(np.median(recent))) >= 0:
        return []
    if _learnt(seen):
        return []
    text = f"The value function explains nothing (explained variance {fit:.2g}): advantages are noise."
    advice = f"Raise {seen.field('vf_coef')}, lower {seen.field('gamma')}, or scale the rewards."
    return [Alert(name="value fit", level="warn", text=text, advice=advice)]


def _memory(seen: _Seen) -> list[Alert]:
    found = []
    for kind, share in seen.free.items():
        if share < FULL:
            field = "buffer_size" if "buffer_size" in seen.config else "n_envs"
            text = f"The {kind} is nearly full: {share:.0%} is left."
            advice = f"Stop other work, or start again with a smaller {seen.field(field)}."
            found.append(Alert(name=kind, level="warn", text=text, advice=advice))
    return found


def _slower(seen: _Seen) -> list[Alert]:
    recent = seen.recent("steps_per_second")
    _, y = seen.points("steps_per_second")
    if not len(recent) or len(y) - len(recent) < _POINTS:
        return []
    usual, now = float(np.median(y[: -len(recent)])), float(np.median(recent))
    if now >= SLOW * usual:
        return []
    text = f"It has become slow: {now:,.0f} steps/s, {usual:,.0f} before."
    advice = (
        f"Look at CPU and memory: other work, or longer episodes; fewer {seen.field('n_envs')} share the CPU."
    )
    return [Alert(name="slower", level="warn", text=text, advice=advice)]


def _warned(seen: _Seen) -> list[Alert]:
    """What the run itself has found, such as an environment that is not deterministic."""
    told = seen.summary.get("warnings", ())
    return [
        Alert(name="warning", level="warn", text=str(text), advice="")
        for text in (told if isinstance(told, (list, tuple)) else [told])
    ]


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_RULES: tuple[Callable[[_Seen], list[Alert]], ...] = (
    _not_finite,
    _collapse,
    _no_learning,
    _entropy_gone,
    _kl_high,
    _value_fit,
    _memory,
    _slower,
    _warned,
)
