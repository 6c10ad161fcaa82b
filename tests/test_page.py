"""Playable pages without a kernel: what they hold, that nothing in it ends a script, how large they get."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import missing

from aigym_kernel.agents import random_agent
from aigym_kernel.envs import make
from aigym_kernel.errors import AigymError
from aigym_kernel.runs import rollout
from aigym_kernel.store import RunRecord, Store
from aigym_kernel.trajectories import Mark, Score, Trajectory
from aigym_kernel.widgets import explore, page, source

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "</SCRIPT >",
    "\u2028\u2029",
    "]]>",
    "&lt;/script&gt;",
    "</style><img src=x onerror=alert(1)>",
    "\\u003c/script>",
    "${alert(1)}`",
]


def record(*trajectories: Trajectory) -> None:
    store = Store()
    store.add_run(RunRecord(run_id="recorded", kind="rollout", name="recorded"))
    with store.writer("recorded") as writer:
        for trajectory in trajectories:
            writer.trajectory(replace(trajectory, run_id="recorded"))


def talk(texts: list[str], **more: Any) -> Trajectory:
    steps = len(texts) - 1
    values: dict[str, Any] = {"env_id": "aigym/talk-v0", "agent": "somebody", **more}
    return Trajectory(
        observations=texts,
        actions=texts[:-1],
        rewards=np.ones(steps),
        terminated=True,
        truncated=False,
        **values,
    )


def held(html: str) -> Any:
    """What a page holds, as a browser reads it: up to the first thing that ends a script element."""
    opened = html.split('<script type="application/json"', 1)[1].split(">", 1)[1]
    return json.loads(re.split(r"</script", opened, maxsplit=1, flags=re.IGNORECASE)[0])


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_ends_the_script_that_holds_it(text: str) -> None:
    embedded = page.embedded({text: [text]})
    assert json.loads(embedded) == {text: [text]}
    assert not re.search("[<>&\u2028\u2029]", embedded)


def test_bytes_and_lone_surrogates_can_be_held() -> None:
    assert json.loads(page.embedded([b"\x01\x02", memoryview(b"x")])) == [
        {"$bytes": "AQI="},
        {"$bytes": "eA=="},
    ]
    assert json.loads(page.embedded("\ud800")) == "\ud800"
    page.embedded("\ud800").encode()
    with pytest.raises(TypeError, match="cannot hold object"):
        page.embedded(object())


def test_python_and_javascript_name_a_request_alike() -> None:
    node = shutil.which("node")
    if node is None:
        missing("no node on PATH: JavaScript was not checked")
    asked = {"id": 'ä"\u2028', "number": 3, "scene": None, "from": 0.5, "all": [1, "x"]}
    code = (
        "import(process.argv[1]).then(m => process.stdout.write(m.requestKey(JSON.parse(process.argv[2]))))"
    )
    request = json.dumps({"ask": 1, "what": "chunk", **asked})
    arguments = [node, "--input-type=module", "--eval", code, str(source.FOLDER / "page.js"), request]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout == page.request_key("chunk", **asked)


def test_leaner_javascript_is_the_same_program() -> None:
    code = "/** a */ let x = 1; /* b */\n/**\n * c\n */\n  // d\n\nlet y = '/** e */';\n/** f */\nlet z;\n"
    assert page.lean(code) == "/** a */ let x = 1; /* b */\nlet y = '/** e */';\nlet z;\n"


def test_a_page_holds_the_list_and_what_can_be_played(store_dir: Path, tmp_path: Path) -> None:
    agent = random_agent(make("aigym/Snake-v0").action_space, seed=0)
    games = rollout(agent, "aigym/Snake-v0", n=70)
    explorer = explore()
    path = tmp_path / "page.html"
    explorer.to_html(path)
    html = path.read_text(encoding="utf-8")
    assert len(html.encode()) < page.LIMIT
    found = held(html)
    assert (found["state"]["total"], found["state"]["among"]) == (len(found["state"]["rows"]), len(games))
    assert found["state"]["trajectory"]["id"] == explorer.selected
    assert len(found["trajectories"]) > 10
    assert explorer.static_html() in html


def test_a_page_runs_its_own_script_and_asks_nobody(store_dir: Path) -> None:
    record(talk(HOSTILE, agent=HOSTILE[0]))
    html = explore().to_html()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    [script] = re.findall(r'<script type="module">(.*?)</script>', html, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy[1]
    assert html.lower().count("<script") == 2
    assert "<!--" not in html
    assert not re.findall(r"(?:src|href)=[\"']?(?!data:)[^\s>]*", html.split("<style>")[0])
    assert held(html)["state"]["trajectory"]["texts"][: len(HOSTILE)] == HOSTILE


def test_a_page_stays_small_whatever_was_recorded(store_dir: Path) -> None:
    marks = tuple(Mark(name=f"m{i}", value=0.0, feedback="<&>" * 5_000) for i in range(60))
    score = Score(task_id="t", total=0.0, passed=False, marks=marks)
    long = [talk(["<&>\u2028" * 5_000] * 120, score=score, agent=f"agent {i}" * 30) for i in range(4)]
    games = [
        Trajectory(
            env_id="numbers-v0",
            agent="x",
            observations=np.random.default_rng(i).normal(size=(3_001, 40)),
            actions=np.zeros(3_000, dtype=int),
            rewards=np.ones(3_000),
            terminated=True,
            truncated=False,
        )
        for i in range(2)
    ]
    record(*long, *games)
    for selected in (long[0].id, games[0].id):
        explorer = explore(selected=selected)
        part = explorer._repr_mimebundle_()[0]["text/html"]
        for html in (explorer.to_html(), part):
            assert 100_000 < len(html.encode()) < page.LIMIT
            assert held(html)["state"]["rows"]


def test_a_page_that_cannot_be_written_is_told(store_dir: Path, tmp_path: Path) -> None:
    rollout(random_agent(make("CartPole-v1").action_space), "CartPole-v1")
    with pytest.raises(AigymError, match=r"cannot write .*absent/page\.html: No such file"):
        explore().to_html(tmp_path / "absent" / "page.html")


def test_without_a_store_a_page_says_so(store_dir: Path) -> None:
    assert str(store_dir) in held(explore().to_html())["state"]["error"]
