// @ts-check
/**
 * The right side of the explorer: one trajectory, step by step. It draws boards on a canvas, text as an
 * exchange, numbers as curves, and plays them. It knows nothing of the model: `player` gets callbacks.
 *
 * Position t shows observation t with the action taken there and the reward that answered it; the last
 * position shows where the trajectory ended.
 */
import { badge, boardAt, boardGeometry, clamp, cumulative, downsample, extent, formatDuration, formatNumber, h, icon, linePath, markTable, scale, svg } from "./drawing.js";

/**
 * @typedef {{
 *   id: string, run_id: string | null, env_id: string, agent: string, seed: number | null, group: string | null,
 *   outcome: string, length: number, return: number, score: number | null, wall_s: number, error: string | null,
 *   view: "boards" | "text" | "values", shown: number, notes: string[], marks: import("./drawing.js").Mark[],
 *   rewards: number[], actions: string[], texts: string[], values: number[][],
 *   boards: import("./drawing.js").Boards | null,
 * }} Shown what Python sends of a trajectory; `shown` steps of it
 */

const SPEEDS = [1, 2, 5, 10, 20, 50];
const CELL_COLOURS = ["", "--aigym-body", "--aigym-head", "--aigym-food", "--aigym-wall"];

/** Draws the board's cells: 0 empty, 1 body, 2 head, 3 food, 4 wall.
 * @param {HTMLCanvasElement} canvas @param {import("./drawing.js").Boards} boards @param {number} t */
function drawBoard(canvas, boards, t) {
  const context = canvas.getContext("2d");
  if (!context) return;
  const size = Math.min(360, canvas.parentElement?.clientWidth || 360);
  const ratio = window.devicePixelRatio || 1;
  const { cell } = boardGeometry(boards.width, boards.height, size, size);
  canvas.width = cell * boards.width * ratio;
  canvas.height = cell * boards.height * ratio;
  canvas.style.width = `${cell * boards.width}px`;
  canvas.style.height = `${cell * boards.height}px`;
  context.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const gap = cell > 5 ? 1 : 0;
  boardAt(boards, t).forEach((value, i) => {
    if (!value) return;
    context.fillStyle = style.getPropertyValue(CELL_COLOURS[value] ?? "--aigym-body").trim();
    const x = (i % boards.width) * cell + gap;
    const y = Math.floor(i / boards.width) * cell + gap;
    context.beginPath();
    context.roundRect(x, y, cell - 2 * gap, cell - 2 * gap, value === 3 ? cell / 2 : gap && cell / 6);
    context.fill();
  });
}

/** @typedef {{node: HTMLElement, at: (t: number) => void}} Scene */

/** @param {Shown} shown @returns {Scene} */
function boardScene(shown) {
  const canvas = h("canvas", { class: "aigym-board", role: "img" });
  const boards = /** @type {import("./drawing.js").Boards} */ (shown.boards);
  return {
    node: h("div", { class: "aigym-scene" }, canvas),
    at(t) {
      canvas.setAttribute("aria-label", `board after ${t} steps`);
      drawBoard(canvas, boards, t);
    },
  };
}

/** Built as far as it has been looked at, so that a long exchange opens at once.
 * @param {Shown} shown @returns {Scene} */
function textScene(shown) {
  const node = h("div", { class: "aigym-scene aigym-exchange", tabindex: "0", role: "log", "aria-label": "exchange" });
  /** @type {HTMLElement[]} */
  const turns = [];
  const add = (/** @type {number} */ t) => {
    const turn = h("div", { class: "aigym-turn" });
    const part = (/** @type {string} */ who, /** @type {string} */ text) =>
      turn.append(h("div", { class: `aigym-who aigym-${who}` }, who), h("pre", {}, text || "(empty)"));
    part("observation", shown.texts[t] ?? "");
    if (t < shown.shown) {
      part("action", shown.actions[t] ?? "");
      if (shown.rewards[t]) turn.append(h("div", { class: "aigym-who" }, `reward ${formatNumber(shown.rewards[t])}`));
    }
    turns.push(turn);
    node.append(turn);
  };
  return {
    node,
    at(t) {
      while (turns.length <= Math.min(shown.shown, Math.max(50, t + 10))) add(turns.length);
      turns.forEach((turn, i) => turn.classList.toggle("aigym-current", i === t));
      const current = turns[t];
      if (current) node.scrollTop = Math.max(0, current.offsetTop - node.offsetTop - 8);
    },
  };
}

/** One curve per number while there are few of them, else one strip of shades.
 * @param {Shown} shown @returns {Scene} */
