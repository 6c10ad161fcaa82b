// @ts-check
/**
 * The timeline of a trajectory: events above, rewards as bars, the return so far as a line, and where we are.
 * Drawn on a canvas from the overview, so that a hundred thousand steps are as quick as a hundred.
 * A click or a drag seeks; it is a slider to the keyboard and to screen readers.
 */
import { clamp, cumulative, formatNumber, h, scale } from "./drawing.js";

/** @typedef {import("./chunks.js").Overview} TimelineOverview */
/** @typedef {import("./chunks.js").TimelineEvent} Happened */

const LANE = 15;
const BARS = 46;
const EDGE = 4;
/** @type {Readonly<Record<string, [string, string]>>} colour and shape of an event */
const EVENT_LOOKS = {
  gain: ["--aigym-body", "up"], loss: ["--aigym-bad", "down"], error: ["--aigym-bad", "cross"],
  tool: ["--aigym-brand", "dot"], change: ["--aigym-dull", "line"], diverged: ["--aigym-bad", "cross"],
  end: ["--aigym-text", "flag"],
};

/** Return at the end of each bucket, from 0 on. @param {TimelineOverview} overview */
export function returnLine(overview) {
  return [0, ...cumulative(overview.sum.map((sum) => sum ?? 0))];
}

/** The position under a place on the timeline. @param {number} x @param {number} width @param {number} length */
export function positionAt(x, width, length) {
  return clamp(Math.round(((x - EDGE) / Math.max(1, width - 2 * EDGE)) * length), 0, length);
}

/** The next event after a position, or the one before it: its position; null where there is none.
 * @param {readonly Happened[]} events in order @param {number} t @param {1 | -1} way */
export function neighbourEvent(events, t, way) {
  const beyond = events.filter((event) => (event[0] - t) * way > 0);
  return beyond.length ? beyond[way > 0 ? 0 : beyond.length - 1][0] : null;
}

/** Events at most so many steps from a position, the nearest first.
 * @param {readonly Happened[]} events @param {number} t @param {number} reach */
export function eventsAround(events, t, reach) {
  return events
    .filter((event) => Math.abs(event[0] - t) <= reach)
    .sort((a, b) => Math.abs(a[0] - t) - Math.abs(b[0] - t))
    .slice(0, 4);
}

/** @param {CanvasRenderingContext2D} pen @param {string} shape @param {number} x */
function drawEvent(pen, shape, x) {
  const [top, foot] = [2, LANE - 3];
  pen.beginPath();
  if (shape === "up" || shape === "down") {
    const [point, base] = shape === "up" ? [top, foot] : [foot, top];
    pen.moveTo(x, point);
    pen.lineTo(x + 4, base);
    pen.lineTo(x - 4, base);
    pen.fill();
  } else if (shape === "dot") {
    pen.arc(x, (top + foot) / 2, 3.5, 0, 7);
    pen.fill();
  } else if (shape === "flag") {
    pen.fillRect(x - 1, top, 2, foot - top + 2);
    pen.fillRect(x - 7, top, 7, 6);
  } else if (shape === "cross") {
    for (const way of [1, -1]) {
      pen.moveTo(x - 4, (top + foot) / 2 - 4 * way);
      pen.lineTo(x + 4, (top + foot) / 2 + 4 * way);
    }
    pen.lineWidth = 2;
    pen.stroke();
  } else pen.fillRect(x - 0.75, top + 2, 1.5, foot - top - 2);
}

/**
 * @param {{length: number, overview: TimelineOverview, events: readonly Happened[]}} shown
 * @param {(t: number) => void} seek
 */
