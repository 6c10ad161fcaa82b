"""Tasks: every folder of tasks/ is complete, and every mistake in one is named."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from aigym_kernel import settings
from aigym_kernel.envs.task_env import TaskEnv
from aigym_kernel.errors import TaskError, UnknownName
from aigym_kernel.judge import judge
from aigym_kernel.tasks import FunctionCase, FunctionCheck, Limits, Task, load_task, task_ids, tasks_table
from aigym_kernel.trajectories import Score


def play(task: Task, actions: tuple[str, ...]) -> Score:
    env = TaskEnv(task.id)
    env.reset()
    for action in actions:
        env.step(action)
    env.close()
    assert env.score is not None
    return env.score


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("task_id", task_ids())
def test_reference_scores_one(task_id: str) -> None:
    task = load_task(task_id)
    score = play(task, task.reference)
    assert score.total == 1.0, str(score)
    assert score.passed


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("task_id", task_ids())
def test_empty_attempt_fails(task_id: str) -> None:
    task = load_task(task_id)
    score = play(task, ("submit",) if task.tools else ("",))
    assert score.total is not None
    assert score.total < task.rubric.pass_mark
    assert not score.passed
    assert any(mark.feedback for mark in score.marks)


def test_there_are_tasks_of_every_kind() -> None:
    tasks = [load_task(i) for i in task_ids()]
    assert {t.kind for t in tasks} == {"code", "data", "shell", "interactive"}
    assert {t.rubric.criteria[0].check.type for t in tasks} >= {
        "function",
        "stdin_stdout",
        "metric",
        "program",
    }


def test_table_has_a_row_per_task() -> None:
    table = tasks_table()
    assert sorted(table["id"]) == task_ids()
    assert list(table.columns) == [
        "id", "title", "kind", "difficulty", "language", "tools", "criteria", "wall_s",
    ]  # fmt: skip
    assert table["difficulty"].is_monotonic_increasing


def test_by_id_by_folder_and_by_file() -> None:
    folder = settings.tasks_dir() / "two-sum"
    by_id = load_task("two-sum")
    assert by_id == load_task(folder) == load_task(folder / "task.yaml") == load_task(str(folder))
    assert by_id.answer == "solution.py"
    assert isinstance(by_id.rubric.criteria[0].check, FunctionCheck)
    assert "two_sum" in by_id._repr_html_()


def test_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_task("two-sum").title = "other"  # type: ignore[misc]


def test_unknown_id_says_what_was_meant(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'two-sum'"):
        load_task("two-sums")
    with pytest.raises(TaskError, match=r"there is no task\.yaml"):
        load_task(tmp_path)


def test_tasks_come_from_the_environment_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGYM_TASKS", str(tmp_path))
    assert task_ids() == []
    assert len(tasks_table()) == 0
    write_task(tmp_path / "sample")
    assert task_ids() == ["sample"]
    assert load_task("sample").limits == Limits(wall_s=2.0)


def write_task(folder: Path, cases: Any = None, **changes: Any) -> Path:
    """A small task that is right but for ``changes``; None removes a key."""
    data: dict[str, Any] = {
        "id": folder.name,
        "title": "A sample",
        "kind": "code",
        "prompt": "Double it.",
        "answer": "solution.py",
        "limits": {"wall_s": 2.0},
        "rubric": {
            "criteria": [
                {"name": "doubles", "check": {"type": "function", "function": "double"}},
                {"name": "again", "check": {"type": "function", "function": "double"}},
            ]
        },
    } | changes
    (folder / "hidden").mkdir(parents=True)
    data = {k: v for k, v in data.items() if v is not None}
    (folder / "task.yaml").write_text(yaml.safe_dump(data))
    (folder / "hidden" / "cases.yaml").write_text(
        yaml.safe_dump(cases if cases is not None else [{"args": [2], "expected": 4}])
    )
    return folder


def criteria(**second: Any) -> dict[str, Any]:
    first = {"name": "doubles", "check": {"type": "function", "function": "double"}}
    return {
        "criteria": [first, {"name": "again", "check": {"type": "function", "function": "double"}} | second]
    }


METRIC = {
    "type": "metric",
    "metric": "rmse",
    "target": "y",
    "at_zero": 1,
    "at_full": 1,
    "truth": "hidden/cases.yaml",
}
MISTAKES: list[tuple[dict[str, Any], list[str]]] = [
    ({"id": "other"}, ["id: 'other'", "use 'sample'"]),
    ({"id": "Sample Task"}, ["id: 'Sample Task'", "digits and single hyphens"]),
    ({"title": None}, ["title: is missing"]),
    ({"title": 5}, ["title: 5", "should be text; put it in quotes"]),
    ({"titel": "x"}, ["titel: no such key", "Did you mean 'title'"]),
    ({"files": {}}, ["files: no such key"]),
    ({"kind": "cod"}, ["kind: 'cod' is not allowed", "Did you mean 'code'", "interactive"]),
    ({"difficulty": 6}, ["difficulty: 6", "less than or equal to 5"]),
    ({"difficulty": "3"}, ["difficulty: '3'", "valid integer"]),
    ({"tools": ["bash", "sumbit"]}, ["tools[1]: 'sumbit'", "Did you mean 'submit'"]),
    ({"tools": ["bash"]}, ["tools: without 'submit'"]),
    ({"max_steps": 4}, ["max_steps: 4", "one step"]),
    ({"answer": None}, ["answer: is missing"]),
    *[
        ({"answer": name}, [f"answer: {name!r} must be the path of a file below"])
        for name in ("../solution.py", ".", "a//b.py", "a\0b.py", "sub/")
    ],
    ({"limits": {"wall_s": 0}}, ["limits.wall_s: 0", "greater than 0"]),
    ({"limits": {"wall_s": float("inf")}}, ["limits.wall_s: inf", "finite"]),
    ({"limits": {"wall_s": 1e300}}, ["limits.wall_s: 1e+300", "less than or equal to 86400"]),
    ({"limits": {"disk_mb": 2**40}}, ["limits.disk_mb: 1099511627776", "less than or equal to 1048576"]),
    ({"limits": {"wal_s": 1}}, ["limits.wal_s: no such key", "Did you mean 'wall_s'"]),
    ({"limits": 3}, ["limits: 3"]),
    ({"rubric": None}, ["rubric: is missing"]),
    ({"rubric": {"criteria": []}}, ["rubric.criteria: []", "should not be empty"]),
    ({"rubric": criteria() | {"pass_mark": 0}}, ["rubric.pass_mark: 0"]),
    ({"rubric": criteria() | {"pas_mark": 1}}, ["rubric.pas_mark: no such key", "Did you mean 'pass_mark'"]),
    ({"rubric": criteria(name="doubles")}, ["rubric.criteria[1].name: 'doubles' is used twice"]),
    ({"rubric": criteria(weight=-1)}, ["rubric.criteria[1].weight: -1"]),
    ({"rubric": criteria(required="yes")}, ["rubric.criteria[1].required: 'yes'"]),
    ({"rubric": criteria(wieght=1)}, ["rubric.criteria[1].wieght: no such key", "Did you mean 'weight'"]),
    (
        {"rubric": {"criteria": [criteria(weight=0)["criteria"][1]]}},
        ["rubric.criteria: the weights sum to zero"],
    ),
    (
        {"rubric": criteria(check={"type": "functon", "function": "f"})},
        [
            "rubric.criteria[1].check.type: 'functon' is not allowed",
            "Did you mean 'function'",
            "stdin_stdout",
        ],
    ),
    ({"rubric": criteria(check={"function": "f"})}, ["rubric.criteria[1].check.type: is missing", "metric"]),
    ({"rubric": criteria(check={"type": "function"})}, ["rubric.criteria[1].check.function: is missing"]),
    (
        {"rubric": criteria(check={"type": "function", "function": "f", "tolerence": 1})},
        [
            "rubric.criteria[1].check.tolerence: no such key",
            "Did you mean 'tolerance'? use one of type, function, cases, tolerance",
        ],
    ),
    (
        {"rubric": criteria(check={"type": "function", "function": "f", "cases": "hidden/case.yaml"})},
        [
            "rubric.criteria[1].check.cases: there is no file 'hidden/case.yaml'",
            "Did you mean 'hidden/cases.yaml'",
        ],
    ),
    (
        {"rubric": criteria(check={"type": "function", "function": "f", "cases": [{"args": [1]}]})},
        ["rubric.criteria[1].check.cases: [{", "should be the path of a file, such as hidden/cases.yaml"],
    ),
    (
        {"rubric": criteria(check={"type": "unit_tests", "tests": "hidden/cases.yaml"})},
        ["rubric.criteria[1].check.tests: 'hidden/cases.yaml': it should be a list"],
    ),
    (
        {"rubric": criteria(check={"type": "program", "script": "files/check.py"})},
        ["rubric.criteria[1].check.script: 'files/check.py' must lie in hidden/"],
    ),
    (
        {"rubric": criteria(check=METRIC | {"at_full": 2, "submission": "."})},
        ["rubric.criteria[1].check.submission: '.'"],
    ),
    ({"rubric": criteria(check=METRIC)}, ["rubric.criteria[1].check.at_full: equals at_zero"]),
    (
        {"rubric": criteria(check=METRIC | {"metric": "rsme"})},
        ["rubric.criteria[1].check.metric: 'rsme' is not allowed", "Did you mean 'rmse'"],
    ),
]


@pytest.mark.parametrize(("changes", "told"), MISTAKES, ids=[told[0][:40] for _, told in MISTAKES])
def test_mistake_in_yaml_is_named(tmp_path: Path, changes: dict[str, Any], told: list[str]) -> None:
    folder = write_task(tmp_path / "sample", **changes)
    with pytest.raises(TaskError) as caught:
        load_task(folder)
    message = str(caught.value)
    assert str(folder / "task.yaml") in message
    for part in told:
        assert part in message
    assert "pydantic" not in message


@pytest.mark.parametrize(
    ("cases", "told"),
    [
        ({"args": []}, "expected a list of cases"),
        ([], "expected a list of cases"),
        ([{"args": [1]}], "[0]: give either expected or raises"),
        ([{"args": [1], "expected": 2, "raises": "ValueError"}], "[0]: give either expected or raises"),
        ([{"args": [1], "expected": 2}, {"args": 1, "expected": 2}], "[1].args: 1"),
        ([{"args": [1], "expeted": 2}], "[0].expeted: no such key; Did you mean 'expected'"),
        ([{"args": [], "calls": [[]], "expected": 2}], "[0].calls[0]: []"),
        (
            [{"args": [yaml.safe_load("2024-03-01")], "expected": 2}],
            "[0].args: holds datetime.date(2024, 3, 1)",
        ),
        (["x"], "[0]: 'x'"),
    ],
)
def test_mistake_in_cases_is_named(tmp_path: Path, cases: Any, told: str) -> None:
    folder = write_task(tmp_path / "sample", cases=cases)
    with pytest.raises(TaskError) as caught:
        load_task(folder)
    assert str(folder / "hidden/cases.yaml") in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("title: Sums: the second", "line 1, column 12: mapping values are not allowed here; a text that"),
        ("title:\n\tx", "cannot start any token; indent with spaces"),
        ("", "expected keys such as id, title and prompt; it is empty"),
        ("id:\ntitle: x", "id: is empty"),
    ],
)
def test_a_slip_of_yaml_says_what_to_do(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "task.yaml").write_text(text)
    with pytest.raises(TaskError) as caught:
        load_task(tmp_path)
    assert told in str(caught.value)


def test_mistake_in_a_criterion_is_one_problem(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "sample", rubric={"criteria": criteria(weight=-1)["criteria"][1:]})
    with pytest.raises(TaskError) as caught:
        load_task(folder)
    assert "problems" not in str(caught.value)
    assert "should not be empty" not in str(caught.value)


def test_several_mistakes_come_in_one_error(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "sample", kind="cod", titel="x", difficulty=9)
    with pytest.raises(TaskError) as caught:
        load_task(folder)
    assert all(part in str(caught.value) for part in ("3 problems", "kind:", "titel:", "difficulty:"))


BOMB = "a: &a [" + "x, " * 99 + "x]\n"
for name, before in ("ba", "cb", "dc", "ed"):
    BOMB += f"{name}: &{name} [" + f"*{before}, " * 99 + f"*{before}]\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("id: x\ntitle: [1, 2\nkind: code\n", "line 3, column 5"),
        ("id: x\ntitle: a\ntitle: b\n", "line 3, column 1: the key 'title' is given twice"),
        ("id: x\n\ttitle: a\n", "line 2, column 1"),
        ("id: x\nhint: 2024-13-45\n", "line 2, column 7: month must be in 1..12"),
        ("? [a, b]\n: 1\n", "line 1, column 3"),
        ("just text", "expected keys"),
        ("", "expected keys"),
        ("id: *nothing\n", "line 1, column 5"),
        ("id: !!python/name:os.system x\n", "line 1, column 5"),
        ("id: !!int ''\n", "line 1, column 5: '' is no int"),
        ("id: !!bool maybe\n", "line 1, column 5: 'maybe' is no bool"),
        ("id: !!timestamp x\n", "line 1, column 5: 'x' is no timestamp"),
        ("[" * 5000, "nested too deep"),
        ("difficulty: " + "1" * 5000, "line 1, column 13: Exceeds the limit (4300 digits)"),
        (BOMB, "line 3, column 200: *b: the aliases stand for more than 1,000,000 values"),
    ],
)
def test_yaml_that_cannot_be_read_names_line_and_column(tmp_path: Path, text: str, told: str) -> None:
    folder = write_task(tmp_path / "sample")
    (folder / "task.yaml").write_text(text)
    with pytest.raises(TaskError) as caught:
        load_task(folder)
    assert str(caught.value).startswith(str(folder / "task.yaml"))
    assert told in str(caught.value)


def test_files_that_are_no_text(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "sample")
    (folder / "hidden/cases.yaml").write_bytes(b"- {args: [\xff], expected: 1}")
    with pytest.raises(TaskError, match=r"cases\.yaml: is not UTF-8 text"):
        load_task(folder)
    folder = write_task(tmp_path / "other")
    (folder / "reference").mkdir()
    (folder / "reference/solution.py").write_bytes(b"x = '\xff'")
    with pytest.raises(TaskError, match=r"reference/solution\.py: is not UTF-8 text"):
        load_task(folder)


def test_case_that_refers_to_itself(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "sample")
    (folder / "hidden/cases.yaml").write_text("- args: &a [*a]\n  expected: 1\n")
    with pytest.raises(TaskError, match=r"line 1, column 13: \*a refers to itself"):
        load_task(folder)


def test_aliases_stand_for_their_value(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "sample")
    (folder / "hidden/cases.yaml").write_text("- args: &a [[1, 2]]\n  expected: *a\n")
    (case,) = load_task(folder).cases["hidden/cases.yaml"]
    assert isinstance(case, FunctionCase)
    assert (case.args, case.expected) == (([1, 2],), [[1, 2]])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[" * 100_000, "nested too deep"),
        ('[{"args": [' + "1" * 5000 + '], "expected": 1}]', "Exceeds the limit (4300 digits)"),
        (
            '[{"args": [' + "1" * 4000 + '], "expected": 1}]',
            "[0].args: holds an int of more than 10,000 bits",
        ),
        ('[{"args": [], "expected": ' + "[" * 65 + "]" * 65 + "}]", "[0].expected: is nested more than 64"),
    ],
)
def test_json_that_goes_too_far(tmp_path: Path, text: str, told: str) -> None:
    check = {"type": "function", "function": "f", "cases": "hidden/cases.json"}
    folder = write_task(tmp_path / "sample", rubric={"criteria": [{"name": "c", "check": check}]})
    (folder / "hidden/cases.json").write_text(text)
    with pytest.raises(TaskError) as caught:
        load_task(folder)
    assert str(caught.value).startswith(str(folder / "hidden/cases.json"))
    assert told in str(caught.value)


@pytest.mark.usefixtures("sandbox")
def test_what_may_be_expected_can_be_answered(tmp_path: Path) -> None:
    """The judge takes as deep and as large values as a task may hold."""
    deep: Any = 2**9_999
    for _ in range(64):
        deep = [deep]
    folder = write_task(tmp_path / "sample", cases=[{"args": deep, "expected": deep}])
    assert judge(load_task(folder), "def double(x):\n    return [x]\n").passed


def test_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGYM_TASKS", str(tmp_path))
    (tmp_path / "sample/task.yaml").mkdir(parents=True)
    for name in ("sample", tmp_path / "sample"):
        with pytest.raises(TaskError, match=r"task\.yaml: cannot be read: Is a directory"):
            load_task(name)


@pytest.mark.parametrize("name", [None, 3, b"two-sum", ["two-sum"]])
def test_name_of_the_wrong_type(name: Any) -> None:
    with pytest.raises(TaskError, match="named by its id or its path, not by"):
        load_task(name)


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "..", ""])
def test_strange_ids_are_unknown(name: str) -> None:
    with pytest.raises(UnknownName) as caught:
        load_task(name)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", ["/" + "x" * 5000, "/a\0b", "~nobody-of-the-kind/tasks"])
def test_strange_paths(name: str) -> None:
    with pytest.raises(TaskError) as caught:
        load_task(name)
    assert len(str(caught.value)) < 1000


def test_table_leaves_out_what_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGYM_TASKS", str(tmp_path))
    write_task(tmp_path / "sample")
    write_task(tmp_path / "wrong", difficulty=9)
    with pytest.warns(UserWarning, match=r"task wrong is left out: .*task\.yaml: difficulty: 9"):
        table = tasks_table()
    assert list(table["id"]) == ["sample"]


def test_folder_of_tasks_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGYM_TASKS", str(tmp_path / "nope"))
    assert task_ids() == []
    for call in (tasks_table, lambda: load_task("two-sum")):
        with pytest.raises(TaskError, match=r"read from .*/nope, .* AIGYM_TASKS"):
            call()


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        *[("wall_s", v) for v in (float("inf"), float("nan"), 1e30, "3", -1, 0, None, True)],
        *[("cpu_s", v) for v in (float("inf"), 0, "3")],
        *[(name, v) for name in ("memory_mb", "pids", "disk_mb", "output_kb") for v in (0, 1.5, "1", 2**40)],
        *[(name, v) for name in ("open_files", "files") for v in (0, 64.0, "64", 2**40)],
        *[("network", v) for v in (1, "yes", None)],
    ],
)
def test_limits_are_checked(limit: str, value: Any) -> None:
    with pytest.raises(TaskError, match=rf"^Limits\({limit}=\.\.\.\): .* should be "):
        Limits(**{limit: value})


def test_limits_that_are_fine() -> None:
    assert Limits(wall_s=86_400, cpu_s=0.1, memory_mb=1, pids=1, disk_mb=1, output_kb=1).wall_s == 86_400


def test_actions_must_be_texts(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "sample", tools=["bash", "submit"], max_steps=3)
    (folder / "reference").mkdir()
    (folder / "reference/actions.yaml").write_text("- submit\n- 3\n")
    with pytest.raises(TaskError, match="expected a list of action texts"):
        load_task(folder)
