// @ts-check
/**
 * The view "compare": groups of runs side by side. What differs in their configuration, their numbers with
 * intervals, curves with bands over seeds, and the differences task by task. Python computes all of it.
 */
import { clamp, extent, formatNumber, h, scale, svg } from "./drawing.js";
import { bound } from "./keys.js";
import { visible } from "./markdown.js";

/**
 * @typedef {{value: number, low: number | null, high: number | null}} Estimate
 * @typedef {{name: string, runs: string[], seeds: number[], config: Record<string, any>, tasks: string[],
 *   trajectories: number, steps: number, mean: Estimate | null, iqm: Estimate | null}} Group
 * @typedef {{group: number, task: string, runs: number, x: number[], mean: Estimate[], iqm: Estimate[]}} Curve
 * @typedef {{group: number, task: string, pairs: number, difference: Estimate, wins: number, ties: number, losses: number}} Pairing
 * @typedef {{metric: string, unit: string, groups: Group[], curves: Curve[], pairings: Pairing[],
 *   improvement: (Estimate | null)[], notes: string[], offered: [string, number][], chosen: string[], metrics: string[]}} Compared
 */

export const COMPARE_KEYS = /** @type {const} */ ({ m: "middle" });
/** @type {[string, string][]} */
export const COMPARE_HELP = [["m", "compare: mean or interquartile mean"]];
const CHARTS = 12;
const CHART = { width: 520, height: 210 };
const CHART_BOX = { left: 48, top: 10, width: CHART.width - 58, height: CHART.height - 38 };

/** A number with its interval. @param {Estimate | null | undefined} value */
export function estimateText(value) {
  if (!value) return "–";
  if (value.low === null) return formatNumber(value.value);
  return `${formatNumber(value.value)} [${formatNumber(value.low)}, ${formatNumber(value.high)}]`;
}

/** Whether an interval says more or less than nothing: it does not hold zero. @param {Estimate} value */
export function verdict({ low, high }) {
  if (low === null || high === null) return "";
  return low > 0 ? "better" : high < 0 ? "worse" : "";
}

/** A value of a configuration in a line. @param {any} value */
export function settingText(value) {
  if (value === undefined) return "–";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.length > 160 ? `${text.slice(0, 159)}…` : text;
}

/** The path round a band, there along its top and back along its bottom.
 * @param {readonly [number, Estimate][]} points @param {(x: number, y: number) => string} place */
export function intervalPath(points, place) {
  const some = points.filter(([, at]) => at.low !== null && at.high !== null);
  if (some.length < 2) return "";
  const top = some.map(([x, at]) => place(x, /** @type {number} */ (at.high)));
  const bottom = some.map(([x, at]) => place(x, /** @type {number} */ (at.low))).reverse();
  return `M${[...top, ...bottom].join("L")}Z`;
}

/** @param {number} i */
const groupColour = (i) => `var(--aigym-group-${i % 8})`;

/** @param {number} i @param {string} text */
function groupName(i, text) {
  const dot = h("i", { class: "aigym-dot" });
  dot.style.background = groupColour(i);
  return h("span", { class: "aigym-group", title: visible(text) }, dot, visible(text));
}

/** @param {string} caption @param {(Node | string)[]} heads @param {(Node | string)[][]} rows */
function sheet(caption, heads, rows) {
  return h("div", { class: "aigym-sheet" }, h("table", {}, h("caption", {}, caption),
    h("thead", {}, h("tr", {}, ...heads.map((head) => h("th", { scope: "col" }, head)))),
    h("tbody", {}, ...rows.map(([first, ...rest]) => h("tr", {}, h("th", { scope: "row" }, first), ...rest.map((cell) => h("td", {}, cell)))))));
}

/** The curves of one task. @param {Curve[]} curves @param {"mean" | "iqm"} middle @param {Group[]} groups
 * @param {string} label */
