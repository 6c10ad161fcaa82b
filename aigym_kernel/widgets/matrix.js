// @ts-check
/**
 * The cells of a bench as a matrix, or as a list: a grid that keeps the focus while its active cell moves.
 *
 * What is drawn of a cell is a word or a number, never a colour alone. A thousand cells are a thousand small
 * elements; `show` touches only those whose text or look differs from what they show.
 */
import { formatDuration, formatNumber, h } from "./drawing.js";

/**
 * @typedef {{id: string, values: string[], label: string}} Cell `values`: of the parameters that vary
 * @typedef {[state: string, value: number | null, reason: string, shade: number | null]} Standing
 * @typedef {{share: number, done: number, total: number, inner: string, memory_mb: number | null, left: number | null}} Going
 * @typedef {{heads: string[], columns: string[], rows: {head: string[], places: number[]}[]}} Matrix
 *   `heads`: names of what the rows are; `places`: which cell stands in each column, -1 for none
 */

export const MATRIX_KEYS = /** @type {const} */ ({
  ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down", Home: "first", End: "last",
  PageUp: "pageUp", PageDown: "pageDown", Enter: "open", " ": "open",
});
/** @type {[string, string][]} */
export const MATRIX_HELP = [["← → ↑ ↓", "move among cells"], ["Home End", "first, last of the row"], ["PageUp PageDown", "ten rows on, back"],
  ["Enter", "open the cell"]];
const PAGE_ROWS = 10;

/** Where each cell stands. Without a column: one cell to a row.
 * @param {readonly string[]} names @param {readonly Cell[]} cells @param {string} column @returns {Matrix} */
export function arranged(names, cells, column) {
  const place = names.indexOf(column);
  const heads = names.filter((_, i) => i !== place);
  if (place < 0) {
    return { heads: heads.length ? heads : ["cell"], columns: [""], rows: cells.map((cell, i) => ({ head: heads.length ? cell.values : [cell.label], places: [i] })) };
  }
  const columns = [...new Set(cells.map((cell) => cell.values[place]))];
  /** @type {Map<string, {head: string[], places: number[]}>} */
  const rows = new Map();
  cells.forEach((cell, i) => {
    const head = cell.values.filter((_, k) => k !== place);
    const key = JSON.stringify(head);
    const row = rows.get(key) ?? { head, places: columns.map(() => -1) };
    row.places[columns.indexOf(cell.values[place])] = i;
    rows.set(key, row);
  });
  return { heads, columns, rows: [...rows.values()] };
}

/** What stands in a cell. @param {Standing} standing @param {Going | undefined} going @param {boolean} wide of a list */
export function cellWord([state, value, reason], going, wide) {
  if (state === "done" || state === "skipped") {
    const text = value === null ? "done" : formatNumber(value);
    return text + (state === "skipped" ? (wide ? " ◦ skipped" : " ◦") : "");
  }
  if (state === "failed") return `✕ ${reason || state}`;
  if (state !== "running" || !going) return state;
  const percent = `${Math.round(going.share * 100)} %`;
  return wide ? [`running ${percent}`, going.inner, leftText(going.left)].filter(Boolean).join(", ") : `▸ ${percent}`;
}

/** @param {number | null} left seconds */
export function leftText(left) {
  return left === null ? "" : `about ${formatDuration(left)} left`;
}

/** What a screen reader says of a cell, and what stands in its tip.
 * @param {readonly string[]} names @param {Cell} cell @param {Standing} standing @param {Going | undefined} going @param {string} metric */
export function cellLabel(names, cell, [state, value, reason], going, metric) {
  const who = names.length ? names.map((name, i) => `${name} ${cell.values[i]}`).join(", ") : cell.label;
  const told = value === null ? "" : `, ${metric} ${formatNumber(value)}`;
  if (state === "skipped") return `${who}: skipped, done before this start${told}`;
  if (state === "failed") return `${who}: failed${reason ? `, ${reason}` : ""}`;
  if (state !== "running" || !going) return `${who}: ${state}${told}`;
  const cells = `code cell ${Math.min(going.done + 1, going.total)} of ${going.total}`;
  return `${who}: running, ${[going.total ? cells : "", going.inner, leftText(going.left)].filter(Boolean).join(", ")}`;
}

