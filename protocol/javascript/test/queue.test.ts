import "fake-indexeddb/auto";

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { afterEach, beforeEach, test } from "node:test";

import { IndexedDbStore, MemoError, type MemoryClient, type QueuedRequest } from "../src/index.js";
import { subjects } from "../src/request.js";
import { device, event, online, saved, text } from "./device.js";
import { ScriptedServer } from "./server.js";

let server: ScriptedServer;
let name: string;
let tabs: { client: MemoryClient; store: IndexedDbStore }[];
/** What the server refuses, by operation; each refusal counts once. */
let refusals: [operation: string, error: Record<string, unknown>][];

/** The tabs of a browser take turns; Node 20 has no such locks. */
class Locks {
  readonly held = new Map<string, Promise<unknown>>();

  async request<Value>(lock: string, work: () => Promise<Value>): Promise<Value> {
    const turn = (this.held.get(lock) ?? Promise.resolve()).then(work, work);
    this.held.set(lock, turn);
    return turn;
  }
}

async function tab(connect = false): Promise<MemoryClient> {
  const store = await IndexedDbStore.open(name);
  const client = device(server.url, { store });
  tabs.push({ client, store });
  if (connect) {
    client.connect();
    await online(client);
  }
  return client;
}

/** Ends all tabs as a browser does that is killed. */
function kill(): void {
  for (const { client, store } of tabs.splice(0)) {
    client.close();
    store.close();
  }
}

/** The queued operations that reached the server, in order, with the ids they name. */
function received(): [string, string | undefined][] {
  return server.peers
    .flatMap((peer) => peer.frames)
    .flatMap((frame) => (frame[0] === 1 ? [[frame[2], frame[3]] as const] : []))
    .filter(([operation]) => /^(memories|messages|categories)\./.test(operation))
    .map(([operation, body]) => [operation, (body as { id?: string }).id]);
}

async function emptied(client: MemoryClient): Promise<void> {
  for (;;) {
    const changed = event(client, "queue-changed");
    if ((await client.queued()).length === 0) return;
    await changed;
  }
}

beforeEach(async () => {
  Object.defineProperty(globalThis, "navigator", {
    value: { locks: new Locks() },
    configurable: true,
  });
  server = await ScriptedServer.start();
  name = randomUUID();
  tabs = [];
  refusals = [];
  server.answer = ([, id, operation, body], peer) => {
    const index = refusals.findIndex(([refused]) => refused === operation);
    if (index >= 0) {
      const [[, error]] = refusals.splice(index, 1) as [(typeof refusals)[0]];
      peer.send([19, id, { code: "internal", message: "scripted", ...error }]);
      return undefined;
    }
    return /^(memories|messages|categories)\./.test(operation)
      ? { memory: { id: (body as { id?: string }).id } }
      : undefined;
  };
});

afterEach(async () => {
  kill();
  await server.stop();
});

test("what was queued offline is sent by the next run, in its order, once", async () => {
  const first = await tab();
  const category = await first.enqueue("categories.create", { name: "Trips" });
  const memory = await first.enqueue("memories.create", { categoryId: category.body.id });
  const message = await first.enqueue("messages.create", {
    memoryId: memory.body.id,
    content: "here",
  });
  await first.enqueue("messages.markRead", { memoryId: memory.body.id });
  await first.enqueue("memories.update", { id: memory.body.id, isFavorite: true });
  await first.enqueue("memories.delete", { id: memory.body.id });
  assert.equal((await first.queued()).length, 6);
  kill();

  const second = await tab();
  const settled: string[] = [];
  second.on("settled", ({ operation }) => settled.push(operation));
  second.connect();
  await emptied(second);
  assert.deepEqual(received(), [
    ["categories.create", category.body.id],
    ["memories.create", memory.body.id],
    ["messages.create", message.body.id],
    ["messages.markRead", undefined],
    ["memories.update", memory.body.id],
    ["memories.delete", memory.body.id],
  ]);
  assert.deepEqual(
    settled,
    received().map(([operation]) => operation),
  );
});

