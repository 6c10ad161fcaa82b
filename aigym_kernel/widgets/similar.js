// @ts-check
/**
 * Trajectories like the open one, or about a text, below it: each opens by a click or Enter, and all can be marked
 * for the list, diff and compare. Python looks among those that pass the filters, see alike.py.
 */
import { fact } from "./about.js";
import { badge, formatNumber, h } from "./drawing.js";
import { bound } from "./keys.js";

/**
 * @typedef {{trajectory_id: string, similarity: number | null, run_id: string, env_id: string | null, agent: string | null,
 *   outcome: string | null, return: number | null, score: number | null, excerpt: string[]}} Alike
 *   excerpt: every second part of it is a word of the question
 */

export const SIMILAR_KEYS = /** @type {const} */ ({ s: "similar" });
/** @type {[string, string][]} */
export const SIMILAR_HELP = [["s", "trajectories like this one"]];

/** What to mark: what was asked about, the nearest first, then what was marked before.
 * @param {string} of the trajectory that was asked about, "" for a text @param {readonly Alike[]} rows
 * @param {readonly string[]} before */
export function markedWith(of, rows, before) {
  return [...new Set([...(of ? [of] : []), ...rows.map((row) => row.trajectory_id), ...before])];
}

/** @param {Alike} row */
function alikeRow(row) {
  const said = row.excerpt.map((part, i) => (i % 2 ? h("mark", {}, part) : part));
  return h("li", {}, h("button", { type: "button", "data-id": row.trajectory_id, title: `${row.trajectory_id}, run ${row.run_id}` },
    h("span", { class: "aigym-facts" },
      h("strong", { title: "similarity" }, formatNumber(row.similarity)),
      h("span", {}, row.env_id ?? "–"), h("span", { class: "aigym-dull" }, `by ${row.agent ?? "–"}`), badge(row.outcome ?? "none"),
      fact("return", formatNumber(row.return)), ...(row.score === null ? [] : [fact("score", formatNumber(row.score))])),
    h("span", { class: "aigym-like-said" }, ...said)));
}

/** @param {import("./explorer.js").Host} host @returns {import("./explorer.js").Pane} */
export function similarTo({ model, ask, change, signal }) {
  const like = h("button", { type: "button", title: "trajectories like this one (s)" }, "similar");
  const text = h("input", { type: "text", placeholder: "or about a text", "aria-label": "find trajectories about a text", maxlength: "4000" });
  const by = h("select", { "aria-label": "by" }, h("option", { value: "meaning" }, "meaning"), h("option", { value: "words" }, "exact words"));
  by.title = 'exact words: what is in "double quotes" has to occur as it is';
  const told = h("span", { class: "aigym-dull", role: "status" });
  const mark = h("button", { type: "button" }, "mark them");
  const problem = h("div", { class: "aigym-note", role: "alert", hidden: "" });
  const list = h("ol", { class: "aigym-like" });
  const node = h("section", { class: "aigym-similar", "aria-label": "similar trajectories" },
    h("div", { class: "aigym-similar-ask" }, like, text, by), h("div", { class: "aigym-similar-ask" }, told, mark), problem, list);
  mark.hidden = true;
  let asked = { question: "", of: "" };
  let going = ""; // the question that is being answered
  /** @type {Alike[]} */
  let rows = [];

  /** @param {string} question a text or an id @param {string} of the id, "" for a text */
  async function look(question, of) {
    const now = JSON.stringify([question, by.value]);
    if (!question || going === now) return;
    asked = { question, of };
    going = now;
    told.textContent = "looking …";
    problem.hidden = true;
    node.setAttribute("aria-busy", "true");
    try {
      // The first question on a large store takes long; that nobody is there to answer it shows at once.
      await ask("change", {}, { quietly: true });
      const answer = await ask("similar", { question, by: by.value, k: 10 }, { quietly: true, patiently: true });
      if (going !== now) return;
      rows = answer.rows;
      const narrowed = model.get("total") < model.get("among") ? " of those that pass the filters" : "";
      told.textContent = `${rows.length || "nothing"}${narrowed} ${of ? `like ${of}` : `about “${question}”`}`;
    } catch (raised) {
      if (going !== now) return;
      rows = [];
      told.textContent = "";
      problem.textContent = raised instanceof Error ? raised.message : String(raised);
      problem.hidden = false;
    }
    going = "";
    node.removeAttribute("aria-busy");
    mark.hidden = !rows.length;
    list.replaceChildren(...rows.map(alikeRow));
    follow();
  }
  function follow() {
    like.disabled = !model.get("selected");
    for (const row of list.querySelectorAll("button")) {
      if (row.dataset.id === model.get("selected")) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  }
  const likeOpen = () => look(model.get("selected"), model.get("selected"));
  const aboutText = () => look(text.value.trim(), "");
  like.addEventListener("click", likeOpen);
  text.addEventListener("keydown", (event) => { if (event.key === "Enter") void aboutText(); });
  by.addEventListener("change", () => void look(asked.question, asked.of));
  mark.addEventListener("click", () => change({ chosen: markedWith(asked.of, rows, model.get("chosen")) }));
  list.addEventListener("click", (event) => {
    const row = /** @type {HTMLElement | null} */ (/** @type {Element} */ (event.target).closest("button"));
    if (row?.dataset.id) change({ selected: row.dataset.id });
  });
  node.addEventListener("keydown", (event) => {
    const way = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const places = [like, ...list.querySelectorAll("button")];
    const at = places.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    if (!way || at < 0 || event.shiftKey) return;
    event.preventDefault();
    places[at + way]?.focus();
  });
  model.on("change:selected", follow);
  signal.addEventListener("abort", () => model.off("change:selected", follow));
  follow();
  return {
    node,
    keys: bound(SIMILAR_KEYS, { similar: () => { like.focus(); void likeOpen(); } }),
    help: SIMILAR_HELP,
  };
}