function valueScene(shown) {
  const width = shown.values[0]?.length ?? 0;
  if (width > 12) return stripScene(shown, width);
  const node = h("div", { class: "aigym-scene aigym-values" });
  const box = { left: 2, top: 3, width: 196, height: 26 };
  const rows = Array.from({ length: width }, (_, i) => {
    const points = shown.values.map((row, t) => /** @type {[number, number]} */ ([t, row[i]]));
    const range = extent(points);
    const cursor = svg("line", { class: "aigym-cursor", y1: 0, y2: 32 });
    const value = h("span", { class: "aigym-number" });
    const chart = svg(
      "svg",
      { viewBox: "0 0 200 32", preserveAspectRatio: "none", "aria-hidden": "true" },
      svg("path", { class: "aigym-line", d: linePath(downsample(points, 400), range, box) }),
      cursor,
    );
    node.append(h("span", { class: "aigym-dull" }, String(i)), chart, value);
    return { range, cursor, value };
  });
  return {
    node,
    at(t) {
      rows.forEach(({ range, cursor, value }, i) => {
        const x = scale(t, range.x0, range.x1, box.left, box.left + box.width);
        cursor.setAttribute("x1", String(x));
        cursor.setAttribute("x2", String(x));
        value.textContent = formatNumber(shown.values[t]?.[i]);
      });
    },
  };
}

/** @param {Shown} shown @param {number} width @returns {Scene} */
function stripScene(shown, width) {
  const cells = Array.from({ length: width }, () => h("span", { class: "aigym-shade" }, h("i"), h("b")));
  const flat = shown.values.flat();
  const low = flat.reduce((a, b) => Math.min(a, b), Infinity);
  const high = flat.reduce((a, b) => Math.max(a, b), -Infinity);
  return {
    node: h("div", { class: "aigym-scene aigym-strip" }, ...cells),
    at(t) {
      cells.forEach((cell, i) => {
        const value = shown.values[t]?.[i] ?? 0;
        /** @type {HTMLElement} */ (cell.firstChild).style.opacity = String(scale(value, low, high, 0, 0.85));
        /** @type {HTMLElement} */ (cell.lastChild).textContent = formatNumber(value);
        cell.title = `value ${i}: ${value}`;
      });
    },
  };
}

/** Rewards as bars, the return so far as a line, and where we are; a click seeks.
 * @param {Shown} shown @param {(t: number) => void} seek */
function timeline(shown, seek) {
  const box = { left: 3, top: 4, width: 394, height: 44 };
  const sums = [0, ...cumulative(shown.rewards)];
  const points = downsample(sums.map((y, x) => /** @type {[number, number]} */ ([x, y])), 400);
  const range = extent([...points, [0, 0]]);
  const peak = shown.rewards.reduce((most, r) => Math.max(most, Math.abs(r)), 0) || 1;
  const at = (/** @type {number} */ t) => scale(t, 0, Math.max(1, shown.shown), box.left, box.left + box.width);
  const steps = downsample(shown.rewards.map((r, t) => /** @type {[number, number]} */ ([t, r])), 400);
  const bars = (/** @type {number} */ sign) =>
    steps
      .filter(([, r]) => r * sign > 0)
      .map(([t, r]) => `M${at(t + 0.5).toFixed(1)} 26v${((-r / peak) * 20).toFixed(1)}`)
      .join("");
  const cursor = svg("line", { class: "aigym-cursor", y1: 0, y2: 52 });
  const chart = svg(
    "svg",
    { viewBox: "0 0 400 52", preserveAspectRatio: "none", class: "aigym-timeline", role: "img", "aria-label": `rewards of ${shown.shown} steps` },
    svg("path", { class: "aigym-gain", d: bars(1) }),
    svg("path", { class: "aigym-loss", d: bars(-1) }),
    svg("path", { class: "aigym-line", d: linePath(points, { ...range, x0: 0, x1: Math.max(1, shown.shown) }, box) }),
    cursor,
  );
  const toStep = (/** @type {PointerEvent} */ event) => {
    const { left, width } = chart.getBoundingClientRect();
    seek(Math.round(((event.clientX - left) / width) * shown.shown));
  };
  chart.addEventListener("pointerdown", (event) => {
    chart.setPointerCapture(event.pointerId);
    toStep(event);
  });
  chart.addEventListener("pointermove", (event) => event.buttons & 1 && toStep(event));
  return {
    node: chart,
    sums,
    at(/** @type {number} */ t) {
      for (const end of ["x1", "x2"]) cursor.setAttribute(end, String(at(t)));
    },
  };
}

/** @param {Shown} shown */
function heading(shown) {
  const fact = (/** @type {string} */ name, /** @type {string} */ value) =>
    h("span", {}, h("span", { class: "aigym-dull" }, `${name} `), value);
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
      fact("id", shown.id)),
    ...(shown.error ? [h("pre", { class: "aigym-error" }, shown.error)] : []),
    ...shown.notes.map((note) => h("div", { class: "aigym-note" }, note)),
  );
}

/**
 * @param {{onStep: (t: number, settled: boolean) => void, signal: AbortSignal}} hooks
 */
