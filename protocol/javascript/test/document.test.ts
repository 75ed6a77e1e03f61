import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";

import { encodeAwarenessUpdate } from "y-protocols/awareness";
import * as Y from "yjs";

import { MemoryClient, MemoryDocument, MemoryStore } from "../src/index.js";
import { device, event, online, reads, saved, text, typed } from "./device.js";
import { ScriptedServer, type Log } from "./server.js";

const id = "memory";
let server: ScriptedServer;
let log: Log;
let store: MemoryStore;
let client: MemoryClient;
let document: MemoryDocument;
const clients: MemoryClient[] = [];
const documents: MemoryDocument[] = [];

beforeEach(async () => {
  server = await ScriptedServer.start();
  log = server.log(id);
  store = new MemoryStore();
  [client, document] = await opened(store);
});

afterEach(async () => {
  for (const each of clients.splice(0)) each.close();
  for (const each of documents.splice(0)) await each.close();
  await server.stop();
});

async function opened(from: MemoryStore): Promise<[MemoryClient, MemoryDocument]> {
  const made = device(server.url, { store: from });
  clients.push(made);
  made.connect();
  const other = await made.open(id);
  await other.synced;
  documents.push(other);
  return [made, other];
}

/** Reconnects after a lost network, with the document open again. */
async function returned(): Promise<void> {
  await online(client);
  if (document.sync.state === "offline") {
    await event(document, "sync", ({ state }) => state !== "offline");
  }
}

/** Resolves when the device has read all that the server has sent it. */
async function read(): Promise<void> {
  await client.call("account.me", {});
}

/** Types at the end, and waits until that is saved. */
async function write(word: string): Promise<void> {
  text(document).insert(text(document).length, word);
  await saved(document);
}

async function stored(): Promise<{ text: string; offset: number; pending: number }> {
  // The write of what was read last is under way; a store answers in order.
  await new Promise(setImmediate);
  const record = (await store.load(id))!;
  const doc = new Y.Doc();
  for (const update of record.snapshot ? [record.snapshot] : []) Y.applyUpdate(doc, update);
  for (const update of record.updates) Y.applyUpdate(doc, update);
  const content = text({ doc }).toString();
  return { text: content, offset: record.offset, pending: record.pending.length };
}

test("edits are saved when acked, and reach another device", async () => {
  const [, other] = await opened(new MemoryStore());
  assert.deepEqual(document.sync, { state: "saved", pending: 0, canWrite: true, error: undefined });
  text(document).insert(0, "hello");
  assert.deepEqual([document.sync.state, document.sync.pending], ["saving", 1]);
  await Promise.all([saved(document), reads(other, "hello")]);
  assert.deepEqual(await stored(), { text: "hello", offset: 1, pending: 0 });
});

test("what is typed in one turn is one update", async () => {
  for (const word of ["a", "b", "c"]) text(document).insert(text(document).length, word);
  await saved(document);
  assert.equal(log.text, "abc");
  assert.equal(log.entries.length, 1);
});

test("updates whose acks were lost are sent again, and are in the log once", async () => {
  server.withholdAcks = true;
  text(document).insert(0, "one ");
  await server.until(() => log.entries.length === 1);
  text(document).insert(4, "two");
  await server.until(() => log.entries.length === 2);
  assert.equal(document.sync.pending, 2);
  server.drop();
  await event(document, "sync", ({ state }) => state === "offline");
  server.withholdAcks = false;
  await returned();
  await saved(document);
  assert.equal(server.peer.updates().length, 1);
  assert.equal(log.entries.length, 2);
  assert.equal(log.text, "one two");
  assert.deepEqual(await stored(), { text: "one two", offset: 2, pending: 0 });
});

test("while enough updates are on their way the next ones wait and are merged", async () => {
  server.withholdAcks = true;
  for (let count = 0; count < 50; count += 1) {
    text(document).insert(text(document).length, `${count} `);
    await Promise.resolve();
  }
  await server.until(() => log.entries.length === 32);
  await read();
  assert.equal(log.entries.length, 32);
  assert.equal(document.sync.pending, 50);
  server.withholdAcks = false;
  server.peer.send([21, log.channel, 1, 1]);
  await server.until(() => log.entries.length === 33);
  assert.equal(log.text, text(document).toString());
});

