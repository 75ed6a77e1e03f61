import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import type { Change, Changes, MemoError, MemoryClient } from "../src/index.js";
import { device, online } from "./device.js";
import { ScriptedServer } from "./server.js";

let server: ScriptedServer;
let client: MemoryClient;
/** What the feed holds; cursors count it. */
let items: Change[];
let pageSize: number;
let asked: Record<string, unknown>[];
let refusals: Record<string, unknown>[];
const unfollow: (() => void)[] = [];

beforeEach(async () => {
  server = await ScriptedServer.start();
  client = device(server.url);
  [items, asked, refusals, pageSize] = [[], [], [], 200];
  server.answer = ([, id, operation, body], peer) => {
    if (operation !== "feed.changes") return undefined;
    const { after } = body as { after?: string };
    asked.push(body as Record<string, unknown>);
    const refusal = refusals.shift();
    if (refusal) {
      peer.send([19, id, { message: "scripted", ...refusal }]);
      return undefined;
    }
    const start = Number(after ?? 0);
    const end = Math.min(start + pageSize, items.length);
    return { items: items.slice(start, end), cursor: `${end}`, more: end < items.length };
  };
});

afterEach(async () => {
  for (const stop of unfollow.splice(0)) stop();
  client.close();
  await server.stop();
});

/** Follows, and hands on the pages one at a time. */
function follow(options: Parameters<MemoryClient["follow"]>[1] = {}): () => Promise<Changes> {
  const pages: Changes[] = [];
  const readers: ((changes: Changes) => void)[] = [];
  unfollow.push(
    client.follow((changes) => {
      const reader = readers.shift();
      if (reader) reader(changes);
      else pages.push(changes);
    }, options),
  );
  return () => {
    const page = pages.shift();
    return page ? Promise.resolve(page) : new Promise((resolve) => readers.push(resolve));
  };
}

const ids = ({ items: page }: Changes) => page.map((item) => item.id);

test("the feed is read to its end, and on when there is news", async () => {
  items = ["a", "b", "c"].map((id) => ({ kind: "memory", id, deleted: true }));
  pageSize = 2;
  const page = follow();
  client.connect();
  assert.deepEqual(ids(await page()), ["a", "b"]);
  const last = await page();
  assert.deepEqual([ids(last), last.more], [["c"], false]);
  items.push({ kind: "category", id: "d", deleted: true });
  server.peer.send([23, "feed.changed", {}]);
  assert.deepEqual(ids(await page()), ["d"]);
  assert.deepEqual(asked.map(({ after }) => after), [undefined, "2", "3"]);
});

test("it goes on from a cursor, with items of a kind nobody knows among the others", async () => {
  items = [
    { kind: "memory", id: "a" },
    { kind: "robot", id: "b", legs: 4 } as Change,
    { kind: "file", id: "c", deleted: true },
  ];
  client.connect();
  await online(client);
  const page = follow({ after: "1", brief: true });
  assert.deepEqual((await page()).items.map(({ kind }) => kind), ["robot", "file"]);
  assert.deepEqual(asked, [{ after: "1", brief: true, limit: 200 }]);
});

test("after a lost connection it asks what it has missed", async () => {
  client.connect();
  const page = follow();
  await page();
  items.push({ kind: "memory", id: "missed" });
  server.drop();
  assert.deepEqual(ids(await page()), ["missed"]);
});

test("what fails for now is asked again, and a refusal for good ends it", async () => {
  refusals = [{ code: "internal" }, { code: "invalid_request" }];
  const error = new Promise<MemoError>((onError) => follow({ onError }));
  client.connect();
  assert.equal((await error).code, "invalid_request");
  server.peer.send([23, "feed.changed", {}]);
  await client.call("account.me", {});
  assert.equal(asked.length, 2);
});

test("a page that the listener could not take comes again", async () => {
  items.push({ kind: "memory", id: "a" });
  let times = 0;
  const { queueMicrotask } = globalThis;
  const thrown = new Promise<unknown>((resolve) => {
    // What reaches the application's error handler would end this test.
    mock.method(globalThis, "queueMicrotask", (work: () => void) => {
      queueMicrotask(() => {
        try {
          work();
        } catch (error) {
          resolve(error);
        }
      });
    });
  });
  const taken = new Promise<Changes>((resolve) => {
    unfollow.push(
      client.follow(async (changes) => {
        times += 1;
        if (times === 1) throw new Error("the disk is full");
        resolve(changes);
      }),
    );
  });
  client.connect();
  assert.match(String(await thrown), /the disk is full/);
  assert.deepEqual(ids(await taken), ["a"]);
  mock.restoreAll();
});

test("a feed that is followed no longer brings nothing", async () => {
  client.connect();
  const page = follow();
  await page();
  unfollow.pop()!();
  server.peer.send([23, "feed.changed", {}]);
  await client.call("account.me", {});
  assert.equal(asked.length, 1);
});
