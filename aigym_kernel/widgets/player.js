// @ts-check
/**
 * The trajectory pane: one trajectory, step by step. Scenes draw a position, the timeline shows the whole, the
 * controls go through it. It knows nothing of the widget's state: `player` gets questions and callbacks.
 */
import { fact, heading, remarks } from "./about.js";
import { findLoaded, parts, returnAt } from "./chunks.js";
import { conversationScene, TALK_HELP } from "./conversation.js";
import { clamp, formatNumber, h, icon } from "./drawing.js";
import { findBar } from "./find.js";
import { bound } from "./keys.js";
import { boardScene, frameScene, imageScene, terminalScene, textScene } from "./scenes.js";
import { similarTo } from "./similar.js";
import { jsonScene, stepScene, treeScene, valueScene } from "./tables.js";
import { neighbourEvent, timeline } from "./timeline.js";

/** @typedef {import("./chunks.js").Shown} Shown */
/** @typedef {import("./scenes.js").Scene} PlayerScene */
/** @typedef {(stage: import("./scenes.js").Stage) => PlayerScene} SceneMaker */

/** Each scene's name on its button, how many steps a second is its own pace, and what makes it.
 * @type {Readonly<Record<string, {label: string, pace: number, make: SceneMaker}>>} */
const SCENES = {
  conversation: { label: "conversation", pace: 1, make: conversationScene },
  boards: { label: "board", pace: 10, make: boardScene },
  images: { label: "picture", pace: 10, make: imageScene },
  values: { label: "numbers", pace: 10, make: valueScene },
  text: { label: "text", pace: 1, make: textScene },
  terminal: { label: "terminal", pace: 1, make: terminalScene },
  tree: { label: "tree", pace: 2, make: treeScene },
  frames: { label: "rendered", pace: 10, make: (stage) => frameScene(stage, parts) },
  steps: { label: "steps", pace: 10, make: stepScene },
  json: { label: "JSON", pace: 2, make: jsonScene },
};
/** Scenes that draw what the chunks of another one bring. */
const BORROWING = ["frames", "steps", "json"];
export const PLAYER_KEYS = /** @type {const} */ ({
  ArrowLeft: "back", ArrowRight: "on", "Shift+ArrowLeft": "tenBack", "Shift+ArrowRight": "tenOn", Home: "first", End: "last",
  " ": "play", e: "event", E: "eventBack", "+": "faster", "-": "slower", v: "scene", f: "find", t: "tag",
});
/** @type {[string, string][]} */
export const PLAYER_HELP = [
  ["← →", "step"], ["Shift+← →", "ten steps"], ["Home End", "first, last step"], ["Space", "play, pause"],
  ["+ −", "faster, slower"], ["e E", "next, previous event"], ["v", "another way to look at it"],
  ["f", "find in all steps"], ["t", "add a tag"],
];
const SPEEDS = ["0.25", "0.5", "1", "2", "5", "10", "25", "50", "100", "max"];
const WHOLE_IN_S = 6;

/** Steps per second. @param {string} speed one of SPEEDS @param {number} pace @param {number} length */
export function stepsPerSecond(speed, pace, length) {
  return speed === "max" ? Math.max(100 * pace, length / WHOLE_IN_S) : Number(speed) * pace;
}

/**
 * @param {{
 *   ask: import("./requests.js").Ask,
 *   onStep: (settled: boolean) => void,
 *   signal: AbortSignal,
 * }} hooks `ask`: a question to the kernel, see requests.js; `onStep`: the reader has moved, `settled` if it rests there
 */