test("pushes that come twice, late and out of order leave the text right", async () => {
  const [a, b, c] = typed("a", "b", "c");
  const push = (offset: number, ...updates: unknown[]) =>
    server.peer.send([20, log.channel, offset, updates]);
  push(1, a);
  push(3, c);
  push(1, a);
  await read();
  assert.deepEqual(await stored(), { text: "a", offset: 1, pending: 0 });
  push(1, a, b);
  await read();
  assert.deepEqual(await stored(), { text: "abc", offset: 3, pending: 0 });
});

test("an ack ahead of a late push moves the stored offset only with that push", async () => {
  server.withholdPushes = true;
  const [theirs] = typed("theirs");
  server.commit(id, theirs!);
  await write("ours ");
  assert.deepEqual(await stored(), { text: "ours ", offset: 0, pending: 0 });
  server.peer.send([20, log.channel, 1, [theirs]]);
  await read();
  assert.equal((await stored()).offset, 2);
  assert.equal(text(document).toString(), log.text);
});

test("an ack at the head of an update that changed nothing covers no late push", async () => {
  await write("word");
  const other = log.doc;
  const removals: Uint8Array[] = [];
  other.on("update", (update: Uint8Array) => removals.push(update));
  text({ doc: other }).delete(0, 4);
  server.withholdPushes = true;
  server.commit(id, removals[0]!);
  text(document).delete(0, 4);
  await saved(document);
  assert.equal(log.entries.length, 2);
  assert.equal((await stored()).offset, 1);
});

test("the ack of an update that is sent again covers no late push either", async () => {
  server.withholdAcks = true;
  text(document).insert(0, "word");
  await server.until(() => log.entries.length === 1);
  server.refuseUpdate = () => {
    server.withholdPushes = true;
    if (log.entries.length === 1) server.commit(id, typed("theirs")[0]!);
    return undefined;
  };
  server.withholdAcks = false;
  server.drop();
  await event(document, "sync", ({ state }) => state === "offline");
  await returned();
  await saved(document);
  assert.deepEqual(await stored(), { text: "word", offset: 1, pending: 0 });
});

test("a hole that acks cannot close is closed by opening again", async () => {
  await write("ab");
  text(document).delete(0, 2);
  await saved(document);
  // That ack did not say for certain whose the offset is: nothing in the edit was new.
  assert.equal((await stored()).offset, 1);
  for (let count = 0; count < 257; count += 1) await write("c");
  await server.until(() => server.peer.requests("documents.open").length === 2);
  await saved(document);
  assert.deepEqual(await stored(), { text: "c".repeat(257), offset: 259, pending: 0 });
});

for (const code of ["forbidden", "gone", "malformed_update", "client_id_taken", "too_large"]) {
  test(`an update refused as ${code} stays in the store and is not sent in a loop`, async () => {
    server.refuseUpdate = () => ({ code });
    const refused = event(document, "refused");
    text(document).insert(0, "kept");
    assert.equal((await refused).code, code);
    text(document).insert(4, " too");
    await read();
    assert.equal(document.sync.state, "refused");
    assert.equal(document.sync.error?.code, code);
    assert.equal(server.peer.updates().length, 1);
    assert.deepEqual(await client.pendingDocuments(), [id]);
    server.refuseUpdate = () => undefined;
    document.retry();
    await saved(document);
    assert.equal(log.text, "kept too");
  });
}

test("a refused document still takes what others write", async () => {
  server.refuseUpdate = () => ({ code: "forbidden" });
  text(document).insert(0, "mine");
  await event(document, "refused");
  const before = text(document).toString();
  server.commit(id, typed("theirs")[0]!);
  await event(document, "remote");
  assert.notEqual(text(document).toString(), before);
});

