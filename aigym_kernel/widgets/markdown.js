// @ts-check
/**
 * Markdown as DOM nodes: `markdown(text)` gives one element. `parseMarkdown` is pure and tested with node.
 *
 * What models write: headings, emphasis, lists, code, tables, quotes, links, rules. Not here: reference
 * links, HTML and entities, which stay the text that they are; footnotes. Text comes from strangers:
 * every node is made by createElement and text nodes, only web and mail links get an address, an image
 * is shown as a link, and the work grows linearly with the text, whatever it holds.
 */
import { h } from "./drawing.js";

/**
 * @typedef {string | {kind: "code", text: string} | {kind: "em" | "strong" | "del", children: Span[]}
 *   | {kind: "link", href: string, children: Span[]} | {kind: "image", href: string, text: string}} Span
 * @typedef {{kind: "heading", level: number, spans: Span[]} | {kind: "paragraph", spans: Span[]}
 *   | {kind: "code", language: string, text: string} | {kind: "quote", blocks: Block[]} | {kind: "rule"}
 *   | {kind: "list", start: number | null, items: Block[][]}
 *   | {kind: "table", align: string[], rows: Span[][][]}} Block
 */

const MAX_DEPTH = 12;
const MAX_SPAN_DEPTH = 24;
const MAX_DRAWN = 60_000;
const MAX_ADDRESS = 2000;
const MAX_PARENTHESES = 20;
const MAX_COLUMNS = 60;
const SCHEMES = ["http", "https", "mailto"];
const HIDDEN = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** The text with what would hide or turn round other text written out: controls, bidi marks, invisible ones.
 * @param {string} text */
