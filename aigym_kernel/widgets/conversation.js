// @ts-check
/**
 * A conversation: who said what, tool calls with their answers folded under them, reasoning folded.
 *
 * Only chunks of turns near the view are there; others are blocks of about their height. Everything recorded
 * becomes text nodes, Markdown through markdown.js; pictures are data of four kinds of bitmap only.
 */
import { ansiNodes, hasAnsi } from "./ansi.js";
import { formatNumber, formatTime, h } from "./drawing.js";
import { bound } from "./keys.js";
import { codeNode, markdown, visible } from "./markdown.js";
import { bringUp, windowed } from "./windowed.js";

/**
 * @typedef {["t" | "i" | "x", string]} TurnPart text, picture, what is not shown
 * @typedef {{name: string, arguments: [string, string][], result?: TurnPart[], error?: string}} TurnCall
 * @typedef {{turn: number, step: number, role: string, parts: TurnPart[], name?: string, reasoning?: string,
 *   error?: string, model?: string, input_tokens?: number, output_tokens?: number, cost?: number, at?: number,
 *   logprob?: number, tokens?: [string, number | null][], calls?: TurnCall[]}} Turn
 * @typedef {{turns: number, messages: number, starts: number[], steps: number[], sizes: number[],
 *   input_tokens: number, output_tokens: number, cost: number | null, models: string[], first: Turn[]}} Talk
 */

const PICTURE_KINDS = /^data:image\/(?:png|jpeg|gif|webp);base64,[A-Za-z0-9+/=]*$/;
export const TALK_KEYS = /** @type {const} */ ({ o: "unfold", O: "fold" });
/** @type {[string, string][]} */
export const TALK_HELP = [["o O", "in a conversation: unfold, fold all"]];
const SHORT_SYSTEM = 600;

/** The last place whose value is not above `value`, at least 0. @param {readonly number[]} rising @param {number} value */
export function lastUpTo(rising, value) {
  let [low, high] = [0, rising.length];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (rising[middle] <= value) low = middle;
    else high = middle;
  }
  return low;
}

/** Dollars, in as many digits as it takes. @param {number} cost */
export function formatCost(cost) {
  return cost === 0 ? "$0" : cost >= 0.995 ? `$${cost.toFixed(2)}` : `$${Number(cost.toPrecision(2))}`;
}

/** About how high a chunk will be. @param {number} turns @param {number} characters */
export function chunkHeight(turns, characters) {
  return Math.round(turns * 64 + Math.min(characters, turns * 4000) / 5);
}

/** A call in one line: its name and the beginning of what it was given. @param {TurnCall} call */
export function callLine(call) {
  const [first] = call.arguments;
  const text = first ? first[1].trim().split("\n", 1)[0] : "";
  return text.length > 90 ? `${text.slice(0, 89)}…` : text;
}

/** @param {TurnPart} part @param {boolean} plain whether text is a program's and no Markdown @returns {HTMLElement} */
function partNode([kind, text], plain) {
  if (kind === "i") {
    if (!PICTURE_KINDS.test(text)) return h("p", { class: "aigym-dull" }, "a picture that cannot be shown");
    return h("img", { class: "aigym-shot", src: text, alt: "picture in the message", loading: "lazy" });
  }
  if (kind === "x") return h("p", { class: "aigym-dull" }, visible(text));
  if (hasAnsi(text)) return h("pre", { dir: "auto" }, ...ansiNodes(text));
  return plain ? h("pre", { dir: "auto" }, visible(text)) : markdown(text);
}

/** Each token on a ground that is the stronger, the less probable it was. @param {[string, number | null][]} tokens */
function tokenNode(tokens) {
  return h("pre", { class: "aigym-tokens", dir: "auto" }, ...tokens.map(([text, logprob]) => {
    const doubt = Math.round(5 * (1 - Math.exp(Math.min(0, logprob ?? 0))));
    return h("span", { class: `aigym-doubt-${doubt}`, title: `log-probability ${formatNumber(logprob)}` }, visible(text));
  }));
}

/**
 * @typedef {{key: string, open: boolean}} Fold what it is, and whether it is open unless somebody changed it
 * @param {(fold: Fold) => boolean} isOpen @param {(key: string, open: boolean) => void} opened
 */
function folding(isOpen, opened) {
  /** @param {Fold} fold @param {string} kind @param {(Node | string)[]} summary @param {() => Node[]} inside */
  return (fold, kind, summary, inside) => {
    const node = h("details", { class: `aigym-fold aigym-${kind}`, "data-fold": fold.key }, h("summary", {}, ...summary));
    let filled = false;
    const fill = () => {
      if (!filled && node.open) node.append(...inside());
      filled ||= node.open;
    };
    node.open = isOpen(fold);
    fill();
    node.addEventListener("toggle", () => {
      fill();
      opened(fold.key, node.open);
    });
    return node;
  };
}

