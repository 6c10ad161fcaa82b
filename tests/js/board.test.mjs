import assert from "node:assert/strict";
import { test } from "node:test";

import { clock, progress, stateWord } from "../../aigym_kernel/widgets/board.js";

const view = {
  run_id: "r", name: "n", state: "running", step: 250, total_steps: 1000, curve: [], metrics: [],
  started_at: 1000, ended_at: null, seconds_left: 60, seen_at: 1020, error: "",
};

test("progress is bounded, and whole once done", () => {
  assert.equal(progress(view), 0.25);
  assert.equal(progress({ ...view, step: 2000 }), 1);
  assert.equal(progress({ ...view, total_steps: 0 }), 0);
  assert.equal(progress({ ...view, state: "done", step: 990 }), 1);
});

test("the state says stopping until it has ended", () => {
  assert.equal(stateWord("running", false), "running");
  assert.equal(stateWord("running", true), "stopping…");
  assert.equal(stateWord("stopped", true), "stopped");
});

test("the clock goes on while running and stands once ended", () => {
  assert.equal(clock(view, 1030), "30 s, about 50 s left");
  assert.equal(clock({ ...view, seconds_left: null }, 1030), "30 s");
  assert.equal(clock(view, 2000), "16 min 40 s, about 0.0 s left");
  assert.equal(clock({ ...view, state: "done", ended_at: 1025 }, 5000), "25 s");
  assert.equal(clock({ ...view, state: "killed" }, 5000), "20 s");
});
