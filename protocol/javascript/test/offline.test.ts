import "fake-indexeddb/auto";

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, test } from "node:test";

import { IndexedDbStore, type MemoryClient, type MemoryDocument } from "../src/index.js";
import { device, event, online, reads, saved, text, typed } from "./device.js";
import { ScriptedServer } from "./server.js";

const id = "memory";
let server: ScriptedServer;
let name: string;
const tabs: Tab[] = [];

/** One tab, or one run of an app: a client with a store of its own on the shared database. */
class Tab {
  readonly store: IndexedDbStore;
  readonly client: MemoryClient;
  readonly documents: MemoryDocument[] = [];

  constructor(store: IndexedDbStore) {
    this.store = store;
    this.client = device(server.url, { store });
  }

  static async open(): Promise<Tab> {
    const tab = new Tab(await IndexedDbStore.open(name));
    tabs.push(tab);
    return tab;
  }

  async document(memoryId = id): Promise<MemoryDocument> {
    const document = await this.client.open(memoryId);
    this.documents.push(document);
    return document;
  }

  /** Ends as an app does that is killed: nothing more is sent or written. */
  kill(): void {
    this.client.close();
    this.store.close();
  }
}

beforeEach(async () => {
  server = await ScriptedServer.start();
  name = randomUUID();
});

afterEach(async () => {
  for (const tab of tabs.splice(0)) {
    tab.kill();
    for (const document of tab.documents) await document.close();
  }
  await server.stop();
});

/** Resolves when the database has this many unsent edits. */
async function kept(tab: Tab, count: number): Promise<void> {
  while ((await tab.store.unsent(id)).length !== count) await new Promise(setImmediate);
}

test("edits made offline survive a kill, and the next run sends them unasked", async () => {
  const first = await Tab.open();
  const draft = await first.document();
  for (const word of ["written ", "offline"]) {
    text(draft).insert(text(draft).length, word);
    await Promise.resolve();
  }
  assert.deepEqual(draft.sync, { state: "offline", pending: 2, canWrite: true, error: undefined });
  await kept(first, 2);
  first.kill();

  const second = await Tab.open();
  assert.deepEqual(await second.client.pendingDocuments(), [id]);
  second.client.connect();
  await server.until(() => server.peer?.requests("documents.close").length === 1);
  assert.equal(server.log(id).text, "written offline");
  assert.deepEqual(await second.client.pendingDocuments(), []);
  assert.equal(server.peer.updates().length, 1);
});

test("edits on their way when the app was killed are sent again, and are there once", async () => {
  const first = await Tab.open();
  first.client.connect();
  const draft = await first.document();
  await draft.synced;
  server.withholdAcks = true;
  text(draft).insert(0, "once");
  await server.until(() => server.log(id).entries.length === 1);
  await kept(first, 1);
  first.kill();

  server.withholdAcks = false;
  const second = await Tab.open();
  second.client.connect();
  await online(second.client);
  await server.until(() => server.peer.requests("documents.close").length === 1);
  assert.equal(server.peer.updates().length, 1);
  assert.equal(server.log(id).entries.length, 1);
  assert.deepEqual(await second.client.pendingDocuments(), []);
});

test("a document shows what this device has before there is a connection", async () => {
  const first = await Tab.open();
  first.client.connect();
  for (const update of typed("from ", "others")) server.commit(id, update);
  const document = await first.document();
  await document.synced;
  await document.close();
  first.kill();

  const second = await Tab.open();
  assert.equal(text(await second.document()).toString(), "from others");
});

test("the next run asks for what came after its offset, and gets that alone", async () => {
  const updates = typed("a", "b", "c", "d");
  const first = await Tab.open();
  first.client.connect();
  server.commit(id, updates[0]!);
  const document = await first.document();
  await document.synced;
  server.commit(id, updates[1]!);
  await reads(document, "ab");
  await document.close();
  first.kill();
  for (const update of updates.slice(2)) server.commit(id, update);

  const second = await Tab.open();
  const again = await second.document();
  second.client.connect();
  await reads(again, "abcd");
  const [, , , body] = server.peer.requests("documents.open")[0]!;
  assert.deepEqual(body, { memoryId: id, epoch: "epoch-1", offset: 2 });
});

test("a long session is folded in the store, and its offset stands", async () => {
  const tab = await Tab.open();
  tab.client.connect();
  const document = await tab.document();
  await document.synced;
  const words = Array.from({ length: 250 }, (_, index) => `${index} `);
  for (const update of typed(...words)) server.commit(id, update);
  await reads(document, words.join(""));
  await document.close();
  const stored = await tab.store.load(id);
  assert.ok(stored!.updates.length < 250);
  assert.ok(stored!.snapshot);
  assert.equal(stored!.offset, 250);
});

test("two tabs show each other's edits offline, and the server gets them when online", async () => {
  const [one, two] = [await Tab.open(), await Tab.open()];
  const [left, right] = [await one.document(), await two.document()];
  text(left).insert(0, "left ");
  await reads(right, "left ");
  text(right).insert(5, "right");
  await reads(left, "left right");
  assert.deepEqual([left.sync.pending, right.sync.pending], [1, 1]);

  one.client.connect();
  two.client.connect();
  await Promise.all([left.synced, right.synced]);
  await Promise.all([saved(left), saved(right)]);
  assert.equal(server.log(id).text, "left right");
  // Both tabs send all that is unsent in the store; the server drops what it knows.
  assert.ok(server.log(id).entries.length <= 2);
  await kept(one, 0);
});

test("a tab sends what a killed one has left in the shared store", async () => {
  const [one, two] = [await Tab.open(), await Tab.open()];
  const [dying, living] = [await one.document(), await two.document()];
  text(dying).insert(0, "left behind");
  await kept(one, 1);
  one.kill();
  two.client.connect();
  await living.synced;
  await saved(living);
  assert.equal(server.log(id).text, "left behind");
  assert.equal(text(living).toString(), "left behind");
  await kept(two, 0);
});

test("a whole state that a new epoch asks for is still sent after a kill", async () => {
  const first = await Tab.open();
  first.client.connect();
  const document = await first.document();
  await document.synced;
  text(document).insert(0, "known to this device alone");
  await saved(document);
  server.log(id).entries.length = 0;
  server.log(id).epoch = "epoch-2";
  server.refuseUpdate = () => ({ code: "unavailable", retryAfter: 60 });
  server.drop();
  await event(document, "sync", ({ state }) => state === "offline");
  await server.until(() => server.peers.length === 2 && server.peer.updates().length === 1);
  await kept(first, 1);
  first.kill();

  server.refuseUpdate = () => undefined;
  const second = await Tab.open();
  second.client.connect();
  await server.until(() => server.log(id).entries.length === 1);
  assert.equal(server.log(id).text, "known to this device alone");
});