/** @typedef {ReturnType<typeof folding>} MakeFold */

/** @param {TurnCall} call @param {string} key @param {MakeFold} fold */
function callNode(call, key, fold) {
  const state = call.error ? ["failed", "bad"] : call.result ? ["answered", "dull"] : ["no answer", "dull"];
  const summary = [
    h("span", { class: "aigym-call-name" }, visible(call.name)),
    h("code", {}, visible(callLine(call))),
    h("span", { class: `aigym-badge aigym-${state[1]}` }, state[0]),
  ];
  return fold({ key, open: false }, "call", summary, () => [
    ...call.arguments.map(([name, text]) =>
      text.includes("\n") || text.length > 80
        ? codeNode(text, name)
        : h("div", { class: "aigym-argument" }, h("span", { class: "aigym-dull" }, `${visible(name)} `), h("code", {}, visible(text)))),
    ...(call.result ? [h("div", { class: "aigym-who" }, "result"), ...call.result.map((part) => partNode(part, true))] : []),
    ...(call.result && !call.result.length ? [h("p", { class: "aigym-dull" }, "(empty)")] : []),
    ...(call.error ? [h("pre", { class: "aigym-error", dir: "auto" }, visible(call.error))] : []),
  ]);
}

/** The small facts in a turn's head. @param {Turn} turn */
function turnFacts(turn) {
  const facts = [];
  const { input_tokens: input, output_tokens: output } = turn;
  if (input !== undefined || output !== undefined) facts.push(`${formatNumber(input)} → ${formatNumber(output)} tokens`);
  if (turn.cost !== undefined) facts.push(formatCost(turn.cost));
  if (turn.logprob !== undefined) facts.push(`mean logprob ${formatNumber(turn.logprob)}`);
  if (turn.at !== undefined) facts.push(formatTime(turn.at, new Date()));
  return facts.map((fact) => h("span", { class: "aigym-dull" }, fact));
}

/** @param {Turn} turn @param {MakeFold} fold @param {{seek: (t: number) => void, whole: (turn: number) => void}} hooks */
function turnNode(turn, fold, { seek, whole }) {
  const step = h("button", { type: "button", class: "aigym-step", title: "go to this step" }, `step ${turn.step}`);
  step.addEventListener("click", () => seek(turn.step));
  const node = h("article", { class: `aigym-turn aigym-role-${turn.role}`, "data-turn": String(turn.turn), "aria-label": `${turn.role}, turn ${turn.turn + 1}` },
    h("header", { class: "aigym-speaker" },
      h("strong", {}, turn.role), ...(turn.name ? [h("span", {}, visible(turn.name))] : []),
      ...(turn.model ? [h("span", { class: "aigym-dull" }, visible(turn.model))] : []), ...turnFacts(turn), step));
  if (turn.reasoning) {
    const reasoning = turn.reasoning;
    node.append(fold({ key: `${turn.turn}r`, open: false }, "reasoning",
      [`reasoning, ${formatNumber(reasoning.length)} characters`], () => [markdown(reasoning)]));
  }
  const body = () => turn.parts.map((part) => partNode(part, turn.role === "tool"));
  const length = turn.parts.reduce((sum, [kind, text]) => sum + (kind === "t" ? text.length : 0), 0);
  if (turn.role === "system" && length > SHORT_SYSTEM) {
    node.append(fold({ key: `${turn.turn}s`, open: false }, "system", [`${formatNumber(length)} characters`], body));
  } else node.append(...body());
  const tokens = turn.tokens;
  if (tokens) {
    node.append(fold({ key: `${turn.turn}t`, open: false }, "reasoning", [`${formatNumber(tokens.length)} tokens by their probability`],
      () => [tokenNode(tokens)]));
  }
  (turn.calls ?? []).forEach((call, i) => node.append(callNode(call, `${turn.turn}c${i}`, fold)));
  if (turn.error) node.append(h("pre", { class: "aigym-error", dir: "auto" }, visible(turn.error)));
  if (isCut(turn)) {
    const more = h("button", { type: "button" }, "show all of it");
    more.addEventListener("click", () => whole(turn.turn));
    node.append(more);
  }
  if (node.childElementCount === 1) node.append(h("p", { class: "aigym-dull" }, "(empty)"));
  return node;
}

/** Whether a turn is not there whole. @param {Turn} turn */
export function isCut(turn) {
  const cut = (/** @type {string | undefined} */ text) => /\n… [\d,]+ more characters$/.test(text ?? "");
  const some = (/** @type {TurnPart[] | undefined} */ parts) =>
    (parts ?? []).some(([kind, text]) => (kind === "t" && cut(text)) || (kind === "x" && text.endsWith(" bytes")));
  return some(turn.parts) || cut(turn.reasoning) || cut(turn.error)
    || (turn.calls ?? []).some((call) => some(call.result) || cut(call.error) || call.arguments.some(([, text]) => cut(text)));
}

