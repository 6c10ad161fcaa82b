import assert from "node:assert/strict";
import { test } from "node:test";
import { barWidths, reweighted } from "../../aigym_kernel/widgets/rewards.js";

test("a weight is changed, taken out where another stands for it, and kept where the text is no number", () => {
  const weights = { apple: 1, death: -1, wall: -2 };
  assert.deepEqual(reweighted(weights, "apple", "2.5"), { death: -1, wall: -2, apple: 2.5 });
  assert.deepEqual(reweighted(weights, "wall", ""), { apple: 1, death: -1 });
  assert.deepEqual(reweighted(weights, "apple", " "), { death: -1, wall: -2, apple: 0 });
  assert.equal(reweighted(weights, "apple", "1e999"), weights);
  assert.equal(reweighted(weights, "apple", "x"), weights);
});

test("bars are as long as their share of the longest", () => {
  assert.deepEqual(barWidths([2, -4, 0]), [
    { width: 50, negative: false }, { width: 100, negative: true }, { width: 0, negative: false }]);
});
