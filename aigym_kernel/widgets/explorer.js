// @ts-check
/**
 * The explorer: a list of trajectories with filters on the left, the chosen one on the right.
 *
 * The browser never builds a query. It sets traits (where, search, order_by, descending, offset,
 * selected, step) and counts its requests in `asked`; Python answers with page, total, choices,
 * trajectory, error and the same number in `answered`. Without a kernel nothing answers: what the
 * notebook saved stays playable, and a note says why the rest does not move.
 */
import { badge, formatNumber, formatTime, h, holdKeys, keyAction, onTheme, pageRange } from "./drawing.js";
import { player } from "./player.js";

/**
 * @typedef {{trajectory_id: string, run_id: string, env_id: string, agent: string, outcome: string,
 *   length: number, return: number, score: number | null, started_at: number}} Row
 * @typedef {{where: Record<string, any>, search: string, order_by: string, descending: boolean, offset: number,
 *   selected: string, step: number, page: Row[], page_size: number, total: number,
 *   choices: Record<string, [string, number][]>, trajectory: import("./player.js").Shown | {}, error: string,
 *   asked: number, answered: number}} State
 * @typedef {import("@anywidget/types").AnyModel<State>} Model
 */

const FILTERS = [["env_id", "env"], ["agent", "agent"], ["outcome", "outcome"], ["run_id", "run"]];
/** @type {[keyof Row, string, boolean][]} column, heading, numeric */
const COLUMNS = [
  ["started_at", "started", false], ["env_id", "env", false], ["agent", "agent", false],
  ["outcome", "outcome", false], ["length", "steps", true], ["return", "return", true], ["score", "score", true],
];
const HELP = [
  ["j k ↑ ↓", "next, previous trajectory"], ["PageDown PageUp", "next, previous page"], ["← →", "step"],
  ["Home End", "first, last step"], ["Space", "play, pause"], ["/", "search"], ["?", "these keys"],
  ["Esc", "leave the widget"],
];
const PATIENCE_MS = 3000;

/** Sets traits and waits for Python's answer; says so when none comes.
 * @param {Model} model @param {HTMLElement} root @param {HTMLElement} notice @param {AbortSignal} signal */
function requests(model, root, notice, signal) {
  let timer = 0;
  const settle = () => {
    if (model.get("answered") !== model.get("asked")) return;
    window.clearTimeout(timer);
    root.removeAttribute("aria-busy");
    notice.textContent = model.get("error");
    notice.hidden = !notice.textContent;
  };
  model.on("change:answered", settle);
  model.on("change:error", settle);
  signal.addEventListener("abort", () => {
    window.clearTimeout(timer);
    model.off("change:answered", settle);
    model.off("change:error", settle);
  });
  settle();
  /** @param {Partial<State>} changes */
  return (changes) => {
    for (const [name, value] of Object.entries(changes)) model.set(/** @type {keyof State} */ (name), value);
    model.set("asked", model.get("asked") + 1);
    model.save_changes();
    root.setAttribute("aria-busy", "true");
    window.clearTimeout(timer);
    timer = window.setTimeout(() => {
      root.removeAttribute("aria-busy");
      notice.textContent =
        "No answer from the kernel: it is busy or not running. Filters and other trajectories need it; " +
        "what is shown here can still be played. Run this cell again to go on.";
      notice.hidden = false;
      const shown = model.get("trajectory");
      if ("id" in shown) model.set("selected", shown.id);
    }, PATIENCE_MS);
  };
}

/** @typedef {(changes: Partial<State>) => void} Ask */

/** The search box and one select per column.
 * @param {Model} model @param {Ask} ask @param {() => void} help */
