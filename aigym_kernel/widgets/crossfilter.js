// @ts-check
/**
 * Charts that filter each other: histograms with a brush, bars that are switched on and off.
 *
 * Everything above the line "Pane" is pure and tested with node. A brush is a pair of bins, both included;
 * Python gets the edges around them. Grey is what there is, colour what passes the filters of all columns
 * but the chart's own.
 */
import { clamp, formatNumber, formatTime, h, svg } from "./drawing.js";
import { bound } from "./keys.js";
import { latest } from "./requests.js";

/**
 * @typedef {{column: string, label: string, kind: "number" | "time" | "rewards", log: boolean, edges: number[],
 *   all: number[], kept: number[], apart: [string | null, number, number][]}} Histogram
 * @typedef {{column: string, label: string, kind: "text" | "tags", bars: [string | null, number, number][],
 *   others: [number, number, number]}} Bars what Python sends; `others` counts names, all, kept
 * @typedef {{range?: (number | null)[], values?: (string | number | null)[]}} Filter
 * @typedef {[number, number]} Brush first and last bin
 */

/** The heights of bars in [0, 1], against the tallest of `all`; on a logarithmic axis 1 is just visible.
 * @param {readonly number[]} counts @param {readonly number[]} all @param {boolean} log */
export function barHeights(counts, all, log) {
  const most = Math.max(1, ...all);
  return counts.map((n) => (log ? Math.log1p(n) / Math.log1p(most) : n / most));
}

/** Whether small counts would be invisible beside the largest. @param {readonly number[]} counts */
export function wantsLog(counts) {
  const some = counts.filter((n) => n > 0).sort((a, b) => a - b);
  return some.length > 2 && some[some.length - 1] > 100 * some[Math.floor(some.length / 2)];
}

/** The bins that a range covers, at least in part; null without a range, or when it lies outside.
 * @param {Filter | undefined} filter @param {readonly number[]} edges @returns {Brush | null} */
export function brushOf(filter, edges) {
  if (!filter?.range) return null;
  const [low, high] = [filter.range[0] ?? -Infinity, filter.range[1] ?? Infinity];
  const n = edges.length - 1;
  if (high < edges[0] || low > edges[n]) return null;
  let first = 0;
  while (first < n - 1 && edges[first + 1] <= low) first++;
  let last = n - 1;
  while (last > first && edges[last] >= high) last--;
  return [first, last];
}

/** The brush with one of its ends, or both, moved by some bins; none yet: all of them.
 * @param {Brush | null} brush @param {"low" | "high" | "both"} end @param {number} by @param {number} n bins
 * @returns {Brush} */
export function moveBrush(brush, end, by, n) {
  const [first, last] = brush ?? [0, n - 1];
  if (end === "low") return [clamp(first + by, 0, last), last];
  if (end === "high") return [first, clamp(last + by, first, n - 1)];
  const step = clamp(by, -first, n - 1 - last);
  return [first + step, last + step];
}

/** An edge in words; edges of whole numbers lie between two of them.
 * @param {number} edge @param {string} kind @param {"low" | "high"} end @param {boolean} whole
 * @param {Date} now */
export function edgeText(edge, kind, end, whole, now) {
  if (kind === "time") return formatTime(edge, now);
  if (whole) return formatNumber((end === "low" ? Math.ceil(edge) : Math.floor(edge)) + 0);
  return formatNumber(edge);
}

/** Whether all edges lie halfway between whole numbers. @param {readonly number[]} edges */
export function areWhole(edges) {
  return edges.every((edge) => Number.isInteger(edge + 0.5));
}

/** A filter in a few words. @param {Filter} filter @param {string} kind @param {Date} now */
export function filterText(filter, kind, now) {
  if (filter.values) {
    const names = filter.values.map((value) => (value === null ? "none" : String(value)));
    return names.length > 3 ? `${names.length} values` : names.join(", ");
  }
  const [low, high] = filter.range ?? [null, null];
  const whole = areWhole([low, high].filter((end) => end !== null));
  const say = (/** @type {number} */ edge, /** @type {"low" | "high"} */ end) =>
    edgeText(edge, kind, end, whole, now);
  if (low === null && high === null) return "any";
  if (low === null) return `≤ ${say(Number(high), "high")}`;
  if (high === null) return `≥ ${say(low, "low")}`;
  return say(low, "low") === say(high, "high") ? say(low, "low") : `${say(low, "low")} – ${say(high, "high")}`;
}

