import assert from "node:assert/strict";
import { test } from "node:test";

import * as k from "../../aigym_kernel/widgets/keys.js";

const pressed = (key, held = {}) => ({ key, shiftKey: false, ctrlKey: false, altKey: false, metaKey: false, ...held });

test("a key's name holds Shift where it changes no letter, and is empty with another modifier", () => {
  assert.equal(k.keyName(pressed("j")), "j");
  assert.equal(k.keyName(pressed("?", { shiftKey: true })), "?");
  assert.equal(k.keyName(pressed("ArrowUp", { shiftKey: true })), "Shift+ArrowUp");
  assert.equal(k.keyName(pressed(" ", { shiftKey: true })), "Shift+ ");
  for (const held of ["ctrlKey", "altKey", "metaKey"]) assert.equal(k.keyName(pressed("a", { [held]: true })), "");
});

test("a key goes to the first pane that has it, never to one behind a control that needs it", () => {
  const did = [];
  const panes = [{ j: () => did.push("list"), ArrowLeft: () => did.push("list") }, { j: () => did.push("player"), " ": () => did.push("player") }];
  k.keyAction("j", "", panes)();
  k.keyAction(" ", "", panes)();
  k.keyAction("j", "slider", panes)();
  assert.deepEqual(did, ["list", "player", "list"]);
  for (const [name, control] of [["b", ""], ["", ""], ["constructor", ""], ["j", "text"], ["ArrowLeft", "slider"], [" ", "button"]]) {
    assert.equal(k.keyAction(name, control, panes), null, `${name} in ${control}`);
  }
  assert.ok(k.keyAction("Escape", "text", [{ Escape: () => {} }]));
});
