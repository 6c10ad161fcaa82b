// @ts-check
/**
 * The game that the policy of now plays beside its training. Messages bring several frames at a time, at most a few
 * times a second; the frames wait in a queue here and are shown one by one, at the pace at which they come.
 */
import { clamp, formatNumber, h } from "./drawing.js";
import { drawBoard } from "./scenes.js";

/**
 * @typedef {{n: number, board: number[][] | null, image: string | null, reward: number | null, action: any,
 *   start: boolean, return: number | null, ended: string | null}} Frame `return`: of the episode so far
 * @typedef {{step: number, frames: Frame[], run_id: string}} Game `step`: how far the training is
 * @typedef {Frame & {step: number}} Queued
 */

const LONGEST = 400;
const FEWEST_MS = 30;
const MOST_MS = 250;
const PICTURE_START = "data:image/png;base64,";

/** How long a frame stays, in ms: so that those that wait last until the next message, and never longer than that.
 * @param {number} waiting @param {number} between ms between the last messages */
export function stay(waiting, between) {
  return clamp(between / Math.max(1, waiting), FEWEST_MS, MOST_MS);
}

/** @returns {{node: HTMLElement, take: (game: Game, about: string) => void, redraw: () => void, say: (text: string) => void, close: () => void}} */
export function gamePanel() {
  const canvas = h("canvas", { class: "aigym-board", role: "img", "aria-label": "the game", hidden: "" });
  const image = h("img", { class: "aigym-picture", alt: "the game", hidden: "" });
  const note = h("p", { class: "aigym-dull aigym-empty" });
  const now = h("span");
  const last = h("span", { class: "aigym-dull", role: "status" });
  const node = h("section", { class: "aigym-game", "aria-label": "the game as it is played now" },
    h("div", { class: "aigym-screen" }, canvas, image, note), h("div", { class: "aigym-facts" }, now, last));
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  /** @type {Queued[]} */
  let queue = [];
  /** @type {Queued | null} */
  let current = null;
  let run = "";
  let whose = "";
  let [came, between] = [0, 500];
  let timer = 0;

  function draw() {
    if (!current) return;
    const { board, image: picture } = current;
    canvas.hidden = !board;
    image.hidden = !picture;
    note.hidden = Boolean(board || picture);
    if (board) {
      drawBoard(canvas, { width: board[0].length, height: board.length, first: [], changes: [] }, board.flat());
    } else if (picture?.startsWith(PICTURE_START)) image.src = picture;
    else note.textContent = "Nothing to draw: this environment has neither board() nor rgb_array, or the package that draws it is missing (aigym.doctor() names it).";
    now.textContent = `${whose}return so far ${formatNumber(current.return)}, policy of step ${formatNumber(current.step)}`;
    if (current.ended) last.textContent = `last game: ${current.ended}, return ${formatNumber(current.return)}`;
  }
  function next() {
    const frame = queue.shift();
    if (!frame) {
      timer = 0;
      return;
    }
    current = frame;
    draw();
    timer = window.setTimeout(next, stay(queue.length, between));
  }
  return {
    node,
    take(game, about) {
      whose = about && `${about}: `;
      if (game.run_id !== run) {
        [run, queue] = [game.run_id, []];
        last.textContent = "";
      }
      const time = performance.now();
      if (came) between = clamp(0.6 * between + 0.4 * (time - came), 200, 2000);
      came = time;
      queue.push(...game.frames.map((frame) => ({ ...frame, step: game.step })));
      // Nobody wants to see what was long ago: behind a hidden page frames pile up.
      if (still.matches || document.hidden) queue = queue.slice(-1);
      else if (queue.length > LONGEST) queue = queue.slice(-LONGEST);
      if (!timer) next();
    },
    redraw: draw,
    say(text) {
      if (!current) note.textContent = text;
    },
    close() {
      window.clearTimeout(timer);
    },
  };
}
