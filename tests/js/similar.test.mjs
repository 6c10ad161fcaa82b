import assert from "node:assert/strict";
import { test } from "node:test";
import { requests } from "../../aigym_kernel/widgets/requests.js";
import { markedWith } from "../../aigym_kernel/widgets/similar.js";

test("what was asked about is marked first, then the nearest, then what was marked before", () => {
  const rows = [{ trajectory_id: "near" }, { trajectory_id: "far" }];
  assert.deepEqual(markedWith("it", rows, ["old", "far"]), ["it", "near", "far", "old"]);
  assert.deepEqual(markedWith("", rows, []), ["near", "far"]);
});

test("a patient question outlasts the silence that others are ended by", async () => {
  globalThis.window = globalThis;
  const sent = [];
  const told = [];
  let hear = (_) => {};
  const line = { send: (message) => sent.push(message), on: (_, callback) => { hear = callback; }, off() {} };
  const ask = requests(line, { tell: (problem) => told.push(problem), busy() {}, signal: new AbortController().signal });
  const patient = ask("similar", {}, { quietly: true, patiently: true });
  const late = [];
  const rows = ask("rows", {}, { quietly: true, late: (value) => late.push(value) });
  await assert.rejects(rows, /No answer from the kernel/);
  assert.deepEqual(told, []);
  hear({ answer: sent[0].ask, value: { rows: [] } });
  assert.deepEqual(await patient, { rows: [] });
  for (const _ of [1, 2]) hear({ answer: sent[1].ask, value: 7 });
  assert.deepEqual(late, [7], "what comes after the silence is taken, once");
});
