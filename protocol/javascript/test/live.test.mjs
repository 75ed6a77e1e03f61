// Against a running server: MEMO_URL=http://127.0.0.1:8000 npm run test:live
import "fake-indexeddb/auto";

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";

import { IndexedDbStore, MemoryClient, Y } from "@memory-app/client";
import { decode } from "@msgpack/msgpack";
import { WebSocket } from "ws";
import { WebsocketProvider } from "y-websocket";

const limitMs = 20_000;
let base;
let account;
const clients = [];
const documents = [];
const providers = [];
const stores = [];

before(async () => {
  assert.ok(process.env.MEMO_URL, "set MEMO_URL to the address of a running server");
  base = new URL(process.env.MEMO_URL);
  account = await post("/api/auth/register", {
    email: `live-${randomUUID()}@example.com`,
    password: "Passw0rd!live",
    firstName: "Live",
    lastName: "Test",
  });
});

after(async () => {
  for (const document of documents) await document.close();
  for (const client of clients) client.close();
  for (const store of stores) store.close();
  for (const { provider, doc } of providers) {
    provider.destroy();
    doc.destroy();
  }
});

async function post(path, body) {
  const response = await fetch(new URL(path, base), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  const answer = await response.json();
  assert.ok(response.ok, JSON.stringify(answer));
  return answer;
}

function socketUrl(path) {
  const url = new URL(path, base);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}

/** Browsers have locks that tabs share; Node has since version 24. */
if (!globalThis.navigator?.locks) {
  const held = new Map();
  const request = (name, work) => {
    const turn = (held.get(name) ?? Promise.resolve()).then(work, work);
    held.set(name, turn);
    return turn;
  };
  Object.defineProperty(globalThis, "navigator", { value: { locks: { request } } });
}

/** How often each operation was sent, by all devices. */
const sent = new Map();

class CountingSocket extends WebSocket {
  send(message) {
    for (const [type, , operation] of decode(message)) {
      if (type === 1) sent.set(operation, (sent.get(operation) ?? 0) + 1);
    }
    super.send(message);
  }
}

/** A device that has no connection yet. */
function offline(store) {
  const client = new MemoryClient({
    url: socketUrl("/ws"),
    credentials: { getToken: async () => account.accessToken },
    client: "live test",
    store,
    WebSocket: CountingSocket,
  });
  clients.push(client);
  return client;
}

async function device(store) {
  const client = offline(store);
  client.connect();
  await client.call("account.me", {});
  return client;
}

async function openStore(name = randomUUID()) {
  const store = await IndexedDbStore.open(name);
  stores.push(store);
  return store;
}

async function memory(client) {
  const id = randomUUID();
  await client.call("memories.create", { id, title: "A live memory" });
  return id;
}

async function open(client, id) {
  const document = await client.open(id);
  documents.push(document);
  return document;
}

const text = ({ doc }) => doc.getText("content");

/** Resolves when the documents' texts are the same and `condition` holds for them. */
async function converged(all, condition = () => true) {
  const texts = () => all.map((each) => text(each).toString());
  const done = () => new Set(texts()).size === 1 && condition(texts()[0]);
  await new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`no convergence: ${JSON.stringify(texts())}`)),
      limitMs,
    );
    const look = () => {
      if (!done()) return;
      clearTimeout(timer);
      for (const { doc } of all) doc.off("update", look);
      resolve();
    };
    for (const { doc } of all) doc.on("update", look);
    look();
  });
}

async function saved(document) {
  const { state, error } = await document.settled(limitMs);
  assert.equal(state, "saved", error?.message);
}

test("two devices converge while both write, and what is acked is at the server", async () => {
  const [one, two] = [await device(), await device()];
  const id = await memory(one);
  const [left, right] = [await open(one, id), await open(two, id)];
  await Promise.all([left.synced, right.synced]);
  for (let count = 0; count < 100; count += 1) {
    text(left).insert(0, "l");
    text(right).insert(text(right).length, "r");
    if (count % 10 === 0) text(left).delete(0, 1);
    await new Promise(setImmediate);
  }
  await converged([left, right], (content) => content.length === 190);
  await Promise.all([saved(left), saved(right)]);
  const third = await open(await device(), id);
  await third.synced;
  assert.equal(text(third).toString(), text(left).toString());
});

test("edits made offline land with the next connection, opened or not", async () => {
  const store = await openStore();
  const client = await device(store);
  const id = await memory(client);
  const document = await open(client, id);
  await document.synced;
  client.close();
  text(document).insert(0, "written offline");
  while ((await client.pendingDocuments()).length === 0) await new Promise(setImmediate);

  const next = await device(store);
  const reader = await open(await device(), id);
  await converged([reader], (content) => content === "written offline");
  while ((await next.pendingDocuments()).length > 0) await new Promise(setImmediate);
});

test("a reload resumes by its offset and gets only what came since", async () => {
  const name = randomUUID();
  const store = await openStore(name);
  const [writer, reader] = [await device(), await device(store)];
  const id = await memory(writer);
  const [source, copy] = [await open(writer, id), await open(reader, id)];
  await Promise.all([source.synced, copy.synced]);
  for (const word of ["one ", "two ", "three "]) {
    text(source).insert(text(source).length, word);
    await saved(source);
  }
  await converged([source, copy]);
  await copy.close();
  reader.close();
  const { epoch, offset } = await store.load(id);
  text(source).insert(text(source).length, "four");
  await saved(source);
  const missed = await writer.call("documents.open", { memoryId: id, epoch, offset });
  assert.equal(missed.snapshot, undefined);
  assert.equal(missed.updates.length, 1);
  assert.equal(missed.offset, offset + 1);

  const again = await open(await device(await openStore(name)), id);
  assert.equal(text(again).toString(), "one two three ");
  await again.synced;
  assert.equal(text(again).toString(), "one two three four");
});

