// @ts-check
/**
 * The explorer's list: only the rows in view are there, and their values come in blocks from Python.
 *
 * The lines (see line.js) are recycled: as the list scrolls, those that left come in again at the other end.
 * A row is asked for when it will be looked at, not while it passes by. The grid keeps the focus; its active row is the open trajectory. Rows can be marked beside that (`chosen`).
 */
import { formatNumber, h } from "./drawing.js";
import { bound } from "./keys.js";
import { listLine, setAttribute, spark } from "./line.js";
import { latest } from "./requests.js";

/**
 * @typedef {{trajectory_id: string, run_id: string | null, env_id: string | null, agent: string | null,
 *   outcome: string | null, length: number, return: number | string | null, score: number | string | null,
 *   started_at: number | null, tags: string[]}} Row numbers that JSON lacks are text
 */

/** @type {[keyof Row | "", string, string, string][]} column to sort by, heading, kind, width */
const LIST_COLUMNS = [
  ["started_at", "started", "time", "minmax(86px, .4fr)"], ["env_id", "env", "name", "minmax(54px, 1.2fr)"],
  ["agent", "agent", "name", "minmax(44px, 1fr)"], ["outcome", "outcome", "badge", "90px"],
  ["length", "steps", "number", "minmax(53px, .6fr)"], ["return", "return", "number", "minmax(57px, .7fr)"],
  ["score", "score", "number", "minmax(53px, .5fr)"], ["", "rewards", "spark", "minmax(58px, .8fr)"],
  ["tags", "tags", "name", "minmax(38px, .6fr)"],
];
export const LIST_KEYS = /** @type {const} */ ({
  j: "next", ArrowDown: "next", k: "previous", ArrowUp: "previous", PageDown: "page", PageUp: "pageBack",
  x: "mark", X: "unmark", "Shift+ArrowDown": "markNext", "Shift+ArrowUp": "markPrevious",
});
/** @type {[string, string][]} */
export const LIST_HELP = [
  ["j k ↑ ↓", "next, previous trajectory"], ["PageDown PageUp", "a page on, back"],
  ["x", "mark the trajectory, or not"], ["Shift ↑ ↓", "mark on the way"], ["X", "unmark all"],
];
export const ROW_PX = 26;
export const BLOCK = 60;
const OVERSCAN = 8;
const SPARK_MS = 150;
const PASSED_MS = 60;

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

