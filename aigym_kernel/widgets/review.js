// @ts-check
/**
 * The review form: a solution, its marks, and a person's value and note for any of them.
 *
 * Python sends `view` (see Form below); the browser sets `by` and `selected` and sends
 * {"give": {name, value, note}, "asked": n}. The view that answers carries the same `asked`.
 */
import { badge, clamp, formatNumber, formatTime, h, holdKeys } from "./drawing.js";

/**
 * @typedef {{name: string, value: number | null, judged: number | null, weight: number, required: boolean,
 *   status: string, feedback: string, evidence: string, note: string, by: string, at: number | null}} Reviewed
 * @typedef {{task_id: string, recorded: string, total: number | null, passed: boolean, pass_mark: number,
 *   marks: Reviewed[], texts: [string, string][], problem: string, asked: number}} Form
 * @typedef {{view: Form, by: string, selected: number}} State
 */

const PATIENCE_MS = 5000;
const WAITING = "waiting for the kernel…";

/** The value that a person typed: "0.8", "0,8", "80%"; null for what is none in [0, 1].
 * @param {string} text */
export function typedValue(text) {
  const trimmed = text.trim().replace(",", ".");
  const percent = trimmed.endsWith("%");
  const digits = percent ? trimmed.slice(0, -1).trim() : trimmed;
  if (!/^(\d+\.?\d*|\.\d+)$/.test(digits)) return null;
  const value = Number(digits) / (percent ? 100 : 1);
  return value >= 0 && value <= 1 ? value : null;
}

/** The verdict on the whole. @param {Pick<Form, "total" | "passed" | "marks">} view */
export function outcome(view) {
  if (view.total === null) {
    const waiting = view.marks.filter((mark) => mark.value === null).length;
    return { word: "unjudged", text: `${waiting} of ${view.marks.length} marks wait for a value` };
  }
  return { word: view.passed ? "passed" : "failed", text: `score ${formatNumber(view.total)}` };
}

/** What was said of a mark, and by whom. @param {Reviewed} mark @param {Date} now */
export function told(mark, now) {
  const judged = mark.judged === null ? "the judge gave no value" : `the judge said ${formatNumber(mark.judged)}`;
  if (mark.at === null) return judged;
  return `${mark.by || "somebody"} said ${formatNumber(mark.value)}, ${formatTime(mark.at, now)}; ${judged}`;
}

/** What a key does outside of text fields; "" for nothing.
 * @param {string} key @param {boolean} modified Ctrl, Alt or Meta held */
export function reviewKey(key, modified) {
  if (modified) return "";
  /** @type {Readonly<Record<string, string>>} */
  const keys = {
    j: "next", ArrowDown: "next", k: "previous", ArrowUp: "previous",
    v: "value", n: "note", 0: "none", 5: "half", 1: "full", Enter: "save", Escape: "leave",
  };
  return Object.hasOwn(keys, key) ? keys[key] : "";
}