export function player({ ask, onStep, signal }) {
  const node = h("section", { class: "aigym-player", "aria-label": "trajectory" });
  /** @type {Shown | null} */
  let shown = null;
  /** @type {PlayerScene | null} */
  let scene = null;
  let sceneName = "";
  /** @type {Map<string, ReturnType<typeof parts<import("./chunks.js").Chunk>>>} by the scene whose data they are */
  let sources = new Map();
  /** @type {ReturnType<typeof timeline> | null} */
  let line = null;
  /** @type {ReturnType<typeof remarks> | null} */
  let remarked = null;
  let sceneGone = new AbortController();
  let t = 0;
  let playing = 0;
  let redrawing = 0;

  const label = (/** @type {HTMLElement} */ made, /** @type {string} */ text, /** @type {string} */ sign) => {
    made.setAttribute("aria-label", text);
    made.title = text;
    made.replaceChildren(icon(sign));
  };
  const button = (/** @type {string} */ text, /** @type {string} */ sign, /** @type {() => void} */ act) => {
    const made = h("button", { type: "button" });
    label(made, text, sign);
    made.addEventListener("click", act);
    return made;
  };
  const slider = h("input", { type: "range", min: "0", step: "1", "aria-label": "step" });
  slider.addEventListener("input", () => goTo(Number(slider.value)));
  const speed = h("select", { "aria-label": "speed", title: "speed (+ −)" },
    ...SPEEDS.map((s) => h("option", { value: s }, s === "max" ? s : `${s}×`)));
  speed.value = "1";
  // The next key plays or steps; a select would keep it.
  speed.addEventListener("change", () => node.focus({ preventScroll: true }));
  const play = button("play (space)", "play", () => toggle());
  const tabs = h("div", { class: "aigym-scenes", role: "group", "aria-label": "ways to look at it" });
  const finder = h("button", { type: "button", title: "find in all steps (f)", "aria-label": "find in all steps (f)" }, "find");
  finder.addEventListener("click", () => bar.open());
  const place = h("div", { class: "aigym-place-of-scene" });
  const facts = h("div", { class: "aigym-facts aigym-now", "aria-live": "off" });
  const infos = h("div", { class: "aigym-facts aigym-infos", "aria-live": "off" });
  const controls = h("div", { class: "aigym-controls" },
    button("first step (Home)", "first", () => goTo(0)),
    button("previous event (Shift+E)", "eventBefore", () => jump(-1)),
    button("step back (←)", "back", () => step(-1)),
    play,
    button("step forward (→)", "forward", () => step(1)),
    button("next event (e)", "eventAfter", () => jump(1)),
    button("last step (End)", "last", () => end()),
    speed, finder);
  const bar = findBar({
    find: (wanted, late) => question("find", { text: wanted }, { late }),
    loaded: (wanted) => findLoaded([...sources.values()].flatMap((source) => source.all()), wanted),
    position: () => t,
    seek: goTo,
    scene: () => scene?.node ?? null,
    closed: () => node.focus({ preventScroll: true }),
  });
  node.tabIndex = -1;
  node.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "f" && shown) {
      event.preventDefault();
      bar.open();
    }
  });

  /** A question about the open trajectory. Any answer may tell that it went another way when played again.
   * @param {string} what @param {Record<string, any>} [args] @param {{late?: (answer: any) => void}} [how] */
  async function question(what, args = {}, how = {}) {
    const of = shown;
    const answer = await ask(what, { ...args, id: of?.id ?? "" }, how);
    if (answer?.diverged_at != null && shown === of) diverged(answer.diverged_at);
    return answer;
  }

  /** The chunks that a scene draws. @param {string} name */
  function source(name) {
    const of = /** @type {Shown} */ (shown);
    const key = BORROWING.includes(name) || !(name in of.scenes) ? of.view : name;
    const made = sources.get(key) ?? parts({
      size: of.scenes[key],
      length: of.length,
      first: key === of.view && of.reached === undefined ? of : null,
      fetch: async (number, late) => {
        const ready = (/** @type {any} */ chunk) => (chunk.reached === undefined ? chunk : null);
        return ready(await question("steps", { scene: key, chunk: number }, { late: (chunk) => late(ready(chunk)) }));
      },
      arrived: redraw,
    });
    sources.set(key, made);
    return made;
  }
  const chunkAt = (/** @type {number} */ at) => source(sceneName).at(at);

  /** A divergence is known once it has been played that far. @param {number} at */
  function diverged(at) {
    if (!shown || shown.events.some((event) => event[1] === "diverged")) return;
    shown.events = [...shown.events, /** @type {[number, string, string]} */ ([at, "diverged", "played again, it goes another way"])]
      .sort((a, b) => a[0] - b[0]);
    line?.mark(shown.events);
  }
  function redraw() {
    redrawing ||= window.requestAnimationFrame(() => {
      redrawing = 0;
      paint();
    });
  }
  function paint() {
    if (!shown || !scene || !line) return;
    slider.value = String(t);
    slider.setAttribute("aria-valuetext", `step ${t} of ${shown.length}`);
    scene.node.classList.toggle("aigym-waiting", !source(sceneName).has(t));
    scene.at(t);
    line.at(t);
    tell();
    bar.mark();
  }
  /** Step facts, and the infos of the step with what has changed. */
  function tell() {
    if (!shown) return;
    const here = chunkAt(t);
    const ended = t >= shown.length;
    const i = here ? t - here.start : 0;
    const waiting = "…";
    facts.replaceChildren(
      fact("step", `${formatNumber(t)} / ${formatNumber(shown.length)}`),
      ...(ended ? [fact("end", shown.outcome)]
        : ["text", "conversation"].includes(sceneName) ? [] : [fact("action", here ? (here.actions[i] ?? "").slice(0, 120) : waiting)]),
      fact("reward", ended ? "–" : here ? formatNumber(here.rewards[i]) : waiting),
      fact("return so far", here ? formatNumber(returnAt(here, i)) : waiting));
    const at = ended ? i - 1 : i;
    const info = Object.entries(here?.infos[at] ?? {});
    const before = here?.infos[at - 1];
    infos.hidden = !info.length;
    infos.replaceChildren(...info.map(([key, value]) => {
      const made = fact(key, typeof value === "number" ? formatNumber(value) : String(value ?? "–"));
      made.classList.toggle("aigym-changed", before !== undefined && before[key] !== value);
      return made;
    }));
  }

  /** A person goes to a position: what plays, stops. @param {number} to */
  function goTo(to) {
    pause();
    sources.forEach((one) => one.retry());
    seek(to);
  }
  /** @param {number} to */
  function seek(to) {
    if (!shown) return;
    t = clamp(Math.round(to), 0, shown.length);
    slider.value = String(t);
    redraw();
    onStep(!playing);
  }
  /** @param {number} by */
  function step(by) {
    goTo(t + by);
  }
  /** @param {1 | -1} way */
  function jump(way) {
    const to = shown && neighbourEvent(shown.events, t, way);
    if (to !== null) goTo(to);
  }
  const end = () => goTo(shown?.length ?? 0);
  function pause() {
    if (!playing) return;
    window.cancelAnimationFrame(playing);
    playing = 0;
    label(play, "play (space)", "play");
    onStep(true);
  }
  function toggle() {
    if (!shown) return;
    if (playing) {
      pause();
      return;
    }
    if (t >= shown.length) t = 0;
    sources.forEach((one) => one.retry());
    label(play, "pause (space)", "pause");
    let from = performance.now();
    let rest = 0;
    const tick = (/** @type {number} */ now) => {
      if (!shown || t >= shown.length || !node.isConnected) {
        pause();
        return;
      }
      playing = window.requestAnimationFrame(tick);
      const pace = SCENES[sceneName]?.pace ?? 10;
      rest += (Math.max(0, now - from) / 1000) * stepsPerSecond(speed.value, pace, shown.length);
      from = now;
      const by = Math.floor(rest);
      rest -= by;
      if (!by) return;
      // It waits for what has not arrived yet instead of playing past it.
      const to = Math.min(shown.length, t + by);
      if (source(sceneName).has(to)) seek(to);
      else chunkAt(to);
    };
    playing = window.requestAnimationFrame(tick);
  }
  /** @param {1 | -1} by */
  function change(by) {
    speed.selectedIndex = clamp(speed.selectedIndex + by, 0, SPEEDS.length - 1);
  }
  signal.addEventListener("abort", () => {
    pause();
    window.cancelAnimationFrame(redrawing);
    sceneGone.abort();
  });

  /** @param {string} name */
  function look(name) {
    if (!shown || !SCENES[name]) return;
    sceneGone.abort();
    sceneGone = new AbortController();
    sceneName = name;
    scene = SCENES[name].make({
      shown, ask: question, seek: goTo, redraw, signal: sceneGone.signal, chunk: (at) => source(name).at(at),
    });
    place.replaceChildren(scene.node);
    for (const tab of tabs.children) tab.setAttribute("aria-pressed", String(tab.getAttribute("data-scene") === name));
    paint();
  }
  const names = () => (shown ? [...Object.keys(shown.scenes).filter((name) => name in SCENES), "steps", "json"] : []);
  const nextScene = () => {
    const all = names();
    if (all.length) look(all[(all.indexOf(sceneName) + 1) % all.length]);
  };

  /** @param {Shown | null} next @param {number} at @param {string} empty what to say when there is nothing */
  function show(next, at, empty) {
    if (next && shown && next.id === shown.id) {
      remarked?.update(next);
      return;
    }
    pause();
    shown = next;
    bar.clear();
    if (!next) {
      [scene, line, remarked] = [null, null, null];
      node.replaceChildren(h("p", { class: "aigym-dull aigym-empty" }, empty));
      return;
    }
    t = clamp(at, 0, next.length);
    sources = new Map();
    slider.max = String(next.length);
    line = timeline(next, goTo);
    remarked = remarks(next, question);
    tabs.replaceChildren(...names().map((name) => {
      const tab = h("button", { type: "button", "data-scene": name, title: "next way to look at it: v" }, SCENES[name].label);
      tab.addEventListener("click", () => look(name));
      return tab;
    }));
    node.replaceChildren(heading(next), tabs, bar.node, place, line.node, slider, controls, facts, infos, remarked.node);
    if (next.diverged_at != null) diverged(next.diverged_at);
    look(next.view);
    line.repaint();
  }

  const keys = bound(PLAYER_KEYS, {
    back: () => step(-1), on: () => step(1), tenBack: () => step(-10), tenOn: () => step(10), first: () => goTo(0), last: end,
    play: toggle, event: () => jump(1), eventBack: () => jump(-1), faster: () => change(1), slower: () => change(-1),
    scene: nextScene, find: () => shown && bar.open(), tag: () => remarked?.focus(),
  });
  const repaint = () => {
    line?.repaint();
    paint();
  };
  return { node, show, seek, position: () => t, repaint, keys };
}

