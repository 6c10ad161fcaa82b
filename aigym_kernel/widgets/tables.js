// @ts-check
/**
 * Scenes for values: numbers over time, trees of dicts and lists, the table of all steps, a step as JSON.
 * Their interface is that of scenes.js.
 */
import { formatNumber, h, scale, svg } from "./drawing.js";
import { putPicture } from "./scenes.js";

/** @typedef {import("./scenes.js").Stage} TableStage */
/** @typedef {import("./scenes.js").Scene} TableScene */
/** @typedef {import("./chunks.js").TreeNode} Branch */

/** The band between lowest and highest as one path; where they are the same it is a line.
 * @param {readonly (number | null)[]} low @param {readonly (number | null)[]} high
 * @param {number} width @param {number} height */
export function bandPath(low, high, width, height) {
  const known = [...low, ...high].filter((v) => v !== null);
  const bottom = known.reduce((a, b) => Math.min(a, b), Infinity);
  const top = known.reduce((a, b) => Math.max(a, b), -Infinity);
  const x = (/** @type {number} */ i) => (low.length > 1 ? (i / (low.length - 1)) * width : width / 2).toFixed(1);
  const y = (/** @type {number} */ v) => scale(v, bottom, top, height - 2, 2).toFixed(1);
  let path = "";
  let joined = false;
  low.forEach((v, i) => {
    const w = high[i];
    if (v === null || w === null) {
      joined = false;
      return;
    }
    path += `${joined ? "L" : "M"}${x(i)} ${y(v)}`;
    if (w !== v) path += `L${x(i)} ${y(w)}`;
    joined = true;
  });
  return path;
}

/** Numbers over time: a line for each while they are few, else a strip of shades for each.
 * @param {TableStage} stage @returns {TableScene} */
export function valueScene(stage) {
  const numbers = stage.shown.numbers;
  return numbers?.shades ? shadeScene(stage, numbers) : lineScene(stage, numbers);
}

/** @param {HTMLElement | SVGElement} node @param {TableStage} stage */
function seekByPlace(node, { shown, seek }) {
  const go = (/** @type {PointerEvent} */ event) => {
    const { left, width } = node.getBoundingClientRect();
    seek(Math.round(((event.clientX - left) / width) * shown.length));
  };
  node.addEventListener("pointerdown", (event) => {
    const pointer = /** @type {PointerEvent} */ (event);
    node.setPointerCapture(pointer.pointerId);
    go(pointer);
  });
  node.addEventListener("pointermove", (event) => {
    const pointer = /** @type {PointerEvent} */ (event);
    if (pointer.buttons & 1) go(pointer);
  });
}

