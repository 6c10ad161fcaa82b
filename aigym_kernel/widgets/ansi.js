// @ts-check
/**
 * Text with terminal escapes as lines of styled runs: what a terminal would show once all was written.
 *
 * Understood (ECMA-48): colours and styles (SGR), carriage return, backspace, tab, cursor movement, erasing.
 * Everything else, titles, links, questions to the terminal, is left out and does nothing. The screen is bounded,
 * so that no escape asks for a line of a billion columns. Pure; `ansiNodes` makes text nodes of the runs.
 */
import { h } from "./drawing.js";

/** @typedef {{fg: string, bg: string, marks: string}} AnsiStyle colours as "1" to "15" or "rgb(...)"; marks as letters of "bdiurs" */
/** @typedef {{text: string, style: AnsiStyle}} AnsiRun */

const ANSI_COLUMNS = 1000;
const ANSI_LINES = 5000;
const ANSI_PLAIN = Object.freeze({ fg: "", bg: "", marks: "" });
/** @type {Readonly<Record<number, string>>} what turns a style on */
const ANSI_ON = { 1: "b", 2: "d", 3: "i", 4: "u", 7: "r", 9: "s" };
/** @type {Readonly<Record<number, string>>} what turns them off */
const ANSI_OFF = { 22: "bd", 23: "i", 24: "u", 27: "r", 29: "s" };
// CSI with its parameters and final letter; then strings that end with BEL or ST (titles, links); then single escapes.
const ANSI_ESCAPE =
  // eslint-disable-next-line no-control-regex
  /(?:\x1b\[|\x9b)([0-?]*)([ -/]*)([@-~])|(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?|\x1b[ -/]*[0-~]?|[\x80-\x9f]/y;

/** Whether a text needs a terminal's understanding. @param {string} text */
export function hasAnsi(text) {
  return /[\x1b\x80-\x9f\b]|\r(?!\n)/.test(text);
}

/** One of the 256 colours. @param {number} n */
function ansiColour(n) {
  if (n < 16) return String(n);
  if (n > 231) return `rgb(${[0, 0, 0].map(() => 8 + 10 * (n - 232)).join(",")})`;
  const level = (/** @type {number} */ i) => (i ? 55 + 40 * i : 0);
  const cube = n - 16;
  return `rgb(${level(Math.floor(cube / 36))},${level(Math.floor(cube / 6) % 6)},${level(cube % 6)})`;
}

/** The style after one SGR sequence. @param {AnsiStyle} style @param {number[]} codes @returns {AnsiStyle} */
export function ansiStyle(style, codes) {
  let { fg, bg, marks } = style;
  for (let i = 0; i < codes.length; i++) {
    const code = codes[i];
    if (code === 0) [fg, bg, marks] = ["", "", ""];
    else if (ANSI_ON[code]) marks = marks.replace(ANSI_ON[code], "") + ANSI_ON[code];
    else if (ANSI_OFF[code]) marks = [...marks].filter((m) => !ANSI_OFF[code].includes(m)).join("");
    else if (code >= 30 && code <= 37) fg = String(code - 30);
    else if (code >= 90 && code <= 97) fg = String(code - 82);
    else if (code >= 40 && code <= 47) bg = String(code - 40);
    else if (code >= 100 && code <= 107) bg = String(code - 92);
    else if (code === 39) fg = "";
    else if (code === 49) bg = "";
    else if (code === 38 || code === 48) {
      let colour = "";
      const byte = (/** @type {number} */ n) => Math.max(0, Math.min(255, n || 0));
      if (codes[i + 1] === 5) colour = ansiColour(byte(codes[(i += 2)]));
      else if (codes[i + 1] === 2) colour = `rgb(${byte(codes[i + 2])},${byte(codes[i + 3])},${byte(codes[(i += 4)])})`;
      if (code === 38) fg = colour;
      else bg = colour;
    }
  }
  return { fg, bg, marks };
}

/**
 * @param {string} text
 * @returns {AnsiRun[][]} one array of runs per line
 */
export function ansiLines(text) {
  /** @type {[string, AnsiStyle][][]} */
  const lines = [[]];
  let [row, column] = [0, 0];
  /** @type {AnsiStyle} */
  let style = ANSI_PLAIN;
  const go = (/** @type {number} */ to) => {
    row = Math.max(0, Math.min(ANSI_LINES - 1, to));
    while (lines.length <= row) lines.push([]);
  };
  const put = (/** @type {string} */ letter) => {
    if (column >= ANSI_COLUMNS) {
      go(row + 1);
      column = 0;
    }
    const line = lines[row];
    while (line.length < column) line.push([" ", ANSI_PLAIN]);
    line[column++] = [letter, style];
  };
  const control = (/** @type {string} */ letter, /** @type {number[]} */ codes) => {
    const n = Math.max(1, codes[0] || 1);
    if (letter === "m") style = ansiStyle(style, codes.length ? codes : [0]);
    else if (letter === "A") go(row - n);
    else if (letter === "B") go(row + n);
    else if (letter === "C") column = Math.min(ANSI_COLUMNS - 1, column + n);
    else if (letter === "D") column = Math.max(0, column - n);
    else if (letter === "E" || letter === "F") [column] = [0, go(row + (letter === "E" ? n : -n))];
    else if (letter === "G") column = Math.min(ANSI_COLUMNS, n) - 1;
    else if (letter === "H" || letter === "f") {
      go(n - 1);
      column = Math.min(ANSI_COLUMNS, Math.max(1, codes[1] || 1)) - 1;
    } else if (letter === "K") {
      if (codes[0] === 2) lines[row] = [];
      else if (codes[0] === 1) lines[row].fill([" ", ANSI_PLAIN], 0, column + 1);
      else lines[row].length = Math.min(lines[row].length, column);
    } else if (letter === "J") {
      if (codes[0] === 2 || codes[0] === 3) lines.forEach((_, i) => { lines[i] = []; });
      else if (codes[0] === 1) lines.fill([], 0, row);
      else {
        lines.length = row + 1;
        lines[row].length = Math.min(lines[row].length, column);
      }
    }
  };
  for (let i = 0; i < text.length; ) {
    const code = text.charCodeAt(i);
    if (code === 0x1b || (code >= 0x80 && code <= 0x9f)) {
      ANSI_ESCAPE.lastIndex = i;
      const found = ANSI_ESCAPE.exec(text);
      i = found ? ANSI_ESCAPE.lastIndex : i + 1;
      // "?25h" and the like are private: they begin with a sign that is no number.
      if (found?.[3] && !found[2] && /^[\d;:]*$/.test(found[1])) {
        control(found[3], found[1] ? found[1].split(/[;:]/).slice(0, 64).map(Number) : []);
      }
      continue;
    }
    const letter = String.fromCodePoint(/** @type {number} */ (text.codePointAt(i)));
    i += letter.length;
    if (letter === "\n") {
      if (row + 1 >= ANSI_LINES) break;
      go(row + 1);
      column = 0;
    } else if (letter === "\r") column = 0;
    else if (letter === "\b") column = Math.max(0, column - 1);
    else if (letter === "\t") do put(" "); while (column % 8);
    else if (code >= 0x20 && code !== 0x7f) put(letter);
  }
  return lines.map(ansiRuns);
}

/** Neighbours of one style as one run. @param {[string, AnsiStyle][]} cells @returns {AnsiRun[]} */
function ansiRuns(cells) {
  /** @type {AnsiRun[]} */
  const runs = [];
  for (const [letter, style] of cells) {
    const last = runs.at(-1);
    if (last && last.style === style) last.text += letter;
    else runs.push({ text: letter, style });
  }
  return runs;
}

/** The lines as nodes for a <pre>. @param {string} text @returns {(Node | string)[]} */
export function ansiNodes(text) {
  if (!hasAnsi(text)) return [text];
  return ansiLines(text).flatMap((runs, i) => [...(i ? ["\n"] : []), ...runs.map(ansiNode)]);
}

/** @param {AnsiRun} run @returns {Node | string} */
function ansiNode({ text, style }) {
  if (style === ANSI_PLAIN || !(style.fg || style.bg || style.marks)) return text;
  const turned = style.marks.includes("r");
  const [front, back] = turned ? [style.bg || "back", style.fg || "front"] : [style.fg, style.bg];
  const node = h("span", { class: [...style.marks].map((mark) => `aigym-ansi-${mark}`).join(" ") }, text);
  const colour = (/** @type {string} */ name) => (name.startsWith("rgb(") ? name : `var(--aigym-ansi-${name})`);
  if (front) node.style.color = colour(front);
  if (back) node.style.backgroundColor = colour(back);
  return node;
}