export function visible(text) {
  return text.replace(HIDDEN, (c) => {
    const code = c.charCodeAt(0);
    if (code < 32) return String.fromCharCode(0x2400 + code);
    return `⟨U+${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
  });
}

/** The address as a browser reads it, if it is one of the web or of mail; else "".
 * @param {string} address */
export function safeAddress(address) {
  if (address.length > MAX_ADDRESS || /[\s\u0000-\u001f]/.test(address)) return "";
  try {
    const url = new URL(address);
    return SCHEMES.includes(url.protocol.slice(0, -1)) ? url.href : "";
  } catch {
    return "";
  }
}

// ------------------------------------------------------------------------------------------- blocks

/** @param {string} text @returns {Block[]} */
export function parseMarkdown(text) {
  return markdownBlocks(text.replace(/\r\n?/g, "\n").split("\n").map(untabbed), 0);
}

/** Tabs at the start of a line as spaces. @param {string} line */
function untabbed(line) {
  let end = 0;
  while (line[end] === " " || line[end] === "\t") end++;
  return line.slice(0, end).replaceAll("\t", "    ") + line.slice(end);
}

/** @param {string} line */
function indent(line) {
  let n = 0;
  while (line[n] === " ") n++;
  return n;
}

/** @param {string} line @returns {{level: number, text: string} | null} */
function headingOf(line) {
  const from = indent(line);
  let level = 0;
  while (line[from + level] === "#") level++;
  const after = line[from + level];
  if (from > 3 || !level || level > 6 || (after !== undefined && after !== " ")) return null;
  let text = line.slice(from + level).trim();
  let end = text.length;
  while (text[end - 1] === "#") end--;
  if (end < text.length && (end === 0 || text[end - 1] === " ")) text = text.slice(0, end).trimEnd();
  return { level, text };
}

/** @param {string} line @returns {{mark: string, language: string} | null} */
function fenceOf(line) {
  const from = indent(line);
  const sign = line[from];
  if (from > 3 || (sign !== "`" && sign !== "~")) return null;
  let n = 0;
  while (line[from + n] === sign) n++;
  const info = line.slice(from + n).trim();
  return n < 3 || (sign === "`" && info.includes("`")) ? null : { mark: sign.repeat(n), language: info };
}

/** @param {string} line */
function isRule(line) {
  const signs = line.replaceAll(" ", "");
  return signs.length >= 3 && "-*_".includes(signs[0]) && signs === signs[0].repeat(signs.length) && indent(line) < 4;
}

/** @param {string} line @returns {{offset: number, type: string, start: number | null} | null} */
function itemOf(line) {
  const found = /^( *)(?:([-*+])|(\d{1,9})([.)]))(?= |$)/.exec(line);
  if (!found || isRule(line)) return null;
  const head = found[0].length;
  const blank = indent(line.slice(head, head + 6));
  const empty = line.length === head + indent(line.slice(head));
  return {
    offset: empty || blank > 4 ? head + 1 : head + blank,
    type: found[2] ?? found[4],
    start: found[3] === undefined ? null : Number(found[3]),
  };
}

/** @param {string} line @returns {string[] | null} the columns' alignments, if this is a table's second line */
function ruler(line) {
  if (!line.includes("-") || !line.includes("|") || /[^ |:-]/.test(line)) return null;
  const cells = cellsOf(line);
  const good = cells.every((cell) => /^:?-+:?$/.test(cell));
  const side = (/** @type {string} */ cell) =>
    cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : "";
  return good && cells.length <= MAX_COLUMNS ? cells.map(side) : null;
}

/** The cells of a table's line; a bar behind a backslash or within code separates nothing.
 * @param {string} line @returns {string[]} */
function cellsOf(line) {
  const trimmed = line.trim();
  const cells = [];
  let cell = "";
  let code = false;
  for (let i = trimmed.startsWith("|") ? 1 : 0; i < trimmed.length; i++) {
    const c = trimmed[i];
    if (c === "\\" && trimmed[i + 1] === "|") {
      cell += "|";
      i++;
    } else if (c === "|" && !code) {
      cells.push(cell.trim());
      cell = "";
    } else {
      if (c === "`") code = !code && trimmed.indexOf("`", i + 1) > 0;
      cell += c;
    }
  }
  if (cell.trim() || !trimmed.endsWith("|")) cells.push(cell.trim());
  return cells;
}

/** Whether a line ends the paragraph before it. @param {string} line */
function interrupts(line) {
  if (!line.trim() || headingOf(line) || fenceOf(line) || isRule(line)) return true;
  if (line.trimStart().startsWith(">")) return true;
  const item = itemOf(line);
  return item !== null && (item.start === null || item.start === 1) && line.trim().length > 2;
}

/** @param {string[]} lines @param {number} depth @returns {Block[]} */
function markdownBlocks(lines, depth) {
  /** @type {Block[]} */
  const blocks = [];
  if (depth > MAX_DEPTH) return [{ kind: "paragraph", spans: spansOf(lines.join("\n")) }];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    const [block, next] = !line.trim() ? [null, at + 1] : blockAt(lines, at, depth);
    if (block) blocks.push(block);
    at = next;
  }
  return blocks;
}

/** The block that begins at a line that is not empty, and the line after it.
 * @param {string[]} lines @param {number} at @param {number} depth @returns {[Block, number]} */
function blockAt(lines, at, depth) {
  const line = lines[at];
  const fence = fenceOf(line);
  if (fence) return codeAt(lines, at, fence);
  if (indent(line) >= 4) {
    let to = at;
    while (to < lines.length && (indent(lines[to]) >= 4 || !lines[to].trim())) to++;
    const text = lines.slice(at, to).map((l) => l.slice(4)).join("\n").trimEnd();
    return [{ kind: "code", language: "", text }, to];
  }
  const heading = headingOf(line);
  if (heading) return [{ kind: "heading", level: heading.level, spans: spansOf(heading.text) }, at + 1];
  if (isRule(line)) return [{ kind: "rule" }, at + 1];
  if (line.trimStart().startsWith(">")) {
    let to = at;
    while (to < lines.length && lines[to].trimStart().startsWith(">")) to++;
    const inside = lines.slice(at, to).map((l) => l.trimStart().slice(1).replace(/^ /, ""));
    return [{ kind: "quote", blocks: markdownBlocks(inside, depth + 1) }, to];
  }
  if (itemOf(line)) return listAt(lines, at, depth);
  const align = line.includes("|") && at + 1 < lines.length ? ruler(lines[at + 1]) : null;
  if (align && cellsOf(line).length === align.length) return tableAt(lines, at, align);
  return paragraphAt(lines, at);
}

