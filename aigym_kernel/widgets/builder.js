// @ts-check
/**
 * The network builder: a list of layers to add, remove, move and change, with what becomes of them beside it.
 *
 * The browser sets `layers`, `env` and `algo`; Python answers with `view` (see View below), which says in `of`
 * what it is about. Focus stays where it was while rows are drawn anew.
 */
import { formatNumber, h, holdKeys } from "./drawing.js";

/**
 * @typedef {{choices: string[], usual: string | number, least: number, most: number}} Setting
 * @typedef {Record<string, Record<string, Setting>>} Types
 * @typedef {Record<string, any> & {type: string}} Layer
 * @typedef {{of: unknown, rows: [string, number | null][], picture: string, alt: string,
 *   parameters: number | null, error: string, layer: number, config: string}} View
 * @typedef {{types: Types, presets: Record<string, Layer[]>, envs: string[], algos: string[], layers: Layer[],
 *   env: string, algo: string, view: View}} State
 */

const ANSWER_MS = 5000;
const ROW_KEYS = "a: add below · Shift+↑ ↓: move · ↑ ↓: choose · Delete: remove";

/** A layer of a type with its usual values. @param {string} type @param {Types} types @returns {Layer} */
export function usualLayer(type, types) {
  const keys = Object.entries(types[type] ?? {}).map(([key, setting]) => [key, setting.usual]);
  return { type, ...Object.fromEntries(keys) };
}

/** The layers with one moved by ±1; the same list where it cannot go further.
 * @param {readonly Layer[]} layers @param {number} index @param {number} by @returns {readonly Layer[]} */
export function movedLayer(layers, index, by) {
  const to = index + by;
  if (to < 0 || to >= layers.length) return layers;
  const after = layers.slice();
  [after[index], after[to]] = [after[to], after[index]];
  return after;
}

/** The layers with one turned into another type: values of keys that both have stay.
 * @param {readonly Layer[]} layers @param {number} index @param {string} type @param {Types} types */
export function retyped(layers, index, type, types) {
  const usual = usualLayer(type, types);
  const kept = Object.entries(layers[index]).filter(([key]) => key !== "type" && key in usual);
  return layers.map((layer, i) => (i === index ? { ...usual, ...Object.fromEntries(kept) } : layer));
}

/** What was typed, as a value: a number if it is one, else the text, for Python to refuse by name.
 * @param {string} text @param {Setting} setting */
export function typedValue(text, setting) {
  if (setting.choices.length) return text;
  const number = Number(text.trim());
  return text.trim() && Number.isFinite(number) ? number : text;
}

/** The layers in a JSON text, or what is wrong with it.
 * @param {string} text @returns {{layers: Layer[], error: string}} */
export function readLayers(text) {
  try {
    const found = JSON.parse(text);
    const layers = Array.isArray(found) ? found : found?.layers;
    const fits = Array.isArray(layers) && layers.length > 0
      && layers.every((layer) => layer && typeof layer === "object" && typeof layer.type === "string");
    if (fits) return { layers, error: "" };
    return { layers: [], error: 'This is no network; write {"layers": [{"type": "dense", "units": 64}, …]}.' };
  } catch (problem) {
    return { layers: [], error: `This is no JSON: ${problem instanceof Error ? problem.message : problem}` };
  }
}

/** Layers as JSON, one to a line. @param {readonly Layer[]} layers */
export function writeLayers(layers) {
  return `{"layers": [\n${layers.map((layer) => `  ${JSON.stringify(layer)}`).join(",\n")}\n]}`;
}

/** What stands beside a layer. @param {[string, number | null] | undefined} row */
export function rowNote(row) {
  if (!row) return "";
  const [outputs, parameters] = row;
  const count = parameters === null ? "? parameters" : parameters ? `${formatNumber(parameters)} parameters` : "";
  return [`→ ${outputs}`, count].filter(Boolean).join(", ");
}

/** @param {string} label @param {HTMLElement} control */
function named(label, control) {
  return h("label", { class: "aigym-choice" }, h("span", { class: "aigym-dull" }, label), control);
}

/** @param {HTMLSelectElement} select @param {readonly [string, string][]} choices value and text @param {string} chosen */
function fill(select, choices, chosen) {
  select.replaceChildren(...choices.map(([value, text]) => h("option", { value }, text)));
  select.value = chosen;
}

