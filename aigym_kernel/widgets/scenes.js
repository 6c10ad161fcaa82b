// @ts-check
/**
 * Scenes: ways to look at one position of a trajectory. A scene is made once per trajectory and then told
 * where to look; it is told again when more has arrived, or the theme or the width has changed. The keys
 * of `SCENES` in player.js are the names that Python sends in `scenes`.
 *
 * Here: boards, pictures, text and terminals. In tables.js: numbers, trees, the table of steps, JSON.
 */
import { ansiNodes } from "./ansi.js";
import { boardGeometry, clamp, formatNumber, h } from "./drawing.js";

/**
 * @typedef {import("./chunks.js").Shown} SceneShown
 * @typedef {import("./chunks.js").Chunk} SceneChunk
 * @typedef {{node: HTMLElement, at: (t: number) => void}} Scene `at` draws position t, 0 to the number of steps
 * @typedef {{
 *   shown: SceneShown,
 *   chunk: (t: number) => SceneChunk | null,
 *   ask: import("./requests.js").Ask,
 *   seek: (t: number) => void,
 *   redraw: () => void,
 *   signal: AbortSignal,
 * }} Stage what a scene is made with. `chunk`: what is there of position t, which is place t - chunk.start in it;
 *   null where it is not loaded: then it is on its way, and `at` is called again. `ask`: a question to the kernel
 *   (`id` of the trajectory is added), see requests.js. `seek`: the reader goes to t. `redraw`: have `at` called
 *   again. `signal`: the scene is gone.
 */

const CELL_COLOURS = ["", "--aigym-body", "--aigym-head", "--aigym-food", "--aigym-wall"];
const PICTURE = "data:image/png;base64,";

/** The cells of a chunk's boards at place i: from where it was last, if that is not behind.
 * @param {import("./drawing.js").Boards} boards */
export function boardReader(boards) {
  let cells = boards.first.slice();
  let at = 0;
  return (/** @type {number} */ i) => {
    if (i < at) [cells, at] = [boards.first.slice(), 0];
    for (; at < i; at++) {
      const change = boards.changes[at] ?? [];
      for (let j = 0; j + 1 < change.length; j += 2) cells[change[j]] = change[j + 1];
    }
    return cells;
  };
}

/** Draws a board's cells: 0 empty, 1 body, 2 head, 3 food, 4 wall; others get a colour of their own.
 * @param {HTMLCanvasElement} canvas @param {import("./drawing.js").Boards} boards @param {readonly number[]} cells */
