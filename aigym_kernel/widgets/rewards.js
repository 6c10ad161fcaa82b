// @ts-check
/**
 * The reward designer: a number for each event or a formula, and beside it what that would have made of games
 * that were played: what each part adds per game, what a step gives, a game to watch with its return so far.
 *
 * The browser sets `by`, `weights` and `formula`; Python answers with `view` (see View below).
 */
import { clamp, formatNumber, h, holdKeys, onTheme } from "./drawing.js";
import { boardReader, drawBoard } from "./scenes.js";

/**
 * @typedef {{of: unknown, error: string, terms: [string, number][], steps: [string, number][],
 *   returns: number[], mean: number, played: number[][], config: string}} View
 * @typedef {{by: string, weights: Record<string, number>, formula: string, quantities: string[],
 *   games: import("./drawing.js").Boards[], origin: string, view: View}} State
 */

const PATIENT_MS = 5000;
const FRAME_MS = 120;
const GREATEST = 10;
/** Events, what they mean, and which one counts where nothing is said. */
const EVENTS = /** @type {[string, string, string][]} */ ([
  ["apple", "an apple is eaten", ""],
  ["step", "every step", ""],
  ["closer", "a step towards the apple", ""],
  ["farther", "a step away from it", ""],
  ["death", "any death", ""],
  ["wall", "… at a wall or obstacle", "death"],
  ["self", "… in its own body", "death"],
  ["starvation", "… of hunger", "death"],
  ["full", "the board is full", ""],
]);

/** The weights with one changed: empty text takes the event out where another stands for it, else makes it 0.
 * @param {Record<string, number>} weights @param {string} event @param {string} text */
export function reweighted(weights, event, text) {
  const { [event]: _, ...others } = weights;
  const instead = EVENTS.find(([name]) => name === event)?.[2];
  if (!text.trim()) return instead ? others : { ...others, [event]: 0 };
  const value = Number(text);
  return Number.isFinite(value) ? { ...others, [event]: value } : weights;
}

/** How long a bar is, in percent of the longest, and to which side. @param {readonly number[]} values */
export function barWidths(values) {
  const longest = Math.max(...values.map(Math.abs), 1e-12);
  return values.map((value) => ({ width: (100 * Math.abs(value)) / longest, negative: value < 0 }));
}

/** @param {readonly [string, number][]} rows @param {string} caption */
function barTable(rows, caption) {
  const bars = barWidths(rows.map(([, value]) => value));
  return h("table", { class: "aigym-worths" }, h("caption", {}, caption),
    ...rows.map(([name, value], i) => {
      const bar = h("div", { class: bars[i].negative ? "aigym-length aigym-minus" : "aigym-length" });
      bar.style.width = `${bars[i].width}%`;
      return h("tr", {}, h("th", { scope: "row" }, name),
        h("td", { class: "aigym-amount" }, formatNumber(value)), h("td", { class: "aigym-shared" }, bar));
    }));
}

