"""The report of a bench: nothing is left out, whatever became of its cells; it opens offline."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import benches
import nbformat
import pytest
from bench_commands import notebook
from bs4 import BeautifulSoup
from click.testing import CliRunner
from labs import ARTIFACTS, strangers, watch

from aigym_kernel.bench import pages, records
from aigym_kernel.bench.handle import benchmark
from aigym_kernel.bench.records import Budget, Metric, State
from aigym_kernel.bench.scheduling import carry_out
from aigym_kernel.cli import main
from aigym_kernel.errors import BenchError

TASKS = ["CartPole-v1", "Snake", "Acrobot-v1"]
FAILED: dict[benches.Key, tuple[Any, str]] = {
    ("dqn", "Snake", 3): ("timeout", "took longer than 60 s"),
    ("ppo", "Snake", 1): ("error", "ValueError: no \x1b[31mboard\x1b[0m"),
}
ENDS = {task: {"low": 0.0, "high": 400.0} for task in TASKS}


def _read(state: State) -> tuple[BeautifulSoup, str]:
    page, markdown = pages.write(state.folder)
    return BeautifulSoup(page.read_text("utf-8"), "html.parser"), markdown.read_text("utf-8")


def _table(page: BeautifulSoup, caption: str) -> list[list[str]]:
    """The rows of the table whose caption begins like this."""
    for table in page.find_all("table"):
        if table.caption.text.startswith(caption):
            return [[c.text for c in row.find_all(["th", "td"])] for row in table.tbody.find_all("tr")]
    raise AssertionError(f"no table {caption!r} among {[t.caption.text for t in page.find_all('table')]}")


def _written(state: State) -> None:
    """The files of the attempts, as executed notebooks and their pages lie."""
    for cell, result in state.results.items():
        for name in (result.notebook, result.page or ""):
            path = records.cell_folder(state.folder, cell) / name
            path.parent.mkdir(exist_ok=True)
            path.write_text("{}", encoding="utf-8")


def test_it_says_what_was_run_and_what_came_out(tmp_path: Path) -> None:
    state = benches.write(tmp_path / "b", tasks=TASKS, seeds=5, failed=FAILED)
    page, markdown = _read(state)
    lead = page.header.text
    for said in (
        "28 of 30 cells done, 2 failed. dqn comes first; it has the best mean on 3 of 3 tasks.",
        "The Jupyter notebook bench_rl.ipynb is run 30 times",
        "compares 2 methods (algo: ppo, dqn) on 3 tasks (env_id: CartPole-v1, Snake, Acrobot-v1), each with",
        "with 5 seeds (seed: 0 to 4)",
        "the one that counts is return_mean (higher is better)",
    ):
        assert said in lead
        assert said.split(" (")[0].split(", ")[-1] in markdown.replace("*", "").replace("`", "")
    assert page.header.details.pre.text == benches.WORDS
    assert f"```text\n{benches.WORDS}\n```" in markdown
    assert _table(page, "CartPole-v1") == [
        ["1", "dqn", "112 [110.8, 113.2]", "5 of 5"],
        ["2", "ppo", "102 [100.8, 103.2]", "5 of 5"],
    ]
    assert _table(page, "Snake")[1][3] == "4 of 5 (1 failed)"
    assert _table(page, "Probability of improvement") == [["dqn over ppo", "1 [1, 1]"]]
    assert _table(page, "AUP score")[0][0] == "dqn"
    assert len(page.find_all("figure")) == 5
    for table in page.find_all("table"):
        assert table.caption.text.split(" [")[0] in markdown


def test_every_failure_is_told_with_reason_and_log(tmp_path: Path) -> None:
    state = benches.write(tmp_path / "b", tasks=TASKS, seeds=5, failed=FAILED, queued=[("ppo", "Snake", 0)])
    page, markdown = _read(state)
    assert [row[:4] for row in _table(page, "The 2 cells that failed")] == [
        ["algo=ppo, env_id=Snake, seed=1", "the notebook raised an error", "ValueError: no board", "1"],
        ["algo=dqn, env_id=Snake, seed=3", "took longer than allowed", "took longer than 60 s", "1"],
    ]
    logs = [pre.text for pre in page.find(id="failures").parent.find_all("pre")]
    assert logs == ["started\nValueError: no board", "started\ntook longer than 60 s"]
    assert "1 queued" in page.header.text
    assert "```text\nstarted\ntook longer than 60 s\n```" in markdown
    assert "aigym bench resume" in page.text


def test_every_cell_leads_to_its_files(tmp_path: Path) -> None:
    state = benches.write(tmp_path / "b", tasks=TASKS, seeds=5, failed=FAILED, notebook="a & b.ipynb")
    _written(state)
    page, _ = _read(state)
    assert len(_table(page, "Every cell")) == 30
    links = [unquote(a["href"]) for a in page.main.find_all("a")]
    assert len(links) == 2 * 28 + 2 * 2
    assert all((state.folder / link).is_file() for link in links)


def test_what_changed_is_told(tmp_path: Path) -> None:
    key = ("ppo", "CartPole-v1", 0)
    state = benches.write(tmp_path / "b", retried=[key], notes={key: ("output cut at 10 MB",)})
    page, markdown = _read(state)
    row = ["algo=ppo, env_id=CartPole-v1, seed=0", "1", "the notebook's process died", "the kernel died"]
    assert _table(page, "Attempts that were lost") == [row]
    assert "algo=ppo, env_id=CartPole-v1, seed=0: output cut at 10 MB" in page.find(id="changes").parent.text
    assert "output cut at 10 MB" in markdown


def test_provenance_names_the_cells_that_deviate(tmp_path: Path) -> None:
    other = {"python": "3.11.9", "packages": {"numpy": "2.3.0"}, "gpus": ["NVIDIA H100"]}
    state = benches.write(tmp_path / "b", seeds=5, provenance={("dqn", "CartPole-v1", 4): other})
    page, _ = _read(state)
    common = dict(_table(page, "The same for all cells"))
    assert common["git commit"] == "0" * 40
    assert common["files changed since that commit"] == "no"
    assert ["Python", "3.11.9", "algo=dqn, env_id=CartPole-v1, seed=4"] in _table(page, "What differs")
    assert ["Python", "3.12.3", "9 cells"] in _table(page, "What differs")
    assert ["packages.numpy", "2.3.0", "algo=dqn, env_id=CartPole-v1, seed=4"] in _table(page, "What differs")
    assert ["GPUs", "(not known)", "9 cells"] in _table(page, "What differs")
    assert "Not all cells ran with the same GPUs" in page.find(id="changes").parent.text


def test_the_trainings_below_the_cells_have_curves(tmp_path: Path) -> None:
    state = benches.write(tmp_path / "b", failed={("ppo", "CartPole-v1", 0): ("error", "no")})
    benches.train(state)
    page, markdown = _read(state)
    rows = _table(page, "Return while training")
    assert rows[0][:2] == ["dqn", "1,000"]
    assert rows[0][-1] == "111 [110, 112]"
    assert rows[1][-1].startswith("101.5 [")
    assert "Learning curves" in markdown


def test_a_bench_without_trainings_has_no_curves(tmp_path: Path) -> None:
    state = benches.write(tmp_path / "b")
    benches.Store(state.plan.store).create()
    assert _read(state)[0].find(id="curves") is None


def test_normalised_scores_have_profiles_and_all_aggregates(tmp_path: Path) -> None:
    page, _ = _read(benches.write(tmp_path / "b", tasks=TASKS, plan={"baselines": ENDS}))
    assert _table(page, "All 3 tasks together")[0][:3] == ["1", "dqn", "0.5275 [0.5264, 0.5289]"]
    assert len(_table(page, "Normalised scores over all tasks")[0]) == 5
    assert len(_table(page, "Share of runs whose normalised score is above a value")) == 2


def test_pass_at_k_and_clocked_metrics_are_named_as_such(tmp_path: Path) -> None:
    declared = (
        Metric(name="score"),
        Metric(name="pass_at_10"),
        Metric(name="pass_at_1"),
        Metric(name="seconds", direction="lower", measured=True),
    )
    reported = {"score": 0.5, "pass_at_10": 0.9, "pass_at_1": 0.25, "seconds": 3.0}
    page, _ = _read(benches.write(tmp_path / "b", reported=lambda m, t, s: reported, declared=declared))
    assert _table(page, "pass@k") == [[m, "0.25 [0.25, 0.25]", "0.9 [0.9, 0.9]"] for m in ("ppo", "dqn")]
    assert "different each time: seconds" in page.find(id="metrics").parent.text


def test_it_says_how_to_run_it_again(tmp_path: Path) -> None:
    state = benches.write(tmp_path / "my b", ["ppo", "two words"], seeds=5)
    page, _ = _read(state)
    command = page.find(id="again").parent.find_all("pre")[-1].text
    assert shlex.split(command) == [
        *("aigym", "bench", "run", "bench_rl.ipynb", "-p", "algo", "ppo", "two words"),
        *("-p", "env_id", "CartPole-v1", "-p", "seed", "0..4"),
        *("--name", "my-b-again"),
    ]


def test_what_one_command_cannot_say_is_told_as_a_suite(tmp_path: Path) -> None:
    """The suite that the report tells asks for the same cells as the one that it was made from."""
    parameters = 'algo: str = "ppo"\nlayers: list[int] = [8]\nseed: int = 0\nlr: float = 0.1'
    for name in ("a.ipynb", "b.ipynb"):
        notebook(tmp_path / name, parameters, f"name = {name!r}")
    suite = tmp_path / "first.yaml"
    suite.write_text("""