/** @param {TableStage} stage @param {import("./chunks.js").Numbers | null} numbers @returns {TableScene} */
function lineScene(stage, numbers) {
  const { shown, chunk } = stage;
  const node = h("div", { class: "aigym-scene aigym-values" });
  const rows = (numbers?.lines ?? []).map(({ low, high }, i) => {
    const cursor = svg("line", { class: "aigym-cursor", y1: 0, y2: 32 });
    const value = h("span", { class: "aigym-number" });
    const chart = svg(
      "svg",
      { viewBox: "0 0 200 32", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("path", { class: "aigym-line", d: bandPath(low, high, 200, 32) }),
      cursor,
    );
    seekByPlace(chart, stage);
    const name = numbers?.names[i] ?? "";
    node.append(h("span", { class: "aigym-dull aigym-name", title: name }, name), chart, value);
    return { cursor, value };
  });
  return {
    node,
    at(t) {
      const here = chunk(t);
      const x = String(scale(t, 0, Math.max(1, shown.length), 0, 200));
      rows.forEach(({ cursor, value }, i) => {
        cursor.setAttribute("x1", x);
        cursor.setAttribute("x2", x);
        value.textContent = here ? formatNumber(here.values[t - here.start]?.[i]) : "…";
      });
    },
  };
}

/** @param {TableStage} stage @param {import("./chunks.js").Numbers} numbers @returns {TableScene} */
function shadeScene(stage, { names, shades }) {
  const { shown, chunk } = stage;
  const { data, columns, ranges } = /** @type {NonNullable<import("./chunks.js").Numbers["shades"]>} */ (shades);
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const tall = Math.max(4, Math.min(10, Math.floor(240 / names.length)));
  const canvas = h("canvas", { class: "aigym-heat", role: "img", "aria-label": `${names.length} numbers over all steps` });
  canvas.width = columns;
  canvas.height = names.length;
  canvas.style.height = `${names.length * tall}px`;
  const cursor = h("div", { class: "aigym-heat-cursor" });
  const map = h("div", { class: "aigym-heat-map" }, canvas, cursor);
  const cells = names.map((name) => h("span", { class: "aigym-shade", title: name }, h("i"), h("b")));
  seekByPlace(map, stage);
  map.addEventListener("pointermove", (event) => {
    const { top, height } = map.getBoundingClientRect();
    const i = Math.min(names.length - 1, Math.max(0, Math.floor(((event.clientY - top) / height) * names.length)));
    map.title = `${names[i]}: ${formatNumber(ranges[i][0])} to ${formatNumber(ranges[i][1])}`;
  });
  function paint() {
    const pen = canvas.getContext("2d");
    if (!pen) return;
    // The theme's own colour, whatever form it has: a pixel of it tells red, green and blue.
    pen.fillStyle = getComputedStyle(canvas).getPropertyValue("--aigym-brand").trim() || "#1976d2";
    pen.fillRect(0, 0, 1, 1);
    const [red, green, blue] = pen.getImageData(0, 0, 1, 1).data;
    const image = pen.createImageData(columns, names.length);
    for (let i = 0; i < bytes.length; i++) image.data.set([red, green, blue, bytes[i]], 4 * i);
    pen.putImageData(image, 0, 0);
  }
  let theme = "";
  return {
    node: h("div", { class: "aigym-scene" }, map, h("div", { class: "aigym-strip" }, ...cells)),
    at(t) {
      const now = getComputedStyle(canvas).getPropertyValue("--aigym-brand");
      if (now !== theme) paint();
      theme = now;
      cursor.style.left = `${scale(t, 0, Math.max(1, shown.length), 0, 100)}%`;
      const here = chunk(t);
      cells.forEach((cell, i) => {
        const value = here?.values[t - here.start]?.[i] ?? null;
        const [low, high] = ranges[i] ?? [null, null];
        const share = value === null ? 0 : scale(value, low ?? 0, high ?? 0, 0, 0.85);
        /** @type {HTMLElement} */ (cell.firstChild).style.opacity = String(share);
        /** @type {HTMLElement} */ (cell.lastChild).textContent = here ? formatNumber(value) : "…";
        cell.title = `${names[i]}: ${value ?? "–"}`;
      });
    },
  };
}

/** The texts of a tree's leaves by their path, to see what has changed. @param {Branch} node @param {string} path
 * @param {Map<string, string>} found */
export function leaves(node, path = "", found = new Map()) {
  const [kind, content] = node;
  if (kind === "o") for (const [key, child] of content) leaves(child, `${path}/${key}`, found);
  else if (kind === "l") content.forEach((/** @type {Branch} */ child, /** @type {number} */ i) => leaves(child, `${path}/${i}`, found));
  else found.set(path, content);
  return found;
}

/** Dicts and lists to be opened and closed; what differs from the position before is marked.
 * @param {TableStage} stage @returns {TableScene} */
export function treeScene({ chunk }) {
  const node = h("div", { class: "aigym-scene aigym-tree", tabindex: "0", role: "region", "aria-label": "observation" });
  /** @type {Set<string>} */
  const turned = new Set();
  /** @param {Branch} branch @param {string} name @param {string} path @param {Map<string, string>} before @returns {HTMLElement} */
  function draw([kind, content, count], name, path, before) {
    const label = name ? [h("span", { class: "aigym-key" }, name), ": "] : [];
    if (kind === "o" || kind === "l") {
      const openAtFirst = path.split("/").length <= 3;
      const fold = h("details", {}, h("summary", {}, ...label, h("span", { class: "aigym-dull" }, kind === "o" ? `{${count}}` : `[${count}]`)));
      fold.open = openAtFirst !== turned.has(path);
      fold.addEventListener("toggle", () => {
        if (fold.open !== openAtFirst) turned.add(path);
        else turned.delete(path);
      });
      const children = kind === "o" ? content : content.map((/** @type {Branch} */ child, /** @type {number} */ i) => [String(i), child]);
      for (const [key, child] of children) fold.append(draw(child, key, `${path}/${key}`, before));
      if (children.length < count) fold.append(h("div", { class: "aigym-dull" }, `… ${formatNumber(count - children.length)} more: see JSON`));
      return fold;
    }
    if (kind === "i") {
      const image = h("img", { class: "aigym-picture aigym-thumb", decoding: "sync", alt: name });
      putPicture(image, content);
      return h("div", {}, ...label, image);
    }
    const changed = before.size > 0 && before.get(path) !== content;
    const value = h("span", { class: `aigym-leaf-${kind}${changed ? " aigym-changed" : ""}` }, content);
    return h("div", { class: "aigym-leaf" }, ...label, value);
  }
  return {
    node,
    at(t) {
      const here = chunk(t);
      if (!here) return;
      const i = t - here.start;
      const before = i > 0 && here.trees[i - 1] ? leaves(here.trees[i - 1]) : new Map();
      const top = node.scrollTop;
      if (here.trees[i]) node.replaceChildren(draw(here.trees[i], "", "", before));
      node.scrollTop = top;
    },
  };
}

const ROW = 24;
// Browsers make no element taller than some 33 million pixels.
const TALLEST = 20_000_000;

/** All steps as a table, of which only the rows in sight are in the page.
 * @param {TableStage} stage @returns {TableScene} */
export function stepScene({ shown, chunk, seek }) {
  const count = shown.length + 1;
  const whole = h("div", { class: "aigym-step-rows" });
  whole.style.height = `${Math.min(count * ROW, TALLEST)}px`;
  const body = h("div", { class: "aigym-step-rows-seen" });
  whole.append(body);
  const node = h("div", { class: "aigym-scene aigym-steps", tabindex: "0", role: "region", "aria-label": `table of ${count} positions` }, whole);
  const events = new Map(shown.events.map((event) => [event[0], event[2]]));
  let current = -1;
  const room = () => Math.max(1, whole.clientHeight - node.clientHeight);
  const firstInSight = () => {
    const rows = Math.max(0, count - node.clientHeight / ROW);
    return whole.clientHeight <= node.clientHeight ? 0 : (node.scrollTop / room()) * rows;
  };
  /** Rows stay the same nodes while they are in sight, so that a click on one meets it. @type {Map<number, HTMLElement>} */
  let rows = new Map();
  /** @param {number} t */
  function row(t) {
    const here = chunk(t);
    const old = rows.get(t);
    if (old && (!here || old.dataset.here)) return old;
    const i = here ? t - here.start : 0;
    const end = t >= shown.length;
    const info = here?.infos[i] ? Object.entries(here.infos[i]).map(([key, value]) => `${key} ${value}`).join(", ") : "";
    return h("div", { class: "aigym-step-row", "data-t": String(t), "data-here": here ? "1" : "" },
      h("span", { class: "aigym-number aigym-dull" }, formatNumber(t)),
      h("span", {}, !here ? "…" : end ? "end" : (here.actions[i] ?? "").slice(0, 200)),
      h("span", { class: "aigym-number" }, !here || end ? "" : formatNumber(here.rewards[i])),
      h("span", { class: "aigym-dull" }, [events.get(t), info].filter(Boolean).join(" · ").slice(0, 300)));
  }
  function paint() {
    const top = firstInSight();
    const first = Math.max(0, Math.floor(top) - 2);
    const last = Math.min(count - 1, first + Math.ceil((node.clientHeight || 320) / ROW) + 4);
    /** @type {Map<number, HTMLElement>} */
    const seen = new Map();
    for (let t = first; t <= last; t++) seen.set(t, row(t));
    if ([...seen].some(([t, one]) => rows.get(t) !== one) || seen.size !== rows.size) body.replaceChildren(...seen.values());
    rows = seen;
    for (const [t, one] of rows) one.classList.toggle("aigym-current", t === current);
    // Fewer pixels than rows: the rows stand relative to what is in sight.
    body.style.top = `${node.scrollTop - (top - first) * ROW}px`;
  }
  node.addEventListener("scroll", paint);
  node.addEventListener("click", (event) => {
    const found = /** @type {HTMLElement} */ (event.target).closest(".aigym-step-row");
    if (found instanceof HTMLElement) seek(Number(found.dataset.t));
  });
  return {
    node,
    at(t) {
      if (t !== current) {
        current = t;
        const fit = node.clientHeight / ROW;
        const top = firstInSight();
        if (t < top || t > top + fit - 2) {
          node.scrollTop = (Math.max(0, t - fit / 2) / Math.max(1, count - fit)) * room();
        }
      }
      paint();
    },
  };
}

/** One step as JSON, all of it, to be copied.
 * @param {TableStage} stage @returns {TableScene} */
export function jsonScene({ shown, chunk, ask, signal }) {
  const text = h("pre", { class: "aigym-json", tabindex: "0", "aria-label": "step as JSON" });
  const copy = h("button", { type: "button" }, "copy");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text.textContent ?? "");
      copy.textContent = "copied";
    } catch {
      // Without the permission: it is marked, so that Ctrl+C takes it.
      getSelection()?.selectAllChildren(text);
      copy.textContent = "marked: press Ctrl+C";
    }
    window.setTimeout(() => { copy.textContent = "copy"; }, 2000);
  });
  let asked = -1;
  let timer = 0;
  signal.addEventListener("abort", () => window.clearTimeout(timer));
  /** What is here of a step, where no kernel answers. @param {number} t */
  const loaded = (t) => {
    const here = chunk(t);
    if (!here) return "…";
    const i = t - here.start;
    const observation = here.texts[i] ?? here.values[i] ?? here.trees[i];
    const rest = t < shown.length ? { action: here.actions[i], reward: here.rewards[i], info: here.infos[i] } : {};
    return JSON.stringify({ t, observation, ...rest }, null, 1);
  };
  return {
    node: h("div", { class: "aigym-scene aigym-json-scene" }, copy, text),
    at(t) {
      if (t === asked) return;
      asked = t;
      window.clearTimeout(timer);
      // While it plays, what is here; the whole when it rests.
      text.textContent = loaded(t);
      timer = window.setTimeout(async () => {
        const take = (/** @type {string} */ whole) => { if (asked === t) text.textContent = whole; };
        await ask("step", { t }, { late: take }).then(take, () => {});
      }, 120);
    },
  };
}
