// @ts-check
/**
 * Small charts of recorded metrics: lines with bands, one colour per group, a cursor that all charts share.
 *
 * Python sends what each holds (`plots.py`); smoothing and scales are made here. Everything above `plot` is pure.
 */
import { formatNumber, h, scale, svg } from "./drawing.js";

/**
 * @typedef {{group: number, x: number[], y: number[], low: number[], high: number[], band: string, dots: [number, number][]}} PlotLine
 *   `low` and `high` are empty or as long as `y`; `band` says what they are; `dots` are evaluations
 * @typedef {{name: string, title: string, log: boolean, lines: PlotLine[]}} Plot
 * @typedef {{x0: number, x1: number}} PlotSpan
 * @typedef {{width: number, height: number, smoothing: number, hidden: ReadonlySet<number>, span: PlotSpan}} PlotLook
 */

export const PLOT_COLOURS = 8;
const MOST_TICKS = 4;
const LETTER = 7;

/** An exponential mean that begins at the first value; weight 0 changes nothing.
 * @param {readonly number[]} values @param {number} weight in [0, 1) @returns {number[]} */
export function smoothed(values, weight) {
  let mean = 0;
  let total = 0;
  return values.map((value) => {
    mean = weight * mean + (1 - weight) * value;
    total = weight * total + (1 - weight);
    return mean / total;
  });
}

/** Round values on an axis, at most five, at least two, none outside. @param {number} low @param {number} high @returns {number[]} */
export function roundTicks(low, high) {
  if (!(high > low)) return [low];
  const rough = (high - low) / MOST_TICKS;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const step = ten * ([1, 2, 2.5, 5, 10].find((by) => by * ten >= rough) ?? 10);
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step + 1e-9) - first + 1;
  return Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/** Powers of ten between two positive numbers, thinned to at most `MOST_TICKS`. @param {number} low @param {number} high */
export function logTicks(low, high) {
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  const by = Math.max(1, Math.ceil((last - first + 1) / MOST_TICKS));
  const ticks = [];
  for (let i = first; i <= last; i += by) ticks.push(10 ** i);
  return ticks;
}

/** A round value on an axis with all of its digits, so that no two ticks read the same. @param {number} value */
export function tickText(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return formatNumber(value);
  const text = size >= 1e-5 || !size ? value.toLocaleString("en-US", { maximumFractionDigits: 9 }) : value.toExponential();
  return text.replaceAll("-", "−");
}

/** How much room the axis needs left of it; the same for charts beside each other, unless their numbers are long.
 * @param {readonly string[]} texts */
export function axisRoom(texts) {
  return Math.max(44, ...texts.map((text) => text.length * LETTER + 9));
}

/** Steps in few letters: 1,500 as "1.5k", 2,000,000 as "2M". @param {number} steps */
export function shortCount(steps) {
  if (steps >= 1e6) return `${formatNumber(Number((steps / 1e6).toPrecision(3)))}M`;
  return steps >= 1e3 ? `${formatNumber(Number((steps / 1e3).toPrecision(3)))}k` : formatNumber(steps);
}

/** The place of the value nearest to `x` in ascending numbers; -1 where there is none.
 * @param {readonly number[]} xs @param {number} x */
