// @ts-check
/**
 * Questions to the kernel: `ask("rows", {from: 0, to: 60})` resolves to what `answers.py` answers.
 *
 * Without a kernel nothing answers: after three seconds a note says so, and what the notebook holds stays
 * playable. An answer that comes later takes the note away again, and goes to `late`.
 */

/**
 * @typedef {(what: string, args?: Record<string, any>, how?: {quietly?: boolean, patiently?: boolean,
 *   late?: (value: any) => void}) => Promise<any>} Ask
 *   quietly: what nobody has asked for is not missed either; patiently: the answer may take any time; late: gets
 *   the answer that comes after the promise was given up
 */
/** @typedef {{send: (content: any) => void, on: (name: any, callback: (...args: any[]) => void) => void,
 *   off: (name: any, callback: (...args: any[]) => void) => void}} Line what carries messages: a widget's model */

const PATIENCE_MS = 3000;
const SILENCE =
  "No answer from the kernel: it is busy or not running. Filters and other trajectories need it; what is shown " +
  "here can still be played. If it is busy, the answer comes when it is done; if not, run this cell again.";

/**
 * @param {Line} line
 * @param {{tell: (problem: string) => void, busy: (on: boolean) => void, signal: AbortSignal, silence?: string}} hooks
 *   `tell` shows a problem, or that there is none any more; `busy` whether an answer is waited for; `silence` is what
 *   is told where nothing answers
 * @returns {Ask} its promise may be ignored: a problem has been told already. An answer with binary parts
 *   carries them as `buffers`.
 */
export function requests(line, { tell, busy, signal, silence = SILENCE }) {
  // Two views of one widget get each other's answers; so each has a name of its own.
  const name = Math.random().toString(36).slice(2);
  /** @type {Map<string, {resolve: (value: any) => void, reject: (problem: Error) => void, quietly: boolean, patiently: boolean, late?: (value: any) => void}>} */
  const waiting = new Map();
  /** @type {Map<string, (value: any) => void>} */
  const given = new Map();
  let count = 0;
  let timer = 0;
  const settle = () => {
    window.clearTimeout(timer);
    if ([...waiting.values()].some(({ patiently }) => !patiently)) timer = window.setTimeout(silent, PATIENCE_MS);
    else if (!waiting.size) busy(false);
  };
  const silent = () => {
    const missed = [...waiting].filter(([, { patiently }]) => !patiently);
    for (const [ask, { reject, late }] of missed) {
      waiting.delete(ask);
      if (late) given.set(ask, late);
      reject(new Error(silence));
    }
    busy(false);
    if (missed.some(([, { quietly }]) => !quietly)) tell(silence);
  };
  const hear = (/** @type {any} */ message, /** @type {DataView[]} */ buffers) => {
    const mine = typeof message?.answer === "string" && message.answer.startsWith(`${name}-`);
    if (!mine) return;
    const asked = waiting.get(message.answer);
    const take = asked?.resolve ?? given.get(message.answer);
    waiting.delete(message.answer);
    given.delete(message.answer);
    if (!asked?.quietly) tell(message.error ?? "");
    settle();
    if (message.error !== undefined) asked?.reject(new Error(message.error));
    else {
      if (buffers?.length && message.value) message.value.buffers = buffers;
      take?.(message.value);
    }
  };
  line.on("msg:custom", hear);
  signal.addEventListener("abort", () => {
    window.clearTimeout(timer);
    line.off("msg:custom", hear);
  });
  return (what, args = {}, { quietly = false, patiently = false, late } = {}) => {
    const ask = `${name}-${++count}`;
    const answer = new Promise((resolve, reject) => waiting.set(ask, { resolve, reject, quietly, patiently, late }));
    answer.catch(() => {});
    if (!quietly) busy(true);
    settle();
    line.send({ ...args, ask, what });
    return answer;
  };
}

/**
 * One request at a time: while one is on its way only the latest of the next ones is kept.
 * @template T @param {(value: T) => Promise<any>} send @returns {(value: T) => void}
 */
export function latest(send) {
  let going = false;
  /** @type {{value: T} | null} */
  let next = null;
  const go = (/** @type {T} */ value) => {
    going = true;
    send(value).catch(() => {}).finally(() => {
      going = false;
      const then = next;
      next = null;
      if (then) go(then.value);
    });
  };
  return (value) => {
    if (going) next = { value };
    else go(value);
  };
}