/** The path of bars that stand side by side, one unit wide, in a box of height 100.
 * @param {readonly number[]} heights in [0, 1] */
export function barsPath(heights) {
  return heights
    .map((height, i) => (height > 0 ? `M${i + 0.06} 100V${(100 - Math.max(1.5, height * 100)).toFixed(1)}h.88V100z` : ""))
    .join("");
}

// --------------------------------------------------------------------------------------------- Pane

export const CROSS_KEYS = /** @type {const} */ ({ c: "clear", h: "chart" });
/** @type {[string, string][]} */
export const CROSS_HELP = [
  ["h", "to the first chart"], ["← → Shift", "a histogram's lower, upper end"], ["↑ ↓", "in a histogram: move the brush"],
  ["Delete", "clear a chart's filter"], ["c", "clear all filters"], ["Space", "in bars: on, off"],
];
const HANDLE_PX = 6;

/** @typedef {{node: HTMLElement, update: (chart: any, filter: Filter | undefined) => void}} Chart */
/** @typedef {(column: string, filter: Filter | null) => void} SetFilter */

/** A title, what is filtered, and a way to clear it.
 * @param {string} label @param {() => void} clear */
function chartHead(label, clear) {
  const said = h("span", { class: "aigym-dull aigym-brushed" });
  const button = h("button", { type: "button", class: "aigym-clear", "aria-label": `clear the filter of ${label}`, title: "clear (Delete)" }, "×");
  button.addEventListener("click", clear);
  const node = h("div", { class: "aigym-chart-head" }, h("strong", {}, label), said, button);
  return {
    node,
    /** @param {string} text */
    say(text) {
      said.textContent = text;
      said.title = text;
      button.hidden = !text;
    },
  };
}

