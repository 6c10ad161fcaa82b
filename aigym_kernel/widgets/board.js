// @ts-check
/**
 * The live board of trainings: progress, state, charts of what is recorded, the game as it is played now, how
 * episodes ended, alerts, controls.
 *
 * Python sends `view` at most twice a second, `plots`, `outcomes` and `alerts` when something was recorded and
 * `live` while somebody looks. The browser sends what is asked ({"do": "pause", "run": 0}; see controls.js), and
 * every few seconds {"looking": true} while the board is in sight, which Python answers. Between two messages the
 * clock goes on here; where none comes any more (no kernel, or a busy one), it says of when what is shown is.
 */
import { controls } from "./controls.js";
import { badge, clamp, formatDuration, formatNumber, formatTime, h, holdKeys, onTheme } from "./drawing.js";
import { gamePanel } from "./game.js";
import { controlKind, keyAction, keyName } from "./keys.js";
import { PLOT_COLOURS, nearestIndex, plot, stepSpan } from "./plots.js";
import { tellSight } from "./sight.js";

/**
 * @typedef {{run_id: string, name: string, label: string, state: string, step: number, total_steps: number,
 *   started_at: number, ended_at: number | null, seconds_left: number | null, error: string,
 *   speed: string, learning_rate: number | null, saved_at: number | null, resumable: boolean,
 *   numbers: [string, number][]}} SeenRun
 * @typedef {{runs: SeenRun[], groups: {name: string, runs: number[]}[], seen_at: number}} Seen
 * @typedef {{counts: [string, number][], over: number[][]}} Outcomes `counts`: of the last 500 episodes;
 *   `over`: shares of the same names, from the first episode to the last
 * @typedef {{run: number, level: string, text: string, advice: string}} Alert
 * @typedef {{view: Seen, plots: import("./plots.js").Plot[], outcomes: Outcomes[], alerts: Alert[],
 *   live: import("./game.js").Game | {}, stopping: number[],
 *   told: {n: number, what: string, text: string, bad: boolean} | {}}} State
 */

const ENDED = ["done", "failed", "stopped", "killed"];
const MAIN_PLOT = "return_mean";
const CHART_MIN = 210;
const SILENT_S = 12;
export const BOARD_KEYS = /** @type {const} */ ({
  p: "pause", s: "save", w: "watch", ArrowLeft: "back", ArrowRight: "forward", Escape: "leave", "?": "help" });
/** @type {[string, string][]} */
export const BOARD_HELP = [["p", "pause, go on"], ["s", "save"], ["w", "speed: max or watch"],
  ["← →", "cursor over all charts"], ["Esc", "cursor away"], ["?", "these keys"]];

/** Progress in [0, 1] of all runs together; one that is done has all of its own.
 * @param {readonly Pick<SeenRun, "state" | "step" | "total_steps">[]} runs */
export function progress(runs) {
  const share = (/** @type {Pick<SeenRun, "state" | "step" | "total_steps">} */ run) =>
    run.state === "done" ? 1 : run.total_steps > 0 ? clamp(run.step / run.total_steps, 0, 1) : 0;
  return runs.length ? runs.reduce((sum, run) => sum + share(run), 0) / runs.length : 0;
}

/** The word in the badge: a run that was asked to stop is stopping until it has ended.
 * @param {string} state @param {boolean} stopping */
export function stateWord(state, stopping) {
  return stopping && !ENDED.includes(state) ? "stopping…" : state;
}

/** The states of several runs in a line: "3 running, 1 done". @param {readonly string[]} states */
export function statesTold(states) {
  return [...new Set(states)].map((state) => `${states.filter((s) => s === state).length} ${state}`).join(", ");
}

/** "12 s, about 3 min 05 s left": from the first start to now or to the last end; no estimate while any of them waits.
 * @param {readonly SeenRun[]} runs @param {number} seenAt @param {number} now epoch seconds */
export function clock(runs, seenAt, now) {
  const going = runs.filter((run) => !ENDED.includes(run.state));
  const until = going.length ? now : Math.max(...runs.map((run) => run.ended_at ?? seenAt));
  const text = formatDuration(Math.max(0, until - Math.min(...runs.map((run) => run.started_at))));
  if (!going.length || going.some((run) => run.seconds_left === null)) return text;
  const left = Math.max(...going.map((run) => run.seconds_left ?? 0)) - (now - seenAt);
  return `${text}, about ${formatDuration(Math.max(0, left))} left`;
}

