// @ts-check
/**
 * What the widgets draw with: numbers as text, chart and board geometry, and DOM nodes.
 *
 * Everything above the line "DOM" is pure and tested with node. Nothing here sets innerHTML: text that
 * was recorded reaches the page as text nodes only. `widgets/source.py` puts this file in front of a
 * widget's own files, since anywidget ships one module; so its exports are plain functions, no default.
 */

/** @typedef {[number, number]} Point */
/** @typedef {{x0: number, x1: number, y0: number, y1: number}} Extent */
/** @typedef {{width: number, height: number, first: number[], changes: number[][]}} Boards */
/** @typedef {{name: string, value: number | null, weight: number, required: boolean, status: string, feedback: string}} Mark */

/** @param {number} value @param {number} low @param {number} high */
export function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}

/**
 * A number as people read it: three or four significant digits, thousands apart, "–" for nothing.
 * @param {number | null | undefined} value
 */
export function formatNumber(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e15) return value.toLocaleString("en-US").replace("-", "−");
  if (size >= 1e6 || size < 1e-3) return value.toExponential(2).replaceAll("-", "−").replace("e+", "e");
  if (size < 1) return String(Number(value.toPrecision(3))).replace("-", "−");
  const digits = size >= 1000 ? 0 : 3 - Math.floor(Math.log10(size));
  const text = value.toFixed(clamp(digits, 0, 4));
  const plain = text.includes(".") ? text.replace(/\.?0+$/, "") : Number(text).toLocaleString("en-US");
  return plain.replace("-", "−");
}

/** @param {number | null | undefined} seconds */
export function formatDuration(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds) || seconds < 0) return "–";
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${two(whole % 60)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 1440) return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
  return `${Math.floor(minutes / 1440)} d ${two(Math.floor((minutes % 1440) / 60))} h`;
}

/**
 * A moment in local time: the clock alone for today, else the day with it.
 * @param {number | null | undefined} epoch seconds @param {Date} now
 */
export function formatTime(epoch, now) {
  if (epoch === null || epoch === undefined || !Number.isFinite(epoch)) return "–";
  const then = new Date(epoch * 1000);
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  const clock = `${two(then.getHours())}:${two(then.getMinutes())}`;
  if (then.toDateString() === now.toDateString()) return `${clock}:${two(then.getSeconds())}`;
  const day = `${two(then.getMonth() + 1)}-${two(then.getDate())}`;
  return then.getFullYear() === now.getFullYear() ? `${day} ${clock}` : `${then.getFullYear()}-${day}`;
}

/** @param {readonly number[]} values @returns {number[]} */
export function cumulative(values) {
  let sum = 0;
  return values.map((value) => (sum += value));
}

/** @param {readonly Point[]} points @returns {Extent} */
export function extent(points) {
  const found = { x0: Infinity, x1: -Infinity, y0: Infinity, y1: -Infinity };
  for (const [x, y] of points) {
    found.x0 = Math.min(found.x0, x);
    found.x1 = Math.max(found.x1, x);
    found.y0 = Math.min(found.y0, y);
    found.y1 = Math.max(found.y1, y);
  }
  return points.length ? found : { x0: 0, x1: 1, y0: 0, y1: 1 };
}

/**
 * Where a value lies on an axis; a flat range maps to its middle.
 * @param {number} value @param {number} low @param {number} high @param {number} from @param {number} to
 */
export function scale(value, low, high, from, to) {
  return high === low ? (from + to) / 2 : from + ((value - low) / (high - low)) * (to - from);
}

/** Whole pixels per cell, and where a board sits centred in a canvas.
 * @param {number} columns @param {number} rows @param {number} width @param {number} height */
export function boardGeometry(columns, rows, width, height) {
  const cell = Math.max(1, Math.floor(Math.min(width / columns, height / rows)));
  return {
    cell,
    left: Math.floor((width - cell * columns) / 2),
    top: Math.floor((height - cell * rows) / 2),
  };
}

/** The cells after `t` steps: the first board with each step's (index, value) pairs applied.
 * @param {Boards} boards @param {number} t @returns {number[]} */
export function boardAt(boards, t) {
  const cells = boards.first.slice();
  for (const change of boards.changes.slice(0, t)) {
    for (let i = 0; i + 1 < change.length; i += 2) cells[change[i]] = change[i + 1];
  }
  return cells;
}

/** Which colour an outcome gets. @param {string} outcome @returns {"good" | "bad" | "dull"} */
export function tone(outcome) {
  if (["passed", "full", "done"].includes(outcome)) return "good";
  if (["failed", "error", "killed"].includes(outcome)) return "bad";
  return "dull";
}

// ---------------------------------------------------------------------------------------------- DOM

/**
 * An element with attributes and children; strings become text nodes.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag @param {Record<string, string>} [attributes] @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/**
 * The same for SVG.
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag @param {Record<string, string | number>} [attributes] @param {...(Node | string)} children
 * @returns {SVGElementTagNameMap[T]}
 */
export function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

/** A labelled outcome. @param {string} text */
export function badge(text) {
  return h("span", { class: `aigym-badge aigym-${tone(text)}` }, text);
}

/** The marks of a score. @param {readonly Mark[]} marks */
export function markTable(marks) {
  return h(
    "div",
    { class: "aigym-marks" },
    h("h4", {}, "Marks"),
    ...marks.flatMap((mark) => [
      h("div", { class: "aigym-mark" },
        badge(mark.status),
        h("span", {}, mark.name + (mark.required ? " (required)" : "")),
        h("span", { class: "aigym-number" }, `${formatNumber(mark.value)} × ${formatNumber(mark.weight)}`)),
      ...(mark.feedback ? [h("pre", {}, mark.feedback)] : []),
    ]),
  );
}

/** Drawn, because fonts have these signs or not. @type {Readonly<Record<string, string>>} */
const ICONS = {
  first: "M4 3.5v9M12.5 3.5L7 8l5.5 4.5z",
  eventBefore: "M9.5 3.5L5 8l4.5 4.5M12.5 3v10",
  eventAfter: "M6.5 3.5L11 8l-4.5 4.5M3.5 3v10",
  back: "M10 3.5L5.5 8l4.5 4.5",
  play: "M5 3l7.5 5L5 13z",
  pause: "M5 3.5v9M11 3.5v9",
  forward: "M6 3.5L10.5 8 6 12.5",
  last: "M12 3.5v9M3.5 3.5L9 8l-5.5 4.5z",
};

/** @param {string} name one of ICONS */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 16 16", class: `aigym-icon aigym-icon-${name}`, "aria-hidden": "true" },
    svg("path", { d: ICONS[name] }));
}

/** Keeps a key from the notebook, which would insert or cut a cell. @param {HTMLElement} root */
export function holdKeys(root) {
  root.setAttribute("data-lm-suppress-shortcuts", "true");
  // Notebook 7 looks at keys before they arrive here, and at the focused element before those around it.
  root.addEventListener("focusin", (event) => {
    /** @type {Element} */ (event.target).setAttribute("data-lm-suppress-shortcuts", "true");
  });
  for (const kind of ["keydown", "keypress", "keyup"]) {
    root.addEventListener(kind, (event) => event.stopPropagation());
  }
}

/** Calls back when JupyterLab or the system changes between light and dark.
 * @param {() => void} callback @param {AbortSignal} signal */
export function onTheme(callback, signal) {
  const watcher = new MutationObserver(callback);
  watcher.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });
  signal.addEventListener("abort", () => watcher.disconnect());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", callback, { signal });
}