/**
 * Tells the kernel where the reader is, soon after it rests and twice a second while it plays. In between the model
 * keeps what the kernel was told last: else its echo of that would look like its wish to go back there.
 * @param {{set: (name: "step", value: number) => void, save_changes: () => void}} model
 * @param {() => number} position @param {() => boolean} changing whether the kernel was asked for something else to show
 * @returns {(settled: boolean) => void}
 */
export function reporter(model, position, changing) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  const tell = () => {
    timer = undefined;
    if (changing()) wait(100);
    else {
      model.set("step", position());
      model.save_changes();
    }
  };
  const wait = (/** @type {number} */ time) => {
    clearTimeout(timer);
    timer = setTimeout(tell, time);
  };
  return (settled) => { if (settled || !timer) wait(settled ? 100 : 500); };
}

/** The trajectory that is open. @param {import("./explorer.js").Host} host @returns {import("./explorer.js").Pane} */
export function trajectoryPane(host) {
  const { model, ask, changing, signal } = host;
  const report = reporter(model, () => stage.position(), changing);
  const stage = player({ ask, signal, onStep: report });
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
  const similar = similarTo(host);
  return {
    node: h("div", {}, stage.node, similar.node),
    keys: { ...stage.keys, ...similar.keys }, help: [...PLAYER_HELP, ...TALK_HELP, ...similar.help], repaint: stage.repaint,
  };
}
