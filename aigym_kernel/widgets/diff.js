// @ts-check
/**
 * The view "diff": two trajectories aligned, row by row. What is the same is folded, what differs is marked word
 * by word and number by number; n and p go from one divergence to the next, boards of both stand above.
 */
import { boardAt, clamp, formatNumber, h } from "./drawing.js";
import { bound } from "./keys.js";
import { visible } from "./markdown.js";
import { drawBoard } from "./scenes.js";
import { bringUp, windowed } from "./windowed.js";

/**
 * @typedef {[boolean, string]} Piece whether the other one has it too, and the text
 * @typedef {{name: string, same: boolean, a: Piece[], b: Piece[], numbers?: [string, number | null, number | null, number | null][], more?: number}} DiffPart
 * @typedef {{row: number, a: number | null, b: number | null, same: boolean, parts: DiffPart[]}} DiffRow
 * @typedef {{id: string, run_id: string | null, env_id: string, agent: string, seed: number | null, outcome: string,
 *   length: number, return: number | null, score: number | null}} DiffFacts
 * @typedef {{a: DiffFacts, b: DiffFacts, kind: string, length: number, found: number,
 *   counts: {same: number, changed: number, only_a: number, only_b: number}, divergences: [number, number][],
 *   notes: string[], from: number, rows: DiffRow[], missing?: string}} Differed
 * @typedef {{kind: "same" | "rows", from: number, to: number}} Stretch
 */

export const DIFF_KEYS = /** @type {const} */ ({ n: "next", p: "previous" });
/** @type {[string, string][]} */
export const DIFF_HELP = [["n p", "diff: next, previous divergence"]];
const CONTEXT = 2;
const BLOCK_ROWS = 40;
const ROW_HEIGHT = 56;

/** What to draw from top to bottom: rows in blocks, and what is the same and far from any difference as one fold.
 * @param {number} length @param {readonly [number, number][]} divergences @returns {Stretch[]} */
export function stretches(length, divergences) {
  /** @type {Stretch[]} */
  const found = [];
  let at = 0;
  const rows = (/** @type {number} */ to) => {
    for (; at < to; at = Math.min(to, at + BLOCK_ROWS)) found.push({ kind: "rows", from: at, to: Math.min(to, at + BLOCK_ROWS) });
  };
  const same = (/** @type {number} */ to) => {
    if (to - at > 2) found.push({ kind: "same", from: at, to });
    else rows(to);
    at = Math.max(at, to);
  };
  divergences.forEach(([from, to], i) => {
    same(Math.max(at, from - CONTEXT));
    const next = divergences[i + 1]?.[0] ?? length;
    rows(Math.min(to + CONTEXT, next, length));
  });
  same(length);
  return found;
}

/** A difference with its sign. @param {number | null} value */
export function signed(value) {
  if (value === null) return "";
  return value > 0 ? `+${formatNumber(value)}` : formatNumber(value);
}

/** @param {Piece[]} pieces @param {"a" | "b"} side */
function pieceNode(pieces, side) {
  if (!pieces.length) return h("pre", { class: "aigym-absent" });
  return h("pre", { dir: "auto" }, ...pieces.map(([same, text]) =>
    same ? visible(text) : h("mark", { class: `aigym-only-${side}` }, visible(text))));
}

/** @param {DiffPart} part @returns {HTMLElement[]} */
function partNodes(part) {
  const label = h("span", { class: "aigym-who" }, part.name);
  if (part.same) {
    const text = part.a.map(([, piece]) => piece).join("");
    const line = text.length > 300 ? `${text.slice(0, 300)}…` : text;
    return [label, h("div", { class: "aigym-alike" }, visible(line))];
  }
  if (part.numbers?.length) {
    const rows = part.numbers.map(([name, a, b, gap]) =>
      h("tr", {}, h("th", { scope: "row" }, name), h("td", {}, formatNumber(a)), h("td", {}, formatNumber(b)), h("td", { class: "aigym-gap" }, signed(gap))));
    const more = part.more ? [h("caption", {}, `and ${formatNumber(part.more)} more`)] : [];
    return [label, h("table", { class: "aigym-gaps" }, ...more, h("tbody", {}, ...rows))];
  }
  return [label, h("div", { class: "aigym-sides" }, pieceNode(part.a, "a"), pieceNode(part.b, "b"))];
}

