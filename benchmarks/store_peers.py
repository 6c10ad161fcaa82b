"""What people read trajectories from today, asked the same questions as the store, in the same run.

    .venv/bin/python benchmarks/store_peers.py [--trajectories 10000] [--rounds 5] [--folder FOLDER]

From `benchmarks/store.py`: ``rows = compare(folder, Size(...), rounds=5)``; each row is a system's median for
a question with the ratio to ours. `peers()` and `ours()` are what is compared: each system writes the very
same trajectories once, then answers; the order is drawn anew each round, and every answer is checked
against ours before it counts. All run in this process, one at a time.

    aigym              a Store with its index; answers by load, page, sql
    pandas on JSONL    a file per run, a line per trajectory; pandas.read_json(lines=True), each time
    pandas in memory   the same, read beforehand: neither its reading nor its memory is counted
    Minari             a data set per run, in its default form (HDF5: wants h5py); iterate_episodes
    inspect_ai         an .eval log for every ten conversations; inspect_ai.analysis.messages_df, in parallel

Not every system has every question: Minari holds numbers only, Inspect logs conversations only. What cannot
be imported is left out and named.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aigym_kernel.store import RunRecord, Store
from aigym_kernel.trajectories import Message, ToolCall, Trajectory, conversation

MODELS = ("model-a", "model-b")
PAGE = 50
LOGGED = 10  # conversations per Inspect log

Answers = Mapping[str, Callable[[], Any]]


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is written: ``trajectories`` of ``steps`` steps each of ``observation`` numbers over ``runs``
    runs, and ``conversations`` of ``messages`` messages."""

    trajectories: int = 10_000
    steps: int = 100
    observation: int = 8
    runs: int = 10
    conversations: int = 500
    messages: int = 20


@dataclass(frozen=True, kw_only=True)
class System:
    """One way of keeping trajectories. ``write`` puts those of a size into an empty folder; ``ask`` opens
    them and gives a function for each question that it can answer: ``one``, ``page``, ``mean``,
    ``messages``."""

    name: str
    write: Callable[[Path, Size], None]
    ask: Callable[[Path, Size], Answers]


