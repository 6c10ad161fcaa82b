// @ts-check
/**
 * The launcher: choose a task, a sandbox and who answers, then watch the calls and the marks arrive.
 *
 * Python sends what there is to choose from and `view` (see Play below) whenever something happened; the
 * browser sets the choices and sends {"start": true} or {"stop": true}.
 */
import { badge, formatDuration, formatNumber, h, holdKeys, markTable } from "./drawing.js";

/**
 * @typedef {{id: string, title: string, kind: string, difficulty: number, language: string, prompt: string,
 *   answer: string, tools: string[], reference: boolean}} Task
 * @typedef {{state: string, task: string, agent: string, turns: [string, string][],
 *   marks: import("./drawing.js").Mark[], total: number | null, error: string, trajectory_id: string,
 *   wall_s: number | null}} Play
 * @typedef {{tasks: Task[], sandboxes: string[], agents: string[], task: string, sandbox: string,
 *   agent: string, text: string, view: Play}} State
 */

const PATIENCE_MS = 5000;
const PASTED = "your answer";
const REFERENCE = "reference solution";

/** What the field for an answer says while it is empty. @param {Task} task */
export function hint(task) {
  if (task.tools.length) return `calls of ${task.tools.join(", ")}, separated by lines of three dashes: ---`;
  return `the text of ${task.answer}`;
}

/** Who can answer a task. @param {readonly string[]} agents @param {Task} task */
export function able(agents, task) {
  return agents.filter((agent) => task.reference || agent !== REFERENCE);
}

/** The line above the marks. @param {Play} view */
export function verdict(view) {
  if (view.total === null) return "";
  return `score ${formatNumber(view.total)} in ${formatDuration(view.wall_s)}`;
}

/** @param {string} label @param {HTMLElement} control */
function labelled(label, control) {
  return h("label", { class: "aigym-choice" }, h("span", { class: "aigym-dull" }, label), control);
}

/** @param {readonly [string, string][]} options value and text @param {string} chosen */
function options(options, chosen) {
  return options.map(([value, text]) => {
    const option = h("option", { value }, text);
    option.selected = value === chosen;
    return option;
  });
}

/** @type {import("@anywidget/types").Render<State>} */
function render({ model, el }) {
  const task = h("select", { "aria-label": "task" });
  const sandbox = h("select", { "aria-label": "sandbox" });
  const agent = h("select", { "aria-label": "agent" });
  const start = h("button", { type: "button", class: "aigym-start", title: "Ctrl+Enter" }, "Run");
  const stop = h("button", { type: "button", class: "aigym-stop" }, "Stop");
  const about = h("div", { class: "aigym-facts" });
  const prompt = h("pre", { class: "aigym-prompt" });
  const text = h("textarea", { "aria-label": "answer", spellcheck: "false", rows: "10" });
  const state = h("div", { class: "aigym-heading", role: "status" });
  const turns = h("div", { class: "aigym-exchange", tabindex: "0", role: "log", "aria-label": "calls and answers" });
  const error = h("pre", { class: "aigym-error", hidden: "" });
  const marks = h("div");
  const note = h("div", { class: "aigym-note", role: "alert", hidden: "" },
    "No answer from the kernel: it is busy with a cell or not running.");
  const root = h("div", { class: "aigym aigym-launcher", role: "group", "aria-label": "task launcher" },
    h("div", { class: "aigym-filters" },
      labelled("task", task), labelled("answered by", agent), labelled("sandbox", sandbox), start, stop),
    about, prompt, text, note, state, error, turns, marks);
  holdKeys(root);
  el.append(root);

  /** @returns {Task} */
  const chosen = () => model.get("tasks").find((t) => t.id === model.get("task")) ?? model.get("tasks")[0];

  function choose() {
    const now = chosen();
    task.replaceChildren(...options(
      model.get("tasks").map((t) => [t.id, `${t.title} (${t.difficulty} of 5)`]), model.get("task")));
    agent.replaceChildren(...options(able(model.get("agents"), now).map((a) => [a, a]), model.get("agent")));
    sandbox.replaceChildren(...options(model.get("sandboxes").map((s) => [s, s]), model.get("sandbox")));
    about.replaceChildren(...[now.id, now.kind, now.language, now.tools.length ? `tools: ${now.tools.join(", ")}` : "one answer"]
      .map((fact) => h("span", { class: "aigym-dull" }, fact)));
    prompt.textContent = now.prompt.trimEnd();
    text.hidden = model.get("agent") !== PASTED;
    text.placeholder = hint(now);
    if (text.value !== model.get("text")) text.value = model.get("text");
  }

  function show() {
    const view = model.get("view");
    const running = view.state === "running";
    window.clearTimeout(patience);
    note.hidden = true;
    start.disabled = running;
    stop.hidden = !running;
    stop.disabled = false;
    state.hidden = view.state === "idle";
    state.replaceChildren(h("strong", {}, view.task), badge(view.state),
      h("span", { class: "aigym-dull" }, `by ${view.agent}`), h("span", {}, verdict(view)));
    error.textContent = view.error;
    error.hidden = !view.error;
    const said = view.turns.filter(([who, words]) => who === "action" || words !== chosen().prompt);
    turns.hidden = !said.length;
    turns.replaceChildren(...said.flatMap(([who, words]) => [
      h("div", { class: `aigym-who aigym-${who}` }, who), h("pre", {}, words)]));
    turns.scrollTop = turns.scrollHeight;
    marks.replaceChildren(...(view.marks.length ? [markTable(view.marks)] : []));
  }

  let patience = 0;
  /** @param {{start?: true, stop?: true}} message */
  function ask(message) {
    model.send(message);
    window.clearTimeout(patience);
    patience = window.setTimeout(() => { note.hidden = false; }, PATIENCE_MS);
  }
  function run() {
    if (start.disabled) return;
    start.disabled = true;
    save();
    ask({ start: true });
  }
  function save() {
    model.set("text", text.value);
    model.save_changes();
  }
  for (const [name, control] of /** @type {["task" | "agent" | "sandbox", HTMLSelectElement][]} */ ([["task", task], ["agent", agent], ["sandbox", sandbox]])) {
    control.addEventListener("change", () => {
      model.set(name, control.value);
      if (name === "task" && !able(model.get("agents"), chosen()).includes(model.get("agent"))) {
        model.set("agent", PASTED);
      }
      model.save_changes();
      choose();
    });
  }
  text.addEventListener("change", save);
  root.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    run();
  });
  start.addEventListener("click", run);
  stop.addEventListener("click", () => {
    stop.disabled = true;
    ask({ stop: true });
  });
  const changes = ["task", "agent", "sandbox", "text", "tasks", "agents"];
  for (const name of changes) model.on(`change:${name}`, choose);
  model.on("change:view", show);
  choose();
  show();
  return () => {
    window.clearTimeout(patience);
    for (const name of changes) model.off(`change:${name}`, choose);
    model.off("change:view", show);
  };
}

export default { render };
