import assert from "node:assert/strict";
import { test } from "node:test";

import * as d from "../../aigym_kernel/widgets/drawing.js";

test("numbers are short and keep their meaning", () => {
  const shown = [0, 7, -12, 1234567, 0.5, 3.14159, 1234.56, 99.999, -0.25, 0.0046, 1.5e9 + 0.5, 0.00001234].map(d.formatNumber);
  assert.deepEqual(shown, [
    "0", "7", "−12", "1,234,567", "0.5", "3.142", "1,235", "100", "−0.25", "0.0046", "1.50e9", "1.23e−5",
  ]);
  for (const nothing of [null, undefined, NaN, Infinity]) assert.equal(d.formatNumber(nothing), "–");
});

test("durations pick their unit and carry over", () => {
  const shown = [0.04, 9.94, 9.96, 59.4, 59.6, 61, 3599.7, 7260, 90000].map(d.formatDuration);
  assert.deepEqual(shown, [
    "0.0 s", "9.9 s", "10 s", "59 s", "1 min 00 s", "1 min 01 s", "1 h 00 min", "2 h 01 min", "1 d 01 h",
  ]);
  assert.equal(d.formatDuration(null), "–");
  assert.equal(d.formatDuration(-1), "–");
});

test("times show the day only when it is not today", () => {
  const now = new Date(2026, 10, 21, 12, 0, 0);
  const at = (...parts) => new Date(...parts).getTime() / 1000;
  assert.equal(d.formatTime(at(2026, 10, 21, 9, 5, 7), now), "09:05:07");
  assert.equal(d.formatTime(at(2026, 10, 20, 9, 5, 7), now), "11-20 09:05");
  assert.equal(d.formatTime(at(2025, 0, 2, 9, 5, 7), now), "2025-01-02");
  assert.equal(d.formatTime(null, now), "–");
});

test("chart geometry: extents, scaling", () => {
  const points = [[0, 1], [10, 5], [20, 3]];
  assert.deepEqual(d.extent(points), { x0: 0, x1: 20, y0: 1, y1: 5 });
  assert.deepEqual(d.extent([]), { x0: 0, x1: 1, y0: 0, y1: 1 });
  assert.equal(d.scale(5, 0, 10, 100, 200), 150);
  assert.equal(d.scale(3, 3, 3, 0, 10), 5);
  assert.deepEqual(d.cumulative([1, -2, 4]), [1, -1, 3]);
});

test("boards fit their canvas in whole pixels", () => {
  assert.deepEqual(d.boardGeometry(10, 10, 305, 305), { cell: 30, left: 2, top: 2 });
  assert.deepEqual(d.boardGeometry(20, 10, 300, 300), { cell: 15, left: 0, top: 75 });
  assert.equal(d.boardGeometry(500, 500, 100, 100).cell, 1);
});

test("a board at t is the first one with t changes applied", () => {
  const boards = { width: 2, height: 2, first: [0, 1, 0, 3], changes: [[0, 1, 1, 0], [], [3, 2]] };
  assert.deepEqual(d.boardAt(boards, 0), [0, 1, 0, 3]);
  assert.deepEqual(d.boardAt(boards, 1), [1, 0, 0, 3]);
  assert.deepEqual(d.boardAt(boards, 3), [1, 0, 0, 2]);
  assert.deepEqual(d.boardAt(boards, 99), [1, 0, 0, 2]);
  assert.deepEqual(boards.first, [0, 1, 0, 3]);
});

test("outcomes have a tone", () => {
  assert.deepEqual(["passed", "full", "failed", "error", "wall", "<b>"].map(d.tone),
    ["good", "good", "bad", "bad", "dull", "dull"]);
});
