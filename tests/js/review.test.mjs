import assert from "node:assert/strict";
import { test } from "node:test";

import { outcome, reviewKey, told, typedValue } from "../../aigym_kernel/widgets/review.js";

const mark = {
  name: "style", value: 0.5, judged: 0.5, weight: 1, required: false, status: "failed", feedback: "", evidence: "",
  note: "", by: "", at: null,
};

test("a value is a number from 0 to 1, however it is written", () => {
  for (const [text, value] of [["0", 0], [" 1 ", 1], ["0.8", 0.8], ["0,25", 0.25], [".5", 0.5], ["80%", 0.8], ["1.", 1]]) {
    assert.equal(typedValue(text), value, text);
  }
  for (const text of ["", "-0.1", "1.1", "101%", "NaN", "1e-3", "0x1", "half", "Infinity", "1 2", "%"]) {
    assert.equal(typedValue(text), null, text);
  }
});

test("the verdict says what is missing", () => {
  assert.deepEqual(outcome({ total: null, passed: false, marks: [mark, { ...mark, value: null }] }), { word: "unjudged", text: "1 of 2 marks wait for a value" });
  assert.deepEqual(outcome({ total: 0.75, passed: false, marks: [mark] }), { word: "failed", text: "score 0.75" });
  assert.deepEqual(outcome({ total: 1, passed: true, marks: [mark] }), { word: "passed", text: "score 1" });
});

const now = new Date();

test("both values are told, and whose they are", () => {
  assert.equal(told(mark, now), "the judge said 0.5");
  assert.equal(told({ ...mark, judged: null, value: null }, now), "the judge gave no value");
  assert.match(told({ ...mark, value: 1, by: "ada", at: 1000 }, now), /^ada said 1, .*; the judge said 0.5$/);
  assert.match(told({ ...mark, value: 1, judged: null, at: 1000 }, now), /^somebody said 1, .*; the judge gave no value$/);
});

test("keys", () => {
  assert.equal(reviewKey("j", false), "next");
  assert.equal(reviewKey("5", false), "half");
  assert.equal(reviewKey("Enter", false), "save");
  assert.equal(reviewKey("j", true), "");
  for (const key of ["b", "x", "a", "constructor", "toString"]) assert.equal(reviewKey(key, false), "");
});
