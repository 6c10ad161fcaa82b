// @ts-check
/**
 * The panel of one cell of a bench: its facts, its executed notebook, its log, its trajectories.
 *
 * Each is asked for when it is looked at. While the cell runs, the facts and the log are followed. The notebook's
 * page is shown in a frame that has no origin and may request nothing (see `POLICY` in cell.py).
 */
import { badge, formatDuration, formatNumber, formatTime, h } from "./drawing.js";
import { ansiNodes } from "./ansi.js";
import { leftText } from "./matrix.js";

/**
 * @typedef {{n: number, state: string, reason: string, error: string, started_at: number, seconds: number | null,
 *   peak_mb: number | null, host: string, run_id: string, notes: string[], log: boolean, page: boolean}} Attempt
 * @typedef {{id: string, label: string, notebook: string, state: string, parameters: [string, string][], attempts: Attempt[],
 *   metrics: [name: string, value: number | null, direction: string, measured: boolean][], notes: string[],
 *   progress: import("./matrix.js").Going | null, files: [string, string][]}} Facts
 * @typedef {{rows: {trajectory_id: string, env_id: string | null, agent: string | null, outcome: string | null, length: number,
 *   return: number | null, score: number | null, started_at: number | null}[], total: number, code: string}} Played
 */

export const CELL_KEYS = /** @type {const} */ ({ 1: "facts", 2: "notebook", 3: "log", 4: "trajectories" });
/** @type {[string, string][]} */
export const CELL_HELP = [["1 2 3 4", "cell: facts, notebook, log, trajectories"]];
/** @type {[keyof typeof CELL_TABS, string][]} */
const TAB_NAMES = [["facts", "Facts"], ["notebook", "Notebook"], ["log", "Log"], ["trajectories", "Trajectories"]];
const CELL_TABS = { facts: "", notebook: "page", log: "log", trajectories: "trajectories" };
const LOG_KEPT = 400_000;
const FOLLOW_MS = 1000;

/** The end of a text that is too long, from the beginning of a line. @param {string} text @param {number} most */
export function textEnd(text, most) {
  if (text.length <= most) return text;
  const cut = text.slice(-most);
  return cut.slice(cut.indexOf("\n") + 1);
}

/** One attempt in words. @param {Attempt} attempt @param {Date} now */
export function attemptText({ state, reason, seconds, peak_mb, started_at, host }, now) {
  const parts = [
    state + (reason ? `, ${reason}` : ""), started_at ? `began ${formatTime(started_at, now)}` : "",
    seconds === null ? "" : formatDuration(seconds), peak_mb === null ? "" : `${formatNumber(Math.round(peak_mb))} MB at most`, host ? `on ${host}` : "",
  ];
  return parts.filter(Boolean).join(", ");
}

/** @param {string} code to be copied @param {AbortSignal} signal */
function codeLine(code, signal) {
  const text = h("code", {}, code);
  const copy = h("button", { type: "button" }, "Copy");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code);
      copy.textContent = "Copied";
    } catch {
      // Without the right to the clipboard the line is selected, for Ctrl-C.
      window.getSelection()?.selectAllChildren(text);
    }
  }, { signal });
  return h("div", { class: "aigym-code-line" }, text, copy);
}

/** @param {string[]} heads @param {(string | Node)[][]} rows @param {string} label */
function plainTable(heads, rows, label) {
  return h("table", { class: "aigym-plain-table", "aria-label": label },
    h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, ...rows.map((row) => h("tr", {}, ...row.map((value) => h("td", {}, value))))));
}