/** The row and column after a key; the next cell that there is in that direction, else where it was.
 * @param {Matrix} matrix @param {[number, number]} at @param {string} way one of MATRIX_KEYS @returns {[number, number]} */
export function movedTo(matrix, [row, column], way) {
  const rows = matrix.rows.length;
  const width = matrix.columns.length;
  const steps = /** @type {Record<string, [number, number]>} */ ({
    left: [0, -1], right: [0, 1], up: [-1, 0], down: [1, 0], pageUp: [-PAGE_ROWS, 0], pageDown: [PAGE_ROWS, 0],
  });
  if (way === "first" || way === "last") {
    const there = matrix.rows[row].places.flatMap((place, i) => (place >= 0 ? [i] : []));
    return [row, (way === "first" ? there[0] : there[there.length - 1]) ?? column];
  }
  const [down, right] = steps[way];
  let r = Math.max(0, Math.min(rows - 1, row + down));
  let c = column + right;
  for (; r >= 0 && r < rows && c >= 0 && c < width; r += Math.sign(down), c += right) {
    if (matrix.rows[r].places[c] >= 0) return [r, c];
  }
  return [row, column];
}

/**
 * @param {{model: import("./bench.js").Model, open: (place: number) => void}} host
 * @returns {{node: HTMLElement, keys: import("./keys.js").Keys, show: () => void, draw: () => void, choose: (place: number) => void, focus: () => void}}
 *   `draw` builds it anew, `show` brings up to date what stands in it, `choose` marks the open cell
 */