/** @type {import("@anywidget/types").Render<State>} */
function render({ model, el }) {
  const heading = h("div", { class: "aigym-heading", role: "status" });
  const texts = h("div", { class: "aigym-exchange", tabindex: "0", role: "region", "aria-label": "solution" });
  const marks = h("div", { class: "aigym-reviewed", role: "listbox", "aria-label": "marks" });
  const value = h("input", { type: "text", inputmode: "decimal", "aria-label": "value", size: "5", placeholder: "0 to 1" });
  const slider = h("input", { type: "range", min: "0", max: "1", step: "0.05", "aria-label": "value, by slider" });
  const note = h("textarea", { rows: "3", "aria-label": "note", placeholder: "why (kept with the value)" });
  const by = h("input", { type: "text", "aria-label": "reviewer", placeholder: "your name" });
  const save = h("button", { type: "button", class: "aigym-start", title: "Enter; in the note Ctrl+Enter" }, "Give this mark");
  const quick = /** @type {const} */ ([["0", 0], ["½", 0.5], ["1", 1]]).map(([text, number]) => {
    const button = h("button", { type: "button", "aria-label": `value ${number}` }, text);
    button.addEventListener("click", () => setValue(number));
    return button;
  });
  const problem = h("div", { class: "aigym-note", role: "alert", hidden: "" });
  const about = h("div", { class: "aigym-about" });
  const form = h("div", { class: "aigym-form" }, about,
    h("div", { class: "aigym-controls" }, value, slider, ...quick), note,
    h("div", { class: "aigym-filters" }, by, save), problem);
  const root = h("div", { class: "aigym aigym-review", role: "group", "aria-label": "review", tabindex: "-1" },
    heading, h("div", { class: "aigym-halves" }, texts, h("div", {}, marks, form)));
  holdKeys(root);
  el.append(root);

  let asked = 0;
  let patience = 0;
  /** @type {Map<string, {value: string, note: string}>} what was typed and not yet given, by mark */
  const drafts = new Map();
  const chosen = () => {
    const all = model.get("view").marks;
    return all[clamp(model.get("selected"), 0, all.length - 1)];
  };
  /** @param {string} text */
  const say = (text) => { problem.textContent = text; problem.hidden = !text; };
  const keep = () => { const mark = chosen(); if (mark) drafts.set(mark.name, { value: value.value, note: note.value }); };
  /** @param {number} number */
  function setValue(number) {
    value.value = String(number);
    slider.value = String(number);
    keep();
  }
  /** @param {number} index */
  function select(index) {
    model.set("selected", clamp(index, 0, model.get("view").marks.length - 1));
    model.save_changes();
    draw();
  }
  function give() {
    const mark = chosen();
    const number = typedValue(value.value);
    if (!mark) return;
    if (number === null) {
      say(`${value.value.trim() || "nothing"} is no value; write a number from 0 to 1`);
      value.focus();
      return;
    }
    asked += 1;
    say(WAITING);
    save.disabled = true;
    model.set("by", by.value.trim());
    model.save_changes();
    model.send({ give: { name: mark.name, value: number, note: note.value }, asked });
    window.clearTimeout(patience);
    patience = window.setTimeout(() => {
      save.disabled = false;
      say("No answer from the kernel: it is busy with a cell or not running. Nothing was given yet.");
    }, PATIENCE_MS);
  }

  function drawMarks() {
    const now = new Date();
    const held = marks.contains(document.activeElement);
    const current = chosen();
    marks.replaceChildren(...model.get("view").marks.map((mark, index) => {
      const row = h("div", { class: "aigym-mark", role: "option", tabindex: mark === current ? "0" : "-1", "aria-selected": String(mark === current) },
        badge(mark.status),
        h("span", {}, mark.name + (mark.required ? " (required)" : "")),
        h("span", { class: "aigym-number" }, `${formatNumber(mark.value)} × ${formatNumber(mark.weight)}`));
      row.addEventListener("click", () => { select(index); rows()[index]?.focus(); });
      if (mark.at === null) return h("div", {}, row);
      return h("div", {}, row, h("div", { class: "aigym-dull" }, told(mark, now)), ...(mark.note ? [h("pre", {}, mark.note)] : []));
    }));
    if (held) rows()[model.get("selected")]?.focus();
  }
  /** @returns {HTMLElement[]} */
  const rows = () => [...marks.querySelectorAll(".aigym-mark")].map((row) => /** @type {HTMLElement} */ (row));
  function draw() {
    const view = model.get("view");
    const mark = chosen();
    const { word, text } = outcome(view);
    heading.replaceChildren(h("strong", {}, view.task_id), badge(word), h("span", {}, text),
      h("span", { class: "aigym-dull" }, view.recorded ? `recorded as ${view.recorded}` : "not recorded"));
    texts.hidden = !view.texts.length;
    drawMarks();
    form.hidden = !mark;
    if (!mark) return;
    about.replaceChildren(h("strong", {}, mark.name), h("div", { class: "aigym-dull" }, told(mark, new Date())),
      ...(mark.feedback ? [h("pre", {}, mark.feedback)] : []),
      ...(mark.evidence ? [h("details", {}, h("summary", {}, "evidence"), h("pre", {}, mark.evidence))] : []));
    const draft = drafts.get(mark.name) ?? { value: mark.value === null ? "" : String(mark.value), note: mark.note };
    value.value = draft.value;
    note.value = draft.note;
    slider.value = String(typedValue(draft.value) ?? 0);
  }
  function update() {
    const view = model.get("view");
    if (view.asked && view.asked === asked) {
      window.clearTimeout(patience);
      save.disabled = false;
      say(view.problem);
      const mark = chosen();
      if (mark && !view.problem) drafts.delete(mark.name);
    }
    draw();
  }

  const leave = () => {
    /** @type {HTMLElement | null} */ (document.activeElement)?.blur();
    /** @type {HTMLElement | null} */ (root.closest(".jp-Notebook"))?.focus({ preventScroll: true });
  };
  /** @type {Record<string, () => void>} */
  const actions = {
    next: () => { select(model.get("selected") + 1); rows()[model.get("selected")]?.focus(); },
    previous: () => { select(model.get("selected") - 1); rows()[model.get("selected")]?.focus(); },
    value: () => { value.focus(); value.select(); }, note: () => note.focus(),
    none: () => setValue(0), half: () => setValue(0.5), full: () => setValue(1), save: give, leave,
  };
  root.addEventListener("keydown", (event) => {
    const target = event.target;
    const writing = target instanceof HTMLTextAreaElement || (target instanceof HTMLInputElement && target.type === "text");
    if (writing) {
      const enter = event.key === "Enter" && (target === value || event.ctrlKey || event.metaKey);
      if (enter) { event.preventDefault(); give(); }
      if (event.key === "Escape") { event.preventDefault(); rows()[model.get("selected")]?.focus(); }
      return;
    }
    if (target instanceof HTMLInputElement && event.key.startsWith("Arrow")) return;
    if (target instanceof HTMLButtonElement && event.key === "Enter") return;
    const action = reviewKey(event.key, event.ctrlKey || event.altKey || event.metaKey);
    if (!action) return;
    event.preventDefault();
    actions[action]();
  });
  value.addEventListener("input", () => { slider.value = String(typedValue(value.value) ?? 0); keep(); });
  slider.addEventListener("input", () => { value.value = slider.value; keep(); });
  note.addEventListener("input", keep);
  save.addEventListener("click", give);
  const takeBy = () => { by.value = model.get("by"); };
  model.on("change:view", update);
  model.on("change:selected", draw);
  model.on("change:by", takeBy);
  takeBy();
  texts.replaceChildren(...model.get("view").texts.map(([label, text]) =>
    h("div", { class: "aigym-turn" }, h("div", { class: "aigym-who" }, label), h("pre", {}, text))));
  draw();
  return () => {
    window.clearTimeout(patience);
    model.off("change:view", update);
    model.off("change:selected", draw);
    model.off("change:by", takeBy);
  };
}

export default { render };
