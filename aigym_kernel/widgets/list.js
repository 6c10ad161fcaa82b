// @ts-check
/**
 * The explorer's list: only the rows in view are there, and their values come in blocks from Python.
 *
 * The grid keeps the focus; its active row is the open trajectory. Rows can be marked beside that (`chosen`).
 */
import { badge, formatNumber, formatTime, h } from "./drawing.js";

/**
 * @typedef {{trajectory_id: string, run_id: string | null, env_id: string | null, agent: string | null,
 *   outcome: string | null, length: number, return: number | string | null, score: number | string | null,
 *   started_at: number | null}} Row numbers that JSON lacks are text
 */

/** @type {[keyof Row, string, string][]} column, heading, kind */
const LIST_COLUMNS = [
  ["started_at", "started", "time"], ["env_id", "env", "name"], ["agent", "agent", "name"],
  ["outcome", "outcome", "badge"], ["length", "steps", "number"], ["return", "return", "number"], ["score", "score", "number"],
];
export const ROW_PX = 26;
export const BLOCK = 60;
const OVERSCAN = 8;

/** Which rows to draw: [from, to). @param {number} top scrolled by, in pixels @param {number} height of the view
 * @param {number} total rows @returns {[number, number]} */
export function inView(top, height, total) {
  const from = Math.max(0, Math.floor(top / ROW_PX) - OVERSCAN);
  return [Math.min(from, total), Math.min(total, Math.ceil((top + height) / ROW_PX) + OVERSCAN)];
}

/** The blocks that hold these rows. @param {number} from @param {number} to @returns {number[]} */
export function blocksOf(from, to) {
  const first = Math.floor(from / BLOCK);
  return to > from ? Array.from({ length: Math.floor((to - 1) / BLOCK) - first + 1 }, (_, i) => first + i) : [];
}