test("a creation gets a UUID unless it has one, and the caller's body stays as it was", async () => {
  const client = await tab();
  const body = { title: "Trip" };
  const given = await client.enqueue("memories.create", body);
  assert.match(given.body.id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.deepEqual(body, { title: "Trip" });
  const own = await client.enqueue("memories.create", { id: "mine" });
  assert.equal(own.body.id, "mine");
  const ended = await client.enqueue("sessions.end", { all: true });
  assert.deepEqual(ended.body, { all: true });
});

test("an operation of one connection is not queued", async () => {
  const client = await tab();
  const open = "documents.open" as never;
  await assert.rejects(client.enqueue(open, { memoryId: "m" } as never), {
    code: "invalid_request",
  });
  assert.deepEqual(await client.queued(), []);
});

test("online, a queued request goes at once", async () => {
  const client = await tab(true);
  const done = event(client, "settled");
  const { body } = await client.enqueue("memories.create", {});
  const settled = await done;
  assert.equal(settled.operation === "memories.create" && settled.response.memory.id, body.id);
});

test("a refusal is told and dropped, and what is behind it goes on", async () => {
  refusals.push(["memories.update", { code: "not_found", message: "no such category" }]);
  const client = await tab();
  const id = randomUUID();
  await client.enqueue("memories.update", { id, categoryId: randomUUID() });
  await client.enqueue("memories.delete", { id });
  const refused = event(client, "refused");
  client.connect();
  await emptied(client);
  const { entry, error } = await refused;
  assert.deepEqual([entry.operation, error.code], ["memories.update", "not_found"]);
  assert.ok(error instanceof MemoError);
  assert.deepEqual(received().map(([operation]) => operation), [
    "memories.update",
    "memories.delete",
  ]);
});

test("what fails for now is tried again; what builds on it waits, the rest goes by", async () => {
  refusals.push(["memories.create", { code: "internal" }]);
  const client = await tab();
  const { id } = (await client.enqueue("memories.create", {})).body;
  await client.enqueue("messages.create", { memoryId: id, content: "behind" });
  const other = (await client.enqueue("memories.create", {})).body.id;
  client.connect();
  await emptied(client);
  const sent = received();
  assert.deepEqual(sent.slice(0, 3), [
    ["memories.create", id],
    ["memories.create", other],
    ["memories.create", id],
  ]);
  assert.equal(sent[3]![0], "messages.create");
  assert.equal(sent.length, 4);
});

test("whoever calls too often waits as long as the server says, with all the like", async () => {
  refusals.push(["memories.create", { code: "rate_limited", retryAfter: 0.6 }]);
  const client = await tab();
  await client.enqueue("memories.create", {});
  await client.enqueue("memories.create", {});
  await client.enqueue("categories.create", { name: "Another limit" });
  const started = Date.now();
  client.connect();
  await emptied(client);
  assert.deepEqual(received().map(([operation]) => operation), [
    "memories.create",
    "categories.create",
    "memories.create",
    "memories.create",
  ]);
  assert.ok(Date.now() - started >= 600);
});

test("a reply that is lost with the connection is asked for again", async () => {
  const client = await tab();
  const { id } = (await client.enqueue("memories.create", {})).body;
  const { answer } = server;
  server.answer = (request, peer) => {
    if (request[2] !== "memories.create") return answer(request, peer);
    server.answer = answer;
    server.drop();
    return undefined;
  };
  client.connect();
  await emptied(client);
  assert.deepEqual(received(), [
    ["memories.create", id],
    ["memories.create", id],
  ]);
});

test("a session that ends keeps the line for the next one", async () => {
  const client = await tab();
  await client.enqueue("memories.create", {});
  const refused: unknown[] = [];
  client.on("refused", (refusal) => refused.push(refusal));
  server.answer = (_, peer) => peer.socket.close(4411);
  client.connect();
  await event(client, "session-ended");
  assert.equal((await client.queued()).length, 1);
  assert.deepEqual(refused, []);
});

test("two tabs send the line once, and both hear how it ended", async () => {
  const [left, right] = [await tab(), await tab()];
  for (let count = 0; count < 10; count += 1) {
    await (count % 2 ? left : right).enqueue("memories.create", {});
  }
  const heard: string[][] = [[], []];
  left.on("settled", ({ entry }) => heard[0]!.push(String(entry.seq)));
  right.on("settled", ({ entry }) => heard[1]!.push(String(entry.seq)));
  left.connect();
  right.connect();
  await Promise.all([emptied(left), emptied(right)]);
  while (heard.some((each) => each.length < 10)) await new Promise(setImmediate);
  assert.equal(received().length, 10);
  assert.deepEqual(heard[0], heard[1]);
});

test("a tab without a connection hands its requests to one that has it", async () => {
  const left = await tab();
  await tab(true);
  const settled = event(left, "settled");
  await left.enqueue("memories.create", {});
  assert.equal((await settled).operation, "memories.create");
  assert.deepEqual(await left.queued(), []);
});

test("a refusal in one tab is told in the other, with its code", async () => {
  refusals.push(["memories.create", { code: "conflict", details: { id: "taken" } }]);
  const left = await tab();
  await tab(true);
  const refused = event(left, "refused");
  await left.enqueue("memories.create", {});
  const { error } = await refused;
  assert.deepEqual([error.code, error.details], ["conflict", { id: "taken" }]);
});

test("a discarded request is not sent", async () => {
  const client = await tab();
  const { seq } = await client.enqueue("memories.create", {});
  const { body } = await client.enqueue("memories.create", {});
  assert.equal(await client.discard(seq), true);
  assert.equal(await client.discard(seq), false);
  client.connect();
  await emptied(client);
  assert.deepEqual(received(), [["memories.create", body.id]]);
});

test("a document of a memory that waits to be made is opened when it is made", async () => {
  const client = await tab();
  const { id } = (await client.enqueue("memories.create", {})).body;
  const document = await client.open(id);
  const refused: unknown[] = [];
  document.on("refused", (error) => refused.push(error));
  text(document).insert(0, "draft");
  client.connect();
  await saved(document);
  const order = server.peer.frames.flatMap((frame) => (frame[0] === 1 ? [frame[2]] : []));
  assert.deepEqual(order, ["memories.create", "documents.open"]);
  assert.deepEqual(refused, []);
  assert.equal(server.log(id).text, "draft");
  await document.close();
});

test("a memory that is closed just as it is made has its edits sent", async () => {
  const client = await tab(true);
  const { answer } = server;
  let made: () => void = () => undefined;
  server.answer = (request, peer) => {
    if (request[2] !== "memories.create") return answer(request, peer);
    made = () => peer.send([17, request[1], { memory: request[3] }]);
    return undefined;
  };
  const { id } = (await client.enqueue("memories.create", {})).body;
  await server.until(() => server.peer.requests("memories.create").length === 1);
  const document = await client.open(id);
  const { store } = tabs[0]!;
  const write = store.write.bind(store);
  store.write = async (...change) => {
    store.write = write;
    const settled = event(client, "queue-changed");
    made();
    await settled;
    return write(...change);
  };
  text(document).insert(0, "draft");
  await document.close();
  assert.equal(server.log(id).text, "draft");
  assert.deepEqual(await client.pendingDocuments(), []);
});

test("edits of an unopened memory follow its create after a restart", async () => {
  const first = await tab();
  const { id } = (await first.enqueue("memories.create", {})).body;
  const draft = await first.open(id);
  text(draft).insert(0, "draft");
  while ((await first.pendingDocuments()).length === 0) await new Promise(setImmediate);
  kill();
  await draft.close();
  const second = await tab();
  second.connect();
  await server.until(() => server.log(id).text === "draft");
  const order = server.peer.frames.flatMap((frame) => (frame[0] === 1 ? [frame[2]] : []));
  assert.deepEqual(order.slice(0, 2), ["memories.create", "documents.open"]);
  await server.until(() => server.peer.requests("documents.close").length === 1);
});

test("a request is about the ids it names, or else its domain", () => {
  const [one, two] = [randomUUID(), randomUUID()];
  const about = (operation: string, body: unknown) =>
    subjects({ seq: 1, operation, body, queuedAt: "" } as QueuedRequest);
  assert.deepEqual(about("memories.update", { id: one.toUpperCase(), title: "x" }), [one]);
  assert.deepEqual(about("categories.reorder", { ids: [one, two] }), [one, two]);
  assert.deepEqual(about("account.update", { firstName: "Ada", lastName: null }), ["account"]);
});

test("a store of an earlier version is opened with what it holds", async () => {
  const request = indexedDB.open(name, 1);
  request.onupgradeneeded = () => {
    const database = request.result;
    database.createObjectStore("documents", { keyPath: "id" });
    database.createObjectStore("values").put("kept", "key");
    const updates = database.createObjectStore("updates", { keyPath: "seq", autoIncrement: true });
    updates.createIndex("document", "document");
    updates.createIndex("unsent", "unsent");
  };
  await new Promise((resolve) => (request.onsuccess = resolve));
  request.result.close();
  const store = await IndexedDbStore.open(name);
  assert.equal(await store.get("key"), "kept");
  assert.deepEqual(await store.queued(), []);
  store.close();
});