/** @param {import("./scenes.js").Stage} stage @returns {import("./scenes.js").Scene} */
export function conversationScene({ shown, ask, seek, redraw, signal }) {
  const talk = /** @type {Talk} */ (shown.talk);
  /** @type {Map<number, Turn[]>} */
  const held = new Map([[0, talk.first]]);
  /** @type {Map<string, boolean>} what somebody folded or unfolded */
  const folds = new Map();
  let every = /** @type {boolean | null} */ (null);
  const fold = folding((f) => folds.get(f.key) ?? every ?? f.open, (key, open) => folds.set(key, open));
  const scroller = h("div", { class: "aigym-conversation", tabindex: "0", role: "log", "aria-label": "conversation", "aria-live": "off" });
  const total = [`${formatNumber(talk.messages)} messages`];
  if (talk.input_tokens || talk.output_tokens) total.push(`${formatNumber(talk.input_tokens)} → ${formatNumber(talk.output_tokens)} tokens`);
  if (talk.cost !== null) total.push(formatCost(talk.cost));
  total.push(...talk.models.map(visible));
  const button = (/** @type {string} */ text, /** @type {string} */ key, /** @type {boolean} */ open) => {
    const made = h("button", { type: "button", title: `${text} (${key})` }, text);
    made.addEventListener("click", () => foldAll(open));
    return made;
  };
  const node = h("div", { class: "aigym-scene aigym-talk" },
    h("div", { class: "aigym-talk-head" }, ...total.map((text) => h("span", {}, text)), button("unfold all", "o", true), button("fold all", "O", false)),
    scroller);
  node.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !Object.hasOwn(TALK_KEYS, event.key)) return;
    bound(TALK_KEYS, { unfold: () => foldAll(true), fold: () => foldAll(false) })[event.key]();
    event.preventDefault();
    event.stopPropagation();
  });
  let current = -1;
  let seen = -1;
  const view = windowed({
    scroller, signal,
    draw: (/** @type {number} */ n) => held.get(n)?.map((turn) => turnNode(turn, fold, { seek, whole })) ?? null,
    fetch: async (n, late) => {
      const take = (/** @type {Turn[]} */ turns) => { held.set(n, turns); redraw(); };
      take(await ask("turns", { chunk: n }, { late: (turns) => { take(turns); late(); } }));
    },
    failed: () => [h("p", { class: "aigym-dull" }, "These turns need the kernel.")],
    drawn: () => { mark(); },
  });
  const blocks = talk.starts.map((start, n) => {
    const block = h("div", { class: "aigym-chunk" });
    scroller.append(block);
    view.add(block, n, chunkHeight((talk.starts[n + 1] ?? talk.turns) - start, talk.sizes[n]));
    return block;
  });

  /** @param {boolean} open */
  function foldAll(open) {
    every = open;
    folds.clear();
    for (const details of scroller.querySelectorAll("details")) details.open = open;
  }
  /** @param {number} k */
  async function whole(k) {
    const take = (/** @type {Turn} */ turn) => {
      const n = lastUpTo(talk.starts, k);
      const turns = /** @type {Turn[]} */ (held.get(n));
      turns[k - talk.starts[n]] = turn;
      scroller.querySelector(`[data-turn="${k}"]`)?.replaceWith(turnNode(turn, fold, { seek, whole }));
      mark();
    };
    take(await ask("turn", { turn: k }, { late: take }));
  }
  /** The turns of a step. @param {number} n @param {number} t */
  const ofStep = (n, t) => (held.get(n) ?? []).filter((turn) => turn.step === t);
  function mark() {
    for (const turn of scroller.querySelectorAll(".aigym-current")) turn.classList.remove("aigym-current");
    const n = lastUpTo(talk.steps, current);
    const near = [n - 1, n].flatMap((m) => ofStep(m, current));
    for (const turn of near) scroller.querySelector(`[data-turn="${turn.turn}"]`)?.classList.add("aigym-current");
    return near;
  }
  /** Brings the current step into view, once per step and once it is there. */
  function follow() {
    if (seen === current || !blocks.length) return;
    const n = lastUpTo(talk.steps, current);
    if (!view.need(blocks[n])) {
      bringUp(scroller, blocks[n]);
      return;
    }
    const near = mark();
    seen = current;
    const target = near.find((turn) => turn.role === "assistant") ?? near[0] ?? held.get(n)?.at(-1);
    const shownTurn = scroller.querySelector(`[data-turn="${target?.turn}"]`);
    if (shownTurn) bringUp(scroller, shownTurn);
  }
  if (blocks.length) view.need(blocks[0]);
  return {
    node,
    at(t) {
      if (t !== current) {
        current = t;
        // The beginning is the beginning, whatever was said before the first step.
        seen = t === 0 ? 0 : -1;
        mark();
        if (t === 0) scroller.scrollTop = 0;
      }
      follow();
    },
  };
}
