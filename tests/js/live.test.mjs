import assert from "node:assert/strict";
import { test } from "node:test";
import { isFollowed } from "../../aigym_kernel/widgets/live.js";

test("a running run is followed while it is looked at, wanted, and the kernel answers", () => {
  const state = { running: 1, live: true, seen: true, asleep: false };
  assert.ok(isFollowed(state));
  for (const change of [{ running: 0 }, { live: false }, { seen: false }, { asleep: true }]) {
    assert.ok(!isFollowed({ ...state, ...change }), JSON.stringify(change));
  }
});