test("an update with a missing dependency is followed by the whole state", async () => {
  await write("first ");
  log.entries.length = 0;
  text(document).insert(6, "second");
  await server.until(() => log.entries.length === 1);
  await saved(document);
  assert.equal(log.text, "first second");
  assert.deepEqual(await client.pendingDocuments(), []);
});

test("a whole state that is refused as missing something is not sent in a loop", async () => {
  server.refuseUpdate = () => ({ code: "missing_dependency" });
  const refused = event(document, "refused");
  text(document).insert(0, "text");
  assert.equal((await refused).code, "missing_dependency");
  assert.equal(server.peer.updates().length, 2);
});

test("a refusal that passes is tried again until it has passed", async () => {
  let refusals = 2;
  server.refuseUpdate = () => (refusals-- > 0 ? { code: "unavailable" } : undefined);
  text(document).insert(0, "text");
  await server.until(() => log.entries.length === 1);
  await saved(document);
  assert.equal(server.peer.requests("documents.open").length, 3);
});

test("a document that cannot be opened is refused, and opened once the memory exists", async () => {
  const unknown = "new memory";
  let exists = false;
  server.answer = ([, request, operation, body], peer) => {
    if (operation === "memories.create") {
      exists = true;
      return { memory: { id: (body as { id: string }).id } };
    }
    if (operation === "documents.open" && !exists) {
      peer.send([19, request, { code: "not_found", message: "no such memory" }]);
      peer.frames.pop();
      return null;
    }
    return undefined;
  };
  const draft = await client.open(unknown);
  assert.equal((await event(draft, "refused")).code, "not_found");
  text(draft).insert(0, "draft");
  await client.call("memories.create", { id: unknown });
  await saved(draft);
  assert.equal(server.log(unknown).text, "draft");
  await draft.close();
});

test("a channel that the server has closed is opened again", async () => {
  log.readers.clear();
  const { channel } = log;
  server.peer.send([19, null, { code: "channel_closed", message: "open again", channel }]);
  await event(document, "sync", ({ state }) => state === "offline");
  server.commit(id, typed("missed")[0]!);
  await reads(document, "missed");
  await saved(document);
});

test("a memory that is deleted while it is open is refused as gone", async () => {
  const refused = event(document, "refused");
  const { channel } = log;
  server.peer.send([19, null, { code: "gone", message: "deleted", channel }]);
  assert.equal((await refused).code, "gone");
  assert.equal(document.sync.state, "refused");
});

test("presence that the server could not read costs nothing", async () => {
  const { channel } = log;
  server.peer.send([19, null, { code: "malformed_awareness", message: "what?", channel }]);
  await read();
  assert.equal(document.sync.state, "saved");
});

for (const [name, change] of [
  ["another epoch", () => (log.epoch = "epoch-2")],
  ["a shorter log", () => undefined],
] as const) {
  test(`a server that came back with ${name} is given the whole state`, async () => {
    for (const word of ["one ", "two ", "three"]) await write(word);
    log.entries.length = 1;
    change();
    server.drop();
    await event(document, "sync", ({ state }) => state === "offline");
    await returned();
    await server.until(() => log.entries.length === 2);
    await saved(document);
    assert.equal(log.text, "one two three");
    await client.call("account.me", {});
    const record = (await store.load(id))!;
    assert.equal(record.epoch, log.epoch);
    assert.ok(record.offset <= 2);
    assert.deepEqual(record.pending, []);
  });
}

test("a reader's edits are refused here and never sent", async () => {
  log.canWrite = false;
  server.drop();
  await event(document, "sync", ({ state }) => state === "offline");
  await returned();
  assert.equal(document.sync.canWrite, false);
  assert.equal(document.sync.state, "saved");
  const refused = event(document, "refused");
  text(document).insert(0, "no");
  assert.equal((await refused).code, "forbidden");
  await read();
  assert.equal(server.peer.updates().length, 0);
});

