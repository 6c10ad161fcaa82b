import assert from "node:assert/strict";
import { test } from "node:test";

import * as m from "../../aigym_kernel/widgets/markdown.js";

/** A short notation of the tree, so that a test reads like what it says. */
const span = (s) =>
  typeof s === "string" ? s
    : s.kind === "code" ? `\`${s.text}\``
      : s.kind === "image" ? `image(${s.text}|${s.href})`
        : s.kind === "link" ? `link(${s.children.map(span).join("")}|${s.href})`
          : `${s.kind}(${s.children.map(span).join("")})`;
const spans = (text) => m.spansOf(text).map(span).join("");
const block = (b) => {
  switch (b.kind) {
    case "heading": return `h${b.level} ${b.spans.map(span).join("")}`;
    case "paragraph": return b.spans.map(span).join("");
    case "code": return `code[${b.language}] ${b.text}`;
    case "quote": return `quote{${b.blocks.map(block).join(" / ")}}`;
    case "rule": return "rule";
    case "list": return `${b.start ?? "ul"}{${b.items.map((i) => i.map(block).join(" / ")).join(" ; ")}}`;
    case "table": return `table<${b.align}>{${b.rows.map((r) => r.map((c) => c.map(span).join("")).join("|")).join(" ; ")}}`;
  }
};
const blocks = (text) => m.parseMarkdown(text).map(block);

test("spans: emphasis, code, links, and what only looks like them", () => {
  assert.equal(spans("a *b* **c** ***d*** ~~e~~ _f_ __g__"), "a em(b) strong(c) em(strong(d)) del(e) em(f) strong(g)");
  assert.equal(spans("snake_case_name, 2 * 3 * 4, __init__.py, a*b"), "snake_case_name, 2 * 3 * 4, strong(init).py, a*b");
  assert.equal(spans("f(*args, **kwargs)"), "f(*args, **kwargs)");
  assert.equal(spans("**a *b* c**"), "strong(a em(b) c)");
  assert.equal(spans("**open and *never closed"), "**open and *never closed");
  assert.equal(spans("`a|b` ``c`d`` `open"), "`a|b` `c`d` `open");
  assert.equal(spans("\\*no\\* \\a"), "*no* \\a");
  assert.equal(spans("[a *b*](x.html 'title') ![pic](y.png) [no](a b) [no]"), "link(a em(b)|x.html) image(pic|y.png) [no](a b) [no]");
  assert.equal(spans("[a [b](c) d](e)"), "[a link(b|c) d](e)");
  assert.equal(spans("see <https://a.b/c> or https://d.e/f_(g). end"), "see link(https://a.b/c|https://a.b/c) or link(https://d.e/f_(g)|https://d.e/f_(g)). end");
});

test("blocks", () => {
  assert.deepEqual(blocks("# One #\n## Two\nThree\n===\ntext\nmore\n\n---\n#no"), ["h1 One", "h2 Two", "h1 Three", "text\nmore", "rule", "#no"]);
  assert.deepEqual(blocks("```py\nx = '`'\n\n  y\n```\nafter\n~~~\nopen"), ["code[py] x = '`'\n\n  y", "after", "code[] open"]);
  assert.deepEqual(blocks("- a\n  - b\n    1. c\n- d\n\n\n3. e\n4. f"), ["ul{a / ul{b / 1{c}} ; d}", "3{e ; f}"]);
  assert.deepEqual(blocks("- a\n\n  ```\n  x\n  ```\n- b"), ["ul{a / code[] x ; b}"]);
  assert.deepEqual(blocks("> a\n> > b\nc"), ["quote{a / quote{b}}", "c"]);
  assert.deepEqual(blocks("|a|b|\n|:-|-:|\n|`x|y`|**c**|\n|1|\n\ntail"), ["table<,right>{a|b ; `x|y`|strong(c) ; 1|}", "tail"]);
  assert.deepEqual(blocks("para\n- item\n\n    code\n\nword | word"), ["para", "ul{item / code}", "word | word"]);
  assert.deepEqual(blocks("a\r\nb\rc"), ["a\nb\nc"]);
  assert.deepEqual(blocks("\tx"), ["code[] x"]);
  assert.deepEqual(blocks(" \n\n"), []);
});