/** @param {DiffRow} row */
function rowNode(row) {
  const place = (/** @type {number | null} */ at) => (at === null ? "–" : formatNumber(at));
  const only = row.a === null ? "only in b" : row.b === null ? "only in a" : row.same ? "" : "differs";
  const kind = row.same ? "same" : row.a === null ? "b" : row.b === null ? "a" : "changed";
  return h("div", { class: `aigym-pair aigym-pair-${kind}`, "data-row": String(row.row) },
    h("div", { class: "aigym-places" }, h("span", {}, place(row.a)), h("span", {}, place(row.b)), h("span", { class: "aigym-dull" }, only)),
    h("div", { class: "aigym-parts" }, ...row.parts.flatMap(partNodes)));
}

/** @param {Differed} found @param {() => void} swap */
function diffHead(found, swap) {
  const { a, b, counts, kind } = found;
  const cells = (/** @type {(facts: DiffFacts) => string} */ read) => [a, b].map((facts) => h("td", {}, visible(read(facts))));
  /** @type {[string, (facts: DiffFacts) => string][]} */
  const lines = [
    ["id", (f) => f.id], ["env", (f) => f.env_id], ["agent", (f) => f.agent.slice(0, 200)], ["seed", (f) => String(f.seed ?? "–")],
    ["outcome", (f) => f.outcome.slice(0, 100)], ["steps", (f) => formatNumber(f.length)], ["return", (f) => formatNumber(f.return)],
    ["score", (f) => formatNumber(f.score)],
  ];
  const differing = lines.filter(([name, read]) => name === "id" || read(a) !== read(b));
  const alike = lines.filter(([name, read]) => name !== "id" && read(a) === read(b) && read(a) !== "–");
  const button = h("button", { type: "button", "aria-label": "swap a and b" }, "⇄ swap");
  button.addEventListener("click", swap);
  return [
    h("div", { class: "aigym-sheet" }, h("table", { class: "aigym-who-is-who" },
      h("thead", {}, h("tr", {}, h("th", {}, button), h("th", { scope: "col" }, "a"), h("th", { scope: "col" }, "b"))),
      h("tbody", {}, ...differing.map(([name, read]) => h("tr", {}, h("th", { scope: "row" }, name), ...cells(read)))))),
    ...(alike.length ? [h("div", { class: "aigym-facts" }, h("span", { class: "aigym-dull" }, "both:"),
      ...alike.map(([name, read]) => h("span", {}, h("span", { class: "aigym-dull" }, `${name} `), visible(read(a)))))] : []),
    h("div", { class: "aigym-facts", role: "status" },
      h("span", {}, `${formatNumber(counts.same)} ${kind} the same`), h("span", {}, `${formatNumber(counts.changed)} differ`),
      h("span", {}, `${formatNumber(counts.only_a)} only in a`), h("span", {}, `${formatNumber(counts.only_b)} only in b`)),
    ...found.notes.map((note) => h("div", { class: "aigym-note" }, visible(note))),
  ];
}