/** How episodes ended: a bar for each outcome, and beside it how its share went.
 * @param {Outcomes} outcomes @param {string} about the run, where there are several */
function outcomeBars({ counts, over }, about) {
  const total = counts.reduce((sum, [, n]) => sum + n, 0);
  const rows = counts.map(([name, n], i) => {
    const share = total ? n / total : 0;
    const trend = h("span", { class: "aigym-trend", "aria-hidden": "true" },
      ...over.map((shares) => {
        const bar = h("i");
        bar.style.height = `${Math.max(4, (shares[i] ?? 0) * 100)}%`;
        return bar;
      }));
    const bar = h("i");
    bar.style.width = `${share * 100}%`;
    return h("div", { class: "aigym-outcome", title: `${name}: ${formatNumber(n)} of the last ${formatNumber(total)} episodes` },
      h("span", {}, name), h("span", { class: "aigym-share" }, bar),
      h("span", { class: "aigym-number" }, `${(share * 100).toFixed(0)} %`), trend);
  });
  return h("section", { class: "aigym-outcomes", "aria-label": "how episodes ended" },
    h("h4", {}, `How the last ${formatNumber(total)} episodes ${about ? `of ${about} ` : ""}ended`), ...rows);
}

/** @param {Alert} alert @param {string} about the run, where there are several */
function alertNode({ level, text, advice }, about) {
  return h("div", { class: `aigym-alert aigym-alert-${level}` },
    h("strong", {}, (about ? `${about}: ` : "") + text), ` ${advice}`);
}