/** @param {import("./explorer.js").Host} host @returns {import("./explorer.js").Pane & {focus: () => void, hold: () => [string[], (places: number[]) => void]}} */
export function listPane({ model, ask, change, signal }) {
  const makeHead = (/** @type {(typeof LIST_COLUMNS)[0]} */ [column, name, kind]) => {
    if (!column) return h("div", { role: "columnheader", class: "aigym-cell-name" }, name);
    const button = h("button", { type: "button", title: `sort by ${name}` }, name);
    button.addEventListener("click", () => {
      const again = model.get("order_by") === column;
      change(again ? { descending: !model.get("descending") } : { order_by: column, descending: true });
    });
    return h("div", { role: "columnheader", class: `aigym-cell-${kind}` }, button);
  };
  /** Those that any trajectory has a value in. @type {typeof LIST_COLUMNS} */
  let columns = [];
  const header = h("div", { class: "aigym-grid-head", role: "row" });
  const body = h("div", { class: "aigym-rows", role: "rowgroup" });
  const grid = h("div", { class: "aigym-grid", role: "grid", tabindex: "0", "aria-label": "trajectories", "aria-multiselectable": "true" },
    header, body);
  const count = h("span", { class: "aigym-dull", role: "status" });
  const unmark = h("button", { type: "button", class: "aigym-chip", title: "unmark all (Shift+X)" });
  unmark.addEventListener("click", () => setChosen([]));
  const node = h("section", { class: "aigym-list", "aria-label": "list of trajectories" }, grid, h("div", { class: "aigym-list-foot" }, count, unmark));
  const mark = Math.random().toString(36).slice(2);

  /** @type {Map<number, Row[]>} */
  let blocks = new Map();
  /** @type {Map<number, Promise<boolean>>} blocks of the present list, there or on their way */
  let fresh = new Map();
  /** Those in view, in their order, without a gap. @type {import("./line.js").Line[]} */
  let lines = [];
  /** Drawn once for each trajectory. @type {Map<string, Node>} */
  const sparks = new Map();
  let height = 0; // of the view
  let lastTop = 0; // where it was drawn
  let chosen = new Set(model.get("chosen")); // ahead of what Python has confirmed, as is `open`
  let at = -1; // the active row
  let anchor = -1; // where Shift begins
  let open = ""; // the trajectory that was opened last
  let wanted = ""; // the same until Python has confirmed it
  let heading = -1; // the row that will be opened once it is known

  /** @param {number} i @returns {Row | undefined} */
  const rowAt = (i) => blocks.get(Math.floor(i / BLOCK))?.[i % BLOCK];

  /** @param {number} block */
  function load(block) {
    const known = fresh.get(block) ?? fetchBlock(block);
    fresh.set(block, known);
    return known;
  }
  /** @param {number} block @returns {Promise<boolean>} whether to go on asking */
  async function fetchBlock(block) {
    const stamp = model.get("stamp");
    const take = (/** @type {{stamp: number, rows: Row[]}} */ answer) => {
      if (answer.stamp !== model.get("stamp")) return;
      blocks.set(block, answer.rows);
      if (!fresh.has(block)) fresh.set(block, Promise.resolve(true));
      draw();
    };
    try {
      take(await ask("rows", { from: block * BLOCK, to: (block + 1) * BLOCK }, { late: take }));
      return true;
    } catch {
      if (stamp === model.get("stamp")) fresh.delete(block);
      return stamp !== model.get("stamp");
    }
  }
  let loading = false;
  /** Fetches what is in view; what has come into view meanwhile, after that. */
  async function loadInView() {
    if (loading || signal.aborted) return;
    const missing = blocksOf(...inView(lastTop, height, model.get("total"))).filter((block) => !fresh.has(block));
    if (!missing.length) return;
    loading = true;
    const further = await Promise.all(missing.map(load));
    loading = false;
    if (further.every(Boolean)) loadInView();
  }
  /** Puts lines where rows [from, to) are. @param {number} from @param {number} to */
  function arrange(from, to) {
    const put = (/** @type {typeof lines[0]} */ line, /** @type {number} */ i) => line.move(i, i * ROW_PX, `aigym-${mark}-${i}`);
    const spare = lines.filter(({ i }) => i < from || i >= to);
    if (spare.length === lines.length) spare.splice(0, to - from).forEach((line, k) => put(line, from + k));
    const kept = lines.filter((line) => !spare.includes(line));
    for (const line of spare.splice(Math.max(0, to - from - kept.length))) line.node.remove();
    const next = () => spare.pop() ?? listLine(columns);
    while (kept.length && kept[0].i > from) {
      const line = next();
      put(line, kept[0].i - 1);
      body.prepend(line.node);
      kept.unshift(line);
    }
    while (kept.length < to - from) {
      const line = next();
      put(line, from + kept.length);
      body.append(line.node);
      kept.push(line);
    }
    lines = kept;
  }
  function draw() {
    const top = grid.scrollTop;
    const [from, to] = inView(top, height, model.get("total"));
    if (lines.length !== to - from || lines[0]?.i !== from) arrange(from, to);
    const now = new Date();
    for (const line of lines) {
      const row = rowAt(line.i);
      line.tell(row, row && sparks.get(row.trajectory_id), now);
      line.state(!!row && chosen.has(row.trajectory_id), !!row && row.trajectory_id === open);
    }
    setAttribute(grid, "aria-activedescendant", lines[at - from]?.node.id ?? null);
    window.clearTimeout(restTimer);
    // Rows that fly past, more than a view of them between two frames, are not asked for.
    const past = Math.abs(top - lastTop) > height;
    lastTop = top;
    if (past) restTimer = window.setTimeout(loadInView, PASSED_MS);
    else loadInView();
    window.clearTimeout(sparkTimer);
    sparkTimer = window.setTimeout(loadSparks, SPARK_MS);
  }
  let restTimer = 0;
  let sparkTimer = 0;
  signal.addEventListener("abort", () => { window.clearTimeout(sparkTimer); window.clearTimeout(restTimer); });
  /** Fetches the pictures of the rows in view, once scrolling and brushing have come to rest. */
  async function loadSparks() {
    const ids = lines.map(({ i }) => rowAt(i)?.trajectory_id ?? "").filter((id) => id && !sparks.has(id));
    if (!ids.length || silent) return;
    if (sparks.size > 5000) sparks.clear();
    const take = (/** @type {Record<string, number[]>} */ answer) => {
      silent = false;
      for (const [id, values] of Object.entries(answer)) sparks.set(id, spark(values));
      draw();
    };
    try {
      take(await ask("sparks", { ids }, { quietly: true, late: take }));
    } catch {
      silent = true; // until the list changes, which needs a kernel
    }
  }
  let silent = false;
  /** @param {string[]} ids */
  function setChosen(ids) {
    chosen = new Set(ids);
    foot();
    draw();
    change({ chosen: ids }).catch(() => { chosen = new Set(model.get("chosen")); foot(); draw(); });
  }
  /** @param {number} i */
  function toggle(i) {
    const id = rowAt(i)?.trajectory_id;
    if (!id) return;
    anchor = i;
    setChosen(chosen.has(id) ? [...chosen].filter((one) => one !== id) : [...chosen, id]);
  }
  /** Marks from the anchor to a row. @param {number} i */
  function extend(i) {
    if (anchor < 0) anchor = at < 0 ? i : at;
    ask("choose", { from: Math.min(anchor, i), to: Math.max(anchor, i) });
  }
  /** Opens the trajectory in a row, once it is known, and brings it into view. @param {number} i */
  async function go(i) {
    at = i;
    heading = i;
    const top = i * ROW_PX;
    const view = grid.clientHeight - ROW_PX;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + ROW_PX > grid.scrollTop + view) grid.scrollTop = top + ROW_PX - view;
    if (!rowAt(i)) await load(Math.floor(i / BLOCK));
    if (heading !== i) return;
    heading = -1;
    const row = rowAt(i);
    if (!row) return;
    if (row.trajectory_id !== open) {
      open = row.trajectory_id;
      wanted = open;
      openLatest(open);
    }
    draw();
  }
  /** @param {number} by */
  const move = (by) => {
    const total = model.get("total");
    if (total) go(Math.max(0, Math.min(total - 1, at < 0 ? 0 : at + by)));
  };
  const moveMarking = (/** @type {number} */ by) => {
    const start = at;
    if (anchor < 0) anchor = start;
    move(by);
    if (start >= 0) extend(at);
  };
  body.addEventListener("click", (event) => {
    const line = /** @type {HTMLElement} */ (event.target).closest(".aigym-row");
    const i = lines.find((one) => one.node === line)?.i;
    grid.focus({ preventScroll: true });
    if (i === undefined) return;
    const onCheck = /** @type {HTMLElement} */ (event.target).classList.contains("aigym-check");
    if (event.shiftKey) extend(i);
    else if (event.ctrlKey || event.metaKey || onCheck) toggle(i);
    else {
      anchor = i;
      go(i);
    }
  });
  let frame = 0;
  grid.addEventListener("scroll", () => { frame ||= requestAnimationFrame(() => { frame = 0; draw(); }); }, { passive: true });

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
    fresh = new Map([[0, Promise.resolve(true)]]);
    body.style.height = `${total * ROW_PX}px`;
    grid.setAttribute("aria-rowcount", String(total + 1));
    const offered = new Set(model.get("offered").map(([name]) => name));
    const next = LIST_COLUMNS.filter(([column]) => !column || offered.has(column));
    if (next.length !== columns.length || next.some((one, i) => one !== columns[i])) {
      columns = next;
      lines = [];
      body.replaceChildren();
      header.replaceChildren(h("div", { role: "columnheader", "aria-label": "marked" }), ...columns.map(makeHead));
      grid.style.setProperty("--aigym-columns", `20px ${columns.map(([, , , width]) => width).join(" ")}`);
    }
    columns.forEach(([column], i) => {
      if (!column) return;
      const sorted = column === model.get("order_by");
      header.children[i + 1].setAttribute("aria-sort", !sorted ? "none" : model.get("descending") ? "descending" : "ascending");
    });
    silent = false;
    anchor = -1;
    foot();
    place();
    draw();
  }
  function foot() {
    const [total, among] = [model.get("total"), model.get("among")];
    count.textContent = total === among ? `${formatNumber(total)} trajectories` : `${formatNumber(total)} of ${formatNumber(among)} trajectories`;
    unmark.hidden = !chosen.size;
    unmark.textContent = `${formatNumber(chosen.size)} marked ×`;
  }
  const showChosen = () => { chosen = new Set(model.get("chosen")); foot(); draw(); };
  // Keys are faster than answers: until the last one wished for has come, those before it are passed over.
  const openLatest = latest(async (/** @type {string} */ id) => {
    await change({ selected: id }).catch(() => {});
    if (wanted !== id) return;
    wanted = "";
    follow();
  });
  const follow = () => {
    if (wanted || heading >= 0) return;
    open = model.get("selected");
    place();
    draw();
  };
  /** @type {[string, () => void][]} */
  const listeners = [["stamp", update], ["selected", follow], ["chosen", showChosen]];
  for (const [name, act] of listeners) {
    model.on(`change:${name}`, act);
    signal.addEventListener("abort", () => model.off(`change:${name}`, act));
  }
  const sizes = new ResizeObserver(() => { height = grid.clientHeight; draw(); });
  sizes.observe(grid);
  signal.addEventListener("abort", () => sizes.disconnect());
  open = model.get("selected");
  update();
  /** For `following`: the row at the top stays there, unless it is the first of all.
   * @returns {[string[], (places: number[]) => void]} */
  function hold() {
    const top = Math.floor(grid.scrollTop / ROW_PX);
    const first = top ? rowAt(top)?.trajectory_id : undefined;
    return [[open, ...(first ? [first] : [])], ([active, then = -1]) => {
      at = active;
      if (then >= 0) grid.scrollTop += (then - top) * ROW_PX;
      draw();
    }];
  }
  const page = () => Math.max(1, Math.floor(grid.clientHeight / ROW_PX) - 2);
  return {
    node,
    hold,
    focus: () => grid.focus({ preventScroll: true }),
    keys: bound(LIST_KEYS, {
      next: () => move(1), previous: () => move(-1), page: () => move(page()), pageBack: () => move(-page()),
      mark: () => toggle(at), unmark: () => setChosen([]), markNext: () => moveMarking(1), markPrevious: () => moveMarking(-1),
    }),
    help: LIST_HELP,
  };
}