function filterBar(model, ask, help) {
  const search = h("input", { type: "search", placeholder: "search  ( / )", "aria-label": "search", spellcheck: "false" });
  let wait = 0;
  search.addEventListener("input", () => {
    window.clearTimeout(wait);
    wait = window.setTimeout(() => ask({ search: search.value, offset: 0 }), 250);
  });
  const selects = FILTERS.map(([column, name]) => {
    const select = h("select", { "aria-label": name });
    select.addEventListener("change", () => {
      const where = { ...model.get("where") };
      if (select.value) where[column] = select.value;
      else delete where[column];
      ask({ where, offset: 0 });
    });
    return select;
  });
  const refresh = h("button", { type: "button", "aria-label": "read the store again", title: "read the store again" }, "↻");
  refresh.addEventListener("click", () => {
    model.send({ refresh: true });
    ask({});
  });
  const keys = h("button", { type: "button", "aria-label": "show the keys", title: "show the keys (?)" }, "?");
  keys.addEventListener("click", help);
  const node = h("div", { class: "aigym-filters", role: "search" }, search, ...selects, refresh, keys);
  function update() {
    if (document.activeElement !== search) search.value = model.get("search");
    FILTERS.forEach(([column, name], i) => {
      const chosen = model.get("where")[column];
      const offered = model.get("choices")[column] ?? [];
      const options = [h("option", { value: "" }, `${name}: all`)];
      for (const [value, count] of offered) {
        options.push(h("option", { value }, `${value} (${formatNumber(count)})`));
      }
      const plain = typeof chosen === "string";
      if (chosen !== undefined && !(plain && offered.some(([value]) => value === chosen))) {
        options.push(h("option", { value: plain ? chosen : "…" }, plain ? chosen : "several"));
      }
      selects[i].replaceChildren(...options);
      selects[i].value = chosen === undefined ? "" : plain ? chosen : "…";
      selects[i].classList.toggle("aigym-set", chosen !== undefined);
    });
  }
  return { node, update, focus: () => { search.focus(); search.select(); } };
}

