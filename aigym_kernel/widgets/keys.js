// @ts-check
/**
 * Which key does what in the explorer. Each pane has a table of its own keys, `SOME_KEYS`: from a key's name
 * ("j", "ArrowDown", "Shift+ArrowDown", " ") to the name of what it does, and `SOME_HELP` for people. A key
 * stands in one table only. A key goes to the pane that has the focus; if that
 * has no use for it, to the first of the others that has. Keys with Ctrl, Alt or Meta are left to the browser,
 * and so are those that a focused control needs for itself.
 */

/** @typedef {Record<string, () => void>} Keys */
/** @typedef {"" | "text" | "select" | "slider" | "button"} Control the kind of control that has the focus */
/** @typedef {{key: string, shiftKey: boolean, ctrlKey: boolean, altKey: boolean, metaKey: boolean}} Pressed */

/** @type {Readonly<Record<string, readonly string[]>>} */
const OWN_KEYS = {
  slider: ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "PageUp", "PageDown"],
  button: [" ", "Enter"],
};

/** The name of a key with Shift where that changes no letter; "" with any other modifier.
 * @param {Pressed} pressed */
export function keyName({ key, shiftKey, ctrlKey, altKey, metaKey }) {
  if (ctrlKey || altKey || metaKey) return "";
  return shiftKey && (key.length > 1 || key === " ") ? `Shift+${key}` : key;
}

/** Whether a control keeps a key for itself; text and selects keep all but Escape.
 * @param {string} name @param {Control} control */
export function isOwnKey(name, control) {
  if (control === "text" || control === "select") return name !== "Escape";
  return OWN_KEYS[control]?.includes(name) ?? false;
}

/** What a key does: the first of the panes, in this order, that has it.
 * @param {string} name @param {Control} control @param {readonly Keys[]} panes @returns {(() => void) | null} */
export function keyAction(name, control, panes) {
  if (!name || isOwnKey(name, control)) return null;
  const keys = panes.find((pane) => Object.hasOwn(pane, name));
  return keys ? keys[name] : null;
}

/** The keys of a table with what they do.
 * @template {string} A @param {Readonly<Record<string, A>>} table @param {Record<A, () => void>} actions @returns {Keys} */
export function bound(table, actions) {
  return Object.fromEntries(Object.entries(table).map(([key, action]) => [key, actions[action]]));
}

/** @param {EventTarget | null} target @returns {Control} */
export function controlKind(target) {
  if (target instanceof HTMLSelectElement) return "select";
  if (target instanceof HTMLButtonElement) return "button";
  if (target instanceof HTMLTextAreaElement) return "text";
  if (!(target instanceof HTMLInputElement)) return "";
  if (target.type === "range") return "slider";
  return target.type === "checkbox" ? "button" : "text";
}
