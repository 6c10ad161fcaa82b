// @ts-check
/**
 * The controls of a board: pause, go on, save, stop, speed, learning rate; of one run or of all that it shows.
 *
 * The browser sends {"do": "pause" | "resume" | "save" | "stop" | "speed" | "learning_rate", "value", "run"}, where
 * `run` is the place of one run, absent for all. Python answers with `told`, and with the run's next state.
 */
import { formatTime, h } from "./drawing.js";

/** @typedef {{run_id: string, state: string, label: string, speed: string, learning_rate: number | null, saved_at: number | null, resumable: boolean}} Steered */

const PATIENCE_MS = 5000;
const PASSING = ["pause", "resume", "stop", "save"];
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
  const note = h("div", { class: "aigym-note", role: "alert", hidden: "" });
  const labelled = (/** @type {string} */ text, /** @type {HTMLElement[]} */ ...nodes) => h("label", {}, text, ...nodes);
  const bar = h("div", { class: "aigym-steering", role: "group", "aria-label": "controls" },
    target, pause, save, labelled("speed", speed), labelled("learning rate", rate), set, told, stop);
  const node = h("div", {}, bar, note);
  let patience = 0;
  let unanswered = false;
  let silence = false;
  let labels = "";
  let stood = "";

  /** @returns {Steered[]} */
  const runs = () => model.get("view").runs;
  const place = () => (target.value === "" || target.hidden ? null : Number(target.value));
  const aimed = () => {
    const at = place();
    return at === null ? runs() : [runs()[at]];
  };
  function showNote() {
    note.hidden = !unanswered && !silence;
    const [{ run_id: id }] = aimed();
    note.textContent = "No answer from the kernel: it is busy with a cell, was restarted or is not running. The training "
      + `goes on without it: in a free kernel, aigym.board(aigym.load_run("${id}")) shows it, `
      + `aigym.load_run("${id}").stop() ends it.`;
  }
  /** @param {string} what @param {unknown} [value] */
  function ask(what, value) {
    window.clearTimeout(patience);
    try {
      model.send({ do: what, value: value ?? null, run: place() });
    } catch { // The host has thrown the way to the kernel away.
      unanswered = true;
      showNote();
      return;
    }
    told.textContent = "…";
    patience = window.setTimeout(() => {
      unanswered = true;
      showNote();
    }, PATIENCE_MS);
  }
  const toggle = () => {
    const can = abilities(aimed());
    if (can.going || can.resumable) ask(can.paused || can.resumable ? "resume" : "pause");
  };
  const keep = () => { if (!save.disabled) ask("save"); };
  const setRate = () => {
    const value = typedRate(rate.value);
    rate.setAttribute("aria-invalid", String(value === null));
    if (value === null) told.textContent = "A learning rate is a number above 0.";
    else {
      ask("learning_rate", value);
      rate.value = "";
    }
  };
  /** The last learning rate of a run, or of those that differ from it in their seed. @param {number} at its place */
  function recordedRate(at) {
    const group = model.get("view").groups.findIndex((/** @type {any} */ one) => one.runs.includes(at));
    const plot = model.get("plots").find((/** @type {any} */ one) => one.name === "learning_rate");
    return plot?.lines.find((/** @type {any} */ line) => line.group === group)?.y.at(-1);
  }
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
    const shown = these.find((run) => !OVER.includes(run.state)) ?? these[0];
    if (document.activeElement !== speed) speed.value = shown.speed;
    rate.placeholder = these.length > 1 ? "" : rateText(shown.learning_rate ?? recordedRate(all.indexOf(shown)));
    const saved = Math.max(0, ...these.map((run) => run.saved_at ?? 0));
    const stands = all.map((run) => `${run.state} ${run.saved_at}`).join();
    if (stands !== stood) {
      stood = stands;
      const { what, bad } = model.get("told");
      // What was to come has come.
      if (!bad && PASSING.includes(what)) told.textContent = what === "save" ? `Saved at ${formatTime(saved, new Date())}.` : "";
    }
    save.title = saved ? `a checkpoint now (s); last saved at ${formatTime(saved, new Date())}` : "a checkpoint now (s)";
  }
  function tell() {
    const answer = model.get("told");
    window.clearTimeout(patience);
    unanswered = false;
    showNote();
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
    /** Whether nothing has come from Python for long. @param {boolean} is */
    silent(is) {
      if (is === silence) return;
      silence = is;
      showNote();
    },
    watch() {
      if (!speed.disabled) ask("speed", aimed()[0].speed === "watch" ? "max" : "watch");
    },
    close() {
      window.clearTimeout(patience);
    },
  };
}
