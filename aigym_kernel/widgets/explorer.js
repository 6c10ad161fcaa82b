// @ts-check
/**
 * The explorer: charts that filter each other above, a list on the left, the open trajectory on the right.
 *
 * This file lays out the panes, holds focus and keys, and shows what goes wrong. Each pane is one function
 * `somePane(host) -> Pane` in a file of its own. The browser never builds a query: a pane calls
 * `change({name: value})` or `ask(what, {...})`, and reads what Python computed from the model.
 */
import { h, holdKeys, onTheme } from "./drawing.js";
import { bound, controlKind, keyAction, keyName } from "./keys.js";
import { requests } from "./requests.js";
import { crossfilterPane } from "./crossfilter.js";
import { listPane } from "./list.js";
import { following } from "./live.js";
import { trajectoryPane } from "./player.js";
import { comparePane } from "./compare.js";
import { diffPane } from "./diff.js";

/**
 * @typedef {{where: Record<string, import("./crossfilter.js").Filter>, filters: Record<string, import("./crossfilter.js").Filter>,
 *   search: string, order_by: string, descending: boolean, columns: string[], selected: string, chosen: string[],
 *   step: number, view: string, offered: [string, string, string][],
 *   charts: (import("./crossfilter.js").Histogram | import("./crossfilter.js").Bars)[], total: number, among: number,
 *   rows: import("./list.js").Row[], stamp: number, trajectory: import("./player.js").Shown | {}, error: string,
 *   comparison: Partial<import("./compare.js").Compared>, difference: Partial<import("./diff.js").Differed>,
 *   running: number, live: boolean}} State
 * @typedef {import("@anywidget/types").AnyModel<State>} Model
 */
/**
 * What a pane gets: `change` sets state through Python, `changing` tells whether that is going on, `speak` tells a
 * screen reader, `signal` ends it.
 * @typedef {{model: Model, ask: import("./requests.js").Ask, change: (state: Partial<State>) => Promise<any>,
 *   changing: () => boolean, speak: (text: string) => void, signal: AbortSignal}} Host
 */
/**
 * What a pane is: its `keys` (see keys.js) and `help` lines [keys, what they do] join those of the others;
 * `repaint` is called when the theme or the size has changed.
 * @typedef {{node: HTMLElement, keys: import("./keys.js").Keys, help: [string, string][], repaint?: () => void}} Pane
 */

/** Beside the list: one of these, chosen by the trait `view`. @type {[string, string, (host: Host) => Pane][]} */
const VIEWS = [["trajectory", "Trajectory", trajectoryPane], ["compare", "Compare", comparePane], ["diff", "Diff", diffPane]];

export const EXPLORER_KEYS = /** @type {const} */ ({
  1: "trajectory", 2: "compare", 3: "diff", "/": "search", r: "read", l: "follow", "?": "help", Escape: "leave",
});
/** @type {[string, string][]} */
export const EXPLORER_HELP = [
  ["1 2 3", VIEWS.map(([, label]) => label.toLowerCase()).join(", ")], ["/", "search"], ["r", "read the store again"],
  ["l", "follow running runs, or not"], ["?", "these keys"], ["Esc", "leave the widget"],
];

/** The search box. @param {Host} host */
function searchBox({ model, change, signal }) {
  const box = h("input", { type: "search", placeholder: "search  ( / )", "aria-label": "search", spellcheck: "false" });
  let wait = 0;
  box.addEventListener("input", () => {
    window.clearTimeout(wait);
    wait = window.setTimeout(() => change({ search: box.value }), 250);
  });
  const update = () => { if (document.activeElement !== box) box.value = model.get("search"); };
  model.on("change:search", update);
  signal.addEventListener("abort", () => model.off("change:search", update));
  update();
  return { node: box, focus: () => { box.focus(); box.select(); } };
}

/** The views beside the list, one of them shown, with tabs where there are several.
 * @param {Host} host @returns {Omit<Pane, "keys"> & {current: () => Pane}} */
