// @ts-check
/**
 * Follows runs that are still going on: asks Python every two seconds whether something was recorded, while
 * the explorer is looked at, a run goes on and the switch is on.
 *
 * One question at a time. A kernel that is silent (busy, or gone) is not asked again until it is heard of.
 */
import { formatNumber, h } from "./drawing.js";

const FOLLOW_MS = 2000;

/** Whether to ask. @param {{running: number, live: boolean, seen: boolean, asleep: boolean}} state */
export function isFollowed({ running, live, seen, asleep }) {
  return running > 0 && live && seen && !asleep;
}

/**
 * @param {import("./explorer.js").Host} host
 * @param {{hold: () => [string[], (places: number[]) => void]}} list gives the ids of rows that stay where they
 *   are while others come in above them, and what to call with their new places (-1: gone)
 * @param {HTMLElement} looked at: asks while some of it is in view
 * @returns {{node: HTMLElement, toggle: () => void}} the switch
 */
export function following({ model, ask, change, signal }, list, looked) {
  const node = h("button", { type: "button", role: "switch", class: "aigym-live-switch" });
  let inView = true;
  let asleep = false;
  let timer = 0;
  let asking = false;
  const wanted = () => isFollowed({
    running: model.get("running"), live: model.get("live"), asleep, seen: inView && document.visibilityState === "visible",
  });
  async function look() {
    asking = true;
    const before = model.get("stamp");
    const [ids, keep] = list.hold();
    const take = (/** @type {{places: number[], stamp: number}} */ { places, stamp }) => {
      if (stamp !== before && stamp === model.get("stamp")) keep(places);
    };
    try {
      take(await ask("follow", { ids }, { quietly: true, late: take }));
    } catch {
      asleep = true;
    }
    asking = false;
    plan();
  }
  function plan() {
    window.clearTimeout(timer);
    timer = 0;
    if (!asking && wanted() && !signal.aborted) timer = window.setTimeout(look, FOLLOW_MS);
  }
  function update() {
    const running = model.get("running");
    node.hidden = !running;
    node.setAttribute("aria-checked", String(model.get("live")));
    node.setAttribute("aria-label", `follow ${formatNumber(running)} running ${running === 1 ? "run" : "runs"}`);
    node.title = `${model.get("live") ? "following" : "not following"} ${formatNumber(running)} running ${running === 1 ? "run" : "runs"} (l)`;
    node.replaceChildren(h("i", {}), "live");
    plan();
  }
  const toggle = () => { if (model.get("running")) change({ live: !model.get("live") }); };
  const heard = () => {
    if (!asleep) return;
    asleep = false;
    plan();
  };
  node.addEventListener("click", toggle);
  for (const name of ["running", "live"]) model.on(`change:${/** @type {"running"} */ (name)}`, update);
  model.on("msg:custom", heard);
  document.addEventListener("visibilitychange", plan, { signal });
  const views = new IntersectionObserver(([entry]) => { inView = entry.isIntersecting; plan(); });
  views.observe(looked);
  signal.addEventListener("abort", () => {
    window.clearTimeout(timer);
    views.disconnect();
    for (const name of ["running", "live"]) model.off(`change:${/** @type {"running"} */ (name)}`, update);
    model.off("msg:custom", heard);
  });
  update();
  return { node, toggle };
}
