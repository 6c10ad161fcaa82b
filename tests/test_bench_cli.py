"""``aigym bench run | resume | status | stop``: what is typed, what is said, what is returned."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import benches
import pytest
from bench_commands import aigym, lines_until, notebook
from click.testing import CliRunner

from aigym_kernel.bench import holding, records
from aigym_kernel.bench.handle import load_bench
from aigym_kernel.cli import main
from aigym_kernel.cli.bench import _megabytes, _seconds
from aigym_kernel.cli.spread import spread
from aigym_kernel.errors import BenchError

pytestmark = pytest.mark.usefixtures("store_dir")

SCORES = (
    'algo: str = "ppo"\nseed: int = 0\nshift: float = 0.0',
    (
        "import aigym_kernel as aigym\n"
        'assert algo != "bad", "no such algorithm"\n'
        "aigym.report(score=seed + shift + len(algo))"
    ),
)
WAITS = (
    'go: str = ""',
    "import pathlib, time\nwhile not pathlib.Path(go).exists():\n    time.sleep(0.05)",
)


def said(*arguments: object) -> str:
    """What a command that is a mistake says, in one line."""
    outcome = CliRunner().invoke(main, ["bench", *map(str, arguments)])
    assert outcome.exit_code == 2, outcome.output
    lines = outcome.stderr.strip().splitlines()
    assert len([line for line in lines if line.lower().startswith("error")]) == 1, lines
    assert "Traceback" not in outcome.output
    return lines[-1]


def test_options_take_the_values_that_follow() -> None:
    typed = [
        "n.ipynb",
        "-p",
        "algo",
        "ppo",
        "dqn",
        "-p",
        "lr",
        "-1",
        "-.5",
        "-1e-3",
        "--workers",
        "2",
        "--seeds",
        "0..4",
        "7",
        "--json",
    ]
    rest, found = spread(typed, ("-p", "--seeds"))
    assert rest == ["n.ipynb", "--workers", "2", "--json"]
    assert found == [
        ("-p", ["algo", "ppo", "dqn"]),
        ("-p", ["lr", "-1", "-.5", "-1e-3"]),
        ("--seeds", ["0..4", "7"]),
    ]
    assert spread(["-p", "a", "1", "--", "-p", "n.ipynb"], ("-p",)) == (
        ["--", "-p", "n.ipynb"],
        [("-p", ["a", "1"])],
    )


def test_times_and_sizes() -> None:
    assert [_seconds(text) for text in ("90", "90s", "30m", "1h30m", "0.5h")] == [90, 90, 1800, 5400, 1800]
    assert [_megabytes(text) for text in ("500", "500M", "4 GB", "1.5GiB", "2g")] == [
        500,
        500,
        4096,
        1536,
        2048,
    ]
    for read, text in (
        (_seconds, "soon"),
        (_seconds, ""),
        (_megabytes, "much"),
        (_megabytes, "4X"),
        (_megabytes, "4B"),
    ):
        with pytest.raises(BenchError, match="write a"):
            read(text)


def test_mistakes_are_one_clear_line_and_nothing_begins(tmp_path: Path, store_dir: Path) -> None:
    path = notebook(tmp_path / "scores.ipynb", *SCORES)
    assert "give a NOTEBOOK, before -p" in said("run")
    assert "give a NOTEBOOK, before -p" in said("run", "-p", "seed", "0", path)
    assert "-p seed: write the parameter's name and its values" in said("run", path, "-p", "seed")
    assert "-p seed is given twice" in said("run", path, "-p", "seed", 1, "-p", "seed", 2)
    assert "--seeds: give it once" in said("run", path, "--seeds")
    assert "Did you mean 'seed'?" in said("run", path, "-p", "sed", "0..4")
    assert "parameter seed is int" in said("run", path, "-p", "seed", "many")
    assert "--timeout 'soon': write a time" in said("run", path, "--timeout", "soon")
    assert "--disk '3x': write a size" in said("run", path, "--disk", "3x")
    assert "memory_mb=4 was read as 4 MB, " in (little := said("run", path, "--memory", "4"))
    assert little.endswith("for 4 GB write --memory 4G, or memory_mb=4096")
    assert "--metric 'score:down': write NAME" in said("run", path, "--metric", "score:down")
    assert "is no METRIC OP NUMBER" in said("run", path, "--fail-on", "score")
    assert "unknown metric 'scor'. Did you mean 'score'?" in said(
        "run", path, "--metric", "score", "--fail-on", "scor < 1"
    )
    assert "unknown suite 'smok'" in said("run", "--suite", "smok")
    assert "does nothing without --executor ray" in said("run", path, "--ray-address", "a:1")
    assert "each cell asks for 1000 GPUs" in said("run", path, "--gpus", 1000)
    assert "No such option '--worker'" in said("run", path, "--worker", 2)
    assert "unknown bench 'scoers'. Did you mean 'scores'?" in said("status", "scoers")
    assert not list(store_dir.glob("benches/*/cells"))


def test_a_grid_is_run_shown_and_run_again_where_it_failed(tmp_path: Path) -> None:
    path = notebook(tmp_path / "scores.ipynb", *SCORES)
    arguments = ["run", path, "-p", "algo", "ppo", "bad", "-p", "shift", "-1", "--seeds", "1..1"]
    process = aigym(*arguments, "--workers", 2, "--fail-on", "score < 3.5", "--json")
    out, err = process.communicate()
    assert process.returncode == 1
    found = json.loads(out)
    assert (found["bench"], found["state"], found["counts"]) == ("scores", "failed", {"done": 1, "failed": 1})
    [good, bad] = found["cells"]
    assert (good["label"], good["state"], good["metrics"]) == ("algo=ppo", "done", {"score": 3.0})
    assert (bad["state"], bad["reason"], bad["attempts"]) == ("failed", "error", 1)
    assert "AssertionError: no such algorithm" in bad["error"]
    for line in (
        "bench scores: 2 cells, 0 skipped (done before), 2 to run by 2 workers; folder ",
        "algo=bad: failed after ",
        "bench scores: 1 done, 1 failed",
        "see: aigym bench leaderboard scores, aigym bench report scores",
        "failed: score of ppo on scores is 3 (one cell), and score < 3.5 is a failure",
    ):
        assert line in err
    shown = CliRunner().invoke(main, ["bench", "status"]).output
    assert "scores: failed, 1 of 2 cells done (1 done, 1 failed)" in shown
    assert "cell              parameters  state   attempts  progress  seconds  reason" in shown
    assert json.loads(CliRunner().invoke(main, ["bench", "status", "scores", "--json"]).output) == found
    assert CliRunner().invoke(main, ["bench", "stop"]).output == "scores: nobody works on it\n"
    # The good half alone, which is done: nothing is left to run.
    half = ["run", path, "-p", "algo", "ppo", "-p", "shift", "-1", "--seeds", 1, "--fail-on", "score < 3"]
    ended = CliRunner().invoke(main, ["bench", *map(str, half)])
    assert ended.exit_code == 0, ended.output
    assert "scores: done, 1 of 1 cells done (1 skipped)" in ended.stdout
    # Both again: what the smaller plan did not ask for is still there.
    assert CliRunner().invoke(main, ["bench", *map(str, arguments)]).exit_code == 1
    assert [tried.n for status in load_bench().state().statuses.values() for tried in status.attempts] == [
        1,
        1,
        2,
    ]


def test_a_bench_goes_on_when_nobody_reads_its_lines(tmp_path: Path) -> None:
    path = notebook(tmp_path / "scores.ipynb", *SCORES)
    process = aigym("run", path, "--seeds", "0..1", "--workers", 1)
    lines_until(process, "started")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stderr.close()
    assert "scores: done, 2 of 2 cells done" in process.stdout.read()
    assert process.wait() == 0


def test_stop_reaches_a_verification(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    benches.write(folder)
    place = folder / "verify" / "20260101-000000"
    hold = holding.take(place)
    answers = [CliRunner().invoke(main, ["bench", "stop", str(folder)]).output]
    assert holding.stop_asked(place)
    hold.release()
    answers.append(CliRunner().invoke(main, ["bench", "stop", str(folder)]).output)
    assert answers == ["b: its verification is asked to stop\n", "b: nobody works on it\n"]


def test_stop_from_elsewhere_and_resume_from_a_folder(tmp_path: Path) -> None:
    go, out = tmp_path / "go", tmp_path / "elsewhere"
    path = notebook(tmp_path / "waits.ipynb", *WAITS, "import aigym_kernel as aigym\naigym.report(score=1)")
    process = aigym("run", path, "-p", "go", go, "--out", out, "--memory", "4G", "--timeout", "5m")
    lines_until(process, "started")
    assert (records.read(out).plan.budget.memory_mb, records.read(out).plan.budget.timeout_s) == (4096, 300)
    answer = CliRunner().invoke(main, ["bench", "stop", str(out), "--json"]).output
    assert json.loads(answer) == {"bench": "elsewhere", "asked": True}
    process.communicate()
    assert process.returncode == 130
    assert load_bench().folder == out
    resumed = aigym("resume")
    lines_until(resumed, "started (attempt 2)")
    resumed.send_signal(signal.SIGTERM)
    _, err = resumed.communicate()
    assert resumed.returncode == 130
    assert f"bench elsewhere: 1 interrupted; go on with: aigym bench resume {out}\n" in err
    [status] = records.read(out).statuses.values()
    assert [(tried.state, tried.reason) for tried in status.attempts] == [("interrupted", "stopped")] * 2
