// @ts-check
/**
 * The live board of a training run: progress, state, return curve, latest numbers, a stop button.
 *
 * Python sends `view` (see Seen below) at most twice a second; the browser sends {"stop": true}.
 * Between two messages the clock of a running run goes on here.
 */
import { badge, clamp, formatDuration, formatNumber, h, holdKeys, lineChart } from "./drawing.js";

/**
 * @typedef {{run_id: string, name: string, state: string, step: number, total_steps: number,
 *   curve: import("./drawing.js").Point[], metrics: [string, number][], started_at: number,
 *   ended_at: number | null, seconds_left: number | null, seen_at: number, error: string}} Seen
 * @typedef {{view: Seen, stopping: boolean}} State
 */

const PATIENCE_MS = 5000;
const ENDED = ["done", "failed", "stopped", "killed"];

/** Progress in [0, 1]; a run that is done has all of it. @param {Pick<Seen, "state" | "step" | "total_steps">} view */
export function progress(view) {
  if (view.state === "done") return 1;
  return view.total_steps > 0 ? clamp(view.step / view.total_steps, 0, 1) : 0;
}

/** The word in the badge: a run that was asked to stop is stopping until it has ended.
 * @param {string} state @param {boolean} stopping */
export function stateWord(state, stopping) {
  return stopping && !ENDED.includes(state) ? "stopping…" : state;
}

/** "12 s, about 3 min 05 s left" @param {Seen} view @param {number} now epoch seconds */
export function clock(view, now) {
  const ended = ENDED.includes(view.state);
  const passed = Math.max(0, (ended ? view.ended_at ?? view.seen_at : now) - view.started_at);
  const text = formatDuration(passed);
  if (ended || view.seconds_left === null) return text;
  return `${text}, about ${formatDuration(Math.max(0, view.seconds_left - (now - view.seen_at)))} left`;
}

/** @type {import("@anywidget/types").Render<State>} */
function render({ model, el }) {
  const state = h("span");
  const time = h("span", { class: "aigym-dull" });
  const stop = h("button", { type: "button", class: "aigym-stop" }, "Stop");
  const fill = h("div");
  const bar = h("div", { class: "aigym-progress", role: "progressbar", "aria-label": "training progress", "aria-valuemin": "0", "aria-valuemax": "100" }, fill);
  const count = h("span", { class: "aigym-number" });
  const name = h("strong");
  const curve = h("div");
  const chart = h("figure", { class: "aigym-curve" },
    h("figcaption", { class: "aigym-dull" }, "mean return of the last 100 episodes, over steps"), curve);
  const numbers = h("div", { class: "aigym-metrics" });
  const error = h("pre", { class: "aigym-error", hidden: "" });
  const note = h("div", { class: "aigym-note", role: "alert", hidden: "" },
    "No answer from the kernel: it is busy with a cell or not running. Interrupt that cell, or call " +
    "aigym.load_run(…).stop() elsewhere; the training goes on until then.");
  const root = h("div", { class: "aigym aigym-live", role: "group", "aria-label": "training run" },
    h("div", { class: "aigym-heading" }, name, state, time, stop),
    h("div", { class: "aigym-bar" }, bar, count), note, error,
    h("div", { class: "aigym-halves" }, chart, numbers));
  holdKeys(root);
  el.append(root);

  const tell = () => { time.textContent = clock(model.get("view"), Date.now() / 1000); };
  function update() {
    const view = model.get("view");
    const ended = ENDED.includes(view.state);
    name.textContent = view.name;
    name.title = view.run_id;
    state.replaceChildren(badge(stateWord(view.state, model.get("stopping"))));
    const percent = progress(view) * 100;
    fill.style.width = `${percent}%`;
    bar.setAttribute("aria-valuenow", percent.toFixed(0));
    count.textContent = `${formatNumber(view.step)} / ${formatNumber(view.total_steps)} steps`;
    stop.hidden = ended;
    if (model.get("stopping")) {
      stop.disabled = true;
      stop.textContent = "Stopping…";
      note.hidden = true;
    }
    error.textContent = view.error;
    error.hidden = !view.error;
    numbers.replaceChildren(
      ...view.metrics.flatMap(([metric, value]) => [
        h("span", { class: "aigym-dull" }, metric), h("span", { class: "aigym-number" }, formatNumber(value))]));
    drawCurve();
    tell();
  }
  function drawCurve() {
    const view = model.get("view");
    const label = `mean return, last ${formatNumber(view.curve.at(-1)?.[1])}`;
    const width = clamp(curve.clientWidth || 460, 240, 1200);
    curve.replaceChildren(
      view.curve.length > 1
        ? lineChart(view.curve, { label, width, height: 190 })
        : h("p", { class: "aigym-dull aigym-empty" },
            ENDED.includes(view.state) ? "no episode finished" : "waiting for finished episodes"));
  }
  let patience = 0;
  stop.addEventListener("click", () => {
    model.send({ stop: true });
    stop.textContent = "Stopping…";
    stop.disabled = true;
    window.clearTimeout(patience);
    patience = window.setTimeout(() => { note.hidden = model.get("stopping"); }, PATIENCE_MS);
  });
  model.on("change:view", update);
  model.on("change:stopping", update);
  update();
  const ticking = window.setInterval(() => { if (!ENDED.includes(model.get("view").state)) tell(); }, 1000);
  let width = 0;
  const sizes = new ResizeObserver(() => {
    if (curve.clientWidth !== width) drawCurve();
    width = curve.clientWidth;
  });
  sizes.observe(curve);
  return () => {
    sizes.disconnect();
    window.clearInterval(ticking);
    window.clearTimeout(patience);
    model.off("change:view", update);
    model.off("change:stopping", update);
  };
}

export default { render };
