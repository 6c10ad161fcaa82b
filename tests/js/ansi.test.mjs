import assert from "node:assert/strict";
import { test } from "node:test";

import { ansiLines, ansiStyle, hasAnsi } from "../../aigym_kernel/widgets/ansi.js";

const plain = (text) => ansiLines(text).map((runs) => runs.map((run) => run.text).join(""));
const first = (text) => ansiLines(text)[0][0].style;

test("plain text needs no terminal and stays as it is", () => {
  assert.equal(hasAnsi("a\nb\tc <b>"), false);
  assert.equal(hasAnsi("dos\r\nlines"), false);
  for (const text of ["\x1b[0m", "a\rb", "a\bb", "\x9b31m"]) assert.equal(hasAnsi(text), true);
  assert.deepEqual(plain("one\ntwo\n"), ["one", "two", ""]);
});

test("colours and styles are turned on and off", () => {
  assert.deepEqual(first("\x1b[1;31mx"), { fg: "1", bg: "", marks: "b" });
  assert.deepEqual(first("\x1b[94;102mx"), { fg: "12", bg: "10", marks: "" });
  assert.deepEqual(first("\x1b[38;5;196mx"), { fg: "rgb(255,0,0)", bg: "", marks: "" });
  assert.deepEqual(first("\x1b[38;5;244mx").fg, "rgb(128,128,128)");
  assert.deepEqual(first("\x1b[48;2;1;2;3mx").bg, "rgb(1,2,3)");
  assert.deepEqual(first("\x1b[1;3;4m\x1b[22;24mx").marks, "i");
  assert.deepEqual(first("\x1b[31;41;1m\x1b[mx"), { fg: "", bg: "", marks: "" });
  const runs = ansiLines("a\x1b[32mbb\x1b[0mc")[0];
  assert.deepEqual(runs.map((run) => [run.text, run.style.fg]), [["a", ""], ["bb", "2"], ["c", ""]]);
});

test("a colour is a number or three bytes, whatever is asked for", () => {
  for (const codes of [[38, 2, 1e9, -4, NaN], [38, 5, 99999], [38], [38, 2], [38, 7, 1], [999], [NaN]]) {
    const { fg } = ansiStyle({ fg: "", bg: "", marks: "" }, codes);
    assert.match(fg, /^(\d{0,2}|rgb\(\d{1,3},\d{1,3},\d{1,3}\))$/);
  }
});

test("carriage returns, backspaces and erasing overwrite as on a screen", () => {
  assert.deepEqual(plain("10%\r 50%\r100%"), ["100%"]);
  assert.deepEqual(plain("abc\b\bX"), ["aXc"]);
  assert.deepEqual(plain("hello\r\x1b[Kbye"), ["bye"]);
  assert.deepEqual(plain("a\tb"), ["a       b"]);
  assert.deepEqual(plain("old\nlines\x1b[2J\x1b[Hnew"), ["new", ""]);
  assert.deepEqual(plain("one\ntwo\x1b[1;2HX"), ["oXe", "two"]);
  assert.deepEqual(plain("one\ntwo\x1b[A!"), ["one!", "two"]);
  assert.deepEqual(plain("a\x1b[3Cb\x1b[Gc"), ["c   b"]);
  assert.deepEqual(plain("one\ntwo\nthree\x1b[2;2H\x1b[J"), ["one", "t"]);
});

test("titles, links, questions and private modes leave no trace", () => {
  assert.deepEqual(plain("\x1b]0;<script>\x07text"), ["text"]);
  assert.deepEqual(plain("\x1b]8;;javascript:alert(1)\x1b\\link\x1b]8;;\x1b\\"), ["link"]);
  assert.deepEqual(plain("\x1bPq#0~\x1b\\a\x1b_x\x1b\\b\x1b^y\x1b\\c"), ["abc"]);
  assert.deepEqual(plain("\x1b[?25l\x1b[6n\x1b[>c\x1b(Btext\x1b7\x1b8\x1bc"), ["text"]);
  assert.deepEqual(plain("\x9b31mred\x9d0;t\x9c\x00\x01\x7f"), ["red"]);
  assert.deepEqual(plain("cut \x1b["), ["cut "]);
  assert.deepEqual(plain("never ends \x1b]0;xxxx"), ["never ends "]);
});

test("no escape makes the screen large, and none takes long", () => {
  const lines = ansiLines("\x1b[999999999;999999999Hx\x1b[999999999Cy\x1b[999999999Bz");
  assert.ok(lines.length <= 5000);
  assert.ok(lines.every((runs) => runs.reduce((n, run) => n + run.text.length, 0) <= 1001));
  assert.ok(ansiLines("\n".repeat(100_000)).length <= 5000);
  ansiLines("\x1b[".repeat(100_000));
  ansiLines("\x1b]".repeat(100_000));
  ansiLines(`\x1b[${"1;".repeat(100_000)}m`);
  ansiLines("\x1b[2J\x1b[5000;1Hx".repeat(200));
});

test("letters of two code units are one place", () => {
  assert.deepEqual(plain("\u{1f40d}\rx"), ["x"]);
  assert.deepEqual(plain("\ud800\x1b[0m"), ["\ud800"]);
});
