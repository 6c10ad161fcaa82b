// @ts-check
/**
 * The game that the policy of now plays beside its training. Messages bring several frames at a time, at most a few
 * times a second; the frames wait in a queue here and are shown one by one, at the pace at which they come.
 */
import { clamp, formatNumber, h } from "./drawing.js";
import { drawBoard } from "./scenes.js";

/**
 * @typedef {{n: number, board: number[][] | null, image: string | null, reward: number | null, action: any, start: boolean}} Frame
 * @typedef {{n: number, episode: number, step: number, frames: Frame[], return: number | null, ended: string | null, run_id: string}} Game
 * @typedef {Frame & {sum: number | null, ended: string | null, step: number}} Queued `sum`: the return after this frame
 */

const LONGEST = 400;
const FEWEST_MS = 30;
const MOST_MS = 250;
const PICTURE_START = "data:image/png;base64,";

/** The return after each frame: counted on from the frame before, or back from the last one's.
 * @param {readonly Frame[]} frames @param {number | null} last the return after the last frame
 * @param {{n: number, sum: number | null}} before @returns {(number | null)[]} */
export function returnsAfter(frames, last, before) {
  /** @type {(number | null)[]} */
  const sums = [];
  let sum = frames.length && frames[0].n === before.n + 1 ? before.sum : null;
  for (const frame of frames) {
    sum = frame.start ? frame.reward ?? 0 : sum === null ? null : sum + (frame.reward ?? 0);
    sums.push(sum);
  }
  sum = last;
  for (let i = frames.length - 1; i >= 0 && sums[i] === null && sum !== null; i--) {
    sums[i] = sum;
    sum = frames[i].start ? null : sum - (frames[i].reward ?? 0);
  }
  return sums;
}

/** How long a frame stays, in ms: so that those that wait last until the next message, and never longer than that.
 * @param {number} waiting @param {number} between ms between the last messages */
export function stay(waiting, between) {
  return clamp(between / Math.max(1, waiting), FEWEST_MS, MOST_MS);
}

/** @returns {{node: HTMLElement, take: (game: Game) => void, redraw: () => void, say: (text: string) => void, close: () => void}} */
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
  let before = { n: -2, sum: /** @type {number | null} */ (null) };
  let run = "";
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
    else note.textContent = "This environment has nothing to draw: neither board() nor rgb_array.";
    now.textContent = `return so far ${formatNumber(current.sum)}, policy of step ${formatNumber(current.step)}`;
    if (current.ended) last.textContent = `last game: ${current.ended}, return ${formatNumber(current.sum)}`;
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
    take(game) {
      if (game.run_id !== run) {
        [run, queue, before] = [game.run_id, [], { n: -2, sum: null }];
        last.textContent = "";
      }
      const time = performance.now();
      if (came) between = clamp(0.6 * between + 0.4 * (time - came), 200, 2000);
      came = time;
      const sums = returnsAfter(game.frames, game.return, before);
      const end = game.frames.length - 1;
      queue.push(...game.frames.map((frame, i) => ({
        ...frame, sum: sums[i], step: game.step, ended: i === end ? game.ended : null })));
      before = { n: game.frames[end]?.n ?? -2, sum: sums[end] ?? null };
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