/** @type {import("@anywidget/types").Render<State>} */
function render({ model, el }) {
  const by = h("select", { "aria-label": "rewards by" },
    h("option", { value: "event" }, "by event"), h("option", { value: "formula" }, "by formula"));
  const rows = EVENTS.map(([event, meaning, instead]) => {
    const slider = h("input", { type: "range", min: String(-GREATEST), max: String(GREATEST), step: "0.1", "aria-label": `${event}, slider` });
    const number = h("input", { type: "number", step: "any", "aria-label": event, placeholder: instead && `as ${instead}` });
    const row = h("div", { class: "aigym-weight" }, h("span", {}, h("b", {}, event), ` ${meaning}`), slider, number);
    slider.addEventListener("input", () => change(event, slider.value));
    number.addEventListener("input", () => change(event, number.value));
    return { event, instead, slider, number, row };
  });
  const events = h("div", { class: "aigym-weights" }, ...rows.map(({ row }) => row));
  const formula = h("textarea", { "aria-label": "formula", spellcheck: "false", rows: "3" });
  const names = h("div", { class: "aigym-dull" },
    `names: ${[...EVENTS.map(([event]) => event), ...model.get("quantities")].join(", ")}`);
  const written = h("div", {}, formula, names);
  const error = h("pre", { class: "aigym-error", role: "alert", hidden: "" });
  const note = h("div", { class: "aigym-note", role: "alert", hidden: "" },
    "No answer from the kernel: it is busy with a cell or not running.");
  const heading = h("div", { class: "aigym-heading", role: "status" });
  const parts = h("div");
  const choice = h("select", { "aria-label": "game" },
    ...model.get("games").map((_, i) => h("option", { value: String(i) }, `game ${i + 1}`)));
  const play = h("button", { type: "button", class: "aigym-start" }, "Play");
  const place = h("input", { type: "range", min: "0", step: "1", "aria-label": "step of the game" });
  const canvas = h("canvas", { class: "aigym-board", role: "img" });
  const told = h("div", { class: "aigym-dull", "aria-live": "off" });
  const code = h("pre", { class: "aigym-code", tabindex: "0", "aria-label": "code" });
  const copy = h("button", { type: "button", class: "aigym-copy" }, "Copy code");
  const root = h("div", { class: "aigym aigym-rewards", role: "group", "aria-label": "reward designer" },
    h("div", { class: "aigym-filters" }, by, h("span", { class: "aigym-dull" }, `on ${model.get("origin")}`)),
    h("div", { class: "aigym-halves" },
      h("div", {}, events, written, note, error, heading, parts),
      h("div", {}, h("div", { class: "aigym-filters" }, choice, play, place), canvas, told)),
    h("details", { open: "" }, h("summary", {}, "Code"), code, copy));
  holdKeys(root);
  el.append(root);

  let patience = 0;
  let timer = 0;
  let at = 0;
  let read = boardReader(model.get("games")[0]);

  /** @param {string} event @param {string} text */
  function change(event, text) {
    model.set("weights", reweighted(model.get("weights"), event, text));
    save();
    fields();
  }

  function save() {
    model.save_changes();
    window.clearTimeout(patience);
    patience = window.setTimeout(() => { note.hidden = !stale(); }, PATIENT_MS);
  }

  function stale() {
    const now = [model.get("by"), model.get("weights"), model.get("formula")];
    return JSON.stringify(model.get("view").of) !== JSON.stringify(now);
  }

  function fields() {
    by.value = model.get("by");
    events.hidden = by.value !== "event";
    written.hidden = by.value === "event";
    const weights = model.get("weights");
    for (const { event, instead, slider, number } of rows) {
      const value = weights[event];
      if (number !== document.activeElement) number.value = value === undefined ? "" : String(value);
      slider.value = String(clamp(value ?? weights[instead] ?? 0, -GREATEST, GREATEST));
    }
    if (formula.value !== model.get("formula")) formula.value = model.get("formula");
  }

  function show() {
    const view = model.get("view");
    note.hidden = true;
    error.textContent = view.error;
    error.hidden = !view.error;
    heading.hidden = parts.hidden = Boolean(view.error);
    code.textContent = view.config;
    if (!view.error) {
      heading.textContent = `mean return ${formatNumber(view.mean)} in ${formatNumber(view.returns.length)} games`;
      parts.replaceChildren(barTable(view.terms, "what each part adds to a game"), barTable(view.steps, "what a step gives"));
    }
    draw();
  }

  function game() {
    return model.get("games")[Number(choice.value)];
  }

  function draw() {
    const boards = game();
    place.max = String(boards.changes.length);
    place.value = String(at);
    drawBoard(canvas, boards, read(at));
    const returns = model.get("view").played[Number(choice.value)] ?? [];
    const so = at ? returns[at - 1] : 0;
    told.textContent = `step ${at} of ${boards.changes.length}${so === undefined ? "" : `, return so far ${formatNumber(so)}`}`;
    canvas.setAttribute("aria-label", `board, ${told.textContent}`);
  }

  function stop() {
    window.clearInterval(timer);
    timer = 0;
    play.textContent = "Play";
  }

  function start() {
    if (at >= game().changes.length) at = 0;
    play.textContent = "Pause";
    timer = window.setInterval(() => {
      at += 1;
      draw();
      if (at >= game().changes.length) stop();
    }, FRAME_MS);
  }

  const gone = new AbortController();
  by.addEventListener("change", () => { model.set("by", by.value); save(); fields(); });
  formula.addEventListener("input", () => { model.set("formula", formula.value); save(); });
  play.addEventListener("click", () => (timer ? stop() : start()));
  place.addEventListener("input", () => { stop(); at = Number(place.value); draw(); });
  choice.addEventListener("change", () => { stop(); at = 0; read = boardReader(game()); draw(); });
  copy.addEventListener("click", () => {
    navigator.clipboard?.writeText(code.textContent ?? "").then(() => { copy.textContent = "Copied"; }, () => {});
  });
  onTheme(draw, gone.signal);
  const sizes = new ResizeObserver(draw); // the board's colours are known once it is in the page
  sizes.observe(canvas);
  for (const name of /** @type {const} */ (["by", "weights", "formula"])) model.on(`change:${name}`, fields);
  model.on("change:view", show);
  fields();
  show();
  return () => {
    gone.abort();
    sizes.disconnect();
    stop();
    window.clearTimeout(patience);
    model.off("change:view", show);
    for (const name of /** @type {const} */ (["by", "weights", "formula"])) model.off(`change:${name}`, fields);
  };
}

export default { render };