/** @param {string[]} lines @param {number} at @param {{mark: string, language: string}} fence @returns {[Block, number]} */
function codeAt(lines, at, fence) {
  const cut = indent(lines[at]);
  let to = at + 1;
  const closes = (/** @type {string} */ l) => {
    const text = l.trim();
    return text.startsWith(fence.mark) && text === fence.mark[0].repeat(text.length);
  };
  while (to < lines.length && !closes(lines[to])) to++;
  const text = lines.slice(at + 1, to).map((l) => l.slice(Math.min(cut, indent(l)))).join("\n");
  return [{ kind: "code", language: fence.language.split(" ")[0], text }, to + 1];
}

/** @param {string[]} lines @param {number} at @param {number} depth @returns {[Block, number]} */
function listAt(lines, at, depth) {
  const first = /** @type {NonNullable<ReturnType<typeof itemOf>>} */ (itemOf(lines[at]));
  /** @type {string[][]} */
  const items = [];
  let [offset, blanks, to, end] = [first.offset, 0, at, at];
  for (; to < lines.length; to++) {
    const line = lines[to];
    const item = indent(line) < offset || !items.length ? itemOf(line) : null;
    if (!line.trim()) {
      blanks++;
      continue;
    }
    if (item && item.type === first.type && indent(line) < offset) {
      items.push([line.slice(item.offset)]);
      offset = item.offset;
    } else if (items.length && indent(line) >= offset) {
      items[items.length - 1].push(...Array(Math.min(blanks, 50)).fill(""), line.slice(offset));
    } else if (items.length && !blanks && !interrupts(line)) {
      items[items.length - 1].push(line.trimStart());
    } else {
      break;
    }
    blanks = 0;
    end = to + 1;
  }
  return [{ kind: "list", start: first.start, items: items.map((item) => markdownBlocks(item, depth + 1)) }, end];
}

/** @param {string[]} lines @param {number} at @param {string[]} align @returns {[Block, number]} */
function tableAt(lines, at, align) {
  const rows = [cellsOf(lines[at])];
  let to = at + 2;
  for (; to < lines.length && lines[to].includes("|") && lines[to].trim(); to++) rows.push(cellsOf(lines[to]));
  const even = rows.map((row) => align.map((_, i) => spansOf(row[i] ?? "")));
  return [{ kind: "table", align, rows: even }, to];
}

/** @param {string[]} lines @param {number} at @returns {[Block, number]} */
function paragraphAt(lines, at) {
  let to = at + 1;
  let level = 0;
  for (; to < lines.length; to++) {
    const line = lines[to].trim();
    if (line && (line === "=".repeat(line.length) || line === "-".repeat(line.length)) && indent(lines[to]) < 4) {
      level = line[0] === "=" ? 1 : 2;
      break;
    }
    if (interrupts(lines[to])) break;
  }
  const spans = spansOf(lines.slice(at, to).map((line) => line.trim()).join("\n"));
  return level ? [{ kind: "heading", level, spans }, to + 1] : [{ kind: "paragraph", spans }, to];
}

// -------------------------------------------------------------------------------------------- spans

/** @typedef {{sign: string, count: number, opens: boolean, closes: boolean, before: Mark_[], after: Mark_[]}} Run */
/** @typedef {"em" | "strong" | "del"} Mark_ */
/** @typedef {Span | {run: Run}} Piece */