/** @param {Histogram} first @param {SetFilter} set @param {(text: string) => void} speak @returns {Chart} */
function histogram(first, set, speak) {
  const column = first.column;
  /** @type {Histogram} */
  let chart = first;
  /** @type {Brush | null} */
  let brush = null;
  /** @type {Filter | undefined} */
  let filter;
  let log = wantsLog(first.all);
  const clear = () => { brush = null; filter = undefined; set(column, null); draw(); };
  const head = chartHead(first.label, clear);
  const scaleButton = h("button", { type: "button", class: "aigym-clear", title: "counts on a linear or a logarithmic axis" }, "");
  scaleButton.addEventListener("click", () => { log = !log; draw(); });
  head.node.insertBefore(scaleButton, head.node.lastChild);
  const all = svg("path", { class: "aigym-all" });
  const kept = svg("path", { class: "aigym-kept" });
  const shade = svg("rect", { class: "aigym-brush", y: 0, height: 100 });
  const ends = [svg("line", { class: "aigym-end", y1: 0, y2: 100 }), svg("line", { class: "aigym-end", y1: 0, y2: 100 })];
  const plot = svg("svg", { class: "aigym-plot", preserveAspectRatio: "none", "aria-hidden": "true" }, shade, all, kept, ...ends);
  const [low, high] = [h("span"), h("span")];
  const apart = h("span", { class: "aigym-apart" });
  const focus = h("div", { class: "aigym-histogram", tabindex: "0", role: "slider", "aria-orientation": "horizontal" }, plot);
  const node = h("figure", { class: "aigym-cross", "data-column": column }, head.node, focus,
    h("figcaption", { class: "aigym-dull aigym-span" }, low, apart, high));

  /** @param {Brush | null} next */
  function use(next) {
    if (String(next) === String(brush)) return;
    brush = next;
    filter = next ? { range: [chart.edges[next[0]], chart.edges[next[1] + 1]] } : undefined;
    set(column, filter ?? null);
    draw();
  }
  const n = () => chart.edges.length - 1;

  // By mouse: on an end resizes, inside moves, elsewhere begins anew; a click clears, or takes one bin.
  plot.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const { left, width } = plot.getBoundingClientRect();
    const place = (/** @type {PointerEvent} */ e) => ((e.clientX - left) / width) * n();
    const binOf = (/** @type {number} */ at) => clamp(Math.floor(at), 0, n() - 1);
    const start = place(event);
    const reach = (HANDLE_PX / width) * n();
    const held = brush;
    let moved = false;
    const mode = !held ? "new"
      : Math.abs(start - held[0]) < reach ? "low"
      : Math.abs(start - held[1] - 1) < reach ? "high"
      : start > held[0] && start < held[1] + 1 ? "both" : "new";
    plot.setPointerCapture(event.pointerId);
    const move = (/** @type {PointerEvent} */ e) => {
      const at = place(e);
      if (Math.abs(at - start) < reach / 2 && !moved) return;
      moved = true;
      if (mode === "new") {
        const [a, b] = [binOf(Math.min(start, at)), binOf(Math.max(start, at))];
        use([a, b]);
      } else use(moveBrush(held, mode, Math.round(at - start), n()));
    };
    const stop = () => {
      plot.removeEventListener("pointermove", move);
      if (!moved && mode === "new") use(held ? null : [binOf(start), binOf(start)]);
      else if (!moved && mode === "both") use(null);
      speak(words());
    };
    plot.addEventListener("pointermove", move);
    plot.addEventListener("pointerup", stop, { once: true });
    plot.addEventListener("lostpointercapture", () => plot.removeEventListener("pointermove", move), { once: true });
    focus.focus({ preventScroll: true });
    event.preventDefault();
  });

  // By keyboard: arrows move the lower end, with Shift the upper one, up and down both.
  focus.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    const by = event.key === "ArrowLeft" || event.key === "ArrowDown" ? -1 : 1;
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") use(moveBrush(brush, event.shiftKey ? "high" : "low", by, n()));
    else if (event.key === "ArrowUp" || event.key === "ArrowDown") use(moveBrush(brush, "both", by, n()));
    else if (event.key === "Delete" || event.key === "Backspace") use(null);
    else return;
    event.preventDefault();
  });

  const words = () => {
    const some = chart.kept.reduce((a, b) => a + b, 0);
    const what = chart.kind === "rewards" ? "steps" : "trajectories";
    const inside = brush ? chart.kept.slice(brush[0], brush[1] + 1).reduce((a, b) => a + b, 0) : some;
    const range = filter ? filterText(filter, chart.kind, new Date()) : "all";
    return `${chart.label} ${range}: ${formatNumber(inside)} of ${formatNumber(some)} ${what} that pass the other filters`;
  };
  function draw() {
    plot.setAttribute("viewBox", `0 0 ${n()} 100`);
    all.setAttribute("d", barsPath(barHeights(chart.all, chart.all, log)));
    kept.setAttribute("d", barsPath(barHeights(chart.kept, chart.all, log)));
    const shown = brush ?? [0, -1];
    shade.setAttribute("x", String(shown[0]));
    shade.setAttribute("width", String(shown[1] + 1 - shown[0]));
    ends.forEach((end, i) => {
      const x = String(i ? shown[1] + 1 : shown[0]);
      end.setAttribute("x1", x);
      end.setAttribute("x2", x);
      end.toggleAttribute("hidden", !brush);
    });
    plot.classList.toggle("aigym-brushing", !!brush);
    const [now, whole] = [new Date(), areWhole(chart.edges)];
    low.textContent = edgeText(chart.edges[0], chart.kind, "low", whole, now);
    high.textContent = edgeText(chart.edges[n()], chart.kind, "high", whole, now);
    const held = filter?.values ?? [];
    apart.replaceChildren(...chart.apart.map(([name, every, some]) => {
      const said = name === null ? "without" : name.replace("Infinity", "∞").replace("-", "−");
      const button = h("button", { type: "button", class: "aigym-clear", "aria-pressed": String(held.includes(name)),
        title: `${formatNumber(some)} of ${formatNumber(every)} ${said}; click to see only these` }, `${formatNumber(some)} ${said}`);
      button.addEventListener("click", () => {
        const next = held.includes(name) ? held.filter((one) => one !== name) : [...held, name];
        set(column, next.length ? { values: next } : null);
      });
      return button;
    }));
    head.say(filter ? filterText(filter, chart.kind, now) : "");
    scaleButton.textContent = log ? "log" : "lin";
    scaleButton.setAttribute("aria-label", `counts of ${chart.label} on a ${log ? "logarithmic" : "linear"} axis`);
    focus.setAttribute("aria-label", `filter of ${chart.label}`);
    focus.setAttribute("aria-valuemin", "0");
    focus.setAttribute("aria-valuemax", String(n() - 1));
    focus.setAttribute("aria-valuenow", String(shown[0]));
    focus.setAttribute("aria-valuetext", words());
  }
  return {
    node,
    update(next, wanted) {
      chart = next;
      filter = wanted;
      brush = brushOf(filter, chart.edges);
      draw();
    },
  };
}

