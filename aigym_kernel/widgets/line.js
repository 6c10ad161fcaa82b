// @ts-check
/**
 * One line of the explorer's list: built once, then put to another place and told another row as the list
 * scrolls. It touches only what differs from what it shows, so a line that moves costs no layout of its cells.
 */
import { formatNumber, formatTime, h, svg, tone } from "./drawing.js";

/** @typedef {import("./list.js").Row} Row */
/** @typedef {{node: HTMLElement, i: number, move: (i: number, top: number, id: string) => void,
 *   tell: (row: Row | undefined, spark: Node | undefined, now: Date) => void,
 *   state: (selected: boolean, current: boolean) => void}} Line */

/** The bars of a small picture of rewards: gains above 1, losses below it, one unit wide, at most one high.
 * @param {readonly (number | null)[]} rewards @param {1 | -1} sign */
export function sparkPath(rewards, sign) {
  const most = Math.max(...rewards.map((r) => Math.abs(r ?? 0)), 0) || 1;
  return rewards
    .map((r, i) => ((r ?? 0) * sign > 0 ? `M${i + 0.1} 1v${(-Number(r) / most).toFixed(2)}h.8V1z` : ""))
    .join("");
}

/** @param {readonly (number | null)[]} rewards @returns {Node} */
export function spark(rewards) {
  if (!rewards.length) return document.createTextNode("");
  const [up, down] = [rewards.some((r) => Number(r) > 0), rewards.some((r) => Number(r) < 0)];
  const [top, height] = up && down ? [0, 2] : down ? [1, 1] : [0, 1];
  return svg("svg", { viewBox: `0 ${top} ${rewards.length} ${height}`, preserveAspectRatio: "none", class: "aigym-spark", "aria-hidden": "true" },
    svg("path", { class: "aigym-up", d: sparkPath(rewards, 1) }), svg("path", { class: "aigym-down", d: sparkPath(rewards, -1) }));
}

/** What a cell says, and the class of it. @param {Row} row @param {keyof Row} column @param {Date} now
 * @returns {[string, string]} */
export function cellText(row, column, now) {
  const value = row[column];
  if (column === "started_at") return [formatTime(row.started_at, now), ""];
  if (column === "outcome") return [row.outcome ?? "none", `aigym-badge aigym-${tone(row.outcome ?? "none")}`];
  if (column === "env_id") return [(row.env_id ?? "–").replace(/^aigym\//, ""), ""];
  const text = typeof value === "number" || value === null ? formatNumber(value) : String(value);
  if (column !== "score" || typeof value !== "number") return [text, ""];
  return [text, `aigym-score ${{ passed: "aigym-full", failed: "aigym-short" }[row.outcome ?? ""] ?? ""}`];
}

/** @param {Element} node @param {string} name @param {string | null} value null: without it */
export function setAttribute(node, name, value) {
  if (node.getAttribute(name) === value) return;
  if (value === null) node.removeAttribute(name);
  else node.setAttribute(name, value);
}

/** A line that shows nothing yet. @param {readonly [keyof Row | "", string, string, string][]} columns @returns {Line} */
export function listLine(columns) {
  const said = columns.map(() => h("span", {}, ""));
  const texts = said.map((one) => one.appendChild(document.createTextNode("")));
  const cells = columns.map(([, , kind], at) => h("div", { role: "gridcell", class: `aigym-cell-${kind}` }, said[at]));
  const node = h("div", { role: "row", class: "aigym-row", "aria-busy": "true", "data-id": "" },
    h("div", { role: "gridcell", class: "aigym-check" }, "✓"), ...cells);
  const sparks = columns.findIndex(([column]) => !column);
  if (sparks >= 0) cells[sparks].replaceChildren();
  /** @type {Row | undefined} */
  let shown;
  let tags = "[]";
  /** @param {Row} row @param {Date} now */
  function write(row, now) {
    columns.forEach(([column], at) => {
      if (!column) return;
      if (column === "tags") {
        if (JSON.stringify(row.tags) !== tags) said[at].replaceChildren(...row.tags.map((tag) => h("span", { class: "aigym-tag" }, tag)));
        tags = JSON.stringify(row.tags);
        return;
      }
      const [text, kind] = cellText(row, column, now);
      if (texts[at].data !== text) texts[at].data = text;
      if (said[at].className !== kind) said[at].className = kind;
    });
    node.dataset.id = row.trajectory_id;
    node.title = `${row.trajectory_id}, run ${row.run_id}`;
  }
  return {
    node,
    i: -1,
    move(i, top, id) {
      this.i = i;
      node.style.top = `${top}px`;
      node.id = id;
      node.setAttribute("aria-rowindex", String(i + 2));
    },
    // While a row is on its way the line keeps its cells as they were, out of sight.
    tell(row, picture, now) {
      if (row !== shown) {
        if (row) write(row, now);
        else [node.dataset.id, node.title] = ["", ""];
        if (!row !== !shown) setAttribute(node, "aria-busy", row ? null : "true");
        shown = row;
      }
      if (row && sparks >= 0 && cells[sparks].firstChild !== (picture ?? null)) cells[sparks].replaceChildren(...(picture ? [picture] : []));
    },
    state(selected, current) {
      setAttribute(node, "aria-selected", String(selected));
      setAttribute(node, "aria-current", current ? "true" : null);
    },
  };
}