function viewPane(host) {
  const { model, change, signal } = host;
  const panes = new Map(VIEWS.map(([name, , make]) => [name, make(host)]));
  const tabs = h("div", { class: "aigym-tabs", role: "tablist", "aria-label": "view" });
  for (const [name, label] of VIEWS) {
    const tab = h("button", { type: "button", role: "tab", "data-view": name }, label);
    tab.addEventListener("click", () => change({ view: name }));
    tabs.append(tab);
  }
  tabs.hidden = VIEWS.length < 2;
  const node = h("div", { class: "aigym-view" }, tabs, ...[...panes.values()].map((pane) => pane.node));
  const current = () => /** @type {Pane} */ (panes.get(model.get("view")) ?? panes.get("trajectory"));
  function update() {
    for (const pane of panes.values()) pane.node.hidden = pane !== current();
    for (const tab of /** @type {HTMLElement[]} */ ([...tabs.children])) {
      tab.setAttribute("aria-selected", String(tab.dataset.view === model.get("view")));
    }
    current().repaint?.();
  }
  model.on("change:view", update);
  signal.addEventListener("abort", () => model.off("change:view", update));
  update();
  const help = [...panes.values()].flatMap((pane) => pane.help);
  return { node, current, help, repaint: () => current().repaint?.() };
}

/** @type {import("@anywidget/types").Render<State>} */
function render({ model, el }) {
  const gone = new AbortController();
  const notice = h("div", { class: "aigym-note", role: "alert", hidden: "" });
  const spoken = h("div", { class: "aigym-spoken", "aria-live": "polite" });
  const root = h("div", { class: "aigym aigym-explorer", role: "application", "aria-label": "trajectory explorer", tabindex: "-1" });
  holdKeys(root);
  const tell = (/** @type {string} */ problem) => {
    notice.textContent = problem || model.get("error");
    notice.hidden = !notice.textContent;
  };
  const ask = requests(model, {
    tell,
    busy: (on) => (on ? root.setAttribute("aria-busy", "true") : root.removeAttribute("aria-busy")),
    signal: gone.signal,
  });
  let changes = 0;
  /** @type {Host} */
  const host = {
    model, ask, signal: gone.signal,
    change: (state) => {
      changes++;
      const answer = ask("change", state);
      answer.catch(() => {}).finally(() => changes--);
      return answer;
    },
    changing: () => changes > 0,
    speak: (text) => { spoken.textContent = text; },
  };
  const search = searchBox(host);
  const filters = crossfilterPane(host);
  const list = listPane(host);
  const views = viewPane(host);
  const live = following(host, list, root);
  const refresh = h("button", { type: "button", "aria-label": "read the store again", title: "read the store again (r)" }, "↻");
  refresh.addEventListener("click", () => ask("refresh"));
  const keysButton = h("button", { type: "button", "aria-label": "show the keys", title: "show the keys (?)" }, "?");
  const help = h("div", { class: "aigym-keys", hidden: "" });
  const toggleHelp = () => { help.hidden = !help.hidden; };
  keysButton.addEventListener("click", toggleHelp);
  const leave = () => {
    /** @type {HTMLElement | null} */ (document.activeElement)?.blur();
    /** @type {HTMLElement | null} */ (root.closest(".jp-Notebook"))?.focus({ preventScroll: true });
  };
  const look = (/** @type {string} */ view) => () => { host.change({ view }); };
  const own = bound(EXPLORER_KEYS, {
    trajectory: look("trajectory"), compare: look("compare"), diff: look("diff"), search: search.focus, help: toggleHelp, read: () => { ask("refresh"); }, follow: live.toggle,
    leave: () => (document.activeElement && controlKind(document.activeElement) === "text" ? list.focus() : leave()),
  });
  for (const [key, does] of [...list.help, ...views.help, ...filters.help, ...EXPLORER_HELP]) {
    help.append(h("span", {}, h("kbd", {}, key), ` ${does}`));
  }
  root.append(h("div", { class: "aigym-filters", role: "search" }, search.node, live.node, refresh, keysButton), help, notice, spoken,
    filters.node, h("div", { class: "aigym-halves" }, list.node, views.node));
  el.append(root);

  root.addEventListener("keydown", (event) => {
    if (event.defaultPrevented) return;
    const panes = [list, views.current(), filters];
    const focused = panes.filter((pane) => pane.node.contains(/** @type {Node} */ (event.target)));
    const order = [...focused, ...panes.filter((pane) => !focused.includes(pane))].map((pane) => pane.keys);
    const act = keyAction(keyName(event), controlKind(event.target), [...order, own]);
    if (!act) return;
    event.preventDefault();
    act();
  });
  const showError = () => tell("");
  model.on("change:error", showError);
  showError();
  const repaint = () => { for (const pane of [filters, list, views]) pane.repaint?.(); };
  onTheme(repaint, gone.signal);
  const sizes = new ResizeObserver(repaint);
  sizes.observe(root);
  return () => {
    gone.abort();
    sizes.disconnect();
    model.off("change:error", showError);
  };
}

export default { render };
