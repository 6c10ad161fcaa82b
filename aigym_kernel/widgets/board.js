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
  const chart = h("figure", { class: "aigym-curve" });
  const numbers = h("dl", { class: "aigym-metrics" });
  const error = h("pre", { class: "aigym-error", hidden: "" });
  const root = h("div", { class: "aigym aigym-live", role: "group", "aria-label": "training run" },
    h("div", { class: "aigym-heading" }, name, state, time, stop),
    h("div", { class: "aigym-bar" }, bar, count), error,
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
    stop.disabled = model.get("stopping");
    stop.textContent = model.get("stopping") ? "Stopping…" : "Stop";
    error.textContent = view.error;
    error.hidden = !view.error;
    chart.replaceChildren(
      h("figcaption", { class: "aigym-dull" }, "mean return of the last 100 episodes, over steps"),
      view.curve.length > 1
        ? lineChart(view.curve, { label: `mean return, last ${formatNumber(view.curve.at(-1)?.[1])}`, width: 460, height: 190 })
        : h("p", { class: "aigym-dull aigym-empty" }, ended ? "no episode finished" : "waiting for finished episodes"));
    numbers.replaceChildren(
      ...view.metrics.flatMap(([metric, value]) => [h("dt", {}, metric), h("dd", { class: "aigym-number" }, formatNumber(value))]));
    tell();
  }
  stop.addEventListener("click", () => {
    model.set("stopping", true);
    model.save_changes();
    model.send({ stop: true });
  });
  model.on("change:view", update);
  model.on("change:stopping", update);
  update();
  const ticking = window.setInterval(() => { if (!ENDED.includes(model.get("view").state)) tell(); }, 1000);
  return () => {
    window.clearInterval(ticking);
    model.off("change:view", update);
    model.off("change:stopping", update);
  };
}

export default { render };
