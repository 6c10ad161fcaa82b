"""What the trajectory pane gets from Python: heads, chunks, pictures, playing again, finding, remarks."""

from __future__ import annotations

import base64
import json
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from aigym_kernel import pictures
from aigym_kernel.agents import random_agent
from aigym_kernel.envs import make
from aigym_kernel.envs.replay import resimulate
from aigym_kernel.errors import AigymError
from aigym_kernel.rollouts import collect, play
from aigym_kernel.runs import rollout
from aigym_kernel.trajectories import Message, Note, ToolCall, Trajectory
from aigym_kernel.widgets import Explorer, explore, overview, playback, stills
from aigym_kernel.widgets.answers import answer
from aigym_kernel.widgets.documented import action_names, observation_names
from aigym_kernel.widgets.plain import cut, tree
from aigym_kernel.widgets.shown import Opened, board_at, shown


def made(observations: Any, actions: Any = None, **changes: Any) -> Trajectory:
    """A trajectory of anything; its actions are numbers unless given."""
    steps = len(observations) - 1
    values: dict[str, Any] = {
        "env_id": "somewhere/Else-v3",
        "agent": "somebody",
        "observations": observations,
        "actions": [0] * steps if actions is None else actions,
        "rewards": np.zeros(steps),
        "terminated": True,
        "truncated": False,
    }
    return Trajectory(**{**values, **changes})


def sent(values: Any) -> str:
    """What goes to the browser: strict JSON in UTF-8."""
    text = json.dumps(values, allow_nan=False, ensure_ascii=False)
    text.encode("utf-8")
    return text


@pytest.fixture(scope="module")
def snake() -> Trajectory:
    """The longest of a few games."""
    env = make("aigym/Snake-v0")
    games = [collect(play(random_agent(env.action_space, seed=i), env, seed=i)) for i in range(12)]
    return max(games, key=len)


# Heads and chunks


def test_boards_are_those_of_the_game(snake: Trajectory) -> None:
    plain = shown(snake)
    frames = resimulate(snake).frames
    assert (plain["view"], plain["notes"], len(frames)) == ("boards", [], len(snake) + 1)
    for t, frame in enumerate(frames):
        assert board_at(plain["boards"], t) == frame.reshape(-1).tolist()
    assert set(plain["actions"]) <= {"straight", "left", "right"}
    assert list(plain["scenes"]) == ["boards", "values", "frames"]
    assert plain["numbers"]["names"][-2:] == ["length", "hunger"]


def test_a_game_that_goes_another_way_carries_a_warning(snake: Trajectory) -> None:
    wrong = replace(snake, rewards=np.where(np.arange(len(snake)) == 2, 0.5, snake.rewards))
    plain = shown(wrong)
    assert "from step 2 on" in plain["notes"][0]
    assert (len(plain["boards"]["changes"]), plain["diverged_at"]) == (2, 2)
    assert "from step 2 on" in stills.trajectory(plain)
    assert Opened(wrong).frames(0, 10)["diverged_at"] == 2
    unseeded = shown(replace(snake, seed=None))
    assert unseeded["view"] == "values"
    assert "without a seed" in unseeded["notes"][0]


