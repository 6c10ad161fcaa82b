// @ts-check
/**
 * A trajectory in the browser: its head, and the chunks of its steps as they are looked at.
 *
 * Position t shows observation t with the action taken there and the reward that answered it; the last
 * position, `length`, shows where the trajectory ended. Chunk k of a scene has the positions from k * size on,
 * and one observation more. What the head brought along is there without a kernel.
 */
import { cumulative } from "./drawing.js";

/**
 * @typedef {{start: number, shown: number, before: number | null, rewards: (number | null)[], actions: string[],
 *   infos: Record<string, any>[], texts: string[], values: (number | null)[][], images: string[], trees: TreeNode[],
 *   boards: import("./drawing.js").Boards | null, diverged_at?: number | null, reached?: number}} Chunk
 * `shown` steps from `start` on; `before` is the return up to there, `reached` how far a slow one has come
 * @typedef {[string, any, any?]} TreeNode see plain.py
 * @typedef {[number, string, string]} TimelineEvent position, kind, text
 * @typedef {{low: (number | null)[], high: (number | null)[], sum: (number | null)[]}} Overview
 * @typedef {{names: string[], lines: {low: (number | null)[], high: (number | null)[]}[],
 *   shades: {data: string, columns: number, ranges: [number | null, number | null][]} | null}} Numbers
 * @typedef {{
 *   id: string, run_id: string | null, env_id: string, agent: string, seed: number | null, group: string | null,
 *   parent: string | null, outcome: string, length: number, return: number | null, score: number | null,
 *   wall_s: number, error: string | null, view: string, scenes: Record<string, number>, notes: string[],
 *   marks: import("./drawing.js").Mark[], tags: string[], said: {text: string, by: string, at: number}[],
 *   overview: Overview, numbers: Numbers | null, events: TimelineEvent[], talk: import("./conversation.js").Talk | null,
 * } & Chunk} Shown what Python sends of a trajectory at first: see shown.py
 */

const CHUNKS_HELD = 80;
const REST_MS = 4000;

/** Which chunk holds a position; the end belongs to the last one.
 * @param {number} t @param {number} size @param {number} length steps of the trajectory */
export function chunkNumber(t, size, length) {
  return Math.max(0, Math.floor(Math.min(t, length - 1) / size));
}

/** Return so far at place i of a chunk. @param {Chunk} chunk @param {number} i @returns {number | null} */
export function returnAt(chunk, i) {
  if (chunk.before === null) return null;
  return cumulative([chunk.before, ...chunk.rewards.slice(0, i).map((r) => r ?? 0)]).at(-1) ?? null;
}

/**
 * Parts of something long, fetched as they are looked at: one request at a time, the latest wanted first,
 * then the neighbour that is looked at next.
 * @template T
 * @param {{size: number, length: number, first: T | null, arrived: () => void,
 *   fetch: (number: number, late: (part: T | null) => void) => Promise<T | null>}} source `fetch` resolves to null
 *   where the part is not ready yet: it is asked again; what comes after it was given up goes to `late`
 */
export function parts({ size, length, first, fetch, arrived }) {
  /** @type {Map<number, T>} */
  const held = new Map(first === null ? [] : [[0, first]]);
  const last = chunkNumber(length, size, length);
  let going = false;
  let wanted = -1;
  let restUntil = 0;
  function next() {
    if (going || wanted < 0 || held.has(wanted) || Date.now() < restUntil) return;
    going = true;
    const number = wanted;
    const take = (/** @type {T | null} */ part) => {
      if (part === null) return;
      keep(number, part);
      arrived();
    };
    const late = (/** @type {T | null} */ part) => {
      restUntil = 0; // it answers again
      take(part);
      next();
    };
    fetch(number, late).then(
      (part) => {
        going = false;
        take(part);
        next();
      },
      () => {
        going = false;
        restUntil = Date.now() + REST_MS;
      },
    );
  }
  /** @param {number} number @param {T} part */
  function keep(number, part) {
    held.set(number, part);
    for (const other of held.keys()) {
      if (held.size <= CHUNKS_HELD) break;
      if (other !== 0 && other !== number) held.delete(other);
    }
  }
  return {
    /** What is there for a position; where nothing is, it is asked for. @param {number} t @returns {T | null} */
    at(t) {
      const number = chunkNumber(t, size, length);
      const part = held.get(number) ?? null;
      const within = t - number * size;
      wanted = number;
      if (part !== null) {
        const beside = within * 2 >= size ? number + 1 : number - 1;
        if (beside >= 0 && beside <= last) wanted = beside;
      }
      next();
      return part;
    },
    /** Whether a position is there; asks for nothing. @param {number} t */
    has: (t) => held.has(chunkNumber(t, size, length)),
    all: () => [...held.values()],
    /** A person wants it now: a kernel that was silent is asked again. */
    retry() { restUntil = 0; },
  };
}

/**
 * Where a text occurs in what is loaded; the same hits that `finding.py` gives for all.
 * @param {Iterable<Chunk>} chunks @param {string} wanted
 * @returns {[number, string, string][]} position, where, excerpt
 */
export function findLoaded(chunks, wanted) {
  const lower = wanted.toLowerCase();
  /** @type {[number, string, string][]} */
  const hits = [];
  if (!lower) return hits;
  const look = (/** @type {number} */ t, /** @type {string} */ where, /** @type {string} */ text) => {
    const at = text.toLowerCase().indexOf(lower);
    if (at < 0) return;
    const part = text.slice(Math.max(0, at - 40), at + wanted.length + 40).replaceAll("\n", " ");
    hits.push([t, where, at > 40 ? `…${part}` : part]);
  };
  for (const chunk of chunks) {
    for (let i = 0; i <= chunk.shown; i++) {
      const t = chunk.start + i;
      if (chunk.texts[i] !== undefined) look(t, "observation", chunk.texts[i]);
      if (chunk.trees[i] !== undefined) look(t, "observation", JSON.stringify(chunk.trees[i]));
      if (i < chunk.shown) look(t, "action", chunk.actions[i]);
      if (i < chunk.shown && chunk.infos[i]) look(t, "info", JSON.stringify(chunk.infos[i]));
    }
  }
  const once = new Map(hits.map((hit) => [`${hit[0]} ${hit[1]}`, hit]));
  return [...once.values()].sort((a, b) => a[0] - b[0]);
}
