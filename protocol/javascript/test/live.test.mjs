// Against a running server: MEMO_URL=http://127.0.0.1:8000 npm run test:live
import "fake-indexeddb/auto";

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";

import { IndexedDbStore, MemoryClient, Y } from "@memory-app/client";
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

async function device(store) {
  const client = new MemoryClient({
    url: socketUrl("/ws"),
    credentials: { getToken: async () => account.accessToken },
    client: "live test",
    store,
    WebSocket,
  });
  clients.push(client);
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