/** @param {Bars} first @param {SetFilter} set @returns {Chart} */
function barChart(first, set) {
  const column = first.column;
  const head = chartHead(first.label, () => set(column, null));
  const list = h("div", { class: "aigym-bars", role: "group", "aria-label": `values of ${first.label}` });
  /** @type {Set<string | null>} */
  let on = new Set();
  /** @param {string | null} name @param {boolean} several */
  function toggle(name, several) {
    const next = several ? new Set(on) : new Set(on.size === 1 ? on : []);
    if (next.has(name)) next.delete(name);
    else {
      if (!several) next.clear();
      next.add(name);
    }
    set(column, next.size ? { values: [...next] } : null);
  }
  return {
    node: h("figure", { class: "aigym-cross", "data-column": column }, head.node, list),
    /** @param {Bars} chart */
    update(chart, filter) {
      on = new Set(/** @type {(string | null)[]} */ (filter?.values ?? []));
      const most = Math.max(1, ...chart.bars.map(([, all]) => all));
      while (list.children.length > chart.bars.length + 1) list.lastChild?.remove();
      chart.bars.forEach(([name, all, kept], i) => {
        let bar = /** @type {HTMLButtonElement} */ (list.children[i]);
        if (!bar || bar.tagName !== "BUTTON") {
          bar = h("button", { type: "button", class: "aigym-bar-row" }, h("i"), h("i"), h("span"), h("span", { class: "aigym-number" }));
          bar.addEventListener("click", (event) => {
            // Enter and Space click without a pointer, and switch one of several.
            toggle(JSON.parse(bar.dataset.name ?? "null"), event.ctrlKey || event.metaKey || event.shiftKey || event.detail === 0);
          });
          list.insertBefore(bar, list.children[i] ?? null);
        }
        const [whole, part, label, count] = /** @type {HTMLElement[]} */ ([...bar.children]);
        bar.dataset.name = JSON.stringify(name);
        whole.style.width = `${(100 * all) / most}%`;
        part.style.width = `${(100 * kept) / most}%`;
        label.textContent = name ?? "none";
        count.textContent = formatNumber(kept);
        bar.title = `${name ?? "none"}: ${formatNumber(kept)} of ${formatNumber(all)}`;
        bar.setAttribute("aria-pressed", String(on.has(name)));
        bar.setAttribute("aria-label", bar.title);
        bar.classList.toggle("aigym-off", on.size > 0 && !on.has(name));
      });
      const [names, all, kept] = chart.others;
      const rest = list.children[chart.bars.length];
      if (!names) rest?.remove();
      else if (rest && rest.tagName !== "BUTTON") rest.textContent = `${formatNumber(names)} others: ${formatNumber(kept)} of ${formatNumber(all)}`;
      else {
        rest?.remove();
        list.append(h("div", { class: "aigym-dull" }, `${formatNumber(names)} others: ${formatNumber(kept)} of ${formatNumber(all)}`));
      }
      head.say(on.size ? filterText({ values: [...on] }, "text", new Date()) : "");
    },
  };
}

