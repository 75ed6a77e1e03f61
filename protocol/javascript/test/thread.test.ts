import assert from "node:assert/strict";
import { test } from "node:test";

import * as Y from "yjs";

import { MemoryStore, Thread } from "../src/index.js";
import { device, event, saved } from "./device.js";
import { ScriptedServer } from "./server.js";

const ada = "00000000-0000-0000-0000-000000000001";

function replica(doc: Y.Doc): Y.Doc {
  const copy = new Y.Doc();
  Y.applyUpdate(copy, Y.encodeStateAsUpdate(doc));
  return copy;
}

function merge(one: Y.Doc, other: Y.Doc): void {
  Y.applyUpdate(one, Y.encodeStateAsUpdate(other));
  Y.applyUpdate(other, Y.encodeStateAsUpdate(one));
}

test("messages are listed the oldest first, with their fields", () => {
  const doc = new Y.Doc();
  const thread = new Thread(doc);
  const second = thread.add({ content: "second", userId: ada });
  assert.match(second, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  const first = thread.add({
    content: "first",
    userId: ada,
    messageType: "voice",
    metadata: { seconds: 3 },
    attachments: ["a"],
    parentMessageId: second,
    createdAt: new Date("2026-01-31T08:30:00Z"),
  });
  const [one, two] = new Thread(replica(doc)).list();
  assert.deepEqual(one, {
    id: first,
    content: "first",
    userId: ada,
    messageType: "voice",
    metadata: { seconds: 3 },
    attachments: ["a"],
    isAiGenerated: false,
    parentMessageId: second,
    status: "sent",
    createdAt: "2026-01-31T08:30:00.000Z",
  });
  assert.deepEqual([two?.content, two?.metadata, two?.attachments], ["second", null, []]);
  assert.deepEqual(thread.get(first), one);
});

test("a message is one update, and so is each change of it", () => {
  const doc = new Y.Doc();
  const thread = new Thread(doc);
  let updates = 0;
  doc.on("update", () => (updates += 1));
  const id = thread.add({ content: "hello", userId: ada });
  assert.equal(thread.edit(id, "hallo, you"), true);
  assert.equal(thread.get(id)?.content, "hallo, you");
  assert.equal(thread.remove(id), true);
  assert.equal(updates, 3);
  assert.deepEqual([thread.remove(id), thread.edit(id, "x"), thread.list()], [false, false, []]);
  assert.equal(updates, 3);
});

test("adding by an id that is there changes nothing", () => {
  const thread = new Thread(new Y.Doc());
  const id = thread.add({ content: "first", userId: ada });
  assert.equal(thread.add({ id, content: "second", userId: ada }), id);
  assert.deepEqual(
    thread.list().map(({ content }) => content),
    ["first"],
  );
});

for (const [hers, his, both] of [
  ["one 2 three", "one two three four", "one 2 three four"],
  ["zero one two three", "one two", "zero one two"],
  ["one two 😀 three", "éone two three", "éone two 😀 three"],
] as const) {
  test(`two devices edit one message offline and both edits survive: ${both}`, () => {
    const first = new Y.Doc();
    const id = new Thread(first).add({ content: "one two three", userId: ada });
    const second = replica(first);
    new Thread(first).edit(id, hers);
    new Thread(second).edit(id, his);
    merge(first, second);
    assert.equal(new Thread(first).get(id)?.content, both);
    assert.equal(new Thread(second).get(id)?.content, both);
  });
}

test("an edit cuts no surrogate pair", () => {
  const doc = new Y.Doc();
  const thread = new Thread(doc);
  // The pairs have one half in common.
  for (const [old, content] of [
    ["a😀b", "a😁b"],
    ["a😀b", "a🐀b"],
    ["😀", "😀😀"],
    ["😀😀", "😀"],
  ] as const) {
    const id = thread.add({ content: old, userId: ada });
    thread.edit(id, content);
    assert.equal(new Thread(replica(doc)).get(id)?.content, content);
  }
});

test("values are set and taken away, and changes are told", () => {
  const thread = new Thread(new Y.Doc());
  let told = 0;
  const off = thread.observe(() => (told += 1));
  const id = thread.add({ content: "x", userId: ada });
  assert.equal(thread.put(id, "metadata", { a: 1 }), true);
  assert.deepEqual(thread.get(id)?.metadata, { a: 1 });
  thread.put(id, "metadata", undefined);
  assert.equal(thread.get(id)?.metadata, null);
  thread.body(id)?.insert(0, "y");
  assert.equal(told, 4);
  off();
  thread.remove(id);
  assert.equal(told, 4);
  assert.equal(thread.put(id, "status", "read"), false);
});

test("what is no message is left out", () => {
  const doc = new Y.Doc();
  const messages = doc.getMap("messages");
  for (const value of ["text", 7, null, [], {}, { body: 5 }]) messages.set(`${value}`, value);
  messages.set("map", new Y.Map([["userId", ada]]));
  messages.set("plain", { body: "plain", userId: 5, metadata: [], attachments: "x" });
  const thread = new Thread(doc);
  const [message, ...rest] = thread.list();
  assert.deepEqual(rest, []);
  assert.deepEqual(
    [message?.content, message?.userId, message?.metadata, message?.attachments],
    ["plain", null, null, []],
  );
  assert.equal(thread.body("plain"), undefined);
});

test("a message written offline reaches the server with the next connection", async () => {
  const server = await ScriptedServer.start();
  const client = device(server.url, { store: new MemoryStore() });
  const document = await client.open("memory");
  const id = document.messages.add({ content: "on the train", userId: ada });
  assert.equal(document.sync.state, "offline");
  client.connect();
  await event(document, "sync", ({ state }) => state !== "offline");
  await saved(document);
  const doc = new Y.Doc();
  for (const { update } of server.log("memory").entries) Y.applyUpdate(doc, update);
  assert.equal(new Thread(doc).get(id)?.content, "on the train");
  client.close();
  await document.close();
  await server.stop();
});