def test_a_head_stays_small_and_its_chunks_give_all_of_a_hundred_thousand_steps() -> None:
    steps = 100_000
    rng = np.random.default_rng(0)
    table = rng.normal(size=(steps + 1, 8)).astype(np.float32)
    rewards = rng.random(steps)
    infos = [{"lives": 3 - t // 40_000} for t in range(steps)]
    opened = Opened(made(table, actions=np.arange(steps) % 4, rewards=rewards, infos=infos))
    head = opened.head()
    assert len(sent(head)) < 400_000
    assert (head["length"], head["view"], len(head["numbers"]["lines"])) == (steps, "values", 8)
    assert sum(head["overview"]["sum"]) == pytest.approx(rewards.sum(), rel=1e-4)
    size = head["scenes"]["values"]
    last = opened.chunk("values", (steps - 1) // size)
    assert last["start"] + last["shown"] == steps
    assert last["values"][-1] == pytest.approx(table[-1].tolist(), rel=1e-4)
    assert last["before"] == pytest.approx(rewards[: last["start"]].sum(), rel=1e-4)
    middle = opened.chunk("values", 7)
    assert middle["start"] == 7 * size
    assert middle["rewards"] == pytest.approx(rewards[7 * size : 8 * size].tolist(), rel=1e-4)
    assert [e[:2] for e in head["events"]] == [[40_000, "change"], [80_000, "change"], [steps, "end"]]
    assert head["events"][0][2] == "lives 3 → 2"


@pytest.mark.parametrize(
    ("observations", "scenes"),
    [
        (["a", "b"], ["text"]),
        (["\x1b[31mred", "\x1b[2J"], ["terminal", "text"]),
        (np.zeros((2, 3)), ["values"]),
        ([1, 2], ["values"]),
        (np.zeros((2, 16, 16, 3), np.uint8), ["images"]),
        (np.zeros((2, 4, 84, 84), np.uint8), ["images"]),
        (np.zeros((2, 7, 7, 3), np.uint8), ["values"]),
        ([{"a": 1}, {"a": 2}], ["tree"]),
        (["text", {"a": 1}], ["text", "tree"]),
        ([None, None], ["tree"]),
        ([np.zeros(2), np.zeros(3)], ["tree"]),
    ],
)
def test_scenes_follow_from_what_was_observed(observations: Any, scenes: list[str]) -> None:
    opened = Opened(made(observations))
    assert list(opened.scenes) == scenes
    for scene in scenes:
        chunk = opened.chunk(scene, 0)
        kind = {"terminal": "texts", "text": "texts", "tree": "trees"}.get(scene, scene)
        assert len(chunk[kind]) == 2
        sent(chunk)


def test_a_trajectory_without_a_step_and_of_one_step() -> None:
    for observations in (["only this"], np.zeros((1, 2)), ["one", "two"]):
        opened = Opened(made(observations))
        head = opened.head()
        steps = len(observations) - 1
        assert head["length"] == head["shown"] == steps
        assert head["events"] == [[steps, "end", "terminated"]]
        assert opened.chunk(head["view"], 5)["shown"] == 0
        sent(head)
        stills.trajectory(head)


def test_what_no_json_holds_is_told_in_words() -> None:
    odd = made(
        ["lone \ud800 surrogate", "\udfff"],
        actions=["act \ud83d"],
        rewards=np.array([np.nan]),
        infos=[{"bad\ud800": float("inf"), "big": 2**80, "deep": {"x": [1]}}],
        agent="a\ud800",
        tags=("t\ud800",),
    )
    opened = Opened(odd)
    head = opened.head()
    sent(head)
    assert head["return"] is None
    assert head["rewards"] == [None]
    assert "1 of 1 rewards are NaN or infinite" in head["notes"][0]
    assert opened.head() == head
    assert head["texts"] == ["lone \\ud800 surrogate", "\\udfff"]
    sent(opened.find("surrogate"))
    sent(opened.whole(0))


def test_a_huge_observation_is_never_sent_whole() -> None:
    for huge in (
        np.zeros((2, 25_000_000)),
        np.full((2, 10_000, 10_000), 7, np.uint8),
        ["x" * 100_000_000] * 2,
        [{"deep": np.zeros(25_000_000), "wide": list(range(100_000))}] * 2,
    ):
        opened = Opened(made(huge))
        assert len(sent(opened.head())) < 400_000
        assert len(opened.whole(0)) <= 1_000_000


def test_long_texts_are_cut_and_pixels_beyond_64_left_out() -> None:
    steps = 2_010
    long = made(["x" * 2_000] * (steps + 1), actions=["a"] * steps)
    plain = shown(long)
    assert 10 <= plain["shown"] < 100
    assert len(plain["texts"]) == plain["shown"] + 1
    assert shown(made(["y" * 30_000, ""]))["texts"][0].endswith("…")
    pixels = shown(made(np.zeros((2, 84, 84))))
    assert len(pixels["values"][0]) == 64
    assert "first 64 of 7,056" in pixels["notes"][0]


def test_dicts_become_trees_that_cannot_be_mistaken_for_pictures() -> None:
    nodes = tree({"i": "data:text/html,x", "rows": np.arange(4), "picture": np.zeros((9, 9, 3), np.uint8)})
    assert nodes[0] == "o"
    kinds = {key: node[0] for key, node in nodes[1]}
    assert kinds == {"i": "s", "rows": "a", "picture": "i"}
    wide = tree({str(i): {"x": [1, 2, {"y": i}]} for i in range(5_000)})
    assert wide[2] == 5_000
    assert 50 < len(wide[1]) <= 100
    assert len(sent(wide)) < 100_000
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    sent(tree(deep))
    sent(Opened(made([deep, deep])).whole(0))


def test_documented_names() -> None:
    assert observation_names("CartPole-v1")[:2] == ("Cart Position", "Cart Velocity")
    assert action_names("CartPole-v1") == ("Push cart to the left", "Push cart to the right")
    assert len(observation_names("aigym/Snake-v0")) == 25
    assert observation_names("no/Such-v0") == action_names("no/Such-v0") == ()
    plain = shown(made(np.zeros((3, 4)), actions=np.array([0, 1]), env_id="CartPole-v1"))
    assert plain["actions"] == ["Push cart to the left", "Push cart to the right"]


# Overview and events


def test_the_overview_keeps_peaks_and_sums() -> None:
    rewards = np.zeros(12_345)
    rewards[7_000], rewards[9_999], rewards[3] = 5.0, -2.0, np.nan
    found = overview.rewards(rewards)
    assert len(found["sum"]) == overview.BUCKETS
    assert (max(found["high"]), min(found["low"]), sum(found["sum"])) == (5.0, -2.0, 3.0)  # type: ignore[type-var, arg-type]
    kinds = [event[:2] for event in overview.events(made([0] * 12_346, rewards=rewards))]
    assert kinds == [[3, "loss"], [7_000, "gain"], [9_999, "loss"], [12_345, "end"]]


def test_shades_stand_for_many_numbers() -> None:
    table = np.column_stack([np.arange(1_000), np.full(1_000, np.nan), *np.zeros((18, 1_000))])
    found = overview.numbers(table, ["ramp"])
    shades = np.frombuffer(base64.b64decode(found["shades"]["data"]), np.uint8).reshape(20, -1)
    assert (shades[0, 0] < 5, shades[0, -1] > 250, set(shades[1])) == (True, True, {0})
    assert found["names"][:2] == ["ramp", "1"]
    assert found["shades"]["ranges"][1] == [None, None]


def test_events_tell_errors_calls_and_the_end() -> None:
    said = made(
        ["go", "Traceback (most recent call last):\n  File x\nNameError: name 'y'", "done"],
        actions=["a", "b"],
        infos=[{}, {"error": "no such file"}],
        messages=[Message(role="assistant", step=1, tool_calls=(ToolCall(id="1", name="bash"),))],
        terminated=False,
        truncated=True,
        final_info={"outcome": "given up"},
    )
    assert overview.events(said) == [
        [1, "error", "error: no such file"],
        [1, "error", "NameError: name 'y'"],
        [1, "tool", "calls bash"],
        [2, "end", "truncated: given up"],
    ]


def test_many_events_are_thinned() -> None:
    infos = [{"phase": t // 10} for t in range(60_000)]
    found = overview.events(made([0] * 60_001, infos=infos))
    assert len(found) <= overview.MAX_EVENTS
    assert found == sorted(found, key=lambda event: event[0])


# Pictures


def decoded(file: bytes) -> np.ndarray[Any, Any]:
    """The pixels of a PNG as this package writes them."""
    assert file.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = (int.from_bytes(file[i : i + 4], "big") for i in (16, 20))
    channels = {0: 1, 2: 3, 6: 4}[file[25]]
    length = int.from_bytes(file[33:37], "big")
    rows = np.frombuffer(zlib.decompress(file[41 : 41 + length]), np.uint8).reshape(height, -1)
    assert set(rows[:, 0]) == {2}
    return np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8).reshape(height, width, channels)


def test_a_png_holds_the_pixels() -> None:
    rng = np.random.default_rng(0)
    for shape in ((9, 13), (9, 13, 3), (9, 13, 4)):
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        assert (decoded(pictures.png(pixels)).reshape(shape) == pixels).all()


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((20, 30), (20, 30)),
        ((20, 30, 1), (20, 30)),
        ((20, 30, 3), (20, 30, 3)),
        ((3, 20, 30), (20, 30, 3)),
        ((4, 20, 30), (20, 120)),
        ((20, 30, 4), (20, 120)),
        ((4, 20, 30, 3), (20, 120, 3)),
        ((2_000, 1_000, 3), (333, 166, 3)),
        ((8, 100_000), None),
    ],
)
def test_what_counts_as_a_picture(shape: tuple[int, ...], size: tuple[int, ...] | None) -> None:
    found = pictures.picture(np.zeros(shape, np.uint8))
    assert found is not None
    assert size is None or found.shape == size
    assert found.shape[0] <= pictures.MAX_HEIGHT
    assert found.shape[1] <= pictures.MAX_WIDTH


def test_what_is_none() -> None:
    for other in (np.zeros((20, 20)), np.zeros((7, 7, 3), np.uint8), np.zeros(128, np.uint8), "text", None):
        assert pictures.picture(other) is None
    opaque = np.full((16, 16, 4), 255, np.uint8)
    found = pictures.picture(opaque)
    assert found is not None
    assert found.shape == (16, 16, 4)


# Playing again


class Boarded(gymnasium.Env[Any, Any]):
    """Has a board of any kind."""

    def __init__(self, board: Any = None) -> None:
        self._board = board

    def board(self) -> Any:
        return self._board

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return 0, {}

    def step(self, action: Any) -> Any:
        return 0, 0.0, True, False, {}


class Strange(gymnasium.Env[Any, Any]):
    """Renders; and does what its arguments say."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, render_mode: str | None = None, fault: str = "") -> None:
        self.observation_space = gymnasium.spaces.Box(0, 1e9, (1,), np.float64)
        self.action_space = gymnasium.spaces.Discrete(2)
        self.render_mode, self.fault, self.t = render_mode, fault, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return np.array([0.0]), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        while self.fault == "hang" and self.t == 3:
            time.sleep(0.01)
        if self.fault == "raise" and self.t == 3:
            raise RuntimeError("out of order")
        if self.fault == "slow" and self.t == 9:
            time.sleep(0.3)
        return np.array([float(self.t)]), 0.0, False, False, {}

    def render(self) -> Any:
        if self.fault == "package":
            raise gymnasium.error.DependencyNotInstalled("no pygame here, run `pip install pygame`")
        return np.full((60, 80, 3), self.t % 256, np.uint8)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still is no slow environment."""
    monkeypatch.setattr(playback, "PATIENCE_S", 60.0)


@pytest.fixture(scope="module", autouse=True)
def strange() -> Iterator[None]:
    for name, kind in (("test/Strange-v0", Strange), ("test/Boarded-v0", Boarded)):
        gymnasium.register(name, kind, disable_env_checker=True, order_enforce=False)
    yield
    del gymnasium.registry["test/Strange-v0"], gymnasium.registry["test/Boarded-v0"]


def test_a_board_that_is_none_is_told_and_the_record_shown() -> None:
    for board in (np.zeros((2, 2, 2), int), np.zeros((2, 2)), np.zeros((1_000, 1_000), int), "board", None):
        head = shown(made([0, 0], env_id="test/Boarded-v0", seed=1, env_kwargs={"board": board}))
        assert head["view"] == "values"
        assert "not whole numbers in rows and columns" in head["notes"][0]
    good = shown(made([0, 0], env_id="test/Boarded-v0", seed=1, env_kwargs={"board": [[1, -1], [0, 9]]}))
    assert (good["view"], good["boards"]["first"]) == ("boards", [1, -1, 0, 9])


def walked(steps: int = 100, fault: str = "") -> Trajectory:
    """What `Strange` gives for so many steps, without its faults."""
    seen = np.arange(steps + 1.0).reshape(-1, 1)
    return made(seen, env_id="test/Strange-v0", seed=1, env_kwargs={"fault": fault}, terminated=False)


def shade(uri: str) -> int:
    return int(decoded(base64.b64decode(uri.partition(",")[2]))[0, 0, 0])


def test_frames_are_rendered_as_they_are_looked_at() -> None:
    opened = Opened(walked())
    assert list(opened.scenes) == ["values", "frames"]
    assert [shade(uri) for uri in opened.frames(40, 45)["images"]] == [40, 41, 42, 43, 44]
    assert [shade(uri) for uri in opened.frames(0, 2)["images"]] == [0, 1]
    assert [shade(uri) for uri in opened.frames(99, 140)["images"]] == [99, 100]


def test_frames_end_where_the_game_goes_another_way() -> None:
    good = walked(20)
    seen = np.array(good.observations)
    seen[8:] += 1
    got = Opened(replace(good, observations=seen)).frames(0, 20)
    assert (len(got["images"]), got["diverged_at"]) == (8, 7)


def test_one_that_raises_or_lacks_a_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AigymError, match="RuntimeError: out of order"):
        Opened(walked(fault="raise")).frames(0, 10)
    with pytest.raises(AigymError, match="pip install"):
        Opened(walked(fault="package")).frames(0, 10)
    with pytest.raises(AigymError, match="renders no pictures"):
        Opened(made(["a", "b"])).frames(0, 10)


def test_one_that_hangs_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playback, "HANGS_S", 0.3)
    opened = Opened(walked(fault="hang"))
    with pytest.raises(AigymError, match="hangs"):
        opened.frames(0, 10)
    with pytest.raises(AigymError, match="hangs"):
        opened.frames(0, 2)


