import assert from "node:assert/strict";
import { test } from "node:test";

import * as c from "../../aigym_kernel/widgets/crossfilter.js";
import { cellText, sparkPath } from "../../aigym_kernel/widgets/line.js";
import { blocksOf, inView, BLOCK, ROW_PX } from "../../aigym_kernel/widgets/list.js";
import { latest } from "../../aigym_kernel/widgets/requests.js";

const EDGES = [0, 1, 2, 3, 4];
const NOW = new Date(2026, 10, 21, 12, 0, 0);

test("bars are as high as their counts against the tallest of all", () => {
  assert.deepEqual(c.barHeights([0, 5, 10], [0, 10, 10], false), [0, 0.5, 1]);
  const log = c.barHeights([0, 1, 1000], [0, 1, 1000], true);
  assert.equal(log[0], 0);
  assert.ok(log[1] > 0.05 && log[2] === 1);
  assert.equal(c.barsPath([0, 1]), "M1.06 100V0.0h.88V100z");
  assert.ok(c.wantsLog([1, 1, 2, 500]));
  assert.ok(!c.wantsLog([10, 20, 30]));
});

test("a range is drawn over the bins that it covers", () => {
  assert.deepEqual(c.brushOf({ range: [1, 3] }, EDGES), [1, 2]);
  assert.deepEqual(c.brushOf({ range: [1.5, 1.6] }, EDGES), [1, 1]);
  assert.deepEqual(c.brushOf({ range: [null, 2] }, EDGES), [0, 1]);
  assert.deepEqual(c.brushOf({ range: [-9, null] }, EDGES), [0, 3]);
  assert.equal(c.brushOf({ range: [7, 9] }, EDGES), null);
  assert.equal(c.brushOf({ values: ["NaN"] }, EDGES), null);
  assert.equal(c.brushOf(undefined, EDGES), null);
});

test("the ends of a brush move apart or together, never past each other or the axis", () => {
  assert.deepEqual(c.moveBrush(null, "low", 1, 4), [1, 3]);
  assert.deepEqual(c.moveBrush([1, 2], "high", 5, 4), [1, 3]);
  assert.deepEqual(c.moveBrush([1, 2], "high", -5, 4), [1, 1]);
  assert.deepEqual(c.moveBrush([1, 2], "low", 5, 4), [2, 2]);
  assert.deepEqual(c.moveBrush([1, 2], "both", 9, 4), [2, 3]);
  assert.deepEqual(c.moveBrush([1, 2], "both", -9, 4), [0, 1]);
});

test("filters in words", () => {
  const say = (filter, kind = "number") => c.filterText(filter, kind, NOW);
  assert.equal(say({ range: [0.5, 9.5] }), "1 – 9");
  assert.equal(say({ range: [-0.5, 0.5] }), "0");
  assert.equal(say({ range: [0.25, null] }), "≥ 0.25");
  assert.equal(say({ range: [null, 2.5] }), "≤ 2");
  assert.equal(say({ range: [null, null] }), "any");
  assert.equal(say({ values: ["a", null] }, "text"), "a, none");
  assert.equal(say({ values: ["a", "b", "c", "d"] }, "text"), "4 values");
  const today = new Date(2026, 10, 21, 9, 5, 7).getTime() / 1000;
  assert.equal(say({ range: [today, null] }, "time"), "≥ 09:05:07");
});

test("only the rows in view, and the blocks that hold them", () => {
  const [from, to] = inView(1000 * ROW_PX, 10 * ROW_PX, 100_000);
  assert.ok(from <= 1000 && from > 980 && to >= 1010 && to < 1030);
  assert.deepEqual(inView(0, 260, 3), [0, 3]);
  assert.deepEqual(inView(0, 260, 0), [0, 0]);
  assert.deepEqual(blocksOf(0, BLOCK), [0]);
  assert.deepEqual(blocksOf(BLOCK - 1, BLOCK + 1), [0, 1]);
  assert.deepEqual(blocksOf(5, 5), []);
});

test("a small picture has its gains above and its losses below", () => {
  assert.equal(sparkPath([2, -1, null, 0], 1), "M0.1 1v-1.00h.8V1z");
  assert.equal(sparkPath([2, -1, null, 0], -1), "M1.1 1v0.50h.8V1z");
});

test("a cell says what its row has, and what kind of thing that is", () => {
  const row = { env_id: "aigym/Snake-v0", agent: null, outcome: "passed", length: 1200, return: "Infinity", score: 0.5, started_at: null };
  const told = Object.keys(row).map((column) => cellText(row, column, NOW));
  assert.deepEqual(told, [["Snake-v0", ""], ["–", ""], ["passed", "aigym-badge aigym-good"], ["1,200", ""], ["Infinity", ""],
    ["0.5", "aigym-score aigym-full"], ["–", ""]]);
});

test("while a request is on its way, only the latest of the next ones is kept", async () => {
  const sent = [];
  let done = () => {};
  const send = latest((value) => {
    sent.push(value);
    return new Promise((resolve) => { done = resolve; });
  });
  for (const value of [1, 2, 3]) send(value);
  assert.deepEqual(sent, [1]);
  done();
  await new Promise((resolve) => setImmediate(resolve));
  assert.deepEqual(sent, [1, 3]);
  done();
  await new Promise((resolve) => setImmediate(resolve));
  send(4);
  assert.deepEqual(sent, [1, 3, 4]);
});
