import assert from "node:assert/strict";
import test from "node:test";
import { able, hint, verdict } from "../../aigym_kernel/widgets/launcher.js";

const task = { id: "t", title: "T", kind: "code", difficulty: 1, language: "python", prompt: "", answer: "solution.py", tools: [], reference: true };

test("the empty field says what belongs into it", () => {
  assert.equal(hint(task), "the text of solution.py");
  assert.match(hint({ ...task, tools: ["bash", "submit"] }), /^calls of bash, submit, .*---$/);
});

test("a task without a reference solution does not offer it", () => {
  const agents = ["your answer", "reference solution", "mine"];
  assert.deepEqual(able(agents, task), agents);
  assert.deepEqual(able(agents, { ...task, reference: false }), ["your answer", "mine"]);
});

test("the verdict waits for the score", () => {
  const view = { state: "running", task: "t", agent: "mine", turns: [], marks: [], total: null, error: "", trajectory_id: "", wall_s: null };
  assert.equal(verdict(view), "");
  assert.equal(verdict({ ...view, total: 0.5, wall_s: 1.25 }), "score 0.5 in 1.3 s");
});