def test_a_slow_one_comes_as_far_as_it_can_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(playback, "PATIENCE_S", 0.1)
    opened = Opened(walked(30, fault="slow"))
    got = opened.frames(25, 30)
    assert got["reached"] <= 9, "the step in which its time was over is the last"
    while "reached" in got:
        got = opened.frames(25, 30)
    assert [shade(uri) for uri in got["images"]] == [25, 26, 27, 28, 29]


def test_an_environment_that_is_not_here_still_shows_its_record() -> None:
    opened = Opened(made(np.zeros((5, 2)), seed=3, env_id="nowhere/Gone-v0"))
    assert list(opened.scenes) == ["values"]
    assert opened.head()["notes"] == []


# Finding, and what the explorer answers


def test_a_text_is_found_in_all_steps() -> None:
    steps = 3_000
    long = made(
        [f"observation {t}" for t in range(steps + 1)],
        actions=[f"Eat an Apple {t}" if t % 1_000 == 7 else "wait" for t in range(steps)],
        infos=[{"note": "apple pie"} if t == 5 else {} for t in range(steps)],
        messages=[Message(role="assistant", content="An APPLE a day", step=9)],
    )
    found = Opened(long).find("apple")
    assert found["count"] == 5
    assert [hit[:2] for hit in found["hits"]] == [
        [5, "info"],
        [7, "action"],
        [9, "message"],
        [1_007, "action"],
        [2_007, "action"],
    ]
    assert "An APPLE a day" in found["hits"][2][2]
    assert Opened(long).find("")["count"] == 0
    many = Opened(long).find("observation")
    assert (many["count"], len(many["hits"])) == (steps + 1, 2_000)