/** @type {import("@anywidget/types").Render<State>} */
function render({ model, el }) {
  const state = h("span", { role: "status" });
  const time = h("span", { class: "aigym-dull" });
  const fill = h("div");
  const bar = h("div", { class: "aigym-progress", role: "progressbar", "aria-label": "training progress", "aria-valuemin": "0", "aria-valuemax": "100" }, fill);
  const count = h("span", { class: "aigym-number" });
  const name = h("strong");
  const alerts = h("div", { class: "aigym-alerts", role: "status", "aria-label": "alerts" });
  const error = h("pre", { class: "aigym-error", hidden: "" });
  const steering = controls(model);
  const list = h("div", { class: "aigym-runs", role: "group", "aria-label": "runs" });
  const keysShown = h("div", { class: "aigym-keys", hidden: "" },
    ...BOARD_HELP.map(([key, does]) => h("span", {}, h("kbd", {}, key), ` ${does}`)));
  const legend = h("div", { class: "aigym-legend", role: "group", "aria-label": "what is shown" });
  const smoothing = h("input", { type: "range", min: "0", max: "0.95", step: "0.05", value: "0", "aria-label": "smoothing" });
  const main = h("div", { class: "aigym-main-plot" });
  const others = h("div", { class: "aigym-plots" });
  const charts = h("div", { class: "aigym-charts", tabindex: "0", role: "group", "aria-label": "charts; left and right move the cursor" });
  const game = gamePanel();
  const outcomes = h("div");
  const numbers = h("div", { class: "aigym-metrics" });
  charts.append(
    h("div", { class: "aigym-halves" }, main, h("div", { class: "aigym-beside" }, game.node, outcomes)),
    h("div", { class: "aigym-chart-tools" }, legend, h("label", { class: "aigym-smoothing" }, "smoothing", smoothing)),
    others);
  const root = h("div", { class: "aigym aigym-live", role: "group", "aria-label": "training" },
    h("div", { class: "aigym-heading" }, name, state, time),
    h("div", { class: "aigym-bar" }, bar, count), list, steering.node, keysShown, error, alerts, charts, numbers);
  holdKeys(root);
  el.append(root);

  /** @type {Set<number>} groups that the reader has switched off */
  const hidden = new Set();
  /** @type {ReturnType<typeof plot>[]} */
  let drawn = [];
  let chosen = 0;
  let widths = [240, CHART_MIN]; // of the large chart, and of the small ones together
  let cursor = /** @type {number | null} */ (null);

  const going = () => model.get("view").runs.filter((run) => !ENDED.includes(run.state));
  let heard = model.get("view").seen_at; // when Python last said anything, epoch seconds
  const tell = () => {
    const { runs, seen_at } = model.get("view");
    const now = Date.now() / 1000;
    const silent = going().length > 0 && now - heard > SILENT_S;
    time.textContent = silent ? `as of ${formatTime(heard, new Date())}` : clock(runs, seen_at, now);
    steering.silent(silent);
  };
  const hear = () => {
    heard = Date.now() / 1000;
    tell();
  };

  function showView() {
    const { runs } = model.get("view");
    const [first] = runs;
    const several = runs.length > 1;
    const ended = !going().length;
    const percent = progress(runs) * 100;
    name.textContent = several ? `${runs.length} runs` : first.name;
    name.title = runs.map((run) => run.run_id).join("\n");
    const words = runs.map((run, i) => stateWord(run.state, model.get("stopping").includes(i)));
    const told = statesTold(words);
    if (state.dataset.told !== told) {
      state.dataset.told = told;
      state.replaceChildren(...(several ? [told] : [badge(words[0])]));
    }
    fill.style.width = `${percent}%`;
    bar.setAttribute("aria-valuenow", percent.toFixed(0));
    const steps = (/** @type {"step" | "total_steps"} */ key) => runs.reduce((sum, run) => sum + run[key], 0);
    count.textContent = `${formatNumber(steps("step"))} / ${formatNumber(steps("total_steps"))} steps`;
    steering.show();
    if (several) showRuns(words);
    error.textContent = runs.filter((run) => run.error).map((run) => (several ? `${run.label}: ` : "") + run.error).join("\n");
    error.hidden = !error.textContent;
    numbers.replaceChildren(...(several ? [] : first.numbers).flatMap(([metric, value]) => [
      h("span", { class: "aigym-dull" }, metric), h("span", { class: "aigym-number" }, formatNumber(value))]));
    game.say(ended ? "No game was recorded that can be drawn here." : "The policy of now plays here once training has begun.");
    tell();
  }

  /** One line for each run: a click shows its game. @param {readonly string[]} words its states */
  function showRuns(words) {
    const { runs, groups } = model.get("view");
    const focused = [...list.children].indexOf(/** @type {Element} */ (document.activeElement));
    list.replaceChildren(...runs.map((run, i) => {
      const share = h("i");
      share.style.width = `${progress([run]) * 100}%`;
      const colour = groups.findIndex((group) => group.runs.includes(i)) % PLOT_COLOURS;
      const line = h("button", { type: "button", class: `aigym-series-${colour}`, "aria-pressed": String(i === chosen), title: run.run_id },
        h("i"), h("span", {}, run.label), badge(words[i]), h("span", { class: "aigym-share" }, share),
        h("span", { class: "aigym-number" }, formatNumber(run.step)));
      line.addEventListener("click", () => {
        chosen = i;
        model.send({ shown: i });
        showRuns(words);
        showOutcomes();
      });
      return line;
    }));
    if (focused >= 0) /** @type {HTMLElement} */ (list.children[focused]).focus();
  }
  function showPlots() {
    const all = model.get("plots");
    // Behind another tab nothing has a width: what comes meanwhile is drawn as wide as it was before.
    if (others.clientWidth) widths = [main.clientWidth, others.clientWidth];
    const columns = Math.max(1, Math.floor((widths[1] + 14) / (CHART_MIN + 14)));
    const small = Math.floor((widths[1] - 14 * (columns - 1)) / columns);
    const look = { height: 120, width: small, smoothing: Number(smoothing.value), hidden, span: stepSpan(all) };
    const first = all.find((one) => one.name === MAIN_PLOT);
    const big = first ? plot(first, { ...look, height: 330, width: clamp(widths[0], 240, 1600), smoothing: 0 }) : null;
    const rest = all.filter((one) => one !== first).map((one) => plot(one, look));
    drawn = [...(big ? [big] : []), ...rest];
    main.replaceChildren(big ? big.node : h("p", { class: "aigym-dull aigym-empty" },
      going().length ? "waiting for finished episodes" : "no episode finished"));
    others.replaceChildren(...rest.map((one) => one.node));
    others.style.setProperty("--aigym-chart", `${CHART_MIN}px`);
    for (const one of drawn) {
      one.node.addEventListener("pointermove", (event) => moveTo(one.stepAt(event.clientX)));
      one.node.addEventListener("pointerleave", () => moveTo(null));
    }
    moveTo(cursor);
  }
  /** @param {number | null} step */
  function moveTo(step) {
    cursor = step;
    for (const one of drawn) one.at(step);
  }
  /** One recorded point on. @param {1 | -1} way */
  function walk(way) {
    const x = model.get("plots")[0]?.lines[0].x ?? [];
    if (!x.length) return;
    const at = cursor === null ? (way > 0 ? -1 : x.length) : nearestIndex(x, cursor);
    moveTo(x[clamp(at + way, 0, x.length - 1)]);
  }
  function showLegend() {
    const { groups } = model.get("view");
    legend.hidden = groups.length < 2;
    legend.replaceChildren(...(groups.length < 2 ? [] : groups).map((group, i) => {
      const toggle = h("button", { type: "button", class: `aigym-series aigym-series-${i % PLOT_COLOURS}`, "aria-pressed": String(!hidden.has(i)) },
        h("i"), group.name + (group.runs.length > 1 ? ` (${group.runs.length} seeds)` : ""));
      toggle.addEventListener("click", () => {
        if (!hidden.delete(i)) hidden.add(i);
        toggle.setAttribute("aria-pressed", String(!hidden.has(i)));
        showPlots();
      });
      return toggle;
    }));
  }
  function showOutcomes() {
    const all = model.get("outcomes");
    const { runs } = model.get("view");
    const one = all[chosen];
    outcomes.replaceChildren(...(one?.counts.length ? [outcomeBars(one, all.length > 1 ? runs[chosen].label : "")] : []));
  }
  function showAlerts() {
    const { runs } = model.get("view");
    alerts.replaceChildren(...model.get("alerts").map((alert) => alertNode(alert, runs.length > 1 ? runs[alert.run].label : "")));
  }
  function showGame() {
    const live = model.get("live");
    const { runs } = model.get("view");
    if (!("frames" in live) || !live.frames.length) return;
    game.take(live, runs.length > 1 ? runs.find((run) => run.run_id === live.run_id)?.label ?? "" : "");
  }

  smoothing.addEventListener("input", showPlots);
  const actions = {
    pause: steering.pause,
    save: steering.save,
    watch: steering.watch,
    back: () => walk(-1),
    forward: () => walk(1),
    leave: () => moveTo(null),
    help: () => { keysShown.hidden = !keysShown.hidden; },
  };
  root.addEventListener("keydown", (event) => {
    const bound = Object.fromEntries(Object.entries(BOARD_KEYS).map(([key, action]) => [key, actions[action]]));
    const act = keyAction(keyName(event), controlKind(event.target), [bound]);
    if (!act) return;
    event.preventDefault();
    act();
  });

  /** @type {[string, () => void][]} */
  const listeners = [["view", showView], ["stopping", showView], ["told", steering.tell], ["plots", showPlots], ["outcomes", showOutcomes],
    ["alerts", showAlerts], ["live", showGame]];
  for (const [trait, show] of listeners) model.on(`change:${trait}`, show);
  for (const event of ["change", "msg:custom"]) model.on(event, hear);
  showView();
  showLegend();
  showPlots();
  showOutcomes();
  showAlerts();
  showGame();

  const gone = new AbortController();
  tellSight(model, root, gone.signal, () => going().length > 0); // then the run may play the game
  onTheme(() => game.redraw(), gone.signal);
  const ticking = window.setInterval(() => { if (going().length) tell(); }, 1000);
  let width = 0;
  const sizes = new ResizeObserver(() => {
    if (charts.clientWidth === width) return;
    width = charts.clientWidth;
    showPlots();
    game.redraw();
  });
  sizes.observe(charts);
  return () => {
    sizes.disconnect();
    gone.abort();
    game.close();
    window.clearInterval(ticking);
    steering.close();
    for (const [trait, show] of listeners) model.off(`change:${trait}`, show);
    for (const event of ["change", "msg:custom"]) model.off(event, hear);
  };
}

export default { render };