/** @param {Row} row @param {keyof Row} column @param {Date} now @returns {Node | string} */
function listCell(row, column, now) {
  const value = row[column];
  if (column === "started_at") return formatTime(row.started_at, now);
  if (column === "outcome") return badge(row.outcome ?? "none");
  if (column === "env_id") return (row.env_id ?? "–").replace(/^aigym\//, "");
  return typeof value === "number" || value === null ? formatNumber(value) : value;
}

/** @param {import("./explorer.js").Host} host @returns {import("./explorer.js").Pane & {focus: () => void}} */
export function listPane({ model, ask, change, signal }) {
  const heads = LIST_COLUMNS.map(([column, name, kind]) => {
    const button = h("button", { type: "button", title: `sort by ${name}` }, name);
    button.addEventListener("click", () => {
      const again = model.get("order_by") === column;
      change(again ? { descending: !model.get("descending") } : { order_by: column, descending: true });
    });
    return h("div", { role: "columnheader", class: `aigym-${kind}` }, button);
  });
  const body = h("div", { class: "aigym-rows", role: "rowgroup" });
  const grid = h("div", { class: "aigym-grid", role: "grid", tabindex: "0", "aria-label": "trajectories", "aria-multiselectable": "true" },
    h("div", { class: "aigym-grid-head", role: "row" }, ...heads), body);
  const count = h("span", { class: "aigym-dull", role: "status" });
  const node = h("section", { class: "aigym-list", "aria-label": "list of trajectories" }, grid, h("div", { class: "aigym-list-foot" }, count));
  const mark = Math.random().toString(36).slice(2);

  /** @type {Map<number, Row[]>} */
  let blocks = new Map();
  /** @type {Set<number>} */
  let fresh = new Set();
  /** @type {Map<number, HTMLElement>} */
  const drawn = new Map();
  let at = -1; // the active row
  let open = ""; // the trajectory that was opened last, ahead of what Python has confirmed

  /** @param {number} i @returns {Row | undefined} */
  const rowAt = (i) => blocks.get(Math.floor(i / BLOCK))?.[i % BLOCK];

  /** @param {number} block */
  async function load(block) {
    if (fresh.has(block)) return;
    fresh.add(block);
    const stamp = model.get("stamp");
    try {
      const answer = await ask("rows", { from: block * BLOCK, to: (block + 1) * BLOCK });
      if (answer.stamp !== model.get("stamp")) return;
      blocks.set(block, answer.rows);
      draw();
    } catch {
      if (stamp === model.get("stamp")) fresh.delete(block);
    }
  }
  /** @param {HTMLElement} line @param {number} i @param {Row | undefined} row @param {Date} now */
  function fill(line, i, row, now) {
    line.dataset.id = row?.trajectory_id ?? "";
    line.title = row ? `${row.trajectory_id}, run ${row.run_id}` : "";
    line.replaceChildren(...LIST_COLUMNS.map(([column, , kind]) =>
      h("div", { role: "gridcell", class: `aigym-${kind}` }, row ? listCell(row, column, now) : "…")));
    line.setAttribute("aria-rowindex", String(i + 2));
  }
  function draw() {
    const total = model.get("total");
    const [from, to] = inView(grid.scrollTop, grid.clientHeight, total);
    const now = new Date();
    const chosen = new Set(model.get("chosen"));
    for (const [i, line] of drawn) {
      if (i >= from && i < to) continue;
      line.remove();
      drawn.delete(i);
    }
    for (let i = from; i < to; i++) {
      let line = drawn.get(i);
      const row = rowAt(i);
      if (!line) {
        line = h("div", { role: "row", class: "aigym-row", id: `aigym-${mark}-${i}`, style: `top: ${i * ROW_PX}px` });
        drawn.set(i, line);
        fill(line, i, row, now);
        const after = /** @type {HTMLElement[]} */ ([...body.children]).find((one) => Number(one.getAttribute("aria-rowindex")) > i + 2);
        body.insertBefore(line, after ?? null);
      } else if (line.dataset.stamp !== String(model.get("stamp")) || line.dataset.id !== (row?.trajectory_id ?? "")) {
        fill(line, i, row, now);
      }
      line.dataset.stamp = String(model.get("stamp"));
      line.setAttribute("aria-selected", String(!!row && chosen.has(row.trajectory_id)));
      if (row && row.trajectory_id === open) line.setAttribute("aria-current", "true");
      else line.removeAttribute("aria-current");
    }
    const active = drawn.get(at);
    if (active) grid.setAttribute("aria-activedescendant", active.id);
    else grid.removeAttribute("aria-activedescendant");
    for (const block of blocksOf(from, to)) load(block);
  }
  /** Opens the trajectory in a row, once it is known, and brings it into view. @param {number} i */
  async function go(i) {
    at = i;
    const top = i * ROW_PX;
    const view = grid.clientHeight - ROW_PX;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + ROW_PX > grid.scrollTop + view) grid.scrollTop = top + ROW_PX - view;
    if (!rowAt(i)) await load(Math.floor(i / BLOCK));
    const row = rowAt(i);
    if (at !== i || !row) return;
    if (row.trajectory_id !== open) {
      open = row.trajectory_id;
      change({ selected: open }).catch(() => { open = model.get("selected"); place(); draw(); });
    }
    draw();
  }
  /** @param {number} by */
  const move = (by) => {
    const total = model.get("total");
    if (total) go(Math.max(0, Math.min(total - 1, at < 0 ? 0 : at + by)));
  };
  body.addEventListener("click", (event) => {
    const line = /** @type {HTMLElement} */ (event.target).closest(".aigym-row");
    const found = [...drawn].find(([, one]) => one === line);
    if (found) go(found[0]);
    grid.focus({ preventScroll: true });
  });
  let frame = 0;
  grid.addEventListener("scroll", () => { frame ||= requestAnimationFrame(() => { frame = 0; draw(); }); });

  function place() {
    at = -1;
    for (const [block, rows] of blocks) {
      const i = rows.findIndex((row) => row.trajectory_id === open);
      if (i >= 0) at = block * BLOCK + i;
    }
  }
  function update() {
    const total = model.get("total");
    blocks = new Map([...blocks].filter(([block]) => block * BLOCK < total));
    blocks.set(0, model.get("rows"));
    fresh = new Set([0]);
    body.style.height = `${total * ROW_PX}px`;
    grid.setAttribute("aria-rowcount", String(total + 1));
    heads.forEach((head, i) => {
      const sorted = LIST_COLUMNS[i][0] === model.get("order_by");
      head.setAttribute("aria-sort", !sorted ? "none" : model.get("descending") ? "descending" : "ascending");
    });
    const among = model.get("among");
    count.textContent = total === among ? `${formatNumber(total)} trajectories` : `${formatNumber(total)} of ${formatNumber(among)} trajectories`;
    place();
    draw();
  }
  const follow = () => { open = model.get("selected"); place(); draw(); };
  /** @type {[string, () => void][]} */
  const listeners = [["stamp", update], ["selected", follow], ["chosen", draw]];
  for (const [name, act] of listeners) {
    model.on(`change:${name}`, act);
    signal.addEventListener("abort", () => model.off(`change:${name}`, act));
  }
  const sizes = new ResizeObserver(draw);
  sizes.observe(grid);
  signal.addEventListener("abort", () => sizes.disconnect());
  open = model.get("selected");
  update();
  const page = () => Math.max(1, Math.floor(grid.clientHeight / ROW_PX) - 2);
  return {
    node,
    focus: () => grid.focus({ preventScroll: true }),
    keys: {
      j: () => move(1), ArrowDown: () => move(1), k: () => move(-1), ArrowUp: () => move(-1),
      PageDown: () => move(page()), PageUp: () => move(-page()),
    },
    help: [["j k ↑ ↓", "next, previous trajectory"], ["PageDown PageUp", "a page on, back"]],
  };
}