def asked(explorer: Explorer, what: str, **arguments: Any) -> Any:
    got = answer(explorer, {"ask": "x-1", "what": what, **arguments})
    sent(got)
    return got


def test_the_explorer_answers_for_its_pane(store_dir: Path) -> None:
    (played,) = rollout(random_agent(make("aigym/Snake-v0").action_space, seed=0), "aigym/Snake-v0", n=1)
    explorer = explore()
    chunk = asked(explorer, "steps", id=played.id, scene="values", chunk=0)["value"]
    assert len(chunk["values"]) == len(played) + 1
    frames = asked(explorer, "frames", id=played.id, **{"from": 0, "to": 3})["value"]
    assert len(frames["images"]) == 3
    whole = json.loads(asked(explorer, "step", id=played.id, t=0)["value"])
    assert whole["observation"] == pytest.approx(np.asarray(played.observations[0]).tolist())
    assert asked(explorer, "find", id=played.id, text="apples")["value"]["count"] > 0
    assert "unknown trajectory" in asked(explorer, "steps", id="none", scene="values", chunk=0)["error"]
    assert "chunk=-1" in asked(explorer, "steps", id=played.id, scene="values", chunk=-1)["error"]
    assert "no step" in asked(explorer, "step", id=played.id, t=10**9)["error"]


