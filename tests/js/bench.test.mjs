import assert from "node:assert/strict";
import { test } from "node:test";

import { benchClock, resumeWord } from "../../aigym_kernel/widgets/bench.js";
import { attemptText, textEnd } from "../../aigym_kernel/widgets/cell.js";
import { arranged, cellLabel, cellWord, leftText, movedTo } from "../../aigym_kernel/widgets/matrix.js";

const names = ["algo", "env", "seed"];
const cells = [["ppo", "A", "0"], ["ppo", "A", "1"], ["ppo", "B", "1"], ["dqn", "A", "0"], ["dqn", "A", "1"]].map(
  (values, i) => ({ id: `${i}`, values, label: `cell ${i}` }));

test("cells stand in rows and columns; a place may be empty", () => {
  const matrix = arranged(names, cells, "seed");
  assert.deepEqual(matrix.heads, ["algo", "env"]);
  assert.deepEqual(matrix.columns, ["0", "1"]);
  assert.deepEqual(matrix.rows.map((row) => [row.head.join(" "), row.places]), [["ppo A", [0, 1]], ["ppo B", [-1, 2]], ["dqn A", [3, 4]]]);
});

test("without a column each cell is a row, named by its label where nothing varies", () => {
  assert.deepEqual(arranged(names, cells, "").rows.map((row) => row.places), [[0], [1], [2], [3], [4]]);
  assert.deepEqual(arranged([], [{ id: "0", values: [], label: "only" }], ""), { heads: ["cell"], columns: [""], rows: [{ head: ["only"], places: [0] }] });
});

test("arrows go to the next cell that there is, and stay at the edges", () => {
  const matrix = arranged(names, cells, "seed");
  assert.deepEqual(movedTo(matrix, [0, 0], "right"), [0, 1]);
  assert.deepEqual(movedTo(matrix, [0, 0], "left"), [0, 0]);
  assert.deepEqual(movedTo(matrix, [0, 0], "down"), [2, 0]);
  assert.deepEqual(movedTo(matrix, [2, 0], "up"), [0, 0]);
  assert.deepEqual(movedTo(matrix, [1, 1], "left"), [1, 1]);
  assert.deepEqual(movedTo(matrix, [1, 1], "first"), [1, 1]);
  assert.deepEqual(movedTo(matrix, [0, 0], "last"), [0, 1]);
  assert.deepEqual(movedTo(matrix, [0, 1], "pageDown"), [2, 1]);
  assert.deepEqual(movedTo(matrix, [2, 1], "down"), [2, 1]);
});

const going = { share: 0.375, done: 1, total: 4, inner: "ppo, 500 of 1,000", memory_mb: 210, left: 65 };

test("a cell says its state in words", () => {
  assert.equal(cellWord(["done", 412.5, "", 1], undefined, false), "412.5");
  assert.equal(cellWord(["done", null, "", null], undefined, false), "done");
  assert.equal(cellWord(["skipped", 412.5, "", 1], undefined, false), "412.5 ◦");
  assert.equal(cellWord(["failed", null, "timeout", null], undefined, false), "✕ timeout");
  assert.equal(cellWord(["queued", null, "", null], undefined, false), "queued");
  assert.equal(cellWord(["running", null, "", null], going, false), "▸ 38 %");
  assert.equal(cellWord(["running", null, "", null], going, true), "running 38 %, ppo, 500 of 1,000, about 1 min 05 s left");
  assert.equal(leftText(null), "");
});

test("a screen reader hears whose cell it is and how it stands", () => {
  assert.equal(cellLabel(names, cells[0], ["done", 412.5, "", 1], undefined, "return"), "algo ppo, env A, seed 0: done, return 412.5");
  assert.equal(cellLabel(names, cells[0], ["failed", null, "memory", null], undefined, ""), "algo ppo, env A, seed 0: failed, memory");
  assert.equal(cellLabel([], cells[1], ["skipped", 1, "", 1], undefined, "score"), "cell 1: skipped, done before this start, score 1");
  assert.equal(cellLabel([], cells[1], ["running", null, "", null], going, ""), "cell 1: running, code cell 2 of 4, ppo, 500 of 1,000, about 1 min 05 s left");
});

const view = { running: true, stopping: false, workers: 2, started_at: 1000, ended_at: null, seconds_left: 60, seen_at: 1020, counts: [["done", 3]], total: 4 };

test("the clock goes on while the bench does and stands once it has ended", () => {
  assert.match(benchClock(view, 1030), /^2 workers, 30 s, about 50 s left, until \d\d:\d\d$/);
  assert.equal(benchClock({ ...view, workers: 1, seconds_left: null }, 1030), "1 worker, 30 s");
  assert.equal(benchClock({ ...view, running: false, ended_at: 1090 }, 9999), "1 min 30 s");
  assert.equal(benchClock({ ...view, running: false }, 9999), "");
});

test("what is left of a bench can be gone on with, unless somebody does", () => {
  const words = ["queued", "interrupted", "failed", "done", "running"].map((state) => resumeWord({ state }));
  assert.deepEqual(words, ["Run", "Resume", "Run failed ones again", "", ""]);
});

test("of a long text the end is kept, from the beginning of a line", () => {
  assert.equal(textEnd("one\ntwo\nthree", 100), "one\ntwo\nthree");
  assert.equal(textEnd("one\ntwo\nthree", 8), "three");
});

test("an attempt is told with what is known of it", () => {
  const attempt = { n: 1, state: "failed", reason: "memory", error: "", started_at: 0, seconds: 12, peak_mb: 512.4, host: "", run_id: "", notes: [], log: true, page: true };
  assert.equal(attemptText(attempt, new Date()), "failed, memory, 12 s, 512 MB at most");
  assert.equal(attemptText({ ...attempt, reason: "", seconds: null, peak_mb: null, host: "node" }, new Date()), "failed, on node");
});