const PUNCTUATION = /[!-/:-@[-`{-~\p{P}\p{S}]/u;

/** @param {string} text @returns {Span[]} */
export function spansOf(text) {
  /** @type {Piece[]} */
  const pieces = [];
  /** @type {{index: number, image: boolean}[]} */
  let brackets = [];
  const ticks = tickRuns(text);
  let plain = "";
  let at = 0;
  const flush = () => {
    if (plain) pieces.push(plain);
    plain = "";
  };
  while (at < text.length) {
    const c = text[at];
    const next = text[at + 1];
    if (c === "\\" && next !== undefined && /[!-/:-@[-`{-~]/.test(next)) {
      plain += next;
      at += 2;
    } else if (c === "`") {
      const { length, close } = /** @type {{length: number, close: number}} */ (ticks.get(at));
      if (close < 0) {
        plain += "`".repeat(length);
        at += length;
      } else {
        flush();
        pieces.push({ kind: "code", text: codeText(text.slice(at + length, close)) });
        at = close + length;
      }
    } else if (c === "*" || c === "_" || c === "~") {
      flush();
      const run = runAt(text, at);
      pieces.push({ run });
      at += run.count;
    } else if (c === "[" || (c === "!" && next === "[")) {
      flush();
      brackets.push({ index: pieces.length, image: c === "!" });
      plain = c === "!" ? "![" : "[";
      flush();
      at += c === "!" ? 2 : 1;
    } else if (c === "]" && brackets.length) {
      const open = /** @type {{index: number, image: boolean}} */ (brackets.pop());
      const target = next === "(" ? targetAt(text, at + 2) : null;
      if (target) {
        flush();
        const inside = resolve(pieces.splice(open.index).slice(1));
        if (open.image) pieces.push({ kind: "image", href: target.address, text: textOf(inside) });
        else pieces.push({ kind: "link", href: target.address, children: inside });
        if (!open.image) brackets = [];
        at = target.end;
      } else {
        plain += c;
        at++;
      }
    } else {
      const address = c === "<" || c === "h" ? addressAt(text, at) : null;
      if (address) {
        flush();
        pieces.push({ kind: "link", href: address.text, children: [address.text] });
        at = address.end;
      } else {
        plain += c;
        at++;
      }
    }
  }
  flush();
  return resolve(pieces);
}

/** Where each run of backticks begins: its length, and where the next one of that length begins (or -1).
 * @param {string} text */