def test_tags_and_notes_land_in_the_store_and_in_the_saved_state(store_dir: Path) -> None:
    (played,) = rollout(random_agent(make("aigym/Snake-v0").action_space, seed=0), "aigym/Snake-v0", n=1)
    explorer = explore()
    assert asked(explorer, "tag", id=played.id, add=["odd", "keep"])["value"]["tags"] == ["odd", "keep"]
    assert asked(explorer, "tag", id=played.id, remove=["keep"])["value"]["tags"] == ["odd"]
    said = asked(explorer, "note", id=played.id, text="turns <b>late</b>", by="ada")["value"]["said"]
    assert [(note["text"], note["by"]) for note in said] == [("turns <b>late</b>", "ada")]
    assert (explorer.trajectory["tags"], explorer.trajectory["said"]) == (["odd"], said)
    again = explorer.store.load(played.id)
    assert again.tags == ("odd",)
    explorer.store.tag(played.id, "later")
    explorer.selected = ""
    explorer.selected = played.id
    assert explorer.trajectory["tags"] == ["odd", "later"]
    assert [note.text for note in again.notes] == ["turns <b>late</b>"]
    assert "error" in asked(explorer, "note", id=played.id, text="  ")
    assert "error" in asked(explorer, "tag", id=played.id, add=["x" * 300])


def test_cutting_says_so() -> None:
    assert cut("abcdef", 4) == "abc…"
    assert cut("abc", 0) == ""
    assert Note(text="x").at > 0
