import assert from "node:assert/strict";
import { test } from "node:test";

import { chunkNumber, findLoaded, parts, returnAt } from "../../aigym_kernel/widgets/chunks.js";
import { nextHit } from "../../aigym_kernel/widgets/find.js";
import { stepsPerSecond } from "../../aigym_kernel/widgets/player.js";
import { boardReader } from "../../aigym_kernel/widgets/scenes.js";
import { bandPath, leaves } from "../../aigym_kernel/widgets/tables.js";
import { eventsAround, neighbourEvent, positionAt, returnLine } from "../../aigym_kernel/widgets/timeline.js";

const settled = () => new Promise((resolve) => setTimeout(resolve, 0));
const chunk = (start, rewards, more = {}) => ({
  start, shown: rewards.length, before: 0, rewards, actions: rewards.map(() => "go"), infos: [], texts: [], values: [],
  images: [], trees: [], boards: null, ...more,
});

test("the last position belongs to the last chunk", () => {
  assert.deepEqual([0, 9, 10, 19, 20].map((t) => chunkNumber(t, 10, 20)), [0, 0, 1, 1, 1]);
  assert.equal(chunkNumber(0, 10, 0), 0);
});

test("parts: one request at a time, the latest wanted first, then the neighbour", async () => {
  const asked = [];
  const waiting = [];
  let arrivals = 0;
  const source = parts({
    size: 10, length: 1000, first: "head",
    fetch: (number) => new Promise((resolve) => { asked.push(number); waiting.push(() => resolve(`part ${number}`)); }),
    arrived: () => { arrivals++; },
  });
  assert.equal(source.at(3), "head");
  assert.deepEqual(asked, [], "the beginning has no neighbour before it");
  assert.equal(source.at(500), null);
  source.at(700);
  source.at(905);
  assert.deepEqual(asked, [50], "what is scrubbed past is not asked for");
  waiting.shift()();
  await settled();
  assert.deepEqual(asked, [50, 90]);
  waiting.shift()();
  await settled();
  assert.equal(source.at(905), "part 90");
  assert.deepEqual(asked, [50, 90, 91], "the next one is fetched before it is needed");
  assert.equal(arrivals, 2);
  assert.equal(source.has(505), true);
  assert.equal(source.has(705), false);
});

test("parts: what is not ready is asked again, what failed is not, until somebody wants it", async () => {
  const answers = [null, null, "there"];
  let asked = 0;
  const slow = parts({ size: 10, length: 100, first: null, fetch: async () => answers[asked++], arrived: () => {} });
  slow.at(5);
  for (let i = 0; i < 5; i++) await settled();
  assert.equal(slow.at(5), "there");
  let tries = 0;
  const silent = parts({
    size: 10, length: 100, first: null, fetch: async () => { tries++; throw new Error("no answer"); }, arrived: () => {},
  });
  for (let i = 0; i < 5; i++) {
    silent.at(5);
    await settled();
  }
  assert.equal(tries, 1);
  silent.retry();
  silent.at(5);
  assert.equal(tries, 2);
});

test("parts: what comes after it was given up is there, and what is wanted then is asked for at once", async () => {
  const asked = [];
  let late = (_) => {};
  let arrivals = 0;
  const busy = parts({
    size: 10, length: 100, first: null, arrived: () => { arrivals++; },
    fetch: async (number, after) => {
      asked.push(number);
      late = after;
      throw new Error("no answer");
    },
  });
  busy.at(5);
  await settled();
  busy.at(55);
  assert.deepEqual(asked, [0], "it rests");
  late("there");
  assert.equal(arrivals, 1);
  assert.deepEqual(asked, [0, 5]);
  assert.equal(busy.at(5), "there");
});

test("parts: a hundred thousand steps do not pile up", async () => {
  const source = parts({ size: 10, length: 100_000, first: "head", fetch: async (n) => n, arrived: () => {} });
  for (let t = 0; t < 5_000; t += 10) {
    source.at(t);
    await settled();
  }
  assert.ok(source.all().length <= 81);
  assert.equal(source.at(0), "head");
});

test("the return so far counts from the chunk's own beginning, and NaN as nothing", () => {
  const here = { ...chunk(100, [1, null, 2]), before: 10 };
  assert.deepEqual([0, 1, 2, 3].map((i) => returnAt(here, i)), [10, 11, 11, 13]);
});

