import assert from "node:assert/strict";
import { test } from "node:test";

import * as compare from "../../aigym_kernel/widgets/compare.js";
import * as talk from "../../aigym_kernel/widgets/conversation.js";
import * as diff from "../../aigym_kernel/widgets/diff.js";

test("the chunk that holds a turn or a step", () => {
  assert.deepEqual([-1, 0, 39, 40, 79, 500].map((k) => talk.lastUpTo([0, 40, 80], k)), [0, 0, 0, 1, 1, 2]);
  assert.equal(talk.lastUpTo([0, 3, 3, 3, 7], 3), 3);
  assert.ok(talk.chunkHeight(40, 20_000) > talk.chunkHeight(40, 1_000));
});

test("a call in one line, a cost in few digits", () => {
  const call = (text) => ({ name: "bash", arguments: text === null ? [] : [["command", text]] });
  assert.equal(talk.callLine(call("ls -l\nrm x")), "ls -l");
  assert.equal(talk.callLine(call("x".repeat(200))).length, 90);
  assert.equal(talk.callLine(call(null)), "");
  assert.deepEqual([0, 0.0012, 0.01234, 0.5, 1, 12.345].map(talk.formatCost), ["$0", "$0.0012", "$0.012", "$0.5", "$1.00", "$12.35"]);
});

test("what was cut is known to be, wherever it stands", () => {
  const whole = { turn: 0, step: 0, role: "assistant", parts: [["t", "all"]] };
  const cut = "begin\n… 1,234 more characters";
  assert.equal(talk.isCut(whole), false);
  assert.equal(talk.isCut({ ...whole, parts: [["t", `${cut} and on`]] }), false);
  for (const part of [{ parts: [["t", cut]] }, { parts: [["x", "a picture of 9,000,000 bytes"]] }, { reasoning: cut }, { error: cut },
    { calls: [{ name: "f", arguments: [["a", cut]] }] }, { calls: [{ name: "f", arguments: [], result: [["t", cut]] }] }]) {
    assert.equal(talk.isCut({ ...whole, ...part }), true);
  }
});

test("estimates: a number, its interval, and what that says", () => {
  assert.equal(compare.estimateText({ value: 1.5, low: 1, high: 2.25 }), "1.5 [1, 2.25]");
  assert.equal(compare.estimateText({ value: 1.5, low: null, high: null }), "1.5");
  assert.equal(compare.estimateText(null), "–");
  const said = [[1, 2], [-2, -1], [-1, 1], [null, null]].map(([low, high]) => compare.verdict({ value: 0, low, high }));
  assert.deepEqual(said, ["better", "worse", "", ""]);
  assert.deepEqual([undefined, "a", 1, [1, { b: null }]].map(compare.settingText), ["–", "a", "1", '[1,{"b":null}]']);
  assert.equal(compare.settingText("x".repeat(500)).length, 160);
});

test("a band goes along its top and back along its bottom, where there is an interval", () => {
  const place = (x, y) => `${x},${y}`;
  const at = (value, low, high) => ({ value, low, high });
  assert.equal(compare.intervalPath([[0, at(1, 0, 2)], [1, at(1, null, null)], [2, at(3, 2, 4)]], place), "M0,2L2,4L2,2L0,0Z");
  assert.equal(compare.intervalPath([[0, at(1, 0, 2)], [1, at(1, null, null)]], place), "");
});

test("what is the same and far from any difference is folded, and every row has its place", () => {
  const plain = (found) => found.map(({ kind, from, to }) => [kind, from, to]);
  assert.deepEqual(plain(diff.stretches(100, [[50, 52]])), [["same", 0, 48], ["rows", 48, 54], ["same", 54, 100]]);
  assert.deepEqual(plain(diff.stretches(5, [])), [["same", 0, 5]]);
  assert.deepEqual(plain(diff.stretches(10, [[0, 10]])), [["rows", 0, 10]]);
  assert.deepEqual(plain(diff.stretches(12, [[2, 3], [5, 6]])), [["rows", 0, 5], ["rows", 5, 8], ["same", 8, 12]]);
  assert.deepEqual(diff.stretches(0, []), []);
  for (const divergences of [[[0, 100]], [[3, 4], [5, 90]], [[99, 100]], [[0, 1], [2, 3], [4, 5], [97, 99]]]) {
    const found = diff.stretches(100, divergences);
    assert.deepEqual([found[0].from, found.at(-1).to], [0, 100]);
    found.forEach(({ from, to, kind }, i) => {
      assert.ok(from < to && (kind === "same" || to - from <= 40));
      assert.ok(i === 0 || from === found[i - 1].to);
      if (kind === "same") assert.ok(divergences.every(([a, b]) => b <= from || a >= to));
    });
  }
});

test("differences of numbers have a sign", () => {
  assert.deepEqual([0.5, -2, 0, null].map(diff.signed), ["+0.5", "−2", "0", ""]);
});