test("who is made an editor sends what waited, and who is made a reader sends no more", async () => {
  const become = async (role: string, canWrite: boolean) => {
    log.canWrite = canWrite;
    server.peer.send([23, "sharing.changed", { memoryId: id, role }]);
    await event(document, "sync", (sync) => sync.canWrite === canWrite);
  };
  await become("viewer", false);
  const refused = event(document, "refused");
  text(document).insert(0, "waits");
  assert.equal((await refused).code, "forbidden");
  await become("editor", true);
  await saved(document);
  assert.equal(log.text, "waits");
  const opened = server.peer.requests("documents.open").length;
  server.peer.send([23, "sharing.changed", { memoryId: id, role: "owner" }]);
  await read();
  assert.equal(server.peer.requests("documents.open").length, opened);
});

test("an update over the server's limit is refused before it is sent", async () => {
  server.welcome = { maxMessageBytes: 500 };
  server.drop();
  await event(document, "sync", ({ state }) => state === "offline");
  await returned();
  const refused = event(document, "refused");
  text(document).insert(0, "x".repeat(500));
  assert.equal((await refused).code, "too_large");
  await read();
  assert.equal(server.peer.updates().length, 0);
});

test("devices see each other's presence until one leaves or loses its network", async () => {
  const [, other] = await opened(new MemoryStore());
  const names = () => [...document.awareness.getStates().values()].map(({ name }) => name);
  const changed = () =>
    new Promise<void>((resolve) => document.awareness.once("change", () => resolve()));
  let change = changed();
  other.awareness.setLocalStateField("name", "Ada");
  await change;
  assert.deepEqual(names(), [undefined, "Ada"]);
  change = changed();
  server.peers[0]!.socket.terminate();
  await change;
  assert.deepEqual(names(), [undefined]);
  await returned();
  change = changed();
  other.awareness.setLocalStateField("name", "Ada L.");
  await change;
  assert.deepEqual(names(), [undefined, "Ada L."]);
  change = changed();
  await other.close();
  await change;
  assert.deepEqual(names(), [undefined]);
});

test("a device that returns is present again to those who saw it leave", async () => {
  const [, other] = await opened(new MemoryStore());
  const present = (wanted: boolean) =>
    new Promise<void>((resolve) => {
      const look = () => {
        if (other.awareness.getStates().has(document.doc.clientID) !== wanted) return;
        other.awareness.off("change", look);
        resolve();
      };
      other.awareness.on("change", look);
    });
  document.awareness.setLocalStateField("name", "Ada");
  await present(true);
  server.peers[0]!.socket.terminate();
  // As a server does, at the last clock it has heard.
  const gone = encodeAwarenessUpdate(document.awareness, [document.doc.clientID], new Map());
  server.peers[1]!.send([22, log.channel, gone]);
  await present(false);
  await present(true);
});

test("cursors that move fast are told at intervals, and an empty state not at all", async () => {
  await read();
  assert.equal(server.peer.frames.filter(([type]) => type === 4).length, 0);
  for (let x = 0; x < 100; x += 1) document.awareness.setLocalStateField("cursor", x);
  await server.until(() => server.peer.frames.some(([type]) => type === 4));
  await read();
  assert.equal(server.peer.frames.filter(([type]) => type === 4).length, 1);
});

test("a document opened twice is one object, and closes with the last", async () => {
  const again = await client.open(id);
  assert.equal(again, document);
  await again.close();
  await write("still open");
  await document.close();
  await read();
  assert.equal(server.peer.requests("documents.close").length, 1);
  const fresh = await client.open(id);
  assert.notEqual(fresh, document);
  assert.equal(text(fresh).toString(), "still open");
  await fresh.close();
});

test("closing waits until the last edits are saved", async () => {
  text(document).insert(0, "last words");
  await document.close();
  assert.equal(log.text, "last words");
  assert.deepEqual(await client.pendingDocuments(), []);
});

test("a store that fails is told of, and the edits go to the server all the same", async () => {
  store.write = () => Promise.reject(new Error("disk full"));
  text(document).insert(0, "text");
  const { error } = await event(document, "sync", (sync) => sync.error !== undefined);
  assert.equal(error?.code, "store_failed");
  assert.equal(error?.message, "disk full");
  await server.until(() => log.entries.length === 1);
  assert.equal(log.text, "text");
});