/** @param {import("./explorer.js").Host} host @returns {import("./explorer.js").Pane} */
export function diffPane({ model, ask, speak, signal }) {
  const top = h("div", {});
  const boards = h("div", { class: "aigym-boards", hidden: "" });
  const told = h("span", { role: "status" });
  const go = (/** @type {string} */ label, /** @type {string} */ sign, /** @type {1 | -1} */ way) => {
    const made = h("button", { type: "button", "aria-label": label, title: label }, sign);
    made.addEventListener("click", () => jump(way));
    return made;
  };
  const pairing = h("button", { type: "button", title: "align the two marked trajectories, or the open one and one that began alike" }, "from the list");
  pairing.addEventListener("click", () => align({}));
  const scroller = h("div", { class: "aigym-rows-of-both", tabindex: "0", role: "log", "aria-label": "difference", "aria-live": "off" });
  const node = h("section", { class: "aigym-diff", "aria-label": "difference of two trajectories" }, top,
    h("div", { class: "aigym-filters" }, go("previous divergence (p)", "‹ p", -1), go("next divergence (n)", "n ›", 1), told, pairing),
    boards, scroller);
  let gone = new AbortController();
  signal.addEventListener("abort", () => gone.abort());
  /** @type {Map<number, DiffRow>} */
  let held = new Map();
  let current = -1;
  /** @type {(row: number) => void} */
  let reveal = () => {};
  /** @type {[any, any]} */
  let drawn = [null, null];
  const found = () => /** @type {Differed} */ (model.get("difference"));
  const align = (/** @type {Record<string, any>} */ args) => ask("diff", args).then(() => speak("aligned"), () => {});

  /** @param {number} from @param {number} to @param {() => void} late rows have come after they were given up */
  async function load(from, to, late) {
    const mine = held;
    const take = (/** @type {DiffRow[]} */ rows) => { for (const row of rows) mine.set(row.row, row); };
    let at = from;
    while (at < to) {
      if (mine.has(at)) {
        at++;
        continue;
      }
      const rows = /** @type {DiffRow[]} */ (await ask("diff rows", { from: at, to }, { late: (rows) => { take(rows); late(); } }));
      if (!rows.length) return;
      take(rows);
      at += rows.length;
    }
  }
  /** Lays out the stretches anew. @param {Differed} difference */
  function lay(difference) {
    gone.abort();
    gone = new AbortController();
    held = new Map(difference.rows.map((row) => [row.row, row]));
    current = -1;
    scroller.replaceChildren();
    const view = windowed({
      scroller, signal: gone.signal,
      draw: (/** @type {Stretch} */ { from, to }) => {
        const rows = Array.from({ length: to - from }, (_, i) => held.get(from + i));
        return rows.every(Boolean) ? /** @type {DiffRow[]} */ (rows).map(rowNode) : null;
      },
      fetch: ({ from, to }, late) => load(from, to, late),
      failed: () => [h("p", { class: "aigym-dull" }, "These rows need the kernel.")],
      drawn: () => { markRow(); },
    });
    /** @type {Map<HTMLElement, Stretch>} */
    const places = new Map();
    const add = (/** @type {Stretch} */ stretch, /** @type {Node | null} */ before) => {
      const block = h("div", { class: "aigym-chunk" });
      scroller.insertBefore(block, before);
      places.set(block, stretch);
      if (stretch.kind === "rows") {
        view.add(block, stretch, (stretch.to - stretch.from) * ROW_HEIGHT);
        return;
      }
      const count = stretch.to - stretch.from;
      const open = h("button", { type: "button", class: "aigym-same" }, `${formatNumber(count)} ${difference.kind} the same`);
      open.addEventListener("click", () => {
        places.delete(block);
        const after = block.nextSibling;
        block.remove();
        for (let at = stretch.from; at < stretch.to; at += BLOCK_ROWS) {
          add({ kind: "rows", from: at, to: Math.min(stretch.to, at + BLOCK_ROWS) }, after);
        }
        scroller.focus({ preventScroll: true });
      });
      block.append(open);
    };
    for (const stretch of stretches(difference.length, difference.divergences)) add(stretch, null);
    reveal = (row) => {
      const hit = [...places].find(([, { from, to }]) => from <= row && row < to);
      if (!hit) return;
      const bring = () => bringUp(scroller, scroller.querySelector(`[data-row="${row}"]`) ?? hit[0]);
      const come = () => { view.need(hit[0]); bring(); };
      if (hit[1].kind === "rows" && !view.need(hit[0])) load(hit[1].from, hit[1].to, come).then(come, () => {});
      bring();
    };
  }
  function markRow() {
    for (const old of scroller.querySelectorAll(".aigym-current")) old.classList.remove("aigym-current");
    const [from, to] = found().divergences?.[current] ?? [0, 0];
    for (let row = from; row < Math.min(to, from + 200); row++) scroller.querySelector(`[data-row="${row}"]`)?.classList.add("aigym-current");
  }
  /** @param {number} i which divergence */
  function show(i) {
    const difference = found();
    const stretch = difference.divergences[i];
    if (!stretch) return;
    current = i;
    const more = difference.found > difference.divergences.length ? ` of the first ${formatNumber(difference.divergences.length)}` : "";
    told.textContent = `divergence ${formatNumber(i + 1)} of ${formatNumber(difference.found)}${more}`;
    reveal(stretch[0]);
    markRow();
    showBoards(stretch[0]);
  }
  /** @param {1 | -1} way */
  function jump(way) {
    const difference = found();
    if (!difference.divergences?.length) return;
    show(clamp(current + way, 0, difference.divergences.length - 1));
    speak(told.textContent ?? "");
  }
  /** @param {number} row */
  async function showBoards(row) {
    const difference = found();
    if (difference.kind !== "steps") {
      boards.hidden = true;
      return;
    }
    const put = (/** @type {((import("./drawing.js").Boards & {t: number, step: number}) | null)[]} */ both) => {
      if (found() !== difference) return;
      drawn = /** @type {[any, any]} */ (both);
      boards.hidden = !both.some(Boolean);
      boards.replaceChildren(...both.map((board, i) => h("figure", {},
        h("figcaption", { class: "aigym-dull" }, board ? `${"ab"[i]} at step ${formatNumber(board.step)}` : `${"ab"[i]}: no board here`),
        ...(board ? [h("canvas", { class: "aigym-board", role: "img", "aria-label": `board of ${"ab"[i]} at step ${board.step}` })] : []))));
      repaint();
    };
    try {
      put(await ask("diff boards", { row }, { late: put }));
    } catch {
      boards.hidden = true;
    }
  }
  function repaint() {
    const canvases = boards.querySelectorAll("canvas");
    drawn.filter(Boolean).forEach((board, i) => { if (canvases[i]) drawBoard(canvases[i], board, boardAt(board, board.t)); });
  }
  function draw() {
    const difference = found();
    boards.hidden = true;
    if (!difference.a) {
      gone.abort();
      scroller.replaceChildren();
      scroller.hidden = true;
      told.textContent = "";
      top.replaceChildren(h("p", { class: "aigym-dull aigym-empty" }, difference.missing ?? "Align the two marked trajectories of the list."));
      return;
    }
    scroller.hidden = false;
    top.replaceChildren(...diffHead(difference, () => align({ a: difference.b.id, b: difference.a.id })));
    lay(difference);
    if (difference.divergences.length) show(0);
    else told.textContent = `no divergence: the same ${formatNumber(difference.length)} ${difference.kind}`;
  }
  const opened = () => { if (model.get("view") === "diff") align({}); };
  /** @type {[string, () => void][]} */
  const listeners = [["difference", draw], ["view", opened]];
  for (const [name, act] of listeners) {
    model.on(`change:${name}`, act);
    signal.addEventListener("abort", () => model.off(`change:${name}`, act));
  }
  draw();
  if (model.get("view") === "diff" && !found().a) align({});
  return {
    node, repaint,
    keys: bound(DIFF_KEYS, { next: () => jump(1), previous: () => jump(-1) }),
    help: DIFF_HELP,
  };
}