test("places on the timeline", () => {
  assert.equal(positionAt(4, 408, 100), 0);
  assert.equal(positionAt(404, 408, 100), 100);
  assert.equal(positionAt(-50, 408, 100), 0);
  assert.equal(positionAt(9999, 408, 100), 100);
  assert.equal(positionAt(204, 408, 100), 50);
  assert.equal(positionAt(10, 0, 0), 0);
  assert.deepEqual(returnLine({ low: [], high: [], sum: [1, null, -3] }), [0, 1, 1, -2]);
});

test("events: next, previous, around", () => {
  const events = [[3, "gain", "a"], [3, "change", "b"], [10, "error", "c"], [40, "end", "d"]];
  assert.deepEqual([0, 3, 10, 40].map((t) => neighbourEvent(events, t, 1)), [3, 10, 40, null]);
  assert.deepEqual([0, 3, 10, 41].map((t) => neighbourEvent(events, t, -1)), [null, null, 3, 40]);
  assert.deepEqual(eventsAround(events, 5, 2).map((event) => event[2]), ["a", "b"]);
  assert.deepEqual(eventsAround(events, 20, 3), []);
});

test("find: round in a circle, from where the reader is", () => {
  const hits = [[2, "info", ""], [2, "action", ""], [9, "info", ""]];
  assert.equal(nextHit(hits, -1, 0, 1), 0);
  assert.equal(nextHit(hits, 0, 2, 1), 1);
  assert.equal(nextHit(hits, 1, 2, 1), 2);
  assert.equal(nextHit(hits, 2, 9, 1), 0);
  assert.equal(nextHit(hits, 0, 2, -1), 2);
  assert.equal(nextHit(hits, -1, 5, 1), 2);
  assert.equal(nextHit(hits, -1, 5, -1), 1);
  assert.equal(nextHit(hits, -1, 1, -1), 2);
  assert.equal(nextHit([], -1, 0, 1), -1);
});

test("find in what is loaded", () => {
  const one = chunk(0, [0, 0], { texts: ["An apple", "pear", "apple tart"], infos: [{ eaten: "APPLE" }, {}] });
  const two = chunk(2, [0], { texts: ["apple tart", "none"], actions: ["take apple"] });
  assert.deepEqual(findLoaded([two, one], "apple").map((hit) => hit.slice(0, 2)),
    [[0, "observation"], [0, "info"], [2, "observation"], [2, "action"]]);
  assert.deepEqual(findLoaded([one], ""), []);
});

test("speed is a factor of the scene's own pace; max plays any length in seconds", () => {
  assert.equal(stepsPerSecond("0.25", 1, 10), 0.25);
  assert.equal(stepsPerSecond("100", 10, 10), 1000);
  assert.ok(100_000 / stepsPerSecond("max", 10, 100_000) < 10);
  assert.ok(stepsPerSecond("max", 1, 10) >= stepsPerSecond("100", 1, 10));
});

test("boards are read forwards and backwards", () => {
  const read = boardReader({ width: 2, height: 2, first: [0, 1, 0, 3], changes: [[0, 1, 1, 0], [], [3, 2]] });
  assert.deepEqual([...read(1)], [1, 0, 0, 3]);
  assert.deepEqual([...read(3)], [1, 0, 0, 2]);
  assert.deepEqual([...read(0)], [0, 1, 0, 3]);
  assert.deepEqual([...read(99)], [1, 0, 0, 2]);
});

test("a band of numbers has gaps where there are none", () => {
  assert.equal(bandPath([0, 1], [0, 1], 100, 34), "M0.0 32.0L100.0 2.0");
  assert.equal(bandPath([0, null, 1], [0, null, 1], 100, 34), "M0.0 32.0M100.0 2.0");
  assert.equal(bandPath([0, 0], [1, 1], 100, 34), "M0.0 32.0L0.0 2.0L100.0 32.0L100.0 2.0");
  assert.equal(bandPath([], [], 100, 34), "");
});

test("leaves of a tree by their path", () => {
  const found = leaves(["o", [["a", ["v", "1"]], ["b", ["l", [["s", "x"], ["a", "[1]"]], 2]]], 2]);
  assert.deepEqual([...found], [["/a", "1"], ["/b/0", "x"], ["/b/1", "[1]"]]);
});