/** Which columns have a chart. @param {import("./explorer.js").Host} host */
function chartMenu({ model, change }) {
  const list = h("div", { class: "aigym-menu-list" });
  const node = h("details", { class: "aigym-menu" }, h("summary", { title: "which columns have a chart" }, "charts"), list);
  function update() {
    const shown = model.get("charts").map((chart) => chart.column);
    list.replaceChildren(...model.get("offered").map(([column, label]) => {
      const box = h("input", { type: "checkbox" });
      box.checked = shown.includes(column);
      box.addEventListener("change", () => {
        const next = box.checked ? [...shown, column] : shown.filter((name) => name !== column);
        if (next.length) change({ columns: next });
        else box.checked = true;
      });
      return h("label", {}, box, label);
    }));
  }
  return { node, update };
}

/** @param {import("./explorer.js").Host} host @returns {import("./explorer.js").Pane} */
export function crossfilterPane(host) {
  const { model, change, signal, speak } = host;
  const grid = h("div", { class: "aigym-crosses" });
  const chips = h("div", { class: "aigym-chips" });
  const menu = chartMenu(host);
  const node = h("section", { class: "aigym-crossfilter", "aria-label": "filters" }, h("div", { class: "aigym-chip-line" }, chips, menu.node), grid);
  /** @type {Map<string, Chart>} */
  const charts = new Map();
  // What has been asked for, ahead of what Python has confirmed.
  /** @type {Record<string, Filter>} */
  let filters = model.get("filters");
  let going = 0;
  const send = latest((/** @type {Record<string, Filter>} */ wanted) => {
    going++;
    return change({ filters: wanted }).catch(() => {}).finally(() => {
      going--;
      if (!going) update();
    });
  });
  /** @type {SetFilter} */
  const set = (column, filter) => {
    const next = { ...filters };
    if (filter) next[column] = filter;
    else delete next[column];
    filters = next;
    showChips();
    send(next);
  };
  function showChips() {
    const now = new Date();
    const kinds = Object.fromEntries(model.get("offered").map(([column, label, kind]) => [column, { label, kind }]));
    const chip = (/** @type {string} */ text, /** @type {() => void} */ remove) => {
      const button = h("button", { type: "button", class: "aigym-chip", "aria-label": `remove the filter ${text}` }, text, h("span", { "aria-hidden": "true" }, " ×"));
      button.addEventListener("click", remove);
      return button;
    };
    const entries = Object.entries(filters);
    const scope = Object.entries(model.get("where")).map(([column, filter]) =>
      h("span", { class: "aigym-dull" }, `only ${kinds[column]?.label ?? column} ${filterText(filter, kinds[column]?.kind ?? "text", now)}`));
    chips.replaceChildren(...scope,
      ...entries.map(([column, filter]) => chip(
        `${kinds[column]?.label ?? column} ${filterText(filter, kinds[column]?.kind ?? "text", now)}`, () => { set(column, null); update(); })));
    if (entries.length > 1) {
      const all = h("button", { type: "button", class: "aigym-chip" }, "clear all");
      all.addEventListener("click", () => { filters = {}; send({}); update(); });
      chips.append(all);
    }
    if (!entries.length && !scope.length) chips.append(h("span", { class: "aigym-dull" }, "drag over a histogram or click a bar to filter"));
  }
  function update() {
    if (!going) filters = model.get("filters");
    const wanted = model.get("charts");
    for (const chart of wanted) {
      if (!charts.has(chart.column)) {
        charts.set(chart.column, "bars" in chart ? barChart(chart, set) : histogram(chart, set, speak));
      }
      charts.get(chart.column)?.update(chart, filters[chart.column]);
    }
    const nodes = wanted.map((chart) => /** @type {Chart} */ (charts.get(chart.column)).node);
    for (const column of [...charts.keys()]) if (!wanted.some((chart) => chart.column === column)) charts.delete(column);
    if (nodes.length !== grid.children.length || nodes.some((one, i) => grid.children[i] !== one)) grid.replaceChildren(...nodes);
    showChips();
    menu.update();
  }
  for (const name of ["charts", "filters", "offered", "where"]) {
    model.on(`change:${name}`, update);
    signal.addEventListener("abort", () => model.off(`change:${name}`, update));
  }
  update();
  return {
    node,
    keys: bound(CROSS_KEYS, {
      clear: () => { filters = {}; send({}); update(); },
      chart: () => /** @type {HTMLElement | null} */ (grid.querySelector("[tabindex='0'], button.aigym-bar-row"))?.focus(),
    }),
    help: CROSS_HELP,
  };
}
