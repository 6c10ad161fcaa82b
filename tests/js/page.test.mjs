import assert from "node:assert/strict";
import { test } from "node:test";
import { heldModel, parseHeld, refusal, requestKey } from "../../aigym_kernel/widgets/page.js";

const rows = Array.from({ length: 5 }, (_, i) => ({ trajectory_id: `t${i}` }));
const held = () => ({
  state: { rows, among: 1234, total: 5, stamp: 3, selected: "t0", step: 4, view: "trajectory", chosen: [], trajectory: { id: "t0" } },
  trajectories: { t2: { id: "t2" } },
  sparks: { t1: [1, null] },
  answers: { [requestKey({ what: "chunk", number: 1, id: "t0" })]: { start: 10 } },
});

/** What comes back for one request. */
function asked(model, request) {
  return new Promise((resolve) => {
    const hear = (message) => { model.off("msg:custom", hear); resolve(message); };
    model.on("msg:custom", hear);
    model.send(request);
  });
}

test("a held trajectory opens at its start, and listeners hear of it", async () => {
  const model = heldModel(held());
  const heard = [];
  for (const name of ["selected", "trajectory", "step"]) model.on(`change:${name}`, () => heard.push(name));
  assert.deepEqual(await asked(model, { ask: "a-1", what: "change", selected: "t2" }), { answer: "a-1", value: null });
  assert.equal(model.get("trajectory").id, "t2");
  assert.equal(model.get("step"), 0);
  assert.deepEqual(heard.sort(), ["selected", "step", "trajectory"]);
});

test("what is not held is refused, and nothing changes", async () => {
  const model = heldModel(held());
  for (const change of [{ selected: "t4" }, { filters: { length: {} } }, { view: "diff" }, { selected: "t2", search: "x" }]) {
    const { error } = await asked(model, { ask: 1, what: "change", ...change });
    assert.match(error, /5 of 1,234 trajectories and can open 2/);
  }
  assert.equal(model.get("selected"), "t0");
  assert.equal((await asked(model, { ask: 2, what: "refresh" })).error, refusal(held()));
});

test("what is similar is refused in words", async () => {
  const model = heldModel(held());
  assert.equal((await asked(model, { ask: 1, what: "change" })).error, undefined);
  assert.equal((await asked(model, { ask: 2, what: "similar", question: "t0", by: "meaning", k: 10 })).error, refusal(held()));
});

test("rows and chunks come from what is held", async () => {
  const model = heldModel(held());
  assert.deepEqual((await asked(model, { ask: 1, what: "rows", from: 3, to: 60 })).value, { stamp: 3, rows: rows.slice(3) });
  assert.deepEqual((await asked(model, { ask: 2, id: "t0", what: "chunk", number: 1 })).value, { start: 10 });
  assert.deepEqual((await asked(model, { ask: 4, what: "sparks", ids: ["t1", "t3"] })).value, { t1: [1, null], t3: [] });
  assert.ok((await asked(model, { ask: 3, id: "t0", what: "chunk", number: 2 })).error);
});

test("what a view shows is there where the page was written with it", async () => {
  const model = heldModel({ ...held(), state: { ...held().state, view: "diff" } });
  assert.equal((await asked(model, { ask: 1, what: "change", view: "trajectory" })).error, undefined);
  assert.equal((await asked(model, { ask: 2, what: "change", view: "diff" })).error, undefined);
  assert.deepEqual(await asked(model, { ask: 3, what: "diff" }), { answer: 3, value: null });
  assert.ok((await asked(model, { ask: 4, what: "diff", a: "t0", b: "t2" })).error);
  assert.ok((await asked(model, { ask: 5, what: "compare" })).error);
});

test("names of Object's own are no answers", async () => {
  const model = heldModel(held());
  assert.ok((await asked(model, { ask: 1, what: "change", selected: "constructor" })).error);
  assert.ok((await asked(model, { ask: 2, what: "__proto__" })).error);
});

test("binary values arrive as a widget gets them", () => {
  const { a } = parseHeld('{"a": {"$bytes": "AQID"}}');
  assert.ok(a instanceof DataView);
  assert.deepEqual([a.byteLength, a.getUint8(2)], [3, 3]);
});