/** @param {Facts} facts */
function factsNode({ parameters, attempts, metrics, notes, files, progress }) {
  const now = new Date();
  const going = progress
    ? [h("p", {}, [`${Math.round(progress.share * 100)} %`, `code cell ${Math.min(progress.done + 1, progress.total)} of ${progress.total}`, progress.inner,
      leftText(progress.left), progress.memory_mb === null ? "" : `${formatNumber(Math.round(progress.memory_mb))} MB now`].filter(Boolean).join(", "))]
    : [];
  const tried = attempts.flatMap((attempt) => [
    h("h4", {}, `Attempt ${attempt.n}`), h("p", {}, attemptText(attempt, now)),
    ...(attempt.error ? [h("pre", { class: "aigym-error" }, attempt.error)] : []),
    ...attempt.notes.map((note) => h("p", {}, note)),
    ...(attempt.run_id ? [h("p", { class: "aigym-dull" }, `run ${attempt.run_id}`)] : []),
  ]);
  const lists = h("div", { class: "aigym-cell-lists" },
    h("section", {}, h("h4", {}, "Parameters"), parameters.length
      ? plainTable(["name", "value"], parameters, "parameters") : h("p", { class: "aigym-dull" }, "the notebook's own")),
    h("section", {}, h("h4", {}, "Metrics"), metrics.length
      ? plainTable(["name", "value", ""], metrics.map(([name, value, direction, measured]) =>
        [name, h("span", { class: "aigym-number" }, formatNumber(value)), `${direction} is better${measured ? ", measured by a clock" : ""}`]), "metrics")
      : h("p", { class: "aigym-dull" }, "none: what a cell reports counts once it is done")));
  return [...going, lists, ...tried, ...notes.map((note) => h("p", {}, note)),
    h("h4", {}, "Files"), plainTable(["what", "where"], files.map(([what, path]) => [what, h("code", {}, path)]), "files")];
}

/** @param {Played} played @param {AbortSignal} signal */
function playedNodes({ rows, total, code }, signal) {
  if (!rows.length) return [h("p", { class: "aigym-dull" }, "Nothing was played and recorded by this attempt, so far.")];
  const now = new Date();
  const told = rows.map((row) => [formatTime(row.started_at, now), row.env_id ?? "–", row.agent ?? "–", row.outcome ?? "–",
    h("span", { class: "aigym-number" }, formatNumber(row.length)), h("span", { class: "aigym-number" }, formatNumber(row.return)),
    h("span", { class: "aigym-number" }, formatNumber(row.score)), h("code", {}, row.trajectory_id)]);
  const more = total > rows.length ? `, the newest ${formatNumber(rows.length)}` : "";
  return [h("p", {}, `${formatNumber(total)} trajectories${more}. To open them in the explorer, run:`), codeLine(code, signal),
    h("div", { class: "aigym-played" }, plainTable(["started", "env", "agent", "outcome", "steps", "return", "score", "id"], told, "trajectories"))];
}

/**
 * @param {{ask: import("./requests.js").Ask, inSight: () => boolean, close: () => void, signal: AbortSignal}} host
 * @returns {{node: HTMLElement, keys: import("./keys.js").Keys, open: (id: string, name: string) => void, shut: () => void, refresh: () => void}}
 *   `refresh`: what is shown of a cell that has changed is asked for anew
 */
