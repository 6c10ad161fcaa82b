// @ts-check
/**
 * The board of a bench: what is known of the whole above, the matrix of cells, the panel of the chosen one.
 *
 * Python sends `standing` and `view` when something has happened, `going` twice a second while somebody looks; every
 * few seconds the browser says that it is in sight. Questions carry ids only. Between two messages the clock goes on here.
 */
import { formatDuration, formatNumber, h, holdKeys } from "./drawing.js";
import { controlKind, keyAction, keyName } from "./keys.js";
import { requests } from "./requests.js";
import { MATRIX_HELP, matrixPane } from "./matrix.js";
import { CELL_HELP, cellPane } from "./cell.js";
import { tellSight } from "./sight.js";

/**
 * @typedef {{name: string, total: number, state: string, notes: string[], counts: [string, number][], running: boolean, stopping: boolean, workers: number,
 *   started_at: number, ended_at: number | null, seconds_left: number | null, event: string, event_at: number | null,
 *   metric: string, lower: boolean, seen_at: number}} Whole
 * @typedef {{names: string[], cells: import("./matrix.js").Cell[], columns: string, possible: string[],
 *   standing: import("./matrix.js").Standing[], going: Record<string, import("./matrix.js").Going>, view: Whole, error: string}} State
 * @typedef {import("@anywidget/types").AnyModel<State>} Model
 */

const NO_KERNEL = "No answer from the kernel: it is busy or not running. The cells are shown as they were last seen; run this cell again to go on.";
/** @type {Readonly<Record<string, string>>} */
const BENCH_STATES = { done: "done", skipped: "skipped: done before this start", running: "running", failed: "failed", interrupted: "interrupted", queued: "queued" };

/** What the button that goes on with a bench says; "" where nothing is left to do, or it goes on.
 * @param {Pick<Whole, "state">} view */
export function resumeWord({ state }) {
  return /** @type {Record<string, string>} */ ({ queued: "Run", interrupted: "Resume", failed: "Run failed ones again" })[state] ?? "";
}

/** "2 workers, 3 min 05 s, about 12 min left" @param {Whole} view @param {number} now epoch seconds */
export function benchClock({ running, workers, started_at, ended_at, seconds_left, seen_at }, now) {
  const passed = (running ? now : ended_at ?? started_at) - started_at;
  const time = passed > 0 ? formatDuration(passed) : "";
  if (!running) return time;
  const left = seconds_left === null ? "" : Math.max(0, seconds_left - (now - seen_at));
  const end = new Date((now + Number(left)) * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hour12: false });
  return [workers === 1 ? "1 worker" : `${workers} workers`, time, left === "" ? "" : `about ${formatDuration(left)} left, until ${end}`].filter(Boolean).join(", ");
}

