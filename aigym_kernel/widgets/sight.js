// @ts-check
/** Tells Python while somebody looks at a widget, so that it works for nobody else. Where no kernel is left to
 * tell (it was restarted), nothing happens. */

const SIGHT_MS = 3000;

/**
 * Sends {"looking": true} every few seconds while the widget is in sight and in use, and once that it is no more.
 * @param {{send: (content: any) => void}} line @param {Element} root of the widget @param {AbortSignal} signal
 * @param {() => boolean} [wanted] whether it is in use: false where nothing would come of looking
 * @returns {() => boolean} whether it is in sight
 */
export function tellSight(line, root, signal, wanted = () => true) {
  let inSight = false;
  let looked = false;
  function look() {
    const now = inSight && !document.hidden && wanted();
    const tell = now || looked;
    looked = now;
    if (!tell) return;
    try {
      line.send({ looking: now });
    } catch {
      // The host has thrown the way to the kernel away.
    }
  }
  const sight = new IntersectionObserver((entries) => {
    inSight = entries[entries.length - 1].isIntersecting;
    look();
  });
  sight.observe(root);
  document.addEventListener("visibilitychange", look, { signal });
  const looking = window.setInterval(() => { if (looked) look(); }, SIGHT_MS);
  signal.addEventListener("abort", () => {
    inSight = false;
    look();
    sight.disconnect();
    window.clearInterval(looking);
  });
  return () => inSight && !document.hidden;
}