function curveChart(curves, middle, groups, label) {
  const lines = curves.map((curve) => /** @type {[Curve, [number, Estimate][]]} */ ([curve, curve.x.map((x, i) => [x, curve[middle][i]])]));
  const range = extent(lines.flatMap(([, points]) => points.flatMap(([x, at]) =>
    [at.value, at.low, at.high].filter((y) => y !== null).map((y) => /** @type {[number, number]} */ ([x, y])))));
  range.x0 = 0;
  const { left, top, width, height } = CHART_BOX;
  const place = (/** @type {number} */ x, /** @type {number} */ y) =>
    `${scale(x, range.x0, range.x1, left, left + width).toFixed(1)} ${scale(y, range.y0, range.y1, top + height, top).toFixed(1)}`;
  const cursor = svg("line", { class: "aigym-cursor", y1: top, y2: top + height, visibility: "hidden" });
  const words = (/** @type {number} */ x, /** @type {number} */ y, /** @type {string} */ anchor, /** @type {string} */ text) =>
    svg("text", { x, y, "text-anchor": anchor, class: "aigym-axis" }, text);
  const drawn = lines.flatMap(([curve, points]) => {
    const round = intervalPath(points, place);
    const line = svg("path", { class: "aigym-line", d: `M${points.map(([x, at]) => place(x, at.value)).join("L")}` });
    line.style.stroke = groupColour(curve.group);
    if (!round) return [line];
    const band = svg("path", { class: "aigym-band", d: round });
    band.style.fill = groupColour(curve.group);
    return [band, line];
  });
  const chart = svg("svg", { role: "img", "aria-label": label, viewBox: `0 0 ${CHART.width} ${CHART.height}`, class: "aigym-chart" },
    svg("path", { class: "aigym-frame", d: `M${left} ${top}V${top + height}H${left + width}` }), ...drawn, cursor,
    words(left - 6, top + 8, "end", formatNumber(range.y1)), words(left - 6, top + height, "end", formatNumber(range.y0)),
    words(left, CHART.height - 10, "start", "0"), words(left + width, CHART.height - 10, "end", `${formatNumber(range.x1)} steps`));
  const told = h("div", { class: "aigym-facts" });
  const rest = () => {
    cursor.setAttribute("visibility", "hidden");
    told.replaceChildren(...curves.map(({ group, runs }) => {
      const name = groupName(group, groups[group].name);
      name.append(h("span", { class: "aigym-dull" }, runs === 1 ? " 1 run, no band" : ` ${runs} runs`));
      return name;
    }));
  };
  chart.addEventListener("pointermove", (event) => {
    const bounds = chart.getBoundingClientRect();
    const px = ((event.clientX - bounds.left) / bounds.width) * CHART.width;
    const x = clamp(scale(px, left, left + width, range.x0, range.x1), range.x0, range.x1);
    cursor.setAttribute("visibility", "visible");
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, String(clamp(px, left, left + width)));
    told.replaceChildren(h("span", { class: "aigym-dull" }, `${formatNumber(Math.round(x))} steps`), ...lines.map(([curve, points]) => {
      const near = points.reduce((best, point) => (Math.abs(point[0] - x) < Math.abs(best[0] - x) ? point : best), points[0]);
      const name = groupName(curve.group, "");
      name.append(estimateText(near?.[1]));
      return name;
    }));
  });
  chart.addEventListener("pointerleave", rest);
  rest();
  return h("figure", { class: "aigym-curve" }, h("figcaption", {}, visible(label)), chart, told);
}

/** @param {Compared} found @param {"mean" | "iqm"} middle */
function comparedNodes(found, middle) {
  const { groups, metric } = found;
  const heads = groups.map((group, i) => groupName(i, group.name));
  const named = (/** @type {(Node | string)[]} */ first) => [...first, ...heads.map((head) => head.cloneNode(true))];
  const numbers = [
    ["runs", ...groups.map((g) => h("span", { title: g.runs.map(visible).join("\n") }, formatNumber(g.runs.length)))],
    ["seeds", ...groups.map((g) => g.seeds.slice(0, 12).join(", ") || "–")],
    ["trajectories", ...groups.map((g) => formatNumber(g.trajectories))],
    ["steps", ...groups.map((g) => formatNumber(g.steps))],
    [`mean ${metric}`, ...groups.map((g) => estimateText(g.mean))],
    ["interquartile mean", ...groups.map((g) => estimateText(g.iqm))],
    ...(groups.length > 1 ? [["P(better than the first)", "–", ...found.improvement.map(estimateText)]] : []),
  ];
  const keys = [...new Set(groups.flatMap((group) => Object.keys(group.config)))];
  const settings = keys.map((key) => [visible(key), ...groups.map((group) => h("code", {}, visible(settingText(group.config[key]))))]);
  const tasks = [...new Set(found.curves.map((curve) => curve.task))];
  const nodes = [sheet(`${metric} by ${found.unit}, with 95 % bootstrap intervals`, named([""]), numbers)];
  if (settings.length) nodes.push(sheet("configuration that differs", named([""]), settings));
  nodes.push(h("div", { class: "aigym-charts-of-tasks" }, ...tasks.slice(0, CHARTS).map((task) =>
    curveChart(found.curves.filter((curve) => curve.task === task), middle, groups, `${metric} over steps, ${task}`))));
  if (tasks.length > CHARTS) nodes.push(h("p", { class: "aigym-dull" }, `${tasks.length - CHARTS} further tasks have curves that are not drawn.`));
  if (found.pairings.length) {
    nodes.push(sheet(`by task, less ${visible(groups[0].name)}`, ["task", "", "difference", "pairs of one seed", "wins / ties / losses"],
      found.pairings.map((p) => [visible(p.task), groupName(p.group, groups[p.group].name),
        h("span", { class: `aigym-${verdict(p.difference) || "open"}` }, estimateText(p.difference)),
        p.pairs ? formatNumber(p.pairs) : "not paired", p.pairs ? `${p.wins} / ${p.ties} / ${p.losses}` : "–"])));
  }
  return nodes;
}