notebooks:
  - {notebook: a.ipynb, grid: {algo: [ppo, "1"], layers: [[8], [8, 8]]}, seeds: 0..3}
  - {notebook: a.ipynb, grid: {algo: dqn, lr: [1e-3, 0.5]}, seeds: [1, 7]}
  - {notebook: a.ipynb, grid: {algo: dqn, lr: 0.25}, seeds: [0]}
  - notebook: b.ipynb
metrics: [{name: score, tolerance: 0.01}, {name: seconds, direction: lower, measured: true}]
baselines: {all: {low: 0, high: 1}}
budget: {timeout_s: 60, disk_mb: 500, threads: 2}
task: algo
""")
    bench = benchmark(suite=suite, store=tmp_path)
    page, _ = _read(bench.state())
    *_, written, command = (pre.text for pre in page.find(id="again").parent.find_all("pre"))
    assert command == "aigym bench run --suite first-again.yaml"
    assert written.count("a.ipynb") == 3
    suite.write_text(written)
    again = benchmark(suite=suite, name="again", store=tmp_path).state().plan
    was = bench.state().plan
    assert {cell.id for cell in again.cells} == {cell.id for cell in was.cells}
    assert replace(again, name=was.name, cells=was.cells, created_at=was.created_at) == was


def test_notebooks_that_measure_different_things_are_not_ranked_together(tmp_path: Path) -> None:
    state = benches.write(tmp_path / "b")
    latency = Metric(name="latency", direction="lower")
    source = {"notebook": "store.ipynb", "source": "notebooks/d/store.ipynb", "parameters": {}, "label": ""}
    cell = replace(state.plan.cells[0], id="f" * 16, **source)
    first = next(iter(state.results.values()))
    result = replace(first, cell=cell.id, metrics={"latency": 2.0}, declared=(latency,))
    records.replace(records.cell_folder(state.folder, cell.id) / "result.json", result)
    records.replace(state.folder / "bench.json", replace(state.plan, cells=(*state.plan.cells, cell)))
    page, _ = _read(state)
    assert "Best on bench_rl: CartPole-v1: dqn." in page.header.text
    assert _table(page, "store: latency (lower is better)") == [["1", "store", "2", "1 of 1"]]
    assert _table(page, "Probability of improvement") == [["dqn over ppo", "1 [1, 1]"]]
    assert "AUP" not in page.text
    assert len(_table(page, "What else the notebooks report")) == 2


def test_it_says_what_was_asked_beside_the_grid(tmp_path: Path) -> None:
    asked = {
        "budget": Budget(timeout_s=90, memory_mb=500, disk_mb=10_000, retries=2),
        "metrics": (benches.STEPS,),
        "data": {"a b.csv": "/data/a b.csv"},
    }
    page, _ = _read(benches.write(tmp_path / "b", ["ppo"], plan=asked))
    command = page.find(id="again").parent.find_all("pre")[-1].text
    assert shlex.split(command)[-14:] == [
        *("--timeout", "90s", "--memory", "500M", "--disk", "10000M", "--retries", "2"),
        *("--metric", "steps_to_solve:lower", "--data", "a b.csv", "--name", "b-again"),
    ]
    limits = (
        "Each was allowed 2 min, 500 MB of memory, 10,000 MB of disk, 1 thread; one that failed was tried"
    )
    assert limits in page.text


def test_the_newest_verdict_on_each_cell_is_told(tmp_path: Path) -> None:
    state = benches.write(tmp_path / "b", ["ppo"])
    one, two, three = (cell.id for cell in state.plan.cells)
    why = "at step 3, in reward: 1.0 and 2.0"
    for time, words in (
        ("1", {one: "identical", two: "identical", "f" * 16: "diverged"}),  # of a plan before
        ("2", {one: "not verified", two: "diverged", three: "skipped"}),
        ("3", {one: "not verified", two: "not verified"}),
    ):
        cells = [{"cell": cell, "word": word, "why": why} for cell, word in words.items()]
        said = {"cells": cells, "started_at": benches.BEGAN, "changed": ["code"] if time == "2" else []}
        (state.folder / "verify" / time).mkdir(parents=True)
        (state.folder / "verify" / time / "verdict.json").write_text(json.dumps(said), encoding="utf-8")
    page, markdown = _read(state)
    assert "2 cells were run again and compared with the first time: 1 identical, 1 diverged." in page.text
    assert _table(page, "Cells that were not identical") == [
        ["algo=ppo, env_id=CartPole-v1, seed=1", "diverged", why]
    ]
    assert "changed since the first time: code" in markdown


def test_one_run_of_each_method_is_not_made_a_probability(tmp_path: Path) -> None:
    page, markdown = _read(benches.write(tmp_path / "b", ["", "ppo"], seeds=1))
    assert "has the best mean, 110. Next is algo='' with 100." in page.header.text
    assert "(algo: '', ppo)" in page.header.text
    for said in ("Methods against each other", "The interval in brackets"):
        assert said not in page.text
        assert said not in markdown


@pytest.mark.parametrize("what", ["one", "none", "queued"])
def test_a_bench_of_little_is_told_too(tmp_path: Path, what: str) -> None:
    keys = [(method, "CartPole-v1", seed) for method in ("ppo", "dqn") for seed in range(2)]
    if what == "one":
        state = benches.write(tmp_path / "b", ["ppo"], seeds=1, plan={"task": None, "seed": None})
        said = ["1 of 1 cells done", "return_mean is 100", "is run once", "env_id = CartPole-v1"]
    elif what == "none":
        state = benches.write(tmp_path / "b", seeds=2, failed=dict.fromkeys(keys, ("error", "NameError: x")))
        said = ["0 of 4 cells done, 4 failed", "The 4 cells that failed", "NameError: x", "no result yet"]
    else:
        state = benches.write(tmp_path / "b", seeds=2, queued=keys)
        said = ["0 of 4 cells done, 4 queued", "no cell is done"]
    page, markdown = _read(state)
    for text in said:
        assert text in page.text
        assert text.split()[-1] in markdown
    assert not page.find_all("figure")
    assert page.script is None


def test_many_cells_do_not_fit_a_comment_but_the_page(tmp_path: Path) -> None:
    state = benches.write(tmp_path / "b", ["ppo"], ["a" * 300], seeds=150)
    _written(state)
    page, markdown = _read(state)
    assert len(_table(page, "Every cell")) == 150
    assert len(markdown.encode()) <= pages.COMMENT
    assert "report.html, beside it, has it" in markdown
    assert "| bench_rl" in markdown


def test_a_folder_without_a_bench_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="is that the folder of a bench"):
        pages.write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_bench_that_was_carried_out_is_told_on_the_command_line(store_dir: Path, tmp_path: Path) -> None:
    v4 = nbformat.v4
    code = [
        "import aigym_kernel\nassert algo != 'bad', 'bad by name'",
        "aigym_kernel.report(score=seed + 0.5)",
    ]
    cells = [v4.new_code_cell("algo: str = 'good'\nseed: int = 0", metadata={"tags": ["parameters"]})]
    notebook = v4.new_notebook(cells=[*cells, *map(v4.new_code_cell, code)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "small.ipynb")
    bench = benchmark(tmp_path / "small.ipynb", grid={"algo": ["good", "bad"]}, seeds=[1])
    carry_out(bench.folder, workers=2)
    assert bench.leaderboard().standings[0].method == "good"
    assert list(bench.results()["state"]) == ["done", "failed"]
    ran = CliRunner().invoke(main, ["bench", "report", "--json"])
    assert ran.exit_code == 0, ran.output
    page = BeautifulSoup(Path(json.loads(ran.stdout)["html"]).read_text("utf-8"), "html.parser")
    assert "1 failed. good has the best mean, 1.5; no other method has a result." in page.text
    assert "code cell 2: AssertionError: bad by name" in _table(page, "The cell that failed")[0][2]
    assert "bad by name" in page.find(id="failures").parent.pre.text
    links = [unquote(a["href"]) for a in page.main.find_all("a")]
    assert len(links) == 3 + 2 * 3
    assert all((bench.folder / link).is_file() for link in links)
    assert dict(_table(page, "The same for all"))["Python"]
    assert page.find(id="verified") is None
    ran = CliRunner().invoke(main, ["bench", "leaderboard", "small", "--json"])
    assert json.loads(ran.stdout)["standings"][0]["entries"][0]["estimate"]["value"] == 1.5
    ran = CliRunner().invoke(main, ["bench", "leaderboard", "smal"])
    assert ran.exit_code == 2
    assert "Did you mean 'small'" in ran.stderr


@pytest.mark.browser
def test_it_opens_in_a_browser_asks_nobody_and_draws(tmp_path: Path, browser: Any) -> None:
    methods, tasks = ["<b>&", "<img src=x onerror=alert(1)>"], ["<script>alert(1)</script>", "a b", "a-b"]
    word = "x" * 300
    failed: dict[benches.Key, tuple[Any, str]] = {("<b>&", "a b", 1): ("error", f"</pre><b>{word}")}
    state = benches.write(tmp_path / "<i>&", methods, tasks, seeds=2, failed=failed)
    benches.train(state)
    path, _ = pages.write(state.folder)
    for scheme, width in (("light", 1200), ("dark", 420)):
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        requests: list[str] = []
        problems: list[str] = []
        watch(page, requests, problems)
        page.goto(path.as_uri())
        drawn = page.locator("figure .main-svg .cartesianlayer")
        page.wait_for_function("document.querySelectorAll('figure .cartesianlayer').length >= 5")
        assert drawn.count() == page.locator("figure").count()
        assert page.locator("main b, main i, main img").count() == 0
        wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
        assert not page.evaluate(wider)
        told = page.get_by_role("cell").filter(has_text=word).bounding_box()
        assert told is not None
        assert told["width"] < 500
        ARTIFACTS.mkdir(exist_ok=True)
        page.screenshot(path=ARTIFACTS / f"report-{scheme}.png", full_page=True)
        assert [url for url in strangers(requests) if url != path.as_uri()] == []
        assert problems == []
        page.close()