export function nearestIndex(xs, x) {
  let [low, high] = [0, xs.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low > 0 && x - xs[low - 1] <= xs[low] - x ? low - 1 : low < xs.length ? low : -1;
}

/** The steps that all plots share. @param {readonly Plot[]} all @returns {PlotSpan} */
export function stepSpan(all) {
  const ends = all.flatMap((one) => one.lines.flatMap((line) => [line.x[0], line.x[line.x.length - 1], ...line.dots.map(([x]) => x)]));
  return ends.length ? { x0: Math.min(...ends), x1: Math.max(...ends) } : { x0: 0, x1: 1 };
}

/** Lowest and highest of what is drawn, with a little room. @param {readonly PlotLine[]} lines @param {boolean} log */
export function valueSpan(lines, log) {
  let [low, high] = [Infinity, -Infinity];
  for (const line of lines) {
    for (const values of [line.y, log ? [] : line.low, log ? [] : line.high, line.dots.map(([, y]) => y)]) {
      for (const value of values) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
    }
  }
  if (low > high) return { low: 0, high: 1 };
  if (log) return { low: low / 1.2, high: high * 1.2 };
  const room = (high - low || Math.abs(high) || 1) * 0.04;
  return { low: low - room, high: high + room };
}

/** The outline of a band: its upper edge from left to right, its lower edge back.
 * @param {readonly number[]} px @param {readonly number[]} low @param {readonly number[]} high */
export function bandPath(px, low, high) {
  if (px.length < 2) return "";
  const there = px.map((x, i) => `${i ? "L" : "M"}${x.toFixed(1)} ${high[i].toFixed(1)}`);
  const back = px.map((x, i) => `L${x.toFixed(1)} ${low[i].toFixed(1)}`).reverse();
  return `${there.join("")}${back.join("")}Z`;
}

/** What is read out at a step, for each line; the last value where there is no cursor.
 * @param {readonly PlotLine[]} lines @param {number | null} x @returns {[number, number][]} group and value */
export function readings(lines, x) {
  return lines.flatMap((line) => {
    const i = x === null ? line.y.length - 1 : nearestIndex(line.x, x);
    return i < 0 ? [] : [/** @type {[number, number]} */ ([line.group, line.y[i]])];
  });
}

/** @param {number} group */
const lineClass = (group) => `aigym-series aigym-series-${group % PLOT_COLOURS}`;

/**
 * One chart. `at` moves the cursor to a step; null takes it away.
 * @param {Plot} data @param {PlotLook} look
 * @returns {{node: HTMLElement, at: (x: number | null) => void, stepAt: (clientX: number) => number}}
 */
export function plot(data, { width, height, smoothing, hidden, span }) {
  const lines = data.lines.filter((line) => !hidden.has(line.group));
  const shown = lines.map((line) => ({ ...line, y: smoothed(line.y, smoothing) }));
  const { low, high } = valueSpan(lines, data.log);
  const ticks = (data.log ? logTicks(low, high) : roundTicks(low, high)).map((value) => ({ value, text: tickText(value) }));
  const left = axisRoom(ticks.map(({ text }) => text));
  const box = { left, top: 6, width: width - left - 6, height: height - 24 };
  const foot = box.top + box.height;
  const grow = data.log ? Math.log10 : (/** @type {number} */ v) => v;
  const px = (/** @type {number} */ x) => scale(x, span.x0, span.x1, box.left, box.left + box.width);
  const py = (/** @type {number} */ y) => scale(grow(y), grow(low), grow(high), foot, box.top);
  const draw = (/** @type {readonly number[]} */ x, /** @type {readonly number[]} */ y) =>
    x.map((step, i) => `${i ? "L" : "M"}${px(step).toFixed(1)} ${py(y[i]).toFixed(1)}`).join("");
  const cursor = svg("line", { class: "aigym-cursor", y1: box.top, y2: foot, visibility: "hidden" });
  const words = (/** @type {number} */ x, /** @type {number} */ y, /** @type {string} */ anchor, /** @type {string} */ text) =>
    svg("text", { x, y, "text-anchor": anchor, class: "aigym-axis" }, text);
  const values = h("span", { class: "aigym-readings" });
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "aigym-chart", "aria-hidden": "true" },
    ...ticks.flatMap(({ value, text }) => [
      svg("path", { class: "aigym-rule", d: `M${box.left} ${py(value).toFixed(1)}H${box.left + box.width}` }),
      words(box.left - 5, py(value) + 4, "end", text),
    ]),
    words(box.left, height - 4, "start", shortCount(span.x0)),
    words(box.left + box.width, height - 4, "end", `${shortCount(span.x1)} steps`),
    ...shown.flatMap((line) => [
      ...(line.low.length && !data.log
        ? [svg("path", { class: `${lineClass(line.group)} aigym-band`, d: bandPath(line.x.map(px), line.low.map(py), line.high.map(py)) })]
        : []),
      ...(smoothing > 0 ? [svg("path", { class: `${lineClass(line.group)} aigym-raw`, d: draw(line.x, lines[shown.indexOf(line)].y) })] : []),
      line.x.length > 1
        ? svg("path", { class: `${lineClass(line.group)} aigym-line`, d: draw(line.x, line.y) })
        : svg("circle", { class: `${lineClass(line.group)} aigym-point`, cx: px(line.x[0]).toFixed(1), cy: py(line.y[0]).toFixed(1), r: 2 }),
      ...line.dots.map(([x, y]) => svg("circle", { class: `${lineClass(line.group)} aigym-dot`, cx: px(x).toFixed(1), cy: py(y).toFixed(1), r: 3 })),
    ]),
    cursor);
  const bands = [...new Set(lines.map((line) => line.band).filter(Boolean))];
  const node = h("figure", { class: "aigym-plot-box", role: "img" },
    h("figcaption", {}, h("span", { class: "aigym-plot-title" }, data.title + (data.log ? " (log)" : "")), values), picture);
  if (bands.length || lines.some((line) => line.dots.length)) {
    const dots = lines.some((line) => line.dots.length) ? "dots: evaluations" : "";
    node.title = [bands.length ? `band: ${bands.join("; ")}` : "", dots].filter(Boolean).join(", ");
  }
  /** @param {number | null} x */
  function at(x) {
    const read = readings(shown, x);
    values.replaceChildren(...read.slice(0, 6).map(([group, value]) =>
      h("span", { class: lineClass(group) }, formatNumber(value))));
    node.setAttribute("aria-label",
      `${data.title}${x === null ? "" : ` near step ${formatNumber(x)}`}: ${read.map(([, value]) => formatNumber(value)).join(", ")}`);
    cursor.setAttribute("visibility", x === null ? "hidden" : "visible");
    if (x !== null) {
      cursor.setAttribute("x1", px(x).toFixed(1));
      cursor.setAttribute("x2", px(x).toFixed(1));
    }
  }
  at(null);
  return {
    node,
    at,
    stepAt(clientX) {
      const place = picture.getBoundingClientRect();
      const inside = ((clientX - place.left) / (place.width || 1)) * width;
      return Math.min(span.x1, Math.max(span.x0, scale(inside, box.left, box.left + box.width, span.x0, span.x1)));
    },
  };
}