/** @param {Row} row @param {string} column @param {Date} now @returns {Node | string} */
function cell(row, column, now) {
  if (column === "started_at") return formatTime(row.started_at, now);
  if (column === "outcome") return badge(row.outcome);
  if (column === "length" || column === "return" || column === "score") return formatNumber(row[column]);
  return column === "env_id" ? row.env_id.replace(/^aigym\//, "") : row.agent;
}

/** The table of trajectories with its pages.
 * @param {Model} model @param {Ask} ask */
function list(model, ask) {
  const heads = COLUMNS.map(([column, name, numeric]) => {
    const button = h("button", { type: "button", title: `sort by ${name}` }, name);
    button.addEventListener("click", () => {
      const again = model.get("order_by") === column;
      ask({ order_by: column, descending: again ? !model.get("descending") : true, offset: 0 });
    });
    return h("th", numeric ? { scope: "col", class: "aigym-number" } : { scope: "col" }, button);
  });
  const body = h("tbody");
  const scroller = h("div", { class: "aigym-scroll" },
    h("table", { role: "grid", "aria-label": "trajectories" }, h("thead", {}, h("tr", {}, ...heads)), body));
  const range = h("span", { class: "aigym-dull", role: "status" });
  const turn = (/** @type {number} */ by) => {
    const offset = model.get("offset") + by * model.get("page_size");
    if (offset >= 0 && offset < model.get("total")) ask({ offset });
  };
  const newer = h("button", { type: "button", "aria-label": "previous page" }, "‹ prev");
  newer.addEventListener("click", () => turn(-1));
  const older = h("button", { type: "button", "aria-label": "next page" }, "next ›");
  older.addEventListener("click", () => turn(1));
  const node = h("section", { class: "aigym-list", "aria-label": "list of trajectories" }, scroller,
    h("div", { class: "aigym-pages" }, newer, range, older));

  const rows = () => /** @type {HTMLTableRowElement[]} */ ([...body.rows]);
  function mark() {
    const chosen = model.get("selected");
    let any = false;
    for (const row of rows()) {
      const on = row.dataset.id === chosen;
      any ||= on;
      row.setAttribute("aria-selected", String(on));
      row.tabIndex = on ? 0 : -1;
    }
    const first = rows()[0];
    if (!any && first) first.tabIndex = 0;
  }
  /** @param {string} id @param {boolean} focus */
  function choose(id, focus) {
    if (id !== model.get("selected")) ask({ selected: id, step: 0 });
    mark();
    const row = rows().find((r) => r.dataset.id === id);
    row?.scrollIntoView({ block: "nearest" });
    if (focus) row?.focus({ preventScroll: true });
  }
  /** @param {number} by */
  function move(by) {
    const all = rows();
    const at = all.findIndex((row) => row.dataset.id === model.get("selected"));
    const to = all[at < 0 ? 0 : Math.max(0, Math.min(all.length - 1, at + by))];
    if (to?.dataset.id) choose(to.dataset.id, true);
  }
  body.addEventListener("click", (event) => {
    const row = /** @type {HTMLElement} */ (event.target).closest("tr");
    if (row?.dataset.id) choose(row.dataset.id, true);
  });
  function update() {
    const now = new Date();
    const held = body.contains(document.activeElement);
    body.replaceChildren(
      ...model.get("page").map((row) =>
        h("tr", { "data-id": row.trajectory_id, title: `${row.trajectory_id}, run ${row.run_id}` },
          ...COLUMNS.map(([column, , numeric]) =>
            h("td", { class: numeric ? "aigym-number" : `aigym-${column}` }, cell(row, column, now))))),
    );
    heads.forEach((head, i) => {
      const sorted = COLUMNS[i][0] === model.get("order_by");
      head.setAttribute("aria-sort", !sorted ? "none" : model.get("descending") ? "descending" : "ascending");
    });
    const [offset, total, shown] = [model.get("offset"), model.get("total"), model.get("page").length];
    range.textContent = pageRange(offset, shown, total);
    newer.disabled = offset === 0;
    older.disabled = offset + shown >= total;
    mark();
    if (held) focus();
  }
  const focus = () => rows().find((row) => row.tabIndex === 0)?.focus({ preventScroll: true });
  return { node, update, mark, move, turn, focus };
}

/** @param {EventTarget | null} target @returns {"" | "text" | "select" | "slider" | "button"} */
function controlKind(target) {
  if (target instanceof HTMLSelectElement) return "select";
  if (target instanceof HTMLButtonElement) return "button";
  if (target instanceof HTMLInputElement) return target.type === "range" ? "slider" : "text";
  return "";
}

/** @type {import("@anywidget/types").Render<State>} */
function render({ model, el }) {
  const gone = new AbortController();
  const notice = h("div", { class: "aigym-note", role: "alert", hidden: "" });
  const keys = h("div", { class: "aigym-keys", hidden: "" },
    ...HELP.map(([key, does]) => h("span", {}, h("kbd", {}, key), ` ${does}`)));
  const root = h("div", { class: "aigym aigym-explorer", role: "application", "aria-label": "trajectory explorer", tabindex: "-1" });
  holdKeys(root);
  const toggleHelp = () => { keys.hidden = !keys.hidden; };
  const ask = requests(model, root, notice, gone.signal);
  const bar = filterBar(model, ask, toggleHelp);
  const table = list(model, ask);
  let saveTimer = 0;
  const stage = player({
    signal: gone.signal,
    onStep(t, settled) {
      model.set("step", t);
      if (saveTimer && !settled) return;
      window.clearTimeout(saveTimer);
      saveTimer = window.setTimeout(() => { saveTimer = 0; model.save_changes(); }, settled ? 100 : 500);
    },
  });
  root.append(bar.node, keys, notice, h("div", { class: "aigym-halves" }, table.node, stage.node));
  el.append(root);

  const leave = () => {
    /** @type {HTMLElement | null} */ (document.activeElement)?.blur();
    /** @type {HTMLElement | null} */ (root.closest(".jp-Notebook"))?.focus({ preventScroll: true });
  };
  /** @type {Record<string, () => void>} */
  const actions = {
    next: () => table.move(1), previous: () => table.move(-1),
    nextPage: () => table.turn(1), previousPage: () => table.turn(-1),
    back: () => stage.step(-1), forward: () => stage.step(1),
    first: () => stage.seek(0), last: () => stage.end(), play: () => stage.toggle(),
    search: () => bar.focus(), help: toggleHelp, toList: () => table.focus(), leave,
  };
  root.addEventListener("keydown", (event) => {
    const action = keyAction(event.key, event.ctrlKey || event.altKey || event.metaKey, controlKind(event.target));
    if (!action) return;
    event.preventDefault();
    actions[action]();
  });

  const showTrajectory = () => {
    const shown = /** @type {import("./player.js").Shown} */ (model.get("trajectory"));
    const nothing = model.get("total") ? "Choose a trajectory in the list." : "No trajectory matches.";
    stage.show(shown.id ? shown : null, model.get("step"), nothing);
  };
  const updateAll = () => { table.update(); bar.update(); };
  const followStep = () => { if (model.get("step") !== stage.position()) stage.seek(model.get("step")); };
  /** @type {[string, () => void][]} */
  const listeners = [
    ["page", updateAll], ["total", updateAll], ["choices", bar.update], ["where", bar.update], ["search", bar.update],
    ["order_by", updateAll], ["descending", updateAll], ["offset", updateAll], ["selected", table.mark],
    ["trajectory", showTrajectory], ["step", followStep],
  ];
  for (const [name, act] of listeners) model.on(`change:${name}`, act);
  updateAll();
  showTrajectory();
  onTheme(stage.repaint, gone.signal);
  const sizes = new ResizeObserver(() => stage.repaint());
  sizes.observe(root);
  return () => {
    gone.abort();
    sizes.disconnect();
    for (const [name, act] of listeners) model.off(`change:${name}`, act);
  };
}

export default { render };