export function timeline(shown, seek) {
  const { length, overview } = shown;
  let events = shown.events;
  const canvas = h("canvas", {});
  const tip = h("div", { class: "aigym-tip", hidden: "" });
  const node = h("div", {
    class: "aigym-timeline", role: "slider", tabindex: "0", "aria-label": `timeline of ${length} steps`,
    "aria-valuemin": "0", "aria-valuemax": String(length),
  }, canvas, tip);
  const still = document.createElement("canvas");
  const sums = returnLine(overview);
  let now = 0;
  const width = () => node.clientWidth || 400;
  const place = (/** @type {number} */ t) => scale(t, 0, Math.max(1, length), EDGE, width() - EDGE);

  /** Everything but the cursor, once per size and theme. */
  function prepare() {
    const ratio = window.devicePixelRatio || 1;
    for (const one of [canvas, still]) {
      one.width = width() * ratio;
      one.height = (LANE + BARS) * ratio;
    }
    const pen = still.getContext("2d");
    if (!pen) return;
    pen.scale(ratio, ratio);
    const style = getComputedStyle(node);
    const colour = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
    const buckets = overview.sum.length;
    const peak = Math.max(1e-12, ...overview.low.map((v) => Math.abs(v ?? 0)), ...overview.high.map((v) => Math.abs(v ?? 0)));
    const edge = (/** @type {number} */ i) => place((i * length) / Math.max(1, buckets));
    const middle = LANE + BARS / 2;
    pen.globalAlpha = 0.6;
    for (let i = 0; i < buckets; i++) {
      const [x, wide] = [edge(i), Math.max(1, edge(i + 1) - edge(i) - (buckets < width() / 4 ? 1 : 0))];
      for (const [value, name] of /** @type {[number, string][]} */ ([
        [Math.max(0, overview.high[i] ?? 0), "--aigym-body"], [Math.min(0, overview.low[i] ?? 0), "--aigym-food"],
      ])) {
        const tall = (value / peak) * (BARS / 2 - 3);
        pen.fillStyle = colour(name);
        if (value) pen.fillRect(x, middle, wide, -Math.sign(tall) * Math.max(1, Math.abs(tall)));
      }
    }
    pen.globalAlpha = 1;
    const [low, high] = [Math.min(...sums), Math.max(...sums)];
    pen.strokeStyle = colour("--aigym-brand");
    pen.lineWidth = 1.6;
    pen.beginPath();
    sums.forEach((sum, i) => pen.lineTo(edge(i), scale(sum, low, high, LANE + BARS - 4, LANE + 4)));
    pen.stroke();
    // Changes first, so that what matters more lies above them.
    const order = [...events].sort((a, b) => Number(b[1] === "change") - Number(a[1] === "change"));
    for (const [t, kind] of order) {
      const [name, shape] = EVENT_LOOKS[kind] ?? EVENT_LOOKS.change;
      pen.fillStyle = pen.strokeStyle = colour(name);
      drawEvent(pen, shape, place(t));
    }
  }
  function draw() {
    const pen = canvas.getContext("2d");
    if (!pen) return;
    const ratio = window.devicePixelRatio || 1;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    if (still.width) pen.drawImage(still, 0, 0);
    pen.scale(ratio, ratio);
    pen.fillStyle = getComputedStyle(node).getPropertyValue("--aigym-text").trim();
    pen.fillRect(place(now) - 0.75, 0, 1.5, LANE + BARS);
  }
  const toStep = (/** @type {PointerEvent} */ event) => {
    const { left, width: wide } = canvas.getBoundingClientRect();
    return positionAt(event.clientX - left, wide, length);
  };
  node.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    node.setPointerCapture(event.pointerId);
    seek(toStep(event));
  });
  node.addEventListener("pointermove", (event) => {
    const t = toStep(event);
    if (event.buttons & 1) seek(t);
    const bucket = Math.min(overview.sum.length - 1, Math.floor((t * overview.sum.length) / Math.max(1, length)));
    const near = eventsAround(events, t, Math.max(0, Math.round((5 * length) / width())));
    const whole = overview.sum.length === length;
    tip.textContent = [
      `step ${formatNumber(t)}`,
      bucket >= 0 && t < length ? `${whole ? "reward" : "rewards"} ${formatNumber(overview.sum[bucket])}` : "",
      ...near.map(([at, , text]) => (at === t ? text : `${formatNumber(at)}: ${text}`)),
    ].filter(Boolean).join(" · ");
    tip.hidden = false;
    tip.style.left = `${clamp(place(t) - tip.clientWidth / 2, 0, Math.max(0, width() - tip.clientWidth))}px`;
  });
  node.addEventListener("pointerleave", () => { tip.hidden = true; });
  return {
    node,
    /** @param {number} t */
    at(t) {
      now = t;
      node.setAttribute("aria-valuenow", String(t));
      const here = events.filter((event) => event[0] === t).map((event) => event[2]);
      node.setAttribute("aria-valuetext", [`step ${t} of ${length}`, ...here].join(", "));
      draw();
    },
    repaint() {
      prepare();
      draw();
    },
    /** @param {readonly Happened[]} changed */
    mark(changed) {
      events = changed;
      prepare();
      draw();
    },
  };
}