/** @type {import("@anywidget/types").Render<State>} */
function render({ model, el }) {
  const env = h("select", { "aria-label": "environment" });
  const algo = h("select", { "aria-label": "algorithm" });
  const preset = h("select", { "aria-label": "begin with" });
  const list = h("ol", { class: "aigym-layers", "aria-label": "layers" });
  const more = h("select", { "aria-label": "type of a new layer" });
  const add = h("button", { type: "button", class: "aigym-add" }, "Add layer");
  const error = h("pre", { class: "aigym-error", role: "alert", hidden: "" });
  const note = h("div", { class: "aigym-note", role: "alert", hidden: "" },
    "No answer from the kernel: it is busy with a cell or not running.");
  const total = h("div", { class: "aigym-heading", role: "status" });
  const picture = h("img", { class: "aigym-network", alt: "" });
  const code = h("pre", { class: "aigym-code", tabindex: "0", "aria-label": "code" });
  const copy = h("button", { type: "button", class: "aigym-copy" }, "Copy code");
  const json = h("textarea", { "aria-label": "network as JSON", spellcheck: "false", rows: "6" });
  const take = h("button", { type: "button", class: "aigym-take" }, "Use this JSON");
  const refused = h("div", { class: "aigym-note", role: "alert", hidden: "" });
  const root = h("div", { class: "aigym aigym-builder", role: "group", "aria-label": "network builder" },
    h("div", { class: "aigym-filters" }, named("environment", env), named("algorithm", algo), named("begin with", preset)),
    h("div", { class: "aigym-halves" },
      h("div", {}, list, error, h("div", { class: "aigym-filters" }, more, add), h("div", { class: "aigym-dull" }, ROW_KEYS)),
      h("div", {}, note, total, picture)),
    h("details", {}, h("summary", {}, "Code"), code, copy),
    h("details", {}, h("summary", {}, "JSON"), json, refused, take));
  holdKeys(root);
  el.append(root);
  /** The layer that the list shows as chosen. */
  let current = 0;
  let drawn = "";
  let patience = 0;

  /** @param {readonly Layer[]} layers @param {string} [focus] which control of the current row gets the focus */
  function change(layers, focus) {
    model.set("layers", layers.slice());
    model.save_changes();
    refused.hidden = true;
    rows();
    await_();
    if (focus !== undefined) focusOn(focus);
  }

  /** @param {string} name of a control in the current row; "" for the row itself */
  function focusOn(name) {
    const row = /** @type {HTMLElement | undefined} */ (list.children[current]);
    const control = name ? row?.querySelector(`[data-name="${CSS.escape(name)}"]:not(:disabled)`) : row;
    /** @type {HTMLElement | null | undefined} */ (control ?? row)?.focus();
  }

  function await_() {
    window.clearTimeout(patience);
    patience = window.setTimeout(() => { note.hidden = !stale(); }, ANSWER_MS);
    picture.classList.toggle("aigym-stale", stale());
  }

  function stale() {
    const now = [model.get("layers"), model.get("env"), model.get("algo")];
    return JSON.stringify(model.get("view").of) !== JSON.stringify(now);
  }

  /** @param {number} index @param {string} [type] */
  function insert(index, type = more.value) {
    const layers = model.get("layers").slice();
    layers.splice(index, 0, usualLayer(type, model.get("types")));
    current = index;
    change(layers, "");
  }

  /** @param {number} index */
  function remove(index) {
    const layers = model.get("layers").filter((_, i) => i !== index);
    current = Math.max(0, Math.min(index, layers.length - 1));
    change(layers, "");
    if (!layers.length) add.focus();
  }

  /** @param {number} index @param {number} by @param {string} focus */
  function move(index, by, focus) {
    const layers = movedLayer(model.get("layers"), index, by);
    current = Math.max(0, Math.min(index + by, layers.length - 1));
    change(layers, focus);
  }

  /** @param {Layer} layer @param {number} index @param {string} key @param {Setting} setting */
  function field(layer, index, key, setting) {
    const label = `${key} of layer ${index + 1}`;
    const value = String(layer[key] ?? setting.usual);
    /** @type {HTMLInputElement | HTMLSelectElement} */
    let control;
    if (setting.choices.length) {
      control = h("select", { "aria-label": label, "data-name": key });
      const odd = setting.choices.includes(value) ? [] : [value];
      fill(control, [...setting.choices, ...odd].map((choice) => [choice, choice]), value);
    } else {
      control = h("input", { type: "text", inputmode: "decimal", "aria-label": label, "data-name": key });
      control.value = value;
    }
    control.addEventListener("input", () => {
      const given = typedValue(control.value, setting);
      change(model.get("layers").map((one, i) => (i === index ? { ...one, [key]: given } : one)));
    });
    return named(key.replace("_", " "), control);
  }

  /** @param {Layer} layer @param {number} index */
  function row(layer, index) {
    const types = model.get("types");
    const type = h("select", { "aria-label": `type of layer ${index + 1}`, "data-name": "type" });
    const known = Object.keys(types);
    fill(type, [...known, ...(known.includes(layer.type) ? [] : [layer.type])].map((t) => [t, t.replace("_", " ")]), layer.type);
    type.addEventListener("change", () => {
      current = index;
      change(retyped(model.get("layers"), index, type.value, types), "type");
    });
    /** @param {string} text @param {string} name @param {string} label @param {() => void} act */
    const button = (text, name, label, act) => {
      const made = h("button", { type: "button", "data-name": name, "aria-label": `${label} layer ${index + 1}`, title: label }, text);
      made.addEventListener("click", act);
      return made;
    };
    const up = button("↑", "up", "move up", () => move(index, -1, "up"));
    const down = button("↓", "down", "move down", () => move(index, 1, "down"));
    up.disabled = index === 0;
    down.disabled = index === model.get("layers").length - 1;
    const node = h("li", { class: "aigym-layer", tabindex: "0", "aria-label": `layer ${index + 1}, ${layer.type}` },
      h("div", { class: "aigym-fields" }, named(`layer ${index + 1}`, type),
        ...Object.entries(types[layer.type] ?? {}).map(([key, setting]) => field(layer, index, key, setting)),
        h("span", { class: "aigym-buttons" }, up, down, button("✕", "remove", "remove", () => remove(index)))),
      h("div", { class: "aigym-dull aigym-beside" }));
    node.addEventListener("focusin", () => { current = index; });
    node.addEventListener("keydown", (event) => {
      if (event.target !== node || event.ctrlKey || event.altKey || event.metaKey) return;
      const last = model.get("layers").length - 1;
      /** @type {Record<string, () => void>} */
      const acts = {
        ArrowUp: () => { current = Math.max(0, index - 1); focusOn(""); },
        ArrowDown: () => { current = Math.min(last, index + 1); focusOn(""); },
        "Shift+ArrowUp": () => move(index, -1, ""),
        "Shift+ArrowDown": () => move(index, 1, ""),
        Delete: () => remove(index),
        a: () => insert(index + 1),
      };
      const act = acts[(event.shiftKey ? "Shift+" : "") + event.key];
      if (!act) return;
      event.preventDefault();
      act();
    });
    return node;
  }

  /** Draws the rows anew where their types have changed; else puts in the values that differ. */
  function rows() {
    const layers = model.get("layers");
    const shape = JSON.stringify(layers.map((layer) => layer.type));
    if (shape !== drawn) {
      drawn = shape;
      list.replaceChildren(...layers.map(row));
    } else {
      layers.forEach((layer, i) => {
        for (const control of list.children[i].querySelectorAll("[data-name]")) {
          if (!(control instanceof HTMLInputElement || control instanceof HTMLSelectElement)) continue;
          const value = String(layer[control.dataset.name ?? ""] ?? "");
          if (control.dataset.name !== "type" && control !== document.activeElement) control.value = value;
        }
      });
    }
    if (document.activeElement !== json) json.value = writeLayers(layers);
  }

  function show() {
    const view = model.get("view");
    fill(env, model.get("envs").map((name) => [name, name || "not known yet"]), model.get("env"));
    fill(algo, model.get("algos").map((name) => [name, name]), model.get("algo"));
    [...list.children].forEach((node, i) => {
      const wrong = view.layer === i + 1;
      const beside = /** @type {HTMLElement} */ (node.lastElementChild);
      node.classList.toggle("aigym-wrong", wrong);
      beside.textContent = wrong ? view.error : rowNote(view.rows[i]);
      beside.setAttribute("role", wrong ? "alert" : "note");
    });
    error.hidden = !view.error || view.layer > 0;
    error.textContent = view.error;
    note.hidden = true;
    total.textContent = view.error ? "These layers cannot be trained yet." : view.parameters === null
      ? "Choose an environment to see all shapes." : `${formatNumber(view.parameters)} parameters`;
    picture.hidden = !view.picture;
    if (view.picture) picture.src = view.picture;
    picture.alt = view.alt;
    picture.classList.toggle("aigym-stale", stale());
    code.textContent = view.config;
  }

  fill(preset, [["", "a network to begin with …"], ...Object.keys(model.get("presets")).map(
    /** @returns {[string, string]} */ (name) => [name, name])], "");
  fill(more, Object.keys(model.get("types")).map((type) => [type, type.replace("_", " ")]), "dense");
  preset.addEventListener("change", () => {
    const chosen = model.get("presets")[preset.value];
    current = 0;
    if (chosen) change(chosen);
    preset.value = "";
  });
  for (const [select, name] of /** @type {const} */ ([[env, "env"], [algo, "algo"]])) {
    select.addEventListener("change", () => {
      model.set(name, select.value);
      model.save_changes();
      await_();
    });
  }
  add.addEventListener("click", () => insert(model.get("layers").length));
  take.addEventListener("click", () => {
    const found = readLayers(json.value);
    current = 0;
    if (!found.error) change(found.layers);
    refused.textContent = found.error;
    refused.hidden = !found.error;
  });
  copy.addEventListener("click", () => {
    getSelection()?.selectAllChildren(code);
    // A page that is not served securely has no clipboard: then the code is at least selected.
    navigator.clipboard?.writeText(code.textContent ?? "").then(() => { copy.textContent = "Copied"; }, () => {});
  });
  const layersChanged = () => { rows(); show(); };
  model.on("change:layers", layersChanged);
  for (const name of /** @type {const} */ (["view", "env", "algo", "envs"])) model.on(`change:${name}`, show);
  layersChanged();
  return () => {
    window.clearTimeout(patience);
    model.off("change:layers", layersChanged);
    for (const name of /** @type {const} */ (["view", "env", "algo", "envs"])) model.off(`change:${name}`, show);
  };
}

export default { render };
