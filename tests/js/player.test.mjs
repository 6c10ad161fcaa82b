import assert from "node:assert/strict";
import { test } from "node:test";
import { reporter } from "../../aigym_kernel/widgets/player.js";

/** A model whose kernel answers with an echo, and a reader that follows what the model says. */
function read() {
  const state = { step: 0 };
  const seen = { told: [], position: 0, changing: false };
  const model = {
    set(name, value) {
      const other = state[name] !== value;
      state[name] = value;
      if (other) seen.position = value;
    },
    save_changes: () => seen.told.push(state.step),
  };
  const report = reporter(model, () => seen.position, () => seen.changing);
  const go = (to, settled) => {
    seen.position = to;
    report(settled);
  };
  return { seen, go, echo: (value) => model.set("step", value) };
}

test("an echo does not bring a reader back who has gone on", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { seen, go, echo } = read();
  go(5, true);
  context.mock.timers.tick(100);
  assert.deepEqual(seen.told, [5]);
  go(6, true);
  echo(5);
  assert.equal(seen.position, 6);
  context.mock.timers.tick(100);
  assert.deepEqual(seen.told, [5, 6]);
  echo(2); // the kernel's own wish
  assert.equal(seen.position, 2);
});

test("what plays is told twice a second, and where it rests soon after", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { seen, go } = read();
  for (let t = 1; t <= 20; t++) {
    go(t, false);
    context.mock.timers.tick(100);
  }
  assert.deepEqual(seen.told, [5, 10, 15, 20]);
  go(21, false);
  go(22, true);
  context.mock.timers.tick(100);
  assert.deepEqual(seen.told.at(-1), 22);
});

test("nothing is told of one trajectory while the kernel opens another", (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const { seen, go } = read();
  seen.changing = true;
  go(7, true);
  context.mock.timers.tick(1000);
  assert.deepEqual(seen.told, []);
  [seen.changing, seen.position] = [false, 0];
  context.mock.timers.tick(100);
  assert.deepEqual(seen.told, [0]);
});