export function matrixPane({ model, open }) {
  const grid = h("div", { class: "aigym-matrix", role: "grid", tabindex: "0", "aria-label": "cells of the bench" });
  const mark = Math.random().toString(36).slice(2);
  /** @type {Matrix} */
  let matrix = { heads: [], columns: [], rows: [] };
  /** @type {(HTMLElement | undefined)[]} by the place of the cell */
  let nodes = [];
  /** @type {string[]} what each shows */
  let shown = [];
  /** @type {[number, number]} */
  let at = [0, 0];
  let chosen = -1;

  const placeAt = () => matrix.rows[at[0]]?.places[at[1]] ?? -1;

  function draw() {
    const cells = model.get("cells");
    const wide = model.get("columns") === "";
    const before = placeAt();
    matrix = arranged(model.get("names"), cells, model.get("columns"));
    nodes = new Array(cells.length);
    shown = new Array(cells.length).fill("");
    // Each parameter of the rows gets the width of its longest value; the columns share the rest.
    const widths = matrix.heads.map((head, k) => Math.min(30, Math.max(head.length + 1, ...matrix.rows.map((row) => row.head[k].length)) + 1));
    grid.style.setProperty("--aigym-heads", `${widths.map((n) => `${(n * 0.62).toFixed(1)}em`).join(" ")}`);
    // All widths are given, so that no row has to be looked at to lay out the others.
    const least = wide ? 220 : 74;
    const head = `(${widths.reduce((sum, n) => sum + n * 0.62, 0).toFixed(1)}em + ${4 * widths.length + 9}px)`;
    grid.style.setProperty("--aigym-head", `calc${head}`);
    grid.style.setProperty("--aigym-across", `repeat(${matrix.columns.length}, minmax(${least}px, 1fr))`);
    grid.style.setProperty("--aigym-least", `calc(${head} + ${least * matrix.columns.length}px)`);
    grid.setAttribute("aria-rowcount", String(matrix.rows.length + 1));
    grid.setAttribute("aria-colcount", String(matrix.columns.length + 1));
    grid.classList.toggle("aigym-matrix-list", wide);
    const top = h("div", { class: "aigym-matrix-row aigym-matrix-top", role: "row" },
      h("div", { class: "aigym-matrix-head", role: "columnheader" }, ...matrix.heads.map((name) => h("span", {}, name))),
      ...matrix.columns.map((name, i) => h("div", { role: "columnheader", title: name }, i || wide ? name : `${model.get("columns")} ${name}`)));
    const rows = matrix.rows.map((row, r) => {
      const above = matrix.rows[r - 1]?.head ?? [];
      const line = h("div", { class: "aigym-matrix-row", role: "row" },
        h("div", { class: "aigym-matrix-head", role: "rowheader" }, ...row.head.map((text, k) => {
          // What is as in the row above is there for screen readers, and dull.
          const same = row.head.slice(0, k + 1).every((value, i) => value === above[i]);
          return h("span", { title: text, ...(same ? { class: "aigym-same" } : {}) }, text);
        })));
      for (const place of row.places) {
        const node = h("div", { role: "gridcell" });
        if (place >= 0) {
          node.id = `aigym-${mark}-${place}`;
          nodes[place] = node;
        }
        line.append(node);
      }
      return line;
    });
    grid.replaceChildren(top, ...rows);
    goTo(before);
    show();
    if (chosen >= 0) nodes[chosen]?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  function show() {
    const [names, cells, standing] = [model.get("names"), model.get("cells"), model.get("standing")];
    const [going, metric, wide] = [model.get("going"), model.get("view").metric, model.get("columns") === ""];
    nodes.forEach((node, i) => {
      const one = standing[i];
      if (!node || !one) return;
      const now = going[i];
      const label = cellLabel(names, cells[i], one, now, metric);
      const drawn = `${label} ${now?.share} ${one[3]} ${i === chosen}`;
      if (shown[i] === drawn) return;
      shown[i] = drawn;
      node.className = `aigym-matrix-cell aigym-cell-${one[0]}${i === chosen ? " aigym-chosen" : ""}`;
      node.setAttribute("aria-label", label);
      node.setAttribute("aria-selected", String(i === chosen));
      node.title = label;
      node.textContent = cellWord(one, now, wide);
      node.style.setProperty("--aigym-part", now ? `${(now.share * 100).toFixed(1)}%` : "0%");
      node.style.setProperty("--aigym-shade", `${((one[3] ?? 0) * 42 + 6).toFixed(0)}%`);
    });
  }

  /** Makes a cell the active one. @param {number} place */
  function goTo(place) {
    const row = matrix.rows.findIndex((one) => one.places.includes(place));
    at = row < 0 ? [0, 0] : [row, matrix.rows[row].places.indexOf(place)];
    activate();
  }
  function activate() {
    const node = nodes[placeAt()];
    if (!node) {
      grid.removeAttribute("aria-activedescendant");
      return;
    }
    node.parentElement?.setAttribute("aria-rowindex", String(at[0] + 2));
    grid.setAttribute("aria-activedescendant", node.id);
    // The class of a cell is written when its state changes; the active one is told by an attribute of its own.
    for (const other of grid.querySelectorAll("[data-active]")) other.removeAttribute("data-active");
    node.setAttribute("data-active", "");
  }
  const move = (/** @type {string} */ way) => () => {
    at = movedTo(matrix, at, way);
    activate();
    nodes[placeAt()]?.scrollIntoView({ block: "nearest", inline: "nearest" });
  };
  grid.addEventListener("click", (event) => {
    const node = /** @type {HTMLElement} */ (event.target).closest("[role=gridcell]");
    const place = nodes.findIndex((one) => one === node);
    grid.focus({ preventScroll: true });
    if (place < 0 || !node) return;
    goTo(place);
    open(place);
  });
  const opening = () => { if (placeAt() >= 0) open(placeAt()); };
  return {
    node: grid, draw, show,
    keys: Object.fromEntries(Object.entries(MATRIX_KEYS).map(([key, way]) => [key, way === "open" ? opening : move(way)])),
    choose: (place) => { chosen = place; show(); },
    focus: () => grid.focus({ preventScroll: true }),
  };
}