test("no text is lost", () => {
  const text = (b) => b.kind === "code" ? b.text : b.kind === "quote" ? b.blocks.map(text).join("")
    : b.kind === "list" ? b.items.flat().map(text).join("") : b.kind === "table" ? b.rows.flat().map(m.textOf).join("")
      : b.kind === "rule" ? "" : m.textOf(b.spans);
  const source = "<b>bold</b> &amp; *x **y z* `a` [r][s] \\(m\\) $5 <script>alert(1)</script> | | ![";
  const letters = (s) => s.replace(/[^a-z0-9<>&]/g, "");
  assert.equal(letters(m.parseMarkdown(source).map(text).join("")), letters(source));
});

test("only addresses of the web and of mail become links", () => {
  for (const good of ["https://a.b/c?d=e#f", "http://a", "mailto:a@b.c", "HTTPS://A.B"]) assert.notEqual(m.safeAddress(good), "");
  const bad = [
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\tscript:alert(1)", "java\nscript:alert(1)", " javascript:alert(1)",
    "\u0001javascript:alert(1)", "javascript&colon;alert(1)", "&#106;avascript:alert(1)", "data:text/html,<script>", "data:image/svg+xml,<svg>",
    "vbscript:x", "file:///etc/passwd", "blob:https://a/b", "view-source:https://a", "//evil.example", "/lab/api", "x.html", "#a", "",
    "https://" + "a".repeat(3000), "\u202ehttps://a",
  ];
  for (const address of bad) assert.equal(m.safeAddress(address), "", address);
});

test("what hides text is written out", () => {
  assert.equal(m.visible("a\u202eb\u0000\u001b[31m\u200bc\n\td"), "a⟨U+202E⟩b␀␛[31m⟨U+200B⟩c\n\td");
  assert.equal(m.visible("日本語 äöü 👩‍🔬 שלום").includes("⟨U+200D⟩"), true);
});

test("hostile text ends, and nests no deeper than a browser can draw", () => {
  const n = 20_000;
  const hostile = {
    brackets: "[".repeat(n), pairs: "[]".repeat(n / 2), links: "[a](".repeat(n / 4), closes: "](".repeat(n / 2), images: "![".repeat(n / 2),
    stars: "*".repeat(n), words: "*a ".repeat(n / 3), closing: "a* ".repeat(n / 3), scores: "_a".repeat(n / 2), mixed: "*a_b".repeat(n / 4),
    nested: "**x ".repeat(n / 8) + "x**".repeat(n / 8), waves: "~~a".repeat(n / 3), triple: "a**b" + "c* ".repeat(n / 3),
    ticks: "`".repeat(n), rising: Array.from({ length: 200 }, (_, i) => "`".repeat(i) + "a").join(""),
    quotes: ">".repeat(n), lists: "- ".repeat(n / 2), deep: Array.from({ length: 200 }, (_, i) => "  ".repeat(i) + "- a").join("\n"),
    numbers: "1. ".repeat(n / 3), less: "<".repeat(n), addresses: "https://".repeat(n / 8), angled: "<https://a".repeat(n / 10),
    bars: "|".repeat(n), table: "a|b\n-|-\n" + "|".repeat(n), spaces: "a" + " ".repeat(n) + "b", lines: "\n".repeat(n), rule: "- ".repeat(n / 2) + "x",
    items: "- a\n".repeat(n / 4), indented: "    a\n\n".repeat(n / 7), hashes: "#".repeat(n), fences: "```\n".repeat(n / 4), bangs: "\\!".repeat(n / 2),
    blanks: "- a\n" + "\n".repeat(n / 2) + "  b", lazy: "> a\n".repeat(n / 4), titles: "[a](b \"".repeat(n / 7), parens: "[a](" + "(".repeat(n),
  };
  // Nothing is timed here: at half a million characters anything quadratic would not end within the suite's limit.
  const parts = (b) => b.items?.flat() ?? b.blocks ?? b.children ?? b.spans ?? [];
  const depth = (b) => parts(b).reduce((most, x) => Math.max(most, typeof x === "string" ? 1 : 1 + depth(x)), 1);
  for (const [name, text] of Object.entries(hostile)) {
    const parsed = m.parseMarkdown(text.repeat(text.length > n / 2 ? 25 : 5));
    assert.ok(depth({ blocks: parsed }) < 60, name);
  }
});
