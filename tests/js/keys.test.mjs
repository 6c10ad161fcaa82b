import assert from "node:assert/strict";
import { test } from "node:test";

import * as compare from "../../aigym_kernel/widgets/compare.js";
import * as talk from "../../aigym_kernel/widgets/conversation.js";
import * as cross from "../../aigym_kernel/widgets/crossfilter.js";
import * as diff from "../../aigym_kernel/widgets/diff.js";
import * as explorer from "../../aigym_kernel/widgets/explorer.js";
import * as k from "../../aigym_kernel/widgets/keys.js";
import * as list from "../../aigym_kernel/widgets/list.js";
import * as player from "../../aigym_kernel/widgets/player.js";
import * as similar from "../../aigym_kernel/widgets/similar.js";

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

const TABLES = { list, player, talk, similar, cross, compare, diff, explorer };
const keysOf = (table) => Object.entries(table).find(([name]) => name.endsWith("_KEYS"))[1];
const helpOf = (table) => Object.entries(table).find(([name]) => name.endsWith("_HELP"))[1];

test("no two panes claim one key", () => {
  const claims = Object.entries(TABLES).flatMap(([pane, table]) => Object.keys(keysOf(table)).map((key) => [key, pane]));
  for (const [key, pane] of claims) {
    const all = claims.filter(([other]) => other === key).map(([, by]) => by);
    assert.deepEqual(all, [pane], `"${key}" is claimed by ${all.join(" and ")}`);
  }
  assert.ok(claims.length > 30);
});

test("the help tells each letter once, and the letters that there are", () => {
  const letters = (texts) => texts.filter((one) => /^[\w/?]$/.test(one)).sort();
  const told = letters(Object.values(TABLES).flatMap((table) => helpOf(table).flatMap(([keys]) => keys.split(" "))));
  assert.deepEqual(told, letters(Object.values(TABLES).flatMap((table) => Object.keys(keysOf(table)))));
});
