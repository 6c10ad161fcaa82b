"""The command line: every command, its JSON and its exit codes, in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from aigym_kernel.cli import _Commands, main
from aigym_kernel.recording import new_run
from aigym_kernel.store import RunRecord, RunStatus, Store
from aigym_kernel.tasks import load_task
from aigym_kernel.trajectories import Message, conversation

pytestmark = pytest.mark.usefixtures("store_dir", "sandbox")


COMMAND = [sys.executable, "-m", "aigym_kernel"]


def aigym(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=240,
    )


def answer(*arguments: object, stdin: str = "", code: int = 0) -> Any:
    done = aigym(*arguments, "--json", stdin=stdin)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def said(*arguments: object, stdin: str = "") -> Result:
    """The same as `aigym` in this process: a second less for each."""
    return CliRunner().invoke(main, [*map(str, arguments)], input=stdin)


def here(*arguments: object, stdin: str = "", code: int = 0) -> Any:
    """The same as `answer` in this process."""
    done = said(*arguments, "--json", stdin=stdin)
    assert done.exit_code == code, done.stderr
    return json.loads(done.stdout)


def test_ctrl_c_is_exit_code_130() -> None:
    waits = click.Command("waits", callback=lambda: signal.raise_signal(signal.SIGINT))
    outcome = CliRunner().invoke(_Commands(commands=[waits]), ["waits"])
    assert (outcome.exit_code, outcome.stderr) == (130, "interrupted\n")


@pytest.mark.parametrize("group", [[], ["bench"], ["index"], ["sandbox"], ["store"], ["training"]])
def test_a_list_of_commands_cuts_no_sentence(group: list[str]) -> None:
    listed = CliRunner().invoke(main, [*group, "--help"]).output.partition("Commands:")[2]
    assert listed
    assert "..." not in listed


def test_a_table_shows_the_longest_id_of_a_run_whole(store_dir: Path) -> None:
    run = new_run(Store(), kind="notebook", name="n" * 60, config={})
    assert run.run_id in aigym("runs").stdout


def test_doctor_finds_a_healthy_machine() -> None:
    found = answer("doctor")
    assert found["healthy"] is True
    names = {f["name"]: f["works"] for f in found["findings"]}
    assert names["sandbox bwrap"]
    assert names["tasks"]
    for finding in found["findings"]:
        assert finding["works"] or finding["bring"], finding


def test_doctor_says_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGYM_TASKS", str(tmp_path))
    done = said("doctor")
    assert "-- " in done.stdout
    assert "set AIGYM_TASKS" in done.stdout


@pytest.mark.parametrize(
    ("variable", "value", "bring"),
    [("FORCE_DEVICE", "warp", "FORCE_DEVICE"), ("AIGYM_SANDBOX", "jail", "one of bwrap, docker")],
)
def test_doctor_survives_a_wrong_setting(
    variable: str, value: str, bring: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    found = here("doctor", code=1)
    [wrong] = [f for f in found["findings"] if value in f["found"] + f["bring"]]
    assert bring in wrong["bring"]


def test_tasks_and_one_task() -> None:
    table = here("tasks")
    assert len(table) >= 8
    assert {"two-sum", "mend-ledger"} <= {row["id"] for row in table}
    task = here("tasks", "two-sum")
    assert "two_sum" in task["prompt"]
    assert "expected" not in json.dumps(task)


def test_a_task_that_is_left_out_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "task.yaml").write_text("[]")
    monkeypatch.setenv("AIGYM_TASKS", str(tmp_path))
    [line] = aigym("tasks").stderr.splitlines()
    assert line.startswith("warning: task odd is left out: ")


def test_judge_passes_fails_and_refuses(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(load_task("two-sum").reference[0], encoding="utf-8")
    bad.write_text("def two_sum(numbers, target): return []", encoding="utf-8")
    assert answer("judge", "two-sum", good)["total"] == 1.0
    score = here("judge", "two-sum", bad, code=1)
    assert score["passed"] is False
    assert score["marks"][0]["feedback"]
    unknown = said("judge", "two-summ", good)
    assert unknown.exit_code == 2
    assert "Did you mean 'two-sum'" in unknown.stderr
    assert said("judge", "two-sum", tmp_path / "absent.py").exit_code == 2


def test_no_sandbox_is_not_a_wrong_solution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    (tmp_path / "s.py").write_text("x = 1", encoding="utf-8")
    done = aigym("judge", "two-sum", tmp_path / "s.py", "--sandbox", "docker")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_exec_reports_what_happened(tmp_path: Path) -> None:
    program = tmp_path / "p.py"
    program.write_text("import sys; print(input()); sys.exit(int(input()))", encoding="utf-8")
    result = answer("exec", program, stdin="hello\n0\n")
    keys = {"status", "exit_code", "stdout", "stderr", "wall_s", "cpu_s", "peak_memory_mb"}
    assert keys <= set(result)
    assert (result["status"], result["stdout"]) == ("ok", "hello\n")
    assert here("exec", program, stdin="x\n137\n", code=1)["status"] == "error"
    assert said("exec", program, stdin="x\n3\n").stderr.endswith(" s: exit code 3\n")
    program.write_text("while True: pass", encoding="utf-8")
    assert here("exec", program, "--wall-s", 0.5, code=1)["status"] == "timeout"
    program.write_text("echo $((6 * 7))", encoding="utf-8")
    assert here("exec", program, "--language", "bash")["stdout"] == "42\n"
    assert said("exec", program, "--language", "cobol").exit_code == 2
    script = tmp_path / "by its name.SH"
    script.write_text("echo $((6 * 7))", encoding="utf-8")
    assert here("exec", script)["stdout"] == "42\n"
    assert said("exec", program, "--sandbox", "dokcer").exit_code == 2
    assert said("exec", program, "--memory-mb", 0).exit_code == 2


def test_exec_passes_bytes_through(tmp_path: Path) -> None:
    program = tmp_path / "p.py"
    program.write_bytes(b"# -*- coding: latin-1 -*-\nimport sys\nprint('\xe9', sys.stdin.buffer.read())")
    done = subprocess.run(
        [*COMMAND, "exec", program, "--json"], input=b"\xff\x00", capture_output=True, timeout=240
    )
    assert json.loads(done.stdout)["stdout"] == "é b'\\xff\\x00'\n"


@pytest.mark.parametrize(("ending", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_stops_the_training(store_dir: Path, ending: signal.Signals, code: int) -> None:
    command = [*COMMAND, "train", "CartPole-v1", "--total-timesteps", "50000000", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 180
    while not any((store_dir / "runs").glob("*/run.json")) or Store().status(Store().run_ids()[0]).step == 0:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(ending)
    out, _ = process.communicate(timeout=180)
    assert process.returncode == code
    result = json.loads(out)
    assert result["state"] == "stopped"
    assert result["eval_return_mean"] > 0


def test_any_sql_value_is_json() -> None:
    new_run(Store(), kind="notebook", name="n", config={})
    [row] = here(
        "sql",
        "select null as nothing, 'nan'::double as nan, 'ab'::blob as bytes, [1, null] as list, "
        "{'a': timestamp '2026-01-02 03:04:05'} as struct, map {1: 2.5} as map, 9007199254740993 as large, "
        "null::timestamp as never, date '2026-01-02' as day, 1.5::decimal(4, 2) as price, "
        "'6ba7b810-9dad-11d1-80b4-00c04fd430c8'::uuid as id, interval 90 minute as took",
    )
    assert row["nothing"] is row["nan"] is row["never"] is None
    assert row["bytes"] == "6162"
    assert row["list"] == [1, None]
    assert row["struct"] == {"a": "2026-01-02T03:04:05"}
    assert row["map"] == {"1": 2.5}
    assert row["large"] == 9007199254740993
    assert row["day"].startswith("2026-01-02")
    assert row["price"] == 1.5
    assert row["id"] == "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
    assert "1H30M" in row["took"]


def test_train_runs_sql_and_index() -> None:
    done = aigym(
        *("train", "CartPole-v1", "--algo", "ppo", "--steps", 3000, "--seed", 1, "--json"),
        *("--set", "learning_rate=1e-3", "--set", "network=[32, 32]", "--record", 2),
    )
    assert done.returncode == 0, done.stderr
    assert "ppo CartPole-v1: 100%" in done.stderr
    result = json.loads(done.stdout)
    assert {"run_id", "return_mean", "eval_return_mean", "steps_per_second"} <= set(result)
    assert result["state"] == "done"
    assert result["eval_return_mean"] > 0
    config = Store().run(result["run_id"]).config
    assert (config["ppo"]["learning_rate"], config["ppo"]["network"]) == (1e-3, [32, 32])
    assert config["run"]["record"] == 2
    other = CliRunner().invoke(main, ["train", "Acrobot-v1", "--policy", result["run_id"]])
    assert (other.exit_code, "ppo: policy was made for observation_space" in other.stderr) == (2, True)
    [run] = here("runs")
    assert (run["run_id"], run["state"]) == (result["run_id"], "done")
    counted = here("sql", "select count(*) as n from trajectories")
    path = here("index", "rebuild")["index"]
    assert Path(path).is_file()
    assert here("sql", "select count(*) as n from trajectories") == counted
    assert counted[0]["n"] > 0


def test_a_training_is_steered_from_another_terminal() -> None:
    run = Store().add_run(RunRecord(run_id="t", kind="train", name="t", config={"algo": "ppo"})).name
    assert here("training", "save")["run_id"] == run
    assert here("training", "pause", run) == {"run_id": run, "asked": "pause"}
    answer("training", "set", run, "--speed", "watch", "--learning-rate", 0.01)
    asked = json.loads((Store().run_folder(run) / "control.json").read_text())
    assert asked == {"paused": True, "speed": "watch", "learning_rate": 0.01, "save": 1}
    assert "unknown speed 'slow'" in said("training", "set", run, "--speed", "slow").stderr


def test_devices_are_told_with_the_reason() -> None:
    found = here("devices")
    assert found["found"][0]["name"] == "cpu"
    assert found["found"][0]["memory_free"] > 0
    assert found["chosen"] in found["why"]


def test_a_users_mistakes_are_one_line_and_exit_code_2() -> None:
    cases = [
        (["train", "CartPole-v1", "--set", "gamma"], "'gamma' is no NAME=VALUE"),
        (["train", "CartPole-v1", "--seeds", "a-b"], "write 0,1,2 or 0-4"),
        (["training", "pause"], "no store"),
        (["sql", "select 1"], "no store"),
        (["runs"], "no store"),
        (["run", "absent.ipynb"], "no notebook at"),
    ]
    for arguments, message in cases:
        done = said(*arguments)
        assert done.exit_code == 2, (arguments, done.stdout, done.stderr)
        assert message in done.stderr
    process = aigym("train", "CartPole-v11")
    assert process.returncode == 2
    assert "Did you mean 'CartPole-v1'" in process.stderr
    assert "Traceback" not in process.stderr


def test_an_unknown_column_is_named() -> None:
    new_run(Store(), kind="notebook", name="n", config={})
    done = said("sql", "select rewrd from steps")
    assert done.exit_code == 2
    assert "rewrd" in done.stderr
    assert "reward" in done.stderr


def test_run_executes_a_notebook(tmp_path: Path) -> None:
    import nbformat

    nb = nbformat.v4.new_notebook()
    nb.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nb.cells = [nbformat.v4.new_code_cell("n: int = 1"), nbformat.v4.new_code_cell("assert n < 5, n")]
    nb.cells[0].metadata["tags"] = ["parameters"]
    path = tmp_path / "n.ipynb"
    nbformat.write(nb, path)
    found = answer("run", path, "-p", "n", "3")
    for name in ("notebook", "report", "store"):
        assert os.path.exists(found[name]), name  # noqa: PTH110
    failed = said("run", path, "-p", "n", "7")
    assert failed.exit_code == 1
    assert "cell 2: AssertionError: 7" in failed.stderr
    misspelt = said("run", path, "-p", "m", "3")
    assert misspelt.exit_code == 2
    assert "unknown parameter of n.ipynb 'm'" in misspelt.stderr


def test_the_life_of_runs(store_dir: Path, tmp_path: Path) -> None:
    stores = Store(store_dir), Store(tmp_path / "other")
    for store, run_id in zip(stores, ("one", "two"), strict=True):
        store.add_run(RunRecord(run_id=run_id, kind="rollout", name=run_id), RunStatus(state="done"))
        with store.writer(run_id) as writer:
            writer.trajectory(
                conversation([Message(role="user", content="hi")], env_id="e", agent="a", id=run_id)
            )
    assert here("store", "merge", tmp_path / "other") == {"runs": ["two"]}
    assert here("store", "tag", "one", "odd", "new")["tags"] == ["odd", "new"]
    assert here("store", "tag", "one", "--remove", "odd")["tags"] == ["new"]
    assert here("store", "note", "one", "looks lucky", "--by", "ada")["by"] == "ada"
    assert stores[0].load("one").notes[0].text == "looks lucky"
    assert here("store", "check") == []
    assert here("store", "compact")["merged"] >= 0
    damaged = next(store_dir.rglob("messages/*.parquet"))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:50])
    assert [problem["where"] for problem in here("store", "check", code=1)] == [str(damaged)]
    damaged.write_bytes(whole)
    kept = CliRunner().invoke(main, ["store", "delete", "one"], input="n\n")
    assert (kept.exit_code, kept.stdout.strip()[-4:]) == (1, "kept")
    gone = here("store", "delete", "one", "--yes")
    assert Path(gone["trash"]).is_dir()
    assert here("store", "restore") == [Path(gone["trash"]).name]
    assert here("store", "restore", "one")["run_id"] == "one"
    assert stores[0].run_ids() == ["one", "two"]
    wrong = CliRunner().invoke(main, ["store", "restore", ".."])
    assert (wrong.exit_code, wrong.stderr) == (2, "error: unknown deleted run '..'.\n")
