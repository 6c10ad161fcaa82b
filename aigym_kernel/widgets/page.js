// @ts-check
/**
 * A widget on a page without a kernel: `heldModel` stands in for its model and answers from what the page
 * holds; `showHeld` puts the widget in the place of its still picture. `page.py` writes the page.
 *
 * It plays and opens what is held. What would need Python (filters, other trajectories) is refused in words.
 */

/**
 * What a page holds: the widget's state, trajectories beside the open one by id, rewards of the listed ones by
 * id, and answers by `requestKey`.
 * @typedef {{state: Record<string, any>, trajectories: Record<string, any>, sparks: Record<string, any>,
 *   answers: Record<string, any>}} Held
 */
/** @typedef {{answer: any, value?: any, error?: string}} Reply */

/** A request without its number, the same text for the same question. @param {Record<string, any>} request */
export function requestKey(request) {
  const { what, ask: _, ...rest } = request;
  return `${what} ${JSON.stringify(Object.keys(rest).sort().map((name) => [name, rest[name]]))}`;
}

/** Text as JSON.parse wants it for binary values: {"$bytes": base64} becomes a DataView.
 * @param {string} text @returns {any} */
export function parseHeld(text) {
  return JSON.parse(text, (_, value) => {
    if (typeof value?.$bytes !== "string") return value;
    return new DataView(Uint8Array.from(atob(value.$bytes), (c) => c.charCodeAt(0)).buffer);
  });
}

/** All trajectories that a page can open, by id. @param {Held} held @returns {Record<string, any>} */
function openable({ state, trajectories }) {
  return state.trajectory?.id ? { ...trajectories, [state.trajectory.id]: state.trajectory } : trajectories;
}

/** What is said where an answer would need a kernel. @param {Held} held */
export function refusal(held) {
  const { state } = held;
  const rows = Array.isArray(state.rows) ? state.rows.length : 0;
  const opened = Object.keys(openable(held)).length;
  return `This page was saved and has no kernel. It lists ${rows.toLocaleString("en-US")} of ` +
    `${Number(state.among ?? rows).toLocaleString("en-US")} trajectories and can open ${opened} of them; ` +
    `for the rest, run the notebook.`;
}

/**
 * A model as anywidget's, whose `send` is answered from `held`.
 * @param {Held} held
 */
export function heldModel(held) {
  const state = { ...held.state };
  const views = [state.view, "trajectory"];
  const trajectories = openable(held);
  /** @type {Map<string, Set<(...args: any[]) => void>>} */
  const listeners = new Map();
  const emit = (/** @type {string} */ name, /** @type {any[]} */ ...args) => {
    for (const listener of [...(listeners.get(name) ?? [])]) listener(...args);
  };
  /** @param {string} name @param {any} value */
  function set(name, value) {
    if (state[name] === value) return;
    state[name] = value;
    emit(`change:${name}`, model, value);
    emit("change", model);
  }
  /** @param {Record<string, any>} wanted @returns {string} the problem, if any */
  function change(wanted) {
    const possible = (/** @type {string} */ name) =>
      name === "step" || name === "chosen" ||
      (name === "view" && views.includes(wanted.view)) ||
      (name === "selected" && Object.hasOwn(trajectories, wanted.selected));
    if (!Object.keys(wanted).every(possible)) return refusal(held);
    if ("selected" in wanted && wanted.selected !== state.selected) {
      set("step", 0);
      set("trajectory", trajectories[wanted.selected]);
    }
    for (const [name, value] of Object.entries(wanted)) set(name, value);
    return "";
  }
  /** @param {Record<string, any>} request @returns {Reply} */
  function reply(request) {
    const { ask: answer, what, ...rest } = request;
    if (what === "change") {
      const error = change(rest);
      return error ? { answer, error } : { answer, value: null };
    }
    if (what === "rows") return { answer, value: { stamp: state.stamp, rows: state.rows.slice(rest.from, rest.to) } };
    // Opening a view asks for what it shows, which is held where the page was written with that view.
    if (["compare", "diff"].includes(what) && what === held.state.view && !Object.keys(rest).length) return { answer, value: null };
    if (what === "sparks") return { answer, value: Object.fromEntries(rest.ids.map((/** @type {string} */ id) => [id, held.sparks[id] ?? []])) };
    const key = requestKey(request);
    return Object.hasOwn(held.answers, key) ? { answer, value: held.answers[key] } : { answer, error: refusal(held) };
  }
  const model = {
    get: (/** @type {string} */ name) => state[name],
    set,
    save_changes() {},
    on(/** @type {string} */ name, /** @type {(...args: any[]) => void} */ listener) {
      listeners.set(name, (listeners.get(name) ?? new Set()).add(listener));
    },
    off(/** @type {string} */ name, /** @type {(...args: any[]) => void} */ listener) {
      listeners.get(name)?.delete(listener);
    },
    /** Answers later, as a kernel would. @param {any} content */
    send(content) {
      queueMicrotask(() => emit("msg:custom", reply(content), []));
    },
  };
  return model;
}

// ---------------------------------------------------------------------------------------------- DOM

/**
 * Draws a widget where its still picture is. If that fails, the picture stays.
 * @param {string} id of the picture; the data are in the element `${id}-data`
 * @param {(context: {model: any, el: HTMLElement}) => any} draw the widget's `render`
 */
export function showHeld(id, draw) {
  const still = document.getElementById(id);
  const data = document.getElementById(`${id}-data`);
  if (!still || !data) return;
  if (!still.checkVisibility()) {
    // The still of a living widget. It plays once it is seen: when there is no widget after all.
    const seen = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      seen.disconnect();
      showHeld(id, draw);
    });
    seen.observe(still);
    return;
  }
  if (!document.body.hasAttribute("data-jp-theme-light")) {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const follow = () => document.body.setAttribute("data-jp-theme-light", String(!dark.matches));
    dark.addEventListener("change", follow);
    follow();
  }
  const el = document.createElement("div");
  still.after(el);
  try {
    draw({ model: heldModel(parseHeld(data.textContent ?? "")), el });
    still.remove();
    // A notebook's page styles pictures and tables in what was text/html; this is neither any more.
    el.closest(".jp-RenderedHTMLCommon")?.classList.remove("jp-RenderedHTMLCommon");
  } catch (problem) {
    el.remove();
    console.warn("the widget was not drawn; its picture is shown instead:", problem);
  }
}