def recorded(size: Size) -> Iterator[tuple[str, list[Trajectory]]]:
    """The trajectories, run by run; always the same for one size."""
    for number in range(size.runs):
        draw = np.random.default_rng(number)
        found = []
        for i in range(size.trajectories // size.runs):
            # Shaped like CartPole: what a step gives is drawn, so that all returns differ.
            found.append(
                Trajectory(
                    id=f"{number:04d}{i:012d}",
                    env_id="CartPole-v1",
                    agent="ppo",
                    observations=draw.standard_normal((size.steps + 1, size.observation)).astype(np.float32),
                    actions=draw.integers(0, 2, size.steps),
                    rewards=draw.random(size.steps),
                    terminated=bool(i % 3),
                    truncated=not i % 3,
                    seed=i,
                    started_at=1_700_000_000.0 + i,
                )
            )
        yield f"run-{number}", found


def said(size: Size) -> Iterator[Trajectory]:
    """The conversations; every third answer calls a tool."""
    draw = random.Random(0)
    words = [f"word{i}" for i in range(2_000)]
    for number in range(size.conversations):
        messages = []
        for i in range(size.messages):
            text = " ".join(draw.choices(words, k=60))
            if i % 2 == 0:
                messages.append(Message(role="user", content=text))
            elif i % 3 == 0:
                call = ToolCall(id=f"c{i}", name="bash", arguments={"command": f"ls {i}"})
                messages.append(Message(role="assistant", content=text, tool_calls=(call,)))
            else:
                messages.append(Message(role="assistant", content=text))
        yield conversation(
            messages, env_id="aigym/chat", agent=MODELS[number % 2], id=f"chat{number:08d}", terminated=True
        )


def chosen(size: Size) -> list[str]:
    """The ids that are asked for, one after the other."""
    draw = random.Random(1)
    per_run = size.trajectories // size.runs
    return [f"{draw.randrange(size.runs):04d}{draw.randrange(per_run):012d}" for _ in range(1_000)]


def _total(rewards: Any) -> float:
    return round(float(np.sum(rewards)), 6)


# Ours


def write_store(folder: Path, size: Size) -> None:
    store = Store(folder)
    for run_id, trajectories in recorded(size):
        store.add_run(RunRecord(run_id=run_id, kind="train", name=run_id))
        with store.writer(run_id) as writer:
            for trajectory in trajectories:
                writer.trajectory(trajectory)
    store.add_run(RunRecord(run_id="chats", kind="rollout", name="chats"))
    with store.writer("chats") as writer:
        for trajectory in said(size):
            writer.trajectory(trajectory)
    store.index()


def ask_store(folder: Path, size: Size) -> Answers:
    store, ids = Store(folder), iter(chosen(size))

    def one() -> Any:
        trajectory = store.load(next(ids))
        return [trajectory.id, _total(trajectory.rewards), len(trajectory.observations)]

    def page() -> Any:
        where = {"truncated": True, "env_id": "CartPole-v1"}
        found = store.page(where=where, order_by="return", limit=PAGE)
        return [row["trajectory_id"] for row in found.rows]

    def mean() -> Any:
        query = "SELECT run_id, avg(return) AS mean FROM trajectories WHERE run_id <> 'chats' GROUP BY 1"
        return {run_id: round(value, 6) for run_id, value in store.sql(query).itertuples(index=False)}

    def messages() -> Any:
        frame = store.sql(
            "SELECT m.trajectory_id, m.role, m.content, m.tool_calls FROM messages m "
            "JOIN trajectories t USING (run_id, trajectory_id) WHERE t.agent = ? ORDER BY ALL",
            [MODELS[0]],
        )
        return [len(frame), int(frame["content"].str.len().sum())]

    return {"one": one, "page": page, "mean": mean, "messages": messages}


# pandas


def write_jsonl(folder: Path, size: Size) -> None:
    for run_id, trajectories in recorded(size):
        with (folder / f"{run_id}.jsonl").open("w") as file:
            for t in trajectories:
                line = {
                    "trajectory_id": t.id,
                    "run_id": run_id,
                    "env_id": t.env_id,
                    "agent": t.agent,
                    "truncated": t.truncated,
                    "observations": t.observations.tolist(),
                    "actions": t.actions.tolist(),
                    "rewards": t.rewards.tolist(),
                }
                print(json.dumps(line), file=file)
    with (folder / "chats.jsonl").open("w") as file:
        for t in said(size):
            messages = [
                {"role": m.role, "content": m.content, "tool_calls": [c.name for c in m.tool_calls]}
                for m in t.messages
            ]
            print(json.dumps({"trajectory_id": t.id, "agent": t.agent, "messages": messages}), file=file)


def _frame(folder: Path) -> Any:
    import pandas

    # Ids of digits alone are text all the same.
    kinds = {"trajectory_id": str}
    files = sorted(folder.glob("run-*.jsonl"))
    return pandas.concat([pandas.read_json(p, lines=True, dtype=kinds) for p in files], ignore_index=True)


def _chats(folder: Path) -> Any:
    import pandas

    return pandas.read_json(folder / "chats.jsonl", lines=True)


def _ask_frames(frame: Callable[[], Any], chats: Callable[[], Any], size: Size) -> Answers:
    import pandas

    ids = iter(chosen(size))

    def one() -> Any:
        wanted, all_of_it = next(ids), frame()
        row = all_of_it[all_of_it["trajectory_id"] == wanted].iloc[0]
        return [row["trajectory_id"], _total(row["rewards"]), len(np.asarray(row["observations"]))]

    def page() -> Any:
        all_of_it = frame()
        some = all_of_it[all_of_it["truncated"]]
        returns = some["rewards"].map(sum)
        return list(some.loc[returns.sort_values(ascending=False).index[:PAGE], "trajectory_id"])

    def mean() -> Any:
        all_of_it = frame()
        means = all_of_it["rewards"].map(sum).groupby(all_of_it["run_id"]).mean()
        return {run_id: round(value, 6) for run_id, value in means.items()}

    def messages() -> Any:
        every = chats()
        some = every[every["agent"] == MODELS[0]].explode("messages", ignore_index=True)
        flat = pandas.json_normalize(some["messages"].tolist())
        flat.insert(0, "trajectory_id", some["trajectory_id"])
        return [len(flat), int(flat["content"].str.len().sum())]

    return {"one": one, "page": page, "mean": mean, "messages": messages}


def ask_jsonl(folder: Path, size: Size) -> Answers:
    return _ask_frames(lambda: _frame(folder), lambda: _chats(folder), size)


def ask_frames_in_memory(folder: Path, size: Size) -> Answers:
    frame, chats = _frame(folder), _chats(folder)
    return _ask_frames(lambda: frame, lambda: chats, size)


# Minari


def write_minari(folder: Path, size: Size) -> None:
    import gymnasium
    import minari
    from minari.data_collector import EpisodeBuffer

    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    warnings.filterwarnings("ignore", module="minari")  # it asks for an author
    everything = gymnasium.spaces.Box(-np.inf, np.inf, (size.observation,), np.float32)
    for run_id, trajectories in recorded(size):
        episodes = []
        for i, t in enumerate(trajectories):
            ends = [False] * (len(t) - 1)
            episodes.append(
                EpisodeBuffer(
                    id=i,
                    seed=t.seed,
                    observations=np.asarray(t.observations),
                    actions=np.asarray(t.actions),
                    rewards=t.rewards.tolist(),
                    terminations=[*ends, t.terminated],
                    truncations=[*ends, t.truncated],
                    infos={},
                )
            )
        minari.create_dataset_from_buffers(
            f"{run_id}/all-v0",
            episodes,
            observation_space=everything,
            action_space=gymnasium.spaces.Discrete(2),
        )


def ask_minari(folder: Path, size: Size) -> Answers:
    import minari

    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    ids = iter(chosen(size))
    sets = {f"run-{n}": minari.load_dataset(f"run-{n}/all-v0") for n in range(size.runs)}

    def one() -> Any:
        wanted = next(ids)
        [episode] = sets[f"run-{int(wanted[:4])}"].iterate_episodes([int(wanted[4:])])
        return [wanted, _total(episode.rewards), len(episode.observations)]

    def returns() -> Iterator[tuple[str, Any]]:
        for run_id, data in sets.items():
            yield from ((run_id, episode) for episode in data.iterate_episodes())

    def page() -> Any:
        some = [
            (-float(np.sum(e.rewards)), f"{int(run_id[4:]):04d}{e.id:012d}")
            for run_id, e in returns()
            if e.truncations[-1]
        ]
        return [trajectory_id for _, trajectory_id in sorted(some)[:PAGE]]

    def mean() -> Any:
        found: dict[str, list[float]] = {}
        for run_id, episode in returns():
            found.setdefault(run_id, []).append(float(np.sum(episode.rewards)))
        return {run_id: round(statistics.fmean(values), 6) for run_id, values in found.items()}

    return {"one": one, "page": page, "mean": mean}


# inspect_ai


def write_inspect(folder: Path, size: Size) -> None:
    from inspect_ai.event import ModelEvent
    from inspect_ai.log import EvalConfig, EvalDataset, EvalLog, EvalSample, EvalSpec, write_eval_log
    from inspect_ai.model import (
        ChatCompletionChoice,
        ChatMessageAssistant,
        ChatMessageUser,
        GenerateConfig,
        ModelOutput,
    )
    from inspect_ai.tool import ToolCall as InspectCall

    def message(m: Message, name: str) -> Any:
        if m.role == "user":
            return ChatMessageUser(content=m.text, id=name)
        calls = [InspectCall(id=c.id, function=c.name, arguments=dict(c.arguments)) for c in m.tool_calls]
        return ChatMessageAssistant(content=m.text, tool_calls=calls or None, id=name)

    waiting: dict[str, list[Any]] = {model: [] for model in MODELS}
    number = 0
    for t in said(size):
        messages = [message(m, f"{t.id}-{i}") for i, m in enumerate(t.messages)]
        some = waiting[t.agent]
        # messages_df reads the events; one that holds the whole conversation is the least there can be.
        event = ModelEvent(
            model=f"mockllm/{t.agent}",
            input=messages[:-1],
            tools=[],
            tool_choice="auto",
            config=GenerateConfig(),
            output=ModelOutput(model=t.agent, choices=[ChatCompletionChoice(message=messages[-1])]),
        )
        sample = EvalSample(id=t.id, epoch=1, input=messages[0].text, target="", messages=messages)
        some.append(sample.model_copy(update={"events": [event]}))
        if len(some) == LOGGED:
            spec = EvalSpec(
                created="2026-01-01T00:00:00+00:00",
                task="chat",
                dataset=EvalDataset(),
                model=f"mockllm/{t.agent}",
                config=EvalConfig(),
            )
            log = EvalLog(status="success", eval=spec, samples=list(some))
            write_eval_log(log, folder / f"{number:05d}_chat.eval")
            some.clear()
            number += 1


def ask_inspect(folder: Path, _: Size) -> Answers:
    from inspect_ai.analysis import EvalModel, MessageColumns, messages_df

    def messages() -> Any:
        frame = messages_df(str(folder), columns=[*EvalModel, *MessageColumns], parallel=True, quiet=True)
        frame = frame[frame["model"] == f"mockllm/{MODELS[0]}"]
        return [len(frame), int(frame["content"].str.len().sum())]

    return {"messages": messages}


# Comparing


def ours() -> System:
    return System(name="aigym", write=write_store, ask=ask_store)


def peers() -> list[System]:
    """The systems of others that can be imported here, and one that reads another's files."""
    return [
        System(name="pandas on JSONL", write=write_jsonl, ask=ask_jsonl),
        System(name="pandas in memory", write=write_jsonl, ask=ask_frames_in_memory),
        System(name="Minari", write=write_minari, ask=ask_minari),
        System(name="inspect_ai", write=write_inspect, ask=ask_inspect),
    ]


def compare(folder: Path, size: Size, *, rounds: int) -> list[dict[str, Any]]:
    """Writes everything below ``folder``, asks, and gives a row per system and question: milliseconds
    (median, least) and ``times``, the median as a multiple of ours.

    Raises:
        AssertionError: a system answered otherwise than ours.
    """
    systems = [ours(), *peers()]
    asked: dict[str, Answers] = {}
    for system in systems:
        place = folder / system.write.__name__.removeprefix("write_")
        start = time.perf_counter()
        try:
            if not place.exists():
                place.mkdir(parents=True)
                system.write(place, size)
            asked[system.name] = system.ask(place, size)
        except ImportError as error:
            shutil.rmtree(place)
            print(f"left out: {system.name}: {error}", flush=True)
            continue
        disk = sum(p.stat().st_size for p in place.rglob("*") if p.is_file()) / 1e6
        print(f"{system.name}: ready in {time.perf_counter() - start:.1f} s, {disk:.0f} MB", flush=True)
    taken: dict[tuple[str, str], list[float]] = {}
    order = random.Random(0)
    for number in range(rounds + 1):
        answers: dict[str, dict[str, Any]] = {}
        cells = [(name, question) for name, questions in asked.items() for question in questions]
        order.shuffle(cells)
        for name, question in cells:
            start = time.perf_counter()
            answer = asked[name][question]()
            seconds = time.perf_counter() - start
            answers.setdefault(question, {})[name] = answer
            if number:  # the first round warms up
                taken.setdefault((question, name), []).append(1000 * seconds)
        for question, by_system in answers.items():
            for name, answer in by_system.items():
                assert answer == by_system["aigym"], f"{name} answers {question} otherwise: {answer!r:.200}"
        print(f"round {number} of {rounds}: load {os.getloadavg()[0]:.1f}", flush=True)
    return [
        {
            "question": question,
            "system": name,
            "median_ms": round(statistics.median(values), 1),
            "least_ms": round(min(values), 1),
            "times": round(statistics.median(values) / statistics.median(taken[question, "aigym"]), 2),
        }
        for (question, name), values in sorted(taken.items())
    ]


def show(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        print(
            f"{row['question']:10} {row['system']:18} {row['median_ms']:10.1f} ms "
            f"(least {row['least_ms']:9.1f})  {row['times']:8.2f} times ours"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trajectories", type=int, default=Size.trajectories)
    parser.add_argument("--conversations", type=int, default=Size.conversations)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep what is written here, and use it again")
    given = parser.parse_args()
    size = Size(trajectories=given.trajectories, conversations=given.conversations)
    folder = given.folder or Path(tempfile.mkdtemp(prefix="aigym-peers-"))
    try:
        show(compare(folder, size, rounds=given.rounds))
    finally:
        if given.folder is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