export function drawBoard(canvas, boards, cells) {
  const context = canvas.getContext("2d");
  if (!context) return;
  const size = Math.min(360, canvas.parentElement?.clientWidth || 360);
  const ratio = window.devicePixelRatio || 1;
  const { cell } = boardGeometry(boards.width, boards.height, size, size);
  const [width, height] = [cell * boards.width, cell * boards.height];
  if (canvas.width !== width * ratio || canvas.height !== height * ratio) {
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.width = `${width}px`;
    canvas.style.height = `${height}px`;
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  const colours = CELL_COLOURS.map((name) => name && style.getPropertyValue(name).trim());
  const gap = cell > 5 ? 1 : 0;
  cells.forEach((value, i) => {
    if (!value) return;
    context.fillStyle = colours[value] ?? `hsl(${(value * 67 + 720) % 360} 55% 50%)`;
    const x = (i % boards.width) * cell + gap;
    const y = Math.floor(i / boards.width) * cell + gap;
    context.beginPath();
    context.roundRect(x, y, cell - 2 * gap, cell - 2 * gap, value === 3 ? cell / 2 : gap && cell / 6);
    context.fill();
  });
}

/** What stands over a scene where there is nothing to draw. */
function veil() {
  const node = h("p", { class: "aigym-dull aigym-veil", role: "status", hidden: "" });
  return {
    node,
    say(/** @type {string} */ text) {
      node.textContent = text;
      node.hidden = !text;
    },
  };
}

/** @param {Stage} stage @returns {Scene} */
export function boardScene({ chunk }) {
  const canvas = h("canvas", { class: "aigym-board", role: "img" });
  const note = veil();
  /** @type {SceneChunk | null} */
  let current = null;
  /** @type {ReturnType<typeof boardReader> | null} */
  let read = null;
  return {
    node: h("div", { class: "aigym-scene aigym-stacked" }, canvas, note.node),
    at(t) {
      const here = chunk(t);
      if (!here) return;
      if (here !== current) [current, read] = [here, here.boards && boardReader(here.boards)];
      const i = t - here.start;
      const known = here.boards ? here.boards.changes.length : -1;
      note.say(i > known ? `Played again, it went another way at step ${here.diverged_at}: no board from there on.` : "");
      if (!read || !here.boards) return;
      canvas.setAttribute("aria-label", `board after ${t} steps`);
      drawBoard(canvas, here.boards, read(Math.min(i, known)));
    },
  };
}

/** Shows a picture that Python has made; anything that is none of these stays out of the page.
 * @param {HTMLImageElement} image @param {string} uri */
export function putPicture(image, uri) {
  if (uri.startsWith(PICTURE) && image.getAttribute("src") !== uri) image.src = uri;
}

function pictureNode() {
  const image = h("img", { class: "aigym-picture", decoding: "sync", draggable: "false", alt: "" });
  image.addEventListener("load", () => {
    // Small ones are made larger by whole pixels, so that each can be seen.
    const by = Math.max(1, Math.floor(Math.min(300 / image.naturalHeight, 520 / image.naturalWidth)));
    image.style.width = `${image.naturalWidth * by}px`;
    image.classList.toggle("aigym-pixels", by > 1);
  });
  return image;
}

/** @param {Stage} stage @returns {Scene} */
export function imageScene({ chunk }) {
  const image = pictureNode();
  return {
    node: h("div", { class: "aigym-scene aigym-stacked" }, image),
    at(t) {
      const here = chunk(t);
      if (!here) return;
      image.alt = `observation ${t}`;
      putPicture(image, here.images[t - here.start] ?? "");
    },
  };
}

/** Pictures that the environment renders as the trajectory is played again, fetched as they are looked at.
 * @param {Stage} stage @param {typeof import("./chunks.js").parts} parts @returns {Scene} */
export function frameScene({ shown, ask, redraw }, parts) {
  const image = pictureNode();
  const note = veil();
  const size = shown.scenes.frames;
  let problem = "";
  const frames = parts({
    size,
    length: shown.length,
    first: /** @type {{start: number, images: string[], diverged_at: number | null} | null} */ (null),
    async fetch(number, late) {
      const ready = (/** @type {any} */ got) => {
        problem = "";
        if (got.reached === undefined) return got;
        note.say(`Playing it again: step ${formatNumber(got.reached)} of ${formatNumber(number * size)} …`);
        return null;
      };
      try {
        const stop = Math.min((number + 1) * size, shown.length + 1) + Number((number + 1) * size === shown.length);
        return ready(await ask("frames", { from: number * size, to: stop }, { late: (got) => late(ready(got)) }));
      } catch (raised) {
        problem = raised instanceof Error ? raised.message : String(raised);
        redraw();
        throw raised;
      }
    },
    arrived: redraw,
  });
  return {
    node: h("div", { class: "aigym-scene aigym-stacked" }, image, note.node),
    at(t) {
      const part = frames.at(t);
      if (problem) note.say(problem);
      else if (!part) note.say("Playing it again …");
      else if (t - part.start >= part.images.length) {
        note.say(`Played again, it went another way at step ${part.diverged_at}: no pictures from there on.`);
      } else note.say("");
      const uri = part?.images[Math.min(t - part.start, part.images.length - 1)];
      image.alt = `rendered after ${t} steps`;
      if (uri) putPicture(image, uri);
    },
  };
}

const AHEAD = 20;
const BEHIND = 8;
const MOST_TURNS = 90;

/** What was seen and done as an exchange, of which only the part around the reader is in the page: it
 * grows as one scrolls, and loses its other end.
 * @param {Stage} stage @returns {Scene} */
export function textScene({ shown, chunk, seek }) {
  const node = h("div", { class: "aigym-scene aigym-exchange", tabindex: "0", role: "log", "aria-label": "exchange", "aria-live": "off" });
  /** @type {Map<number, HTMLElement>} in order */
  const turns = new Map();
  let current = -1;
  /** @param {number} t @returns {HTMLElement | null} */
  function turnAt(t) {
    const here = t >= 0 && t <= shown.length ? chunk(t) : null;
    if (!here) return null;
    const i = t - here.start;
    const turn = h("div", { class: "aigym-turn", "data-t": String(t) });
    const part = (/** @type {string} */ who, /** @type {string} */ text) =>
      turn.append(h("div", { class: `aigym-who aigym-${who}` }, who), h("pre", {}, ...ansiNodes(text || "(empty)")));
    turn.append(h("div", { class: "aigym-who aigym-place" }, t < shown.length ? `step ${t}` : "end"));
    part("observation", here.texts[i] ?? "");
    if (t < shown.length) {
      part("action", here.actions[i] ?? "");
      if (here.rewards[i]) turn.append(h("div", { class: "aigym-who" }, `reward ${formatNumber(here.rewards[i])}`));
    }
    return turn;
  }
  const edges = () => {
    const all = [...turns.keys()];
    return [all[0] ?? 0, all.at(-1) ?? -1];
  };
  /** Adds turns below (way 1) or above (way -1), keeping the reader's place. @param {1 | -1} way @param {number} count */
  function grow(way, count) {
    for (let n = 0; n < count; n++) {
      const [first, last] = edges();
      const t = way > 0 ? last + 1 : first - 1;
      const turn = turnAt(t);
      if (!turn) return;
      const tall = node.scrollHeight;
      if (way > 0) {
        turns.set(t, turn);
        node.append(turn);
      } else {
        const others = [...turns];
        turns.clear();
        turns.set(t, turn);
        for (const [key, value] of others) turns.set(key, value);
        node.prepend(turn);
        node.scrollTop += node.scrollHeight - tall;
      }
      if (turns.size > MOST_TURNS) shed(way);
    }
  }
  /** @param {1 | -1} way the end that grows @returns {void} */
  function shed(way) {
    const [first, last] = edges();
    const gone = way > 0 ? first : last;
    const tall = node.scrollHeight;
    turns.get(gone)?.remove();
    turns.delete(gone);
    if (way > 0) node.scrollTop -= tall - node.scrollHeight;
  }
  /** @param {number} t */
  function start(t) {
    turns.clear();
    node.replaceChildren();
    const turn = turnAt(t);
    if (!turn) return;
    turns.set(t, turn);
    node.append(turn);
    grow(1, AHEAD);
    grow(-1, BEHIND);
  }
  node.addEventListener("scroll", () => {
    if (node.scrollTop + node.clientHeight > node.scrollHeight - 200) grow(1, AHEAD);
    if (node.scrollTop < 200) grow(-1, BEHIND);
  });
  node.addEventListener("dblclick", (event) => {
    const turn = /** @type {HTMLElement} */ (event.target).closest(".aigym-turn");
    if (turn instanceof HTMLElement) seek(Number(turn.dataset.t));
  });
  return {
    node,
    at(t) {
      const [first, last] = edges();
      if (t >= first - 1 && t <= last + 1 && turns.size) {
        if (t > last - 5) grow(1, AHEAD);
        if (t < first + 5) grow(-1, BEHIND);
      }
      if (!turns.has(t)) start(t);
      for (const [key, turn] of turns) turn.classList.toggle("aigym-current", key === t);
      const turn = turns.get(t);
      if (turn && t !== current) node.scrollTop = Math.max(0, turn.offsetTop - node.offsetTop - 8);
      current = turn ? t : -1;
    },
  };
}

/** The screen of a terminal as it was observed, and what was typed at it.
 * @param {Stage} stage @returns {Scene} */
export function terminalScene({ shown, chunk }) {
  const screen = h("pre", { class: "aigym-terminal", tabindex: "0", "aria-label": "terminal" });
  const typed = h("pre", { class: "aigym-typed" });
  return {
    node: h("div", { class: "aigym-scene" }, screen, h("div", { class: "aigym-who aigym-action" }, "action"), typed),
    at(t) {
      const here = chunk(t);
      if (!here) return;
      const i = clamp(t - here.start, 0, here.shown);
      screen.replaceChildren(...ansiNodes(here.texts[i] || "(empty)"));
      typed.replaceChildren(...ansiNodes(t < shown.length ? here.actions[i] ?? "" : "(the end)"));
    },
  };
}
