// @ts-check
/**
 * What is known of a trajectory as a whole: facts above the scene, the judge's marks below it, and the tags and
 * notes of people, which can be added here: they land in the store.
 */
import { badge, formatDuration, formatNumber, formatTime, h, markTable } from "./drawing.js";

/** @typedef {import("./chunks.js").Shown} AboutShown */

/** @param {string} name @param {string} value */
export function fact(name, value) {
  return h("span", {}, h("span", { class: "aigym-dull" }, `${name} `), value);
}

/** @param {AboutShown} shown */
export function heading(shown) {
  return h(
    "div",
    { class: "aigym-heading" },
    h("strong", {}, shown.env_id),
    badge(shown.outcome),
    h("span", { class: "aigym-dull" }, `by ${shown.agent}`),
    h("div", { class: "aigym-facts" },
      fact("return", formatNumber(shown.return)),
      ...(shown.score === null ? [] : [fact("score", formatNumber(shown.score))]),
      fact("steps", formatNumber(shown.length)),
      ...(shown.seed === null ? [] : [fact("seed", String(shown.seed))]),
      fact("took", formatDuration(shown.wall_s)),
      ...(shown.group === null ? [] : [fact("group", shown.group)]),
      ...(shown.parent === null ? [] : [fact("continues", shown.parent)]),
      fact("id", shown.id)),
    ...(shown.error ? [h("pre", { class: "aigym-error" }, shown.error)] : []),
    ...shown.notes.map((note) => h("div", { class: "aigym-note" }, note)),
  );
}

/**
 * Marks with their feedback, tags, notes.
 * @param {AboutShown} shown
 * @param {(what: string, args: Record<string, any>, how: {late: (value: any) => void}) => Promise<any>} ask
 */
export function remarks(shown, ask) {
  let { tags, said } = shown;
  const chips = h("span", { class: "aigym-tags" });
  const list = h("div", {});
  const problem = h("div", { class: "aigym-note", role: "alert", hidden: "" });
  const tag = h("input", { type: "text", placeholder: "add a tag", "aria-label": "add a tag", maxlength: "100", spellcheck: "false" });
  const text = h("textarea", { rows: "1", placeholder: "write a note (Ctrl+Enter keeps it)", "aria-label": "note" });
  const keep = h("button", { type: "button" }, "keep note");
  /** Sends what somebody wrote; it stays in its field until it is kept. @param {string} what
   * @param {Record<string, any>} args @param {HTMLInputElement | HTMLTextAreaElement} [field] */
  async function send(what, args, field) {
    const wrote = field?.value;
    const take = (/** @type {any} */ answer) => {
      [tags, said] = [answer.tags, answer.said];
      problem.hidden = true;
      if (field && field.value === wrote) {
        field.value = "";
        field.dispatchEvent(new Event("input"));
      }
      draw();
    };
    try {
      take(await ask(what, args, { late: take }));
    } catch (raised) {
      problem.textContent = `Not kept so far: ${raised instanceof Error ? raised.message : raised}`;
      problem.hidden = false;
    }
  }
  const addTag = () => { if (tag.value.trim()) void send("tag", { add: [tag.value.trim()] }, tag); };
  const addNote = () => { if (text.value.trim()) void send("note", { text: text.value }, text); };
  tag.addEventListener("keydown", (event) => { if (event.key === "Enter") addTag(); });
  text.addEventListener("keydown", (event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) addNote(); });
  keep.addEventListener("click", addNote);
  keep.hidden = true;
  text.addEventListener("input", () => {
    keep.hidden = !text.value;
    text.rows = Math.min(8, text.value.split("\n").length + Number(Boolean(text.value)));
  });
  function draw() {
    chips.replaceChildren(...tags.map((name) => {
      const remove = h("button", { type: "button", "aria-label": `remove the tag ${name}`, title: "remove" }, "×");
      remove.addEventListener("click", () => void send("tag", { remove: [name] }));
      return h("span", { class: "aigym-tag" }, name, remove);
    }));
    list.replaceChildren(...said.map(({ text: words, by, at }) => h("div", { class: "aigym-said" },
      h("div", { class: "aigym-who" }, [by, formatTime(at, new Date())].filter(Boolean).join(", ")), h("pre", {}, words))));
  }
  draw();
  const node = h("div", { class: "aigym-remarks" },
    ...(shown.marks.length ? [markTable(shown.marks)] : []),
    h("div", { class: "aigym-marks" }, h("h4", {}, "Tags and notes"),
      h("div", { class: "aigym-tags" }, chips, tag), list, text, keep, problem));
  return {
    node,
    /** What others have written since. @param {AboutShown} next */
    update(next) {
      ({ tags, said } = next);
      draw();
    },
    focus: () => tag.focus(),
  };
}
