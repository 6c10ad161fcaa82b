import assert from "node:assert/strict";
import test from "node:test";
import { movedLayer, readLayers, retyped, rowNote, typedValue, usualLayer, writeLayers } from "../../aigym_kernel/widgets/builder.js";

const number = { choices: [], usual: 64, least: 1, most: 99 };
const activation = { choices: ["relu", "tanh"], usual: "relu", least: 0, most: 0 };
const types = { dense: { units: number, activation }, lstm: { units: number }, flatten: {} };
const layers = [{ type: "dense", units: 8, activation: "tanh" }, { type: "flatten" }];

test("a new layer has usual values", () => {
  assert.deepEqual(usualLayer("dense", types), { type: "dense", units: 64, activation: "relu" });
  assert.deepEqual(usualLayer("strange", types), { type: "strange" });
});

test("a layer moves within the list and not out of it", () => {
  assert.deepEqual(movedLayer(layers, 0, 1).map((l) => l.type), ["flatten", "dense"]);
  assert.equal(movedLayer(layers, 0, -1), layers);
  assert.equal(movedLayer(layers, 1, 1), layers);
  assert.equal(layers[0].type, "dense");
});

test("another type keeps what both have", () => {
  assert.deepEqual(retyped(layers, 0, "lstm", types), [{ type: "lstm", units: 8 }, { type: "flatten" }]);
  assert.deepEqual(retyped(layers, 1, "dense", types)[1], { type: "dense", units: 64, activation: "relu" });
});

test("what is typed is a number where it is one", () => {
  assert.equal(typedValue(" 12 ", number), 12);
  assert.equal(typedValue("0.5", number), 0.5);
  assert.equal(typedValue("", number), "");
  assert.equal(typedValue("many", number), "many");
  assert.equal(typedValue("tanh", activation), "tanh");
});

test("JSON comes back as it was written, and what is none is refused with words", () => {
  assert.deepEqual(readLayers(writeLayers(layers)), { layers, error: "" });
  assert.deepEqual(readLayers(JSON.stringify(layers)).layers, layers);
  assert.match(readLayers('{"layers": []}').error, /no network/);
  assert.match(readLayers('{"layers": [{"units": 3}]}').error, /no network/);
  assert.match(readLayers("null").error, /no network/);
  assert.match(readLayers("{").error, /no JSON/);
});

test("what stands beside a layer", () => {
  assert.equal(rowNote(["16x4x4", 1296]), "→ 16x4x4, 1,296 parameters");
  assert.equal(rowNote(["80", 0]), "→ 80");
  assert.equal(rowNote(["?", null]), "→ ?, ? parameters");
  assert.equal(rowNote(undefined), "");
});
