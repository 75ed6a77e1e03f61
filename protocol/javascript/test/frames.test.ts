import assert from "node:assert/strict";
import { test } from "node:test";

import { encode } from "@msgpack/msgpack";

import { MemoError } from "../src/errors.js";
import { encodeFrame, pack, unpack } from "../src/frames.js";
import { Position } from "../src/position.js";

const buffer = (value: unknown) => new Uint8Array(encode(value)).buffer as ArrayBuffer;

for (const count of [0, 1, 15, 16, 300]) {
  test(`a message of ${count} frames reads as they were`, () => {
    const acks = Array.from({ length: count }, (_, seq) => [21, 7, seq, seq + 1]);
    const message = pack(acks.map((ack) => encode(ack)));
    assert.deepEqual(unpack(message.buffer), acks);
  });
}

test("fields left undefined are left out, and null stays", () => {
  const frame = encodeFrame([1, 5, "memories.update", { id: "a", title: undefined, tags: null }]);
  assert.deepEqual(frame, encode([1, 5, "memories.update", { id: "a", tags: null }]));
});

test("frames of unknown types, and those cut short, cost their neighbours nothing", () => {
  const message = buffer([[99, 1], "text", [], [21, 7], [17, 1, {}]]);
  assert.deepEqual(unpack(message), [[17, 1, {}]]);
});

for (const [name, bytes] of [
  ["no MessagePack", new Uint8Array([0xc1]).buffer],
  ["nothing", new ArrayBuffer(0)],
  ["a map", buffer({})],
] as const) {
  test(`a message of ${name} is an invalid message`, () => {
    assert.throws(() => unpack(bytes), { name: "MemoError", code: "invalid_message" });
  });
}

test("what MessagePack cannot hold is an invalid request", () => {
  const body = { handler: () => {} };
  assert.throws(() => encodeFrame([1, 1, "memories.create", body]), MemoError);
});

test("a position moves over what pushes and acks cover, never over a hole", () => {
  const position = new Position();
  position.reset("epoch", 10);
  position.cover(12);
  position.cover(14, 2);
  assert.deepEqual([position.offset, position.ahead], [10, 3]);
  position.cover(9, 3);
  assert.deepEqual([position.offset, position.ahead], [12, 2]);
  position.cover(13);
  assert.deepEqual([position.offset, position.ahead], [15, 0]);
  position.cover(3, 4);
  assert.deepEqual([position.offset, position.ahead], [15, 0]);
});