export function player({ onStep, signal }) {
  const node = h("section", { class: "aigym-player", "aria-label": "trajectory" });
  /** @type {Shown | null} */
  let shown = null;
  let t = 0;
  let timer = 0;
  /** @type {(t: number) => void} */
  let draw = () => {};

  const label = (/** @type {HTMLElement} */ button, /** @type {string} */ text, /** @type {string} */ sign) => {
    button.setAttribute("aria-label", text);
    button.title = text;
    button.replaceChildren(icon(sign));
  };
  const button = (/** @type {string} */ text, /** @type {string} */ sign, /** @type {() => void} */ act) => {
    const made = h("button", { type: "button" });
    label(made, text, sign);
    made.addEventListener("click", act);
    return made;
  };
  const slider = h("input", { type: "range", min: "0", step: "1", "aria-label": "step" });
  slider.addEventListener("input", () => seek(Number(slider.value)));
  const speed = h("select", { "aria-label": "steps per second" },
    ...SPEEDS.map((s) => h("option", { value: String(s) }, `${s}/s`)));
  const play = button("play (space)", "play", () => toggle());
  const facts = h("div", { class: "aigym-facts aigym-now", "aria-live": "off" });
  const controls = h("div", { class: "aigym-controls" },
    button("first step (Home)", "first", () => seek(0)),
    button("step back (←)", "back", () => step(-1)),
    play,
    button("step forward (→)", "forward", () => step(1)),
    button("last step (End)", "last", () => seek(shown?.shown ?? 0)),
    slider, speed);

  function paint() {
    if (!shown) return;
    slider.value = String(t);
    slider.setAttribute("aria-valuetext", `step ${t} of ${shown.shown}`);
    draw(t);
  }
  /** @param {number} to */
  function seek(to) {
    if (!shown) return;
    t = clamp(to, 0, shown.shown);
    paint();
    onStep(t, !timer);
  }
  /** @param {number} by */
  function step(by) {
    pause();
    seek(t + by);
  }
  function pause() {
    if (timer) window.clearTimeout(timer);
    timer = 0;
    label(play, "play (space)", "play");
  }
  function tick() {
    if (!shown || t >= shown.shown || !node.isConnected) {
      pause();
      onStep(t, true);
      return;
    }
    timer = window.setTimeout(tick, 1000 / Number(speed.value));
    seek(t + 1);
  }
  function toggle() {
    if (!shown) return;
    if (timer) {
      pause();
      onStep(t, true);
      return;
    }
    if (t >= shown.shown) t = 0;
    label(play, "pause (space)", "pause");
    tick();
  }
  signal.addEventListener("abort", pause);

  /** @param {Shown | null} next @param {number} at @param {string} empty what to say when there is nothing */
  function show(next, at, empty) {
    pause();
    shown = next;
    if (!next) {
      node.replaceChildren(h("p", { class: "aigym-dull aigym-empty" }, empty));
      return;
    }
    t = clamp(at, 0, next.shown);
    slider.max = String(next.shown);
    speed.value = next.view === "text" ? "1" : "10";
    const scene = next.view === "boards" ? boardScene(next) : next.view === "text" ? textScene(next) : valueScene(next);
    const line = timeline(next, (to) => { pause(); seek(to); });
    const fact = (/** @type {string} */ name, /** @type {string} */ value) =>
      h("span", {}, h("span", { class: "aigym-dull" }, `${name} `), value);
    draw = (now) => {
      scene.at(now);
      line.at(now);
      const ended = now >= next.shown;
      facts.replaceChildren(
        fact("step", `${now} / ${next.shown}`),
        ...(ended ? [fact("end", next.outcome)] : next.view === "text" ? [] : [fact("action", next.actions[now] ?? "")]),
        fact("reward", ended ? "–" : formatNumber(next.rewards[now])),
        fact("return so far", formatNumber(line.sums[now])));
    };
    node.replaceChildren(heading(next), scene.node, line.node, controls, facts,
      ...(next.marks.length ? [markTable(next.marks)] : []));
    paint();
  }

  return { node, show, seek, step, toggle, position: () => t, repaint: paint, end: () => seek(shown?.shown ?? 0) };
}

/** The trajectory that is open. @param {import("./explorer.js").Host} host @returns {import("./explorer.js").Pane} */
export function trajectoryPane({ model, signal }) {
  let saveTimer = 0;
  const stage = player({
    signal,
    onStep(t, settled) {
      model.set("step", t);
      if (saveTimer && !settled) return;
      window.clearTimeout(saveTimer);
      saveTimer = window.setTimeout(() => { saveTimer = 0; model.save_changes(); }, settled ? 100 : 500);
    },
  });
  const show = () => {
    const shown = /** @type {Shown} */ (model.get("trajectory"));
    const nothing = model.get("total") ? "Choose a trajectory in the list." : "No trajectory matches.";
    stage.show(shown.id ? shown : null, model.get("step"), nothing);
  };
  const follow = () => { if (model.get("step") !== stage.position()) stage.seek(model.get("step")); };
  /** @type {[string, () => void][]} */
  const listeners = [["trajectory", show], ["step", follow]];
  for (const [name, act] of listeners) {
    model.on(`change:${name}`, act);
    signal.addEventListener("abort", () => model.off(`change:${name}`, act));
  }
  show();
  return {
    node: stage.node,
    keys: {
      ArrowLeft: () => stage.step(-1), ArrowRight: () => stage.step(1), Home: () => stage.seek(0), End: stage.end,
      " ": stage.toggle,
    },
    help: [["← →", "step"], ["Home End", "first, last step"], ["Space", "play, pause"]],
    repaint: stage.repaint,
  };
}
