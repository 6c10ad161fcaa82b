import assert from "node:assert/strict";
import { test } from "node:test";

import { clock, progress, statesTold, stateWord } from "../../aigym_kernel/widgets/board.js";
import { abilities, rateText, typedRate } from "../../aigym_kernel/widgets/controls.js";
import { stay } from "../../aigym_kernel/widgets/game.js";
import * as p from "../../aigym_kernel/widgets/plots.js";

const run = {
  run_id: "r", name: "n", label: "n", state: "running", step: 250, total_steps: 1000, started_at: 1000,
  ended_at: null, seconds_left: 60, error: "", numbers: [],
};

test("progress is bounded, whole once done, and the mean of several runs", () => {
  assert.equal(progress([run]), 0.25);
  assert.equal(progress([{ ...run, step: 2000 }]), 1);
  assert.equal(progress([{ ...run, total_steps: 0 }]), 0);
  assert.equal(progress([{ ...run, state: "done", step: 990 }]), 1);
  assert.equal(progress([run, { ...run, state: "done" }]), 0.625);
});

test("the state says stopping until it has ended; several runs are counted", () => {
  assert.equal(stateWord("running", false), "running");
  assert.equal(stateWord("running", true), "stopping…");
  assert.equal(stateWord("stopped", true), "stopped");
  assert.equal(statesTold(["running", "done", "running"]), "2 running, 1 done");
});

test("the clock goes on while running and stands once ended", () => {
  assert.equal(clock([run], 1020, 1030), "30 s, about 50 s left");
  assert.equal(clock([{ ...run, seconds_left: null }], 1020, 1030), "30 s");
  assert.equal(clock([run], 1020, 2000), "16 min 40 s, about 0.0 s left");
  const done = { ...run, state: "done", seconds_left: null, ended_at: 1025 };
  assert.equal(clock([done], 1030, 5000), "25 s");
  assert.equal(clock([{ ...run, state: "killed" }], 1020, 5000), "20 s");
  assert.equal(clock([done, { ...run, started_at: 1010 }], 1020, 1030), "30 s, about 50 s left");
  assert.equal(clock([run, { ...run, state: "queued", seconds_left: null }], 1020, 1030), "30 s");
  assert.equal(clock([done, { ...done, started_at: 1020, ended_at: 1060 }], 1070, 5000), "1 min 00 s");
});

test("smoothing begins at the first value and keeps a constant", () => {
  assert.deepEqual(p.smoothed([3, 3, 3], 0.5), [3, 3, 3]);
  assert.deepEqual(p.smoothed([1, 5, 2], 0), [1, 5, 2]);
  const [first, second] = p.smoothed([0, 1], 0.5);
  assert.equal(first, 0);
  assert.ok(Math.abs(second - 2 / 3) < 1e-12);
});

test("ticks are round, few, and inside", () => {
  assert.deepEqual(p.roundTicks(-2.3, 41), [0, 20, 40]);
  assert.deepEqual(p.roundTicks(0.0012, 0.0031), [0.0015, 0.002, 0.0025, 0.003]);
  assert.deepEqual(p.roundTicks(5, 5), [5]);
  assert.deepEqual(p.roundTicks(0.08, 0.95), [0.25, 0.5, 0.75]); // never one alone, which says nothing of the scale
  assert.deepEqual(p.logTicks(0.02, 300), [0.1, 1, 10, 100]);
  assert.equal(p.logTicks(1e-9, 1e9).length <= 4, true);
  assert.deepEqual([0.00245, 0, -0.02, 2000, 4500.25, -2.5e-7, 1e30].map(p.tickText),
    ["0.00245", "0", "−0.02", "2,000", "4,500.25", "−2.5e−7", "1.00e30"]);
  assert.equal(p.axisRoom(["0.5", "1"]), 44);
  assert.ok(p.axisRoom(["−0.00025"]) >= 60);
  assert.deepEqual([0, 950, 1500, 120832, 2e6].map(p.shortCount), ["0", "950", "1.5k", "121k", "2M"]);
});

test("the cursor reads the nearest point of each line", () => {
  const line = (group, x, y) => ({ group, x, y, low: [], high: [], band: "", dots: [] });
  const lines = [line(0, [0, 10, 20], [1, 2, 3]), line(2, [5], [9])];
  assert.deepEqual(p.readings(lines, 14), [[0, 2], [2, 9]]);
  assert.deepEqual(p.readings(lines, null), [[0, 3], [2, 9]]);
  assert.deepEqual([-3, 4, 16, 99].map((x) => p.nearestIndex([0, 10, 20], x)), [0, 0, 2, 2]);
  assert.equal(p.nearestIndex([], 1), -1);
  assert.deepEqual(p.stepSpan([{ name: "", title: "", log: false, lines }]), { x0: 0, x1: 20 });
  const dotted = { ...lines[1], dots: [[0, 3], [40, 5]] };
  assert.deepEqual(p.stepSpan([{ name: "", title: "", log: false, lines: [dotted] }]), { x0: 0, x1: 40 });
  assert.deepEqual(p.stepSpan([]), { x0: 0, x1: 1 });
  const span = p.valueSpan([{ ...lines[0], low: [-1, 0, 0], high: [4, 4, 4] }], false);
  assert.ok(span.low < -1 && span.low > -1.5 && span.high > 4 && span.high < 4.5);
  assert.equal(p.bandPath([0, 1], [5, 6], [1, 2]), "M0.0 1.0L1.0 2.0L1.0 6.0L0.0 5.0Z");
});

test("frames are shown at the pace at which they come", () => {
  assert.equal(stay(5, 500), 100);
  assert.equal(stay(0, 500), 250);
  assert.equal(stay(300, 500), 30);
});

test("what can be asked depends on who goes on", () => {
  const at = (state, resumable = false) => ({ state, resumable });
  assert.deepEqual(abilities([at("running"), at("paused")]), { going: true, paused: false, resumable: false });
  assert.deepEqual(abilities([at("paused"), at("done")]), { going: true, paused: true, resumable: false });
  assert.deepEqual(abilities([at("killed", true)]), { going: false, paused: false, resumable: true });
  assert.deepEqual(abilities([at("done")]), { going: false, paused: false, resumable: false });
});

test("a learning rate is a number above 0", () => {
  assert.deepEqual(["3e-4", " 0,001 ", "0", "-1", "", "fast", "Infinity"].map(typedRate), [3e-4, 0.001, null, null, null, null, null]);
  assert.deepEqual([0.0025, 3e-4, 1.234e-5, 1, null].map(rateText), ["0.0025", "3e-4", "1.23e-5", "1", ""]);
});
