// @ts-check
/**
 * A long scroller of which only the blocks near the view are there.
 *
 * A block that comes near is drawn, from what is held or after it has been fetched; one that is far away becomes
 * empty again and keeps its height. One fetch at a time, what was asked for last comes first.
 */

const NEAR_PX = 1200;
const FAR_PX = 6000;

/**
 * @template T
 * @param {{scroller: HTMLElement, signal: AbortSignal, draw: (block: T) => Node[] | null, fetch: (block: T, late: () => void) => Promise<any>,
 *   failed: (block: T) => Node[], drawn?: () => void}} hooks
 *   `draw` gives null where the block is not held yet; `failed` is what stands there when it cannot be fetched, until
 *   `late` tells that it came after all
 */
export function windowed({ scroller, signal, draw, fetch, failed, drawn }) {
  /** @type {Map<Element, T>} */
  const blocks = new Map();
  /** @type {HTMLElement[]} to fetch, the next one last */
  let wanted = [];
  /** @type {HTMLElement[]} to fetch when there is an answer again */
  let missed = [];
  /** @type {HTMLElement | undefined} */
  let going;

  /** @param {HTMLElement} node @returns {boolean} whether it is drawn now */
  function need(node) {
    if (node.dataset.drawn) return true;
    const block = /** @type {T} */ (blocks.get(node));
    const nodes = draw(block);
    if (nodes) {
      node.dataset.drawn = "yes";
      node.style.minHeight = "";
      node.replaceChildren(...nodes);
      drawn?.();
      return true;
    }
    if (node !== going) wanted = [...wanted.filter((other) => other !== node), node];
    next();
    return false;
  }
  async function next() {
    const node = going ? undefined : wanted.pop();
    if (!node) return;
    going = node;
    const block = /** @type {T} */ (blocks.get(node));
    try {
      await fetch(block, () => { if (!signal.aborted) for (const one of [...missed.splice(0), node]) need(one); });
      going = undefined;
      if (!signal.aborted) need(node);
    } catch {
      [missed, wanted] = [[...missed, ...wanted], []];
      if (!node.dataset.drawn) node.replaceChildren(...failed(block));
    }
    going = undefined;
    if (!signal.aborted) next();
  }
  /** @param {HTMLElement} node */
  function drop(node) {
    if (!node.dataset.drawn) return;
    node.style.minHeight = `${node.offsetHeight}px`;
    node.replaceChildren();
    delete node.dataset.drawn;
  }
  const watch = (/** @type {number} */ margin, /** @type {(node: HTMLElement, inside: boolean) => void} */ act) => {
    const watcher = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) act(/** @type {HTMLElement} */ (target), isIntersecting);
    }, { root: scroller, rootMargin: `${margin}px 0px` });
    signal.addEventListener("abort", () => watcher.disconnect());
    return watcher;
  };
  const watchers = [watch(NEAR_PX, (node, inside) => inside && need(node)), watch(FAR_PX, (node, inside) => !inside && drop(node))];
  return {
    need,
    /** @param {HTMLElement} node in the scroller @param {T} block @param {number} height about how high it will be */
    add(node, block, height) {
      blocks.set(node, block);
      node.style.minHeight = `${height}px`;
      for (const watcher of watchers) watcher.observe(node);
    },
    /** Forgets a block and takes it out. @param {HTMLElement} node */
    remove(node) {
      for (const watcher of watchers) watcher.unobserve(node);
      blocks.delete(node);
      wanted = wanted.filter((other) => other !== node);
      node.remove();
    },
  };
}

/** Brings a node to the top of its scroller. @param {HTMLElement} scroller @param {Element} node */
export function bringUp(scroller, node) {
  scroller.scrollTop += node.getBoundingClientRect().top - scroller.getBoundingClientRect().top - 8;
}