/** @type {import("@anywidget/types").Render<State>} */
function render({ model, el }) {
  const gone = new AbortController();
  const name = h("strong");
  const state = h("span", { class: "aigym-badge", role: "status" });
  const time = h("span", { class: "aigym-dull" });
  const bar = h("div", { class: "aigym-progress aigym-bench-bar", role: "progressbar", "aria-label": "cells that ended", "aria-valuemin": "0", "aria-valuemax": "100" });
  const counts = h("div", { class: "aigym-counts", role: "group", "aria-label": "how many cells" });
  const event = h("div", { class: "aigym-event aigym-dull", role: "status", "aria-label": "last event" });
  const notice = h("div", { class: "aigym-note", role: "alert", hidden: "" });
  const told = h("span", { class: "aigym-told", role: "status" });
  const stop = h("button", { type: "button", class: "aigym-stop" }, "Stop");
  const resume = h("button", { type: "button", class: "aigym-resume" });
  const notes = h("div", { class: "aigym-notes" });
  const columns = h("select", { "aria-label": "columns" });
  const metric = h("span", { class: "aigym-dull" });
  const keysButton = h("button", { type: "button", "aria-label": "show the keys", title: "show the keys (?)" }, "?");
  const help = h("div", { class: "aigym-keys", hidden: "" },
    ...[...MATRIX_HELP, ...CELL_HELP, ["Esc", "close the cell, leave"], ["?", "these keys"]].map(([key, does]) => h("span", {}, h("kbd", {}, key), ` ${does}`)));
  const root = h("div", { class: "aigym aigym-bench", role: "group", "aria-label": "bench", tabindex: "-1" });
  holdKeys(root);
  const ask = requests(model, {
    tell: (problem) => {
      notice.textContent = problem || model.get("error");
      notice.hidden = !notice.textContent;
    },
    busy: (on) => (on ? root.setAttribute("aria-busy", "true") : root.removeAttribute("aria-busy")),
    silence: NO_KERNEL,
    signal: gone.signal,
  });
  const inSight = tellSight(model, root, gone.signal); // then Python reads the bench's folder
  let chosen = -1;
  const shut = () => {
    chosen = -1;
    panel.shut();
    matrix.choose(-1);
    matrix.focus();
  };
  const panel = cellPane({ ask, inSight, close: shut, signal: gone.signal });
  const matrix = matrixPane({
    model,
    open: (place) => {
      chosen = place;
      matrix.choose(place);
      panel.open(model.get("cells")[place].id, model.get("cells")[place].label);
    },
  });
  root.append(
    h("div", { class: "aigym-heading" }, name, state, time, told, stop, resume, keysButton), bar, counts, event, help, notice, notes,
    h("div", { class: "aigym-matrix-tools" }, h("label", {}, "columns ", columns), metric), matrix.node, panel.node);
  el.append(root);

  const tell = () => { time.textContent = benchClock(model.get("view"), Date.now() / 1000); };
  function showWhole() {
    const view = model.get("view");
    const word = view.stopping ? "stopping…" : view.state;
    name.textContent = view.name;
    state.className = `aigym-badge aigym-${word === "done" ? "good" : word === "failed" ? "bad" : "dull-badge"}`;
    if (state.textContent !== word) state.textContent = word;
    const ended = view.counts.filter(([one]) => ["done", "skipped", "failed"].includes(one));
    bar.replaceChildren(...ended.map(([one, n]) => {
      const part = h("div", { class: `aigym-part-${one}` });
      part.style.width = `${(n / view.total) * 100}%`;
      return part;
    }));
    bar.setAttribute("aria-valuenow", ((ended.reduce((sum, [, n]) => sum + n, 0) / view.total) * 100).toFixed(0));
    counts.replaceChildren(h("span", {}, `${formatNumber(view.total)} cells`), ...view.counts.map(([one, n]) =>
      h("span", { title: BENCH_STATES[one] ?? one }, h("i", { class: `aigym-swatch aigym-cell-${one}`, "aria-hidden": "true" }), `${formatNumber(n)} ${one}`)));
    if (event.textContent !== view.event) event.textContent = view.event;
    event.title = view.event;
    metric.textContent = view.metric ? `${view.metric}, ${view.lower ? "lower" : "higher"} is better; the better, the stronger the shade, within each task` : "";
    stop.hidden = !view.running;
    stop.disabled = view.stopping;
    resume.textContent = resumeWord(view);
    resume.hidden = !resume.textContent;
    notes.replaceChildren(...view.notes.map((note) => h("div", { class: "aigym-note" }, note)));
    tell();
  }
  function showCells() {
    const possible = model.get("possible");
    const now = model.get("columns");
    columns.replaceChildren(...["", ...possible].map((one) => h("option", { value: one, ...(one === now ? { selected: "" } : {}) }, one || "none, a list")));
    /** @type {HTMLElement} */ (columns.parentElement).hidden = !possible.length;
    matrix.draw();
  }
  let standing = "";
  function showStanding() {
    matrix.show();
    // The open cell has changed: its panel is read again.
    const now = JSON.stringify(model.get("standing")[chosen] ?? "");
    if (now !== standing && chosen >= 0) panel.refresh();
    standing = now;
  }
  columns.addEventListener("change", () => {
    model.set("columns", columns.value);
    model.save_changes();
  });
  const order = (/** @type {string} */ what) => async () => {
    try {
      told.textContent = await ask(what, {}, { patiently: true });
    } catch {
      // said above
    }
  };
  stop.addEventListener("click", order("stop"));
  resume.addEventListener("click", order("resume"));
  const toggleHelp = () => { help.hidden = !help.hidden; };
  keysButton.addEventListener("click", toggleHelp);
  const leave = () => {
    if (chosen >= 0) {
      shut();
      return;
    }
    /** @type {HTMLElement | null} */ (document.activeElement)?.blur();
    /** @type {HTMLElement | null} */ (root.closest(".jp-Notebook"))?.focus({ preventScroll: true });
  };
  root.addEventListener("keydown", (pressed) => {
    const inPanel = panel.node.contains(/** @type {Node} */ (pressed.target));
    const panes = [...(inPanel ? [] : [matrix.keys]), ...(chosen >= 0 ? [panel.keys] : []), { Escape: leave, "?": toggleHelp }];
    const act = keyAction(keyName(pressed), controlKind(pressed.target), panes);
    if (!act) return;
    pressed.preventDefault();
    act();
  });

  const showError = () => {
    notice.textContent = model.get("error");
    notice.hidden = !notice.textContent;
  };
  /** @type {[string, () => void][]} */
  const listeners = [["view", showWhole], ["cells", showCells], ["columns", showCells], ["standing", showStanding], ["going", matrix.show], ["error", showError]];
  for (const [trait, show] of listeners) model.on(`change:${trait}`, show);
  showWhole();
  showCells();
  showError();

  const ticking = window.setInterval(() => { if (model.get("view").running) tell(); }, 1000);
  return () => {
    gone.abort();
    window.clearInterval(ticking);
    for (const [trait, show] of listeners) model.off(`change:${trait}`, show);
  };
}

export default { render };
