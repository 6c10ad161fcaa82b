// @ts-check
/**
 * The controls of a board: pause, go on, save, stop, speed, learning rate; of one run or of all that it shows.
 *
 * The browser sends {"do": "pause" | "resume" | "save" | "stop" | "speed" | "learning_rate", "value", "run"}, where
 * `run` is the place of one run, absent for all. Python answers with `told`, and with the run's next state.
 */
import { formatTime, h } from "./drawing.js";

/** @typedef {{state: string, label: string, speed: string, learning_rate: number | null, saved_at: number | null, resumable: boolean}} Steered */

const PATIENCE_MS = 5000;
const OVER = ["done", "failed", "stopped", "killed"];

/** What can be asked of runs: whether any goes on, whether all that do are paused, whether one can go on again.
 * @param {readonly Pick<Steered, "state" | "resumable">[]} runs */
export function abilities(runs) {
  const alive = runs.filter((run) => !OVER.includes(run.state));
  return {
    going: alive.length > 0,
    paused: alive.length > 0 && alive.every((run) => run.state === "paused"),
    resumable: !alive.length && runs.some((run) => run.resumable),
  };
}

/** A learning rate as it was typed; null for what is none. @param {string} text */
export function typedRate(text) {
  const rate = Number(text.trim().replace(",", "."));
  return text.trim() && Number.isFinite(rate) && rate > 0 ? rate : null;
}

/** A learning rate in few digits, as one would type it. @param {number | null | undefined} rate */
export function rateText(rate) {
  if (rate === null || rate === undefined) return "";
  return rate >= 1e-3 ? String(Number(rate.toPrecision(3))) : rate.toExponential(2).replace(/\.?0+e/, "e");
}

/** @param {any} model the board's */
export function controls(model) {
  const button = (/** @type {string} */ text, /** @type {string} */ title) => h("button", { type: "button", title }, text);
  const pause = button("Pause", "p");
  const save = button("Save", "a checkpoint now (s)");
  const stop = button("Stop", "ends after this update; what was recorded stays");
  stop.className = "aigym-stop";
  const speed = h("select", { "aria-label": "speed", title: "w" },
    h("option", { value: "max" }, "max"), h("option", { value: "watch" }, "watch"));
  const rate = h("input", { type: "text", inputmode: "decimal", size: "8", "aria-label": "learning rate", autocomplete: "off" });
  const set = button("Set", "the learning rate, from the next update on");
  const target = h("select", { "aria-label": "which run" });
  const told = h("span", { class: "aigym-told aigym-dull", role: "status" });
  const note = h("div", { class: "aigym-note", role: "alert", hidden: "" },
    "No answer from the kernel: it is busy with a cell or not running. Interrupt that cell, or call " +
    "aigym.load_run(…).stop() elsewhere; the training goes on until then.");
  const labelled = (/** @type {string} */ text, /** @type {HTMLElement[]} */ ...nodes) => h("label", {}, text, ...nodes);
  const bar = h("div", { class: "aigym-steering", role: "group", "aria-label": "controls" },
    target, pause, save, labelled("speed", speed), labelled("learning rate", rate), set, told, stop);
  const node = h("div", {}, bar, note);
  let patience = 0;
  let labels = "";

  /** @returns {Steered[]} */
  const runs = () => model.get("view").runs;
  const place = () => (target.value === "" || target.hidden ? null : Number(target.value));
  const aimed = () => {
    const at = place();
    return at === null ? runs() : [runs()[at]];
  };
  /** @param {string} what @param {unknown} [value] */
  function ask(what, value) {
    model.send({ do: what, value: value ?? null, run: place() });
    told.textContent = "…";
    window.clearTimeout(patience);
    patience = window.setTimeout(() => { note.hidden = false; }, PATIENCE_MS);
  }
  const toggle = () => {
    const can = abilities(aimed());
    if (can.going || can.resumable) ask(can.paused || can.resumable ? "resume" : "pause");
  };
  const keep = () => { if (!save.disabled) ask("save"); };
  const setRate = () => {
    const value = typedRate(rate.value);
    rate.toggleAttribute("aria-invalid", value === null);
    if (value === null) told.textContent = "A learning rate is a number above 0.";
    else {
      ask("learning_rate", value);
      rate.value = "";
    }
  };
  function show() {
    const all = runs();
    const text = all.map((run) => run.label).join("\n");
    if (text !== labels) {
      labels = text;
      target.hidden = all.length < 2;
      target.replaceChildren(h("option", { value: "" }, `all ${all.length} runs`),
        ...all.map((run, i) => h("option", { value: String(i) }, run.label)));
    }
    const these = aimed();
    const can = abilities(these);
    const stopping = these.every((run) => model.get("stopping").includes(all.indexOf(run)));
    bar.hidden = !abilities(all).going && !abilities(all).resumable;
    pause.textContent = can.paused || can.resumable ? "Resume" : "Pause";
    pause.disabled = !can.going && !can.resumable;
    save.disabled = !can.going || can.paused;
    stop.disabled = !can.going || stopping;
    stop.hidden = !can.going;
    stop.textContent = stopping && can.going ? "Stopping…" : "Stop";
    speed.disabled = set.disabled = rate.disabled = !can.going;
    if (document.activeElement !== speed) speed.value = these[0].speed;
    const plot = model.get("plots").find((/** @type {any} */ one) => one.name === "learning_rate");
    rate.placeholder = rateText(these[0].learning_rate ?? plot?.lines[0].y.at(-1));
    const saved = Math.max(0, ...these.map((run) => run.saved_at ?? 0));
    save.title = saved ? `a checkpoint now (s); last saved at ${formatTime(saved, new Date())}` : "a checkpoint now (s)";
  }
  function tell() {
    const answer = model.get("told");
    window.clearTimeout(patience);
    note.hidden = true;
    told.textContent = answer.text ?? "";
    told.classList.toggle("aigym-told-bad", Boolean(answer.bad));
  }
  pause.addEventListener("click", toggle);
  save.addEventListener("click", keep);
  stop.addEventListener("click", () => ask("stop"));
  set.addEventListener("click", setRate);
  target.addEventListener("change", show);
  speed.addEventListener("change", () => ask("speed", speed.value));
  rate.addEventListener("keydown", (event) => { if (event.key === "Enter") setRate(); });
  return {
    node, show, tell, pause: toggle, save: keep,
    watch() {
      if (!speed.disabled) ask("speed", aimed()[0].speed === "watch" ? "max" : "watch");
    },
    close() {
      window.clearTimeout(patience);
    },
  };
}
