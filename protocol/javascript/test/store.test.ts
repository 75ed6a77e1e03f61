import "fake-indexeddb/auto";

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import * as Y from "yjs";

import { IndexedDbStore, MemoryStore, type DocumentChange } from "../src/index.js";
import { text, typed } from "./device.js";

const id = "memory";
const nothing: DocumentChange = { content: [], pending: [], acked: [], offset: 0, rebased: false };
const [a, b, c] = typed("a", "b", "c") as [Uint8Array, Uint8Array, Uint8Array];

function read(...updates: (Uint8Array | undefined)[]): string {
  const doc = new Y.Doc();
  for (const update of updates) if (update) Y.applyUpdate(doc, update);
  return text({ doc }).toString();
}

for (const [name, open] of [
  ["MemoryStore", async () => new MemoryStore()],
  ["IndexedDbStore", () => IndexedDbStore.open(randomUUID())],
] as const) {
  test(`${name}: a document nobody wrote is not there`, async () => {
    const store = await open();
    assert.equal(await store.load(id), undefined);
    assert.deepEqual(await store.unsent(id), []);
    assert.deepEqual(await store.pending(), []);
    store.close();
  });

  test(`${name}: content, pending edits and the position are there again`, async () => {
    const store = await open();
    const change = { ...nothing, content: [a], pending: [b, c], epoch: "e", offset: 1 };
    const [first, second] = await store.write(id, change);
    assert.ok(first! < second!);
    const stored = await store.load(id);
    assert.deepEqual(stored?.updates.map((update) => [...update]), [[...a]]);
    assert.deepEqual(stored?.pending.map(({ seq }) => seq), [first, second]);
    assert.equal(read(a, ...stored!.pending.map(({ update }) => update)), "abc");
    assert.deepEqual([stored?.epoch, stored?.offset], ["e", 1]);
    assert.deepEqual((await store.unsent(id)).map(({ seq }) => seq), [first, second]);
    store.close();
  });

  test(`${name}: acked edits stay as content, and a second ack changes nothing`, async () => {
    const store = await open();
    const [seq] = await store.write(id, { ...nothing, pending: [a] });
    await store.write("another", { ...nothing, pending: [a] });
    for (let times = 0; times < 2; times += 1) {
      await store.write(id, { ...nothing, acked: [seq!, 999_999], epoch: "e", offset: 1 });
    }
    const stored = await store.load(id);
    assert.deepEqual([stored?.updates.length, stored?.pending.length], [1, 0]);
    assert.deepEqual(await store.pending(), ["another"]);
    store.close();
  });

  test(`${name}: the position moves forward, unless it is set anew`, async () => {
    const store = await open();
    const standing = async (change: Partial<DocumentChange>) => {
      await store.write(id, { ...nothing, ...change });
      const stored = await store.load(id);
      return [stored?.epoch, stored?.offset];
    };
    assert.deepEqual(await standing({}), [undefined, 0]);
    assert.deepEqual(await standing({ epoch: "e", offset: 5 }), ["e", 5]);
    assert.deepEqual(await standing({ epoch: "e", offset: 3 }), ["e", 5]);
    assert.deepEqual(await standing({ epoch: "old", offset: 9 }), ["e", 5]);
    assert.deepEqual(await standing({}), ["e", 5]);
    assert.deepEqual(await standing({ epoch: "f", offset: 2, rebased: true }), ["f", 2]);
    store.close();
  });

  test(`${name}: compacting keeps content, pending edits and what still lacks a part`, async () => {
    const store = await open();
    const [seq] = await store.write(id, { ...nothing, content: [a, c], pending: [b], offset: 0 });
    await store.compact(id);
    await store.compact(id);
    const compacted = await store.load(id);
    assert.deepEqual(compacted?.updates, []);
    assert.deepEqual(compacted?.pending.map((edit) => edit.seq), [seq]);
    assert.equal(read(compacted?.snapshot), "a");
    await store.write(id, { ...nothing, acked: [seq!] });
    await store.compact(id);
    const stored = await store.load(id);
    assert.equal(read(stored?.snapshot), "abc");
    assert.deepEqual([stored?.updates, stored?.pending], [[], []]);
    store.close();
  });

  test(`${name}: a removed document is forgotten, its edits too, and no other`, async () => {
    const store = await open();
    await store.write(id, { ...nothing, content: [a], pending: [b] });
    await store.write("another", { ...nothing, pending: [c] });
    await store.remove(id);
    assert.equal(await store.load(id), undefined);
    assert.deepEqual(await store.pending(), ["another"]);
    store.close();
  });

  test(`${name}: requests stand in the line in their order until they are taken out`, async () => {
    const store = await open();
    const request = (memoryId: string) => ({
      operation: "memories.delete" as const,
      body: { id: memoryId },
      queuedAt: "2026-01-31T08:30:00.000Z",
    });
    assert.deepEqual(await store.queued(), []);
    const body = request("one");
    const [first, second] = [await store.enqueue(body), await store.enqueue(request("two"))];
    assert.ok(first < second);
    body.body.id = "changed afterwards";
    assert.deepEqual(await store.queued(), [
      { ...request("one"), seq: first },
      { ...request("two"), seq: second },
    ]);
    await store.dequeue(first);
    await store.dequeue(first);
    assert.deepEqual((await store.queued()).map(({ seq }) => seq), [second]);
    assert.ok((await store.enqueue(request("three"))) > second);
    store.close();
  });

  test(`${name}: small values are kept until they are taken away`, async () => {
    const store = await open();
    assert.equal(await store.get("list"), undefined);
    await store.put("list", { items: [1, "two"], cursor: null });
    assert.deepEqual(await store.get("list"), { items: [1, "two"], cursor: null });
    await store.put("list", undefined);
    assert.equal(await store.get("list"), undefined);
    store.close();
  });
}

test("an update that is a view of a large message is stored without the message", async () => {
  const name = randomUUID();
  const store = await IndexedDbStore.open(name);
  const message = new Uint8Array(1_000_000);
  message.set(a, 10);
  await store.write(id, { ...nothing, content: [message.subarray(10, 10 + a.length)] });
  const [update] = (await store.load(id))!.updates;
  assert.equal(update!.buffer.byteLength, a.length);
  assert.equal(read(update), "a");
  store.close();
});

test("a tab hears what another writes to what it watches, and not its own writes", async () => {
  const name = randomUUID();
  const [one, two] = [await IndexedDbStore.open(name), await IndexedDbStore.open(name)];
  const own: unknown[] = [];
  const off = one.watch(id, (updates) => own.push(updates));
  const heard = new Promise<Uint8Array[]>((resolve) => two.watch(id, resolve));
  await one.write("another", { ...nothing, content: [c] });
  await one.write(id, { ...nothing, content: [a], pending: [b] });
  assert.equal(read(...(await heard)), "ab");
  assert.deepEqual(own, []);
  off();
  one.close();
  two.close();
});

test("a destroyed store is empty when opened again", async () => {
  const name = randomUUID();
  const [one, two] = [await IndexedDbStore.open(name), await IndexedDbStore.open(name)];
  await one.write(id, { ...nothing, pending: [a] });
  await one.destroy();
  await assert.rejects(two.load(id));
  const again = await IndexedDbStore.open(name);
  assert.equal(await again.load(id), undefined);
  again.close();
});