/** @param {import("./explorer.js").Host} host @returns {import("./explorer.js").Pane} */
export function comparePane({ model, ask, speak, signal }) {
  const metric = h("select", { "aria-label": "metric" });
  const middle = h("select", { "aria-label": "middle of the runs" }, h("option", { value: "mean" }, "mean"), h("option", { value: "iqm" }, "interquartile mean"));
  const runs = h("details", { class: "aigym-fold aigym-runs" });
  const again = h("button", { type: "button", title: "compare the runs of the marked trajectories, or of all in the list" }, "from the list");
  const notes = h("div", {});
  const body = h("div", { class: "aigym-compared", tabindex: "0", role: "region", "aria-label": "comparison" });
  const node = h("section", { class: "aigym-compare", "aria-label": "comparison of runs" },
    h("div", { class: "aigym-filters" }, metric, middle, again), runs, notes, body);
  const found = () => /** @type {Partial<Compared>} */ (model.get("comparison"));
  const compare = (/** @type {Record<string, any>} */ args) => ask("compare", args).then(() => speak("compared"), () => {});
  metric.addEventListener("change", () => compare({ runs: found().chosen ?? [], metric: metric.value }));
  middle.addEventListener("change", draw);
  again.addEventListener("click", () => compare({}));

  /** @param {Compared} compared */
  function drawRuns({ offered, chosen }) {
    const picked = new Set(chosen);
    const boxes = offered.map(([run, count]) => {
      const box = h("input", { type: "checkbox", value: run, "aria-label": run });
      box.checked = picked.has(run);
      return { box, line: h("label", {}, box, ` ${visible(run)} `, h("span", { class: "aigym-dull" }, formatNumber(count))) };
    });
    const go = h("button", { type: "button" }, "compare these");
    go.addEventListener("click", () => compare({ runs: boxes.filter(({ box }) => box.checked).map(({ box }) => box.value) }));
    runs.replaceChildren(h("summary", {}, `${chosen.length} of ${offered.length} runs`), ...boxes.map(({ line }) => line), go);
  }
  function draw() {
    const compared = /** @type {Compared} */ (found());
    if (!compared.groups) {
      body.replaceChildren(h("p", { class: "aigym-dull aigym-empty" }, "Compare the runs of the marked trajectories, or of all in the list."));
      return;
    }
    metric.replaceChildren(...compared.metrics.map((name) => h("option", { value: name }, visible(name))));
    metric.value = compared.metric;
    drawRuns(compared);
    notes.replaceChildren(...compared.notes.map((note) => h("div", { class: "aigym-note" }, visible(note))));
    body.replaceChildren(...(compared.groups.length ? comparedNodes(compared, middle.value === "iqm" ? "iqm" : "mean") : []));
  }
  /** What is shown belongs to the list as it was when the view was opened. */
  const opened = () => { if (model.get("view") === "compare") compare({}); };
  /** @type {[string, () => void][]} */
  const listeners = [["comparison", draw], ["view", opened]];
  for (const [name, act] of listeners) {
    model.on(`change:${name}`, act);
    signal.addEventListener("abort", () => model.off(`change:${name}`, act));
  }
  draw();
  if (model.get("view") === "compare" && !found().groups) compare({});
  return {
    node,
    keys: bound(COMPARE_KEYS, { middle: () => { middle.selectedIndex = 1 - middle.selectedIndex; draw(); } }),
    help: COMPARE_HELP,
  };
}