export function cellPane({ ask, inSight, close, signal }) {
  const title = h("strong");
  const state = h("span", { role: "status" });
  const attempt = h("select", { "aria-label": "attempt" });
  const closing = h("button", { type: "button", "aria-label": "close the cell", title: "close (Esc)" }, "×");
  const tabs = h("div", { class: "aigym-tabs", role: "tablist", "aria-label": "of the cell" });
  const body = h("div", { class: "aigym-cell-body", role: "tabpanel", tabindex: "0" });
  const node = h("section", { class: "aigym-cell-panel", "aria-label": "chosen cell", hidden: "" },
    h("div", { class: "aigym-heading" }, title, state, attempt, closing), tabs, body);
  let id = "";
  let tab = /** @type {keyof typeof CELL_TABS} */ ("facts");
  let n = 0; // the attempt that is looked at
  /** @type {Facts | null} */
  let facts = null;
  let log = { text: "", next: /** @type {number | null} */ (null) };
  // Grow with every change of the cell and of what is looked at of it: a late answer is dropped.
  let opened = 0;
  let asked = 0;

  const told = (/** @type {string} */ text) => body.replaceChildren(h("p", { class: "aigym-dull" }, text));

  function showHead() {
    if (!facts) return;
    state.replaceChildren(badge(facts.state), facts.state === "skipped" ? " done before this start" : "");
    const ns = facts.attempts.map((one) => one.n);
    if (!ns.includes(n)) n = ns[ns.length - 1] ?? 0;
    attempt.replaceChildren(...ns.map((one) => h("option", { value: String(one), ...(one === n ? { selected: "" } : {}) }, `attempt ${one}`)));
    attempt.hidden = ns.length < 2;
  }
  async function loadFacts() {
    const mine = opened;
    const take = (/** @type {Facts} */ now) => {
      if (mine !== opened) return;
      const before = facts;
      facts = now;
      const newer = before && before.attempts.length < facts.attempts.length;
      if (newer) n = 0;
      showHead();
      if (tab === "facts") body.replaceChildren(...factsNode(facts));
      else if (!before || newer || before.state !== facts.state) showTab();
    };
    take(await ask("cell", { id }, { quietly: facts !== null, late: take }));
  }
  async function showTab() {
    const mine = ++asked;
    for (const one of /** @type {HTMLElement[]} */ ([...tabs.children])) one.setAttribute("aria-selected", String(one.dataset.tab === tab));
    body.setAttribute("aria-label", tab);
    if (tab === "facts") {
      if (facts) body.replaceChildren(...factsNode(facts));
      return;
    }
    if (!n) {
      told(facts ? "It has not begun yet." : "…");
      return;
    }
    log = { text: "", next: null };
    told(tab === "notebook" ? "The notebook's page is being fetched …" : "…");
    try {
      if (tab === "log") {
        await followLog();
        return;
      }
      const answer = await ask(CELL_TABS[tab], { id, attempt: n }, { patiently: true });
      if (mine !== asked) return;
      if (tab === "notebook") body.replaceChildren(frame(answer.html));
      else body.replaceChildren(...playedNodes(answer, signal));
    } catch (problem) {
      if (mine === asked) told(problem instanceof Error ? problem.message : String(problem));
    }
  }
  /** The page in a frame of no origin: its scripts see nothing of the notebook around it. @param {string} page */
  function frame(page) {
    const shown = h("iframe", { sandbox: "allow-scripts", class: "aigym-page", title: "executed notebook" });
    shown.srcdoc = page;
    return shown;
  }
  async function followLog() {
    const mine = asked;
    const from = log.next;
    const first = from === null;
    const take = (/** @type {{text: string, next: number, size: number}} */ { text, next, size }) => {
      if (mine !== asked || from !== log.next) return false; // an answer to the same question has come before
      if (!first && !text) return false;
      log = { text: textEnd(log.text + text, LOG_KEPT), next };
      const box = body.querySelector("pre") ?? h("pre", { class: "aigym-terminal", tabindex: "0", "aria-label": "log" });
      const atEnd = first || box.scrollTop + box.clientHeight >= box.scrollHeight - 8;
      box.replaceChildren(...(log.text ? ansiNodes(log.text) : ["nothing said so far"]));
      if (first) body.replaceChildren(box);
      if (atEnd) box.scrollTop = box.scrollHeight;
      return next < size;
    };
    if (take(await ask("log", { id, attempt: n, from }, { quietly: !first, late: take }))) await followLog();
  }
  const choose = (/** @type {keyof typeof CELL_TABS} */ name) => () => {
    tab = name;
    showTab();
  };
  for (const [name, label] of TAB_NAMES) {
    const one = h("button", { type: "button", role: "tab", "data-tab": name }, label);
    one.addEventListener("click", choose(name));
    tabs.append(one);
  }
  attempt.addEventListener("change", () => {
    n = Number(attempt.value);
    showTab();
  });
  closing.addEventListener("click", close);
  const refresh = () => { if (id) loadFacts().catch(() => {}); };
  const following = window.setInterval(() => {
    if (!id || facts?.state !== "running" || !inSight()) return;
    refresh();
    if (tab === "log" && n === facts.attempts.at(-1)?.n) followLog().catch(() => {});
  }, FOLLOW_MS);
  signal.addEventListener("abort", () => window.clearInterval(following));
  return {
    node, refresh,
    keys: Object.fromEntries(Object.entries(CELL_KEYS).map(([key, name]) => [key, choose(name)])),
    open(cell, name) {
      if (cell === id) return;
      [id, facts, n] = [cell, null, 0];
      opened++;
      asked++;
      title.textContent = name;
      state.replaceChildren();
      node.hidden = false;
      told("…");
      for (const one of /** @type {HTMLElement[]} */ ([...tabs.children])) one.setAttribute("aria-selected", String(one.dataset.tab === tab));
      loadFacts().catch((problem) => told(problem instanceof Error ? problem.message : String(problem)));
    },
    shut() {
      id = "";
      opened++;
      asked++;
      node.hidden = true;
    },
  };
}