test("the stock y-websocket provider converges with a device, in both directions", async () => {
  const client = await device();
  const id = await memory(client);
  const document = await open(client, id);
  await document.synced;
  text(document).insert(0, "device ");
  await saved(document);

  const doc = new Y.Doc();
  const params = { token: account.accessToken };
  const options = { params, WebSocketPolyfill: WebSocket, disableBc: true };
  const provider = new WebsocketProvider(socketUrl("/yjs"), id, doc, options);
  providers.push({ provider, doc });
  await converged([document, { doc }], (content) => content === "device ");
  doc.getText("content").insert(7, "stock");
  await converged([document, { doc }], (content) => content === "device stock");

  const seen = new Promise((resolve) => {
    document.awareness.on("change", () => {
      const states = [...document.awareness.getStates().values()];
      if (states.some((state) => state.name === "stock")) resolve();
    });
  });
  provider.awareness.setLocalStateField("name", "stock");
  await seen;
});

/** Resolves when nothing waits in the client's line. */
async function emptied(client) {
  for (;;) {
    const changed = new Promise((resolve) => {
      const off = client.on("queue-changed", () => resolve(off()));
    });
    if ((await client.queued()).length === 0) return;
    await changed;
  }
}

test("all that is written offline lands once and in order after a restart", async () => {
  const name = randomUUID();
  const store = await openStore(name);
  const train = offline(store);
  const categoryId = (await train.enqueue("categories.create", { name: "Trips" })).body.id;
  const created = await train.enqueue("memories.create", { title: "Lisbon", categoryId });
  const { id } = created.body;
  const content = "here";
  const message = await train.enqueue("messages.create", { memoryId: id, content });
  await train.enqueue("messages.markRead", { memoryId: id, messageId: message.body.id });
  await train.enqueue("memories.update", { id, isFavorite: true });
  await train.enqueue("memories.update", { id, isArchived: true });
  await train.enqueue("memories.delete", { id });
  await train.enqueue("memories.restore", { id });
  const draft = await open(train, id);
  text(draft).insert(0, "Pastéis");
  while ((await train.pendingDocuments()).length === 0) await new Promise(setImmediate);
  await draft.close();
  train.close();
  store.close();

  const client = offline(await openStore(name));
  const ended = [];
  client.on("settled", ({ entry }) => ended.push(entry.seq));
  client.on("refused", ({ entry, error }) => ended.push(`${entry.operation}: ${error.message}`));
  client.connect();
  await emptied(client);
  assert.deepEqual(ended, [1, 2, 3, 4, 5, 6, 7, 8]);
  const { memory } = await client.call("memories.get", { id });
  assert.deepEqual(
    [memory.title, memory.categoryId, memory.isFavorite, memory.isArchived, memory.deletedAt],
    ["Lisbon", categoryId, true, true, null],
  );
  const { messages } = await client.call("messages.list", { memoryId: id });
  assert.deepEqual(messages.map((each) => [each.id, each.content]), [[message.body.id, content]]);
  const reader = await open(await device(), id);
  await converged([reader], (body) => body === "Pastéis");
});

test("a refusal is told and does not hold up the rest", async () => {
  const laptop = await device();
  const { category } = await laptop.call("categories.create", { name: "Soon gone" });
  const phone = offline();
  const lost = await phone.enqueue("memories.create", { categoryId: category.id });
  await phone.enqueue("messages.create", { memoryId: lost.body.id, content: "lost with it" });
  const other = await phone.enqueue("memories.create", { title: "kept" });
  await laptop.call("categories.delete", { id: category.id });
  const refused = [];
  phone.on("refused", ({ entry, error }) => refused.push([entry.operation, error.code]));
  phone.connect();
  await emptied(phone);
  assert.deepEqual(refused, [
    ["memories.create", "not_found"],
    ["messages.create", "not_found"],
  ]);
  const { memory } = await laptop.call("memories.get", { id: other.body.id });
  assert.equal(memory.title, "kept");
});

test("two tabs send what they queued once", async () => {
  const name = randomUUID();
  const [left, right] = [offline(await openStore(name)), offline(await openStore(name))];
  sent.clear();
  const { id } = (await left.enqueue("memories.create", {})).body;
  for (let count = 0; count < 20; count += 1) {
    const body = { memoryId: id, content: `${count}` };
    await (count % 2 ? left : right).enqueue("messages.create", body);
  }
  left.connect();
  right.connect();
  await Promise.all([emptied(left), emptied(right)]);
  assert.deepEqual([sent.get("memories.create"), sent.get("messages.create")], [1, 20]);
  const { messages } = await left.call("messages.list", { memoryId: id, limit: 100 });
  assert.equal(messages.length, 20);
});

test("refusals come with their codes", async () => {
  const client = await device();
  const missing = randomUUID();
  await assert.rejects(client.call("memories.get", { id: missing }), { code: "not_found" });
  const refused = client.call("memories.create", { title: "x".repeat(300) });
  await assert.rejects(refused, { code: "invalid_request" });
  const document = await open(client, missing);
  const { state, error } = await document.settled(limitMs);
  assert.deepEqual([state, error?.code], ["refused", "not_found"]);
});