function tickRuns(text) {
  /** @type {Map<number, {length: number, close: number}>} */
  const runs = new Map();
  /** @type {Map<number, {length: number, close: number}>} */
  const open = new Map();
  for (const found of text.matchAll(/`+/g)) {
    const run = { length: found[0].length, close: -1 };
    const before = open.get(run.length);
    if (before) before.close = found.index;
    open.set(run.length, run);
    runs.set(found.index, run);
  }
  return runs;
}

/** @param {string} text */
function codeText(text) {
  const line = text.replaceAll("\n", " ");
  return line.length > 2 && line.startsWith(" ") && line.endsWith(" ") && line.trim() ? line.slice(1, -1) : line;
}

/** A run of emphasis signs, and whether it can begin or end something (CommonMark's flanking rules).
 * @param {string} text @param {number} at @returns {Run} */
function runAt(text, at) {
  const sign = text[at];
  let count = 1;
  while (text[at + count] === sign) count++;
  const before = text[at - 1] ?? " ";
  const after = text[at + count] ?? " ";
  const [space1, space2] = [/\s/.test(before), /\s/.test(after)];
  const [sign1, sign2] = [PUNCTUATION.test(before), PUNCTUATION.test(after)];
  const left = !space2 && (!sign2 || space1 || sign1);
  const right = !space1 && (!sign1 || space2 || sign2);
  const word = sign === "_";
  const real = sign !== "~" || count === 2;
  return {
    sign, count,
    opens: real && left && (!word || !right || sign1),
    closes: real && right && (!word || !left || sign2),
    before: [], after: [],
  };
}

/** The address in parentheses behind a link's text, and where it ends.
 * @param {string} text @param {number} from */
function targetAt(text, from) {
  const stop = Math.min(text.length, from + MAX_ADDRESS);
  let at = from;
  while (at < stop && /\s/.test(text[at])) at++;
  const angled = text[at] === "<";
  let address = "";
  let depth = 0;
  for (at += angled ? 1 : 0; at < stop; at++) {
    const c = text[at];
    if (angled ? c === ">" || c === "<" || c === "\n" : /\s/.test(c) || (c === ")" && depth === 0)) break;
    if (!angled && c === "(" && ++depth > MAX_PARENTHESES) return null;
    if (!angled && c === ")") depth--;
    address += c;
  }
  if (angled && text[at++] !== ">") return null;
  const title = /^\s*(?:"[^"\n]{0,500}"|'[^'\n]{0,500}')?\s*\)/.exec(text.slice(at, at + 600));
  return title ? { address, end: at + title[0].length } : null;
}

/** A web address that stands in the text, in angle brackets or bare, and where it ends.
 * @param {string} text @param {number} at */
function addressAt(text, at) {
  const angled = text[at] === "<";
  const from = angled ? at + 1 : at;
  if (!angled && at > 0 && /[\w/.]/.test(text[at - 1])) return null;
  const head = /^(?:https?:\/\/|mailto:)(?=\S)/.exec(text.slice(from, from + 12));
  if (!head) return null;
  const found = /^[^\s<>"`\\^{}|*]+/.exec(text.slice(from, from + MAX_ADDRESS));
  if (!found || (angled && text[from + found[0].length] !== ">")) return null;
  let address = found[0];
  if (!angled) {
    address = address.replace(/[.,;:!?'"*_~)\]]{0,20}$/, (tail) => {
      const balanced = tail.startsWith(")") && address.slice(0, -tail.length).includes("(");
      return balanced ? ")" : "";
    });
  }
  return { text: address, end: from + (angled ? address.length + 1 : address.length) };
}

/** Pairs emphasis signs (CommonMark's algorithm, linear by its lower bounds) and builds the tree.
 * @param {Piece[]} pieces @returns {Span[]} */
function resolve(pieces) {
  const runs = pieces.flatMap((piece) => (typeof piece === "object" && "run" in piece ? [piece.run] : []));
  pair(runs);
  /** @type {{kind: Mark_ | "", children: Span[]}[]} */
  const stack = [{ kind: "", children: [] }];
  let skipped = 0;
  const top = () => stack[stack.length - 1].children;
  const close = () => {
    if (skipped) {
      skipped--;
      return;
    }
    const { kind, children } = /** @type {{kind: Mark_, children: Span[]}} */ (stack.pop());
    top().push({ kind, children });
  };
  for (const piece of pieces) {
    if (typeof piece === "string" || !("run" in piece)) {
      const last = top().length - 1;
      if (typeof piece === "string" && typeof top()[last] === "string") top()[last] += piece;
      else top().push(piece);
      continue;
    }
    const { sign, count, before, after } = piece.run;
    before.forEach(close);
    if (count) {
      const last = top().length - 1;
      if (typeof top()[last] === "string") top()[last] += sign.repeat(count);
      else top().push(sign.repeat(count));
    }
    for (const kind of after.slice().reverse()) {
      if (stack.length > MAX_SPAN_DEPTH) skipped++;
      else stack.push({ kind, children: [] });
    }
  }
  return stack[0].children;
}

/** @param {Run[]} runs */
function pair(runs) {
  /** @type {Run[]} */
  let open = [];
  /** @type {Map<string, number>} how far down an opener for this kind of closer was sought in vain */
  let floors = new Map();
  for (const run of runs) {
    while (run.closes && run.count) {
      const key = `${run.sign}${run.opens}${run.count % 3}`;
      const floor = Math.min(floors.get(key) ?? 0, open.length);
      let i = open.length - 1;
      const fits = (/** @type {Run} */ o) =>
        o.sign === run.sign && !((o.closes || run.opens) && (o.count + run.count) % 3 === 0 && (o.count % 3 || run.count % 3));
      while (i >= floor && !fits(open[i])) i--;
      if (i < floor) {
        floors.set(key, open.length);
        break;
      }
      const opener = open[i];
      const two = opener.count >= 2 && run.count >= 2;
      const kind = run.sign === "~" ? "del" : two ? "strong" : "em";
      opener.after.push(kind);
      run.before.push(kind);
      opener.count -= two ? 2 : 1;
      run.count -= two ? 2 : 1;
      open.length = opener.count ? i + 1 : i;
      floors = new Map([...floors].map(([k, n]) => [k, Math.min(n, open.length)]));
    }
    if (run.opens && run.count) open.push(run);
  }
}

/** The text of spans, without what marks it up. @param {Span[]} spans @returns {string} */
export function textOf(spans) {
  return spans
    .map((s) => (typeof s === "string" ? s : "children" in s ? textOf(s.children) : s.text))
    .join("");
}

// ---------------------------------------------------------------------------------------------- DOM

/** Markdown as one element; what is very long, as the text that it is. @param {string} text */
export function markdown(text) {
  if (text.length > MAX_DRAWN) return h("pre", { dir: "auto" }, visible(text));
  return h("div", { class: "aigym-markdown", dir: "auto" }, ...parseMarkdown(text).map(blockNode));
}

/** A block of code, its language above it. @param {string} text @param {string} [language] */
export function codeNode(text, language = "") {
  const label = language ? [h("div", { class: "aigym-language" }, visible(language).slice(0, 40))] : [];
  return h("div", { class: "aigym-code" }, ...label, h("pre", {}, h("code", {}, visible(text))));
}

/** @param {Block} block @returns {HTMLElement} */
function blockNode(block) {
  switch (block.kind) {
    case "heading":
      // Headings of a message are not headings of the notebook: they keep out of its outline.
      return h("div", { class: `aigym-h${block.level}`, role: "heading", "aria-level": String(Math.min(6, block.level + 3)) },
        ...block.spans.map(spanNode));
    case "paragraph":
      return h("p", {}, ...block.spans.map(spanNode));
    case "code":
      return codeNode(block.text, block.language);
    case "quote":
      return h("blockquote", {}, ...block.blocks.map(blockNode));
    case "rule":
      return h("hr");
    case "list": {
      const items = block.items.map((item) =>
        h("li", {}, ...(item.length === 1 && item[0].kind === "paragraph" ? item[0].spans.map(spanNode) : item.map(blockNode))));
      return block.start === null ? h("ul", {}, ...items) : h("ol", { start: String(block.start) }, ...items);
    }
    case "table": {
      const row = (/** @type {Span[][]} */ cells, /** @type {"th" | "td"} */ tag) =>
        h("tr", {}, ...cells.map((cell, i) =>
          h(tag, block.align[i] ? { class: `aigym-${block.align[i]}` } : {}, ...cell.map(spanNode))));
      const [head, ...rest] = block.rows;
      return h("div", { class: "aigym-sheet" },
        h("table", {}, h("thead", {}, row(head, "th")), h("tbody", {}, ...rest.map((r) => row(r, "td")))));
    }
  }
}

/** @param {Span} span @returns {Node} */
function spanNode(span) {
  if (typeof span === "string") return document.createTextNode(visible(span));
  if (span.kind === "code") return h("code", {}, visible(span.text));
  if (span.kind === "image") return linkNode(span.href, [`image: ${visible(span.text) || "without a name"}`]);
  const children = span.children.map(spanNode);
  return span.kind === "link" ? linkNode(span.href, children) : h(span.kind, {}, ...children);
}

/** A link where the address is one of the web or of mail; else its text with the address beside it.
 * @param {string} address @param {(Node | string)[]} children */
function linkNode(address, children) {
  const href = safeAddress(address);
  const shown = visible(address).slice(0, 200);
  if (!href) return h("span", { class: "aigym-inert", title: `no link is made of ${shown}` }, ...children);
  return h("a", { href, title: visible(href), target: "_blank", rel: "noopener noreferrer nofollow" }, ...children);
}
