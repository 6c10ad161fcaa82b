// @ts-check
/**
 * Find within a trajectory: a bar with a text, how often it occurs, and the way to the next and previous place.
 * The kernel looks through all steps; without one, what is loaded is looked through, and the bar says so.
 */
import { h } from "./drawing.js";

/** @typedef {[number, string, string]} Hit position, where, excerpt */

/** Which hit comes next from position t, going one way round: its index; -1 where there is none.
 * @param {readonly Hit[]} hits in order @param {number} index the hit last gone to, -1 for none
 * @param {number} t @param {1 | -1} way */
export function nextHit(hits, index, t, way) {
  if (!hits.length) return -1;
  if (index >= 0 && hits[index][0] === t) return (index + way + hits.length) % hits.length;
  if (way > 0) return Math.max(0, hits.findIndex((hit) => hit[0] >= t));
  const before = hits.filter((hit) => hit[0] <= t).length - 1;
  return before < 0 ? hits.length - 1 : before;
}

/** Marks a text wherever it stands in a node, without touching the node.
 * @param {HTMLElement} node @param {string} wanted */
function highlight(node, wanted) {
  if (!("highlights" in CSS)) return;
  const lower = wanted.toLowerCase();
  /** @type {Range[]} */
  const ranges = [];
  const walker = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
  while (lower && walker.nextNode() && ranges.length < 1000) {
    const text = (walker.currentNode.textContent ?? "").toLowerCase();
    for (let at = text.indexOf(lower); at >= 0; at = text.indexOf(lower, at + lower.length)) {
      const range = new Range();
      // Lower case may be longer than the text, in a few scripts.
      const length = walker.currentNode.textContent?.length ?? 0;
      if (at + lower.length > length) break;
      range.setStart(walker.currentNode, at);
      range.setEnd(walker.currentNode, at + lower.length);
      ranges.push(range);
    }
  }
  if (ranges.length) CSS.highlights.set("aigym-found", new Highlight(...ranges));
  else CSS.highlights.delete("aigym-found");
}

/**
 * @param {{find: (wanted: string, late: (found: {count: number, hits: Hit[]}) => void) => Promise<{count: number, hits: Hit[]}>, loaded: (wanted: string) => Hit[],
 *   position: () => number, seek: (t: number) => void, scene: () => HTMLElement | null, closed: () => void}} hooks
 */
export function findBar({ find, loaded, position, seek, scene, closed }) {
  const input = h("input", { type: "text", placeholder: "find in all steps", "aria-label": "find in this trajectory", spellcheck: "false" });
  const told = h("span", { class: "aigym-dull", role: "status" });
  const said = h("span", { class: "aigym-dull aigym-excerpt" });
  const button = (/** @type {string} */ label, /** @type {string} */ sign, /** @type {() => void} */ act) => {
    const made = h("button", { type: "button", "aria-label": label, title: label }, sign);
    made.addEventListener("click", act);
    return made;
  };
  const node = h("div", { class: "aigym-find", role: "search", hidden: "" }, input,
    button("previous place (Shift+Enter)", "↑", () => go(-1)), button("next place (Enter)", "↓", () => go(1)),
    told, said, button("close (Esc)", "×", () => close()));
  /** @type {Hit[]} */
  let hits = [];
  let index = -1;
  let count = 0;
  let partly = false;
  let wait = 0;
  let wanted = "";
  function tell() {
    const of = count > hits.length ? `${hits.length.toLocaleString("en-US")} (${count.toLocaleString("en-US")} in all)` : String(count);
    told.textContent = !wanted ? "" : !count ? "nothing" : `${index < 0 ? "" : `${index + 1} of `}${of}`;
    if (wanted && partly) told.textContent += " of what is loaded";
    said.textContent = index >= 0 ? `${hits[index][1]}: ${hits[index][2]}` : "";
  }
  /** @param {1 | -1} way */
  function go(way) {
    if (!hits.length) return; // nothing is found, or the answer is awaited
    index = nextHit(hits, index, position(), way);
    if (index >= 0) seek(hits[index][0]);
    tell();
  }
  async function look() {
    const now = input.value;
    wanted = now;
    [hits, index, count] = [[], -1, 0];
    const take = (/** @type {{count: number, hits: Hit[]}} */ found, some = false) => {
      if (wanted !== now) return;
      [hits, index, count, partly] = [found.hits, -1, found.count, some];
      if (hits.length) go(1);
      else tell();
      mark();
    };
    if (!now) take({ count: 0, hits: [] });
    else {
      try {
        take(await find(now, take));
      } catch {
        const here = loaded(now);
        take({ count: here.length, hits: here }, true);
      }
    }
  }
  function mark() {
    const shown = scene();
    if (shown) highlight(shown, node.hidden ? "" : wanted);
  }
  function close() {
    node.hidden = true;
    mark();
    closed();
  }
  input.addEventListener("input", () => {
    window.clearTimeout(wait);
    wait = window.setTimeout(look, 200);
  });
  node.addEventListener("keydown", (event) => {
    if (event.key === "Escape") close();
    else if (event.key === "Enter" && event.target === input) {
      if (input.value !== wanted) {
        window.clearTimeout(wait);
        void look();
      } else go(event.shiftKey ? -1 : 1);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return {
    node,
    mark,
    open() {
      node.hidden = false;
      input.focus();
      input.select();
      mark();
    },
    /** Another trajectory is shown. */
    clear() {
      [hits, count, index, wanted, input.value] = [[], 0, -1, "", ""];
      node.hidden = true;
      tell();
    },
  };
}
