import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { Call } from "../src/call.js";
import type { Connection } from "../src/connection.js";
import { MemoError, MemoryClient } from "../src/index.js";
import { Renewal } from "../src/renewal.js";
import { device, event, online } from "./device.js";
import { ScriptedServer } from "./server.js";

let server: ScriptedServer;
let client: MemoryClient;

beforeEach(async () => {
  server = await ScriptedServer.start();
  client = device(server.url);
});

afterEach(async () => {
  client.close();
  await server.stop();
});

test("a call made while connecting waits for the welcome and gets its reply", async () => {
  client.connect();
  assert.equal(client.status, "connecting");
  assert.deepEqual(await client.call("account.me", {}), { user: {}, permissions: [] });
  assert.equal(client.status, "online");
  assert.equal(client.cursor, "c1");
});

test("the hello tells who is calling, and the frames of one turn share a message", async () => {
  client = device(server.url, { deviceId: "phone", client: "app 1.0" });
  client.connect();
  await online(client);
  await Promise.all([client.call("account.me", {}), client.call("account.me", {})]);
  const [hello, calls] = server.peer.messages;
  assert.deepEqual(hello, [[0, { token: "token", deviceId: "phone", client: "app 1.0" }]]);
  assert.deepEqual(calls, [
    [1, 1, "account.me", {}],
    [1, 2, "account.me", {}],
  ]);
});

test("a refusal rejects with its code, its wait and its details", async () => {
  server.answer = ([, id], peer) => {
    const details = { title: "too long" };
    peer.send([19, id, { code: "rate_limited", message: "slow down", retryAfter: 1.5, details }]);
    return undefined;
  };
  client.connect();
  await assert.rejects(client.call("memories.create", {}), (error: MemoError) => {
    assert.ok(error instanceof MemoError);
    assert.equal(error.code, "rate_limited");
    assert.equal(error.message, "slow down");
    assert.equal(error.retryAfter, 1.5);
    assert.deepEqual(error.details, { title: "too long" });
    return error.temporary;
  });
});

test("the parts of an answer arrive in order before the reply", async () => {
  const parts: unknown[] = [];
  server.answer = ([, id], peer) => {
    peer.send([18, id, "a"], [18, id, "b"]);
    return { done: true };
  };
  client.connect();
  const onPart = (part: unknown) => parts.push(part);
  assert.deepEqual(await client.call("account.me", {}, { onPart }), { done: true });
  assert.deepEqual(parts, ["a", "b"]);
});

test("a call without an answer times out and is cancelled at the server", async () => {
  client.connect();
  await online(client);
  const call = client.call("memories.get", { id: "m" }, { timeoutMs: 20 });
  await assert.rejects(call, { code: "timeout" });
  await server.until(() => server.peer.frames.at(-1)?.[0] === 2);
  assert.deepEqual(server.peer.frames.at(-1), [2, 1]);
});

test("an aborted call is cancelled at the server", async () => {
  const abort = new AbortController();
  client.connect();
  await online(client);
  const call = client.call("memories.get", { id: "m" }, { signal: abort.signal });
  const refused = assert.rejects(call, { code: "cancelled" });
  await server.until(() => server.peer.requests("memories.get").length === 1);
  abort.abort();
  await refused;
  await server.until(() => server.peer.frames.at(-1)?.[0] === 2);
});

test("a call aborted before it is made is never sent", async () => {
  client.connect();
  const call = client.call("memories.get", { id: "m" }, { signal: AbortSignal.abort() });
  await assert.rejects(call, { code: "cancelled" });
  await client.call("account.me", {});
  assert.equal(server.peer.requests("memories.get").length, 0);
});

test("a call in flight when the network fails is rejected, and later ones succeed", async () => {
  client.connect();
  await online(client);
  const call = client.call("memories.get", { id: "m" });
  const refused = assert.rejects(call, { code: "unavailable" });
  await server.until(() => server.peer.requests("memories.get").length === 1);
  server.drop();
  await refused;
  assert.equal(client.status, "offline");
  await client.call("account.me", {});
  assert.equal(server.peers.length, 2);
});

test("a request over the server's limit is refused before it is sent", async () => {
  server.welcome = { maxMessageBytes: 1000 };
  client.connect();
  const call = client.call("memories.create", { title: "x".repeat(1000) });
  await assert.rejects(call, { code: "too_large" });
  await client.call("account.me", {});
  assert.equal(server.peers.length, 1);
});

test("a closed client refuses calls, and those that waited", async () => {
  const call = client.call("account.me", {});
  client.close();
  await assert.rejects(call, { code: "unavailable" });
  await assert.rejects(client.call("account.me", {}), { code: "unavailable" });
  assert.equal(client.status, "closed");
});

test("calls beyond those that may wait are refused", async () => {
  const calls = Array.from({ length: 257 }, () => client.call("account.me", {}));
  await assert.rejects(calls.pop()!, { code: "busy" });
  client.connect();
  assert.equal((await Promise.all(calls)).length, 256);
});

test("an address that is no WebSocket's is refused at once", () => {
  assert.throws(() => device("http://example.com/ws"), { code: "invalid_request" });
});

test("events reach the listeners, and a listener that is off hears no more", async () => {
  const names: string[] = [];
  const off = client.on("event", ({ name }) => names.push(name));
  client.connect();
  await online(client);
  const first = event(client, "event");
  server.peer.send([23, "feed.changed", { memoryId: "m" }]);
  assert.deepEqual(await first, { name: "feed.changed", body: { memoryId: "m" } });
  off();
  const second = event(client, "event");
  server.peer.send([23, "feed.changed", {}]);
  await second;
  assert.deepEqual(names, ["feed.changed"]);
});

test("a refused token is replaced once, by force", async () => {
  const forces: (boolean | undefined)[] = [];
  client = device(server.url, {
    credentials: {
      getToken: async (force) => {
        forces.push(force);
        return force ? "fresh" : "stale";
      },
    },
  });
  server.refuseHello = (token) => (token === "stale" ? 4401 : undefined);
  client.connect();
  await online(client);
  assert.deepEqual(forces, [false, true]);
});

test("told that too many hellos failed, it waits as long and takes a fresh token", async () => {
  const forces: (boolean | undefined)[] = [];
  const getToken = async (force?: boolean) => {
    forces.push(force);
    return "token";
  };
  client = device(server.url, { credentials: { getToken } });
  server.refuseHello = () => {
    if (server.peers.length > 1) return undefined;
    const body = { code: "rate_limited", message: "too many", retryAfter: 0.2 };
    server.peer.send([19, null, body]);
    return 4429;
  };
  const started = Date.now();
  client.connect();
  await online(client);
  assert.ok(Date.now() - started >= 200);
  assert.deepEqual(forces, [false, true]);
});

test("when the forced token is refused too, the session has ended", async () => {
  server.refuseHello = () => 4401;
  const ended = event(client, "session-ended");
  client.connect();
  assert.equal((await ended).code, "unauthorized");
  assert.equal(client.status, "closed");
  assert.equal(server.peers.length, 2);
});

test("an ended session closes the client at once, with the server's reason", async () => {
  client.connect();
  await online(client);
  const ended = event(client, "session-ended");
  server.peer.send([19, null, { code: "session_ended", message: "signed out elsewhere" }]);
  server.peer.socket.close(4411);
  assert.equal((await ended).message, "signed out elsewhere");
  assert.equal(client.status, "closed");
});

test("credentials that are signed out close the client", async () => {
  const getToken = () => Promise.reject(new MemoError("session_ended"));
  client = device(server.url, { credentials: { getToken } });
  const ended = event(client, "session-ended");
  client.connect();
  assert.equal((await ended).code, "session_ended");
  assert.equal(server.peers.length, 0);
});

test("credentials that fail for now are asked again", async () => {
  let asked = 0;
  const getToken = async () => {
    asked += 1;
    if (asked === 1) throw new TypeError("network");
    return "token";
  };
  client = device(server.url, { credentials: { getToken } });
  client.connect();
  await online(client);
  assert.equal(asked, 2);
});

test("a close code that forbids reconnecting closes the client", async () => {
  client.connect();
  await online(client);
  const closed = event(client, "status", (status) => status === "closed");
  server.peer.socket.close(4400);
  await closed;
  assert.equal(client.error?.code, "invalid_message");
  client.connect();
  await online(client);
});

test("after a goodbye the client stays away as long as the server asked", async () => {
  client.connect();
  await online(client);
  const began = performance.now();
  server.peer.send([24, { reason: "restart", reconnectAfterMs: 700 }]);
  server.peer.socket.close(1001);
  await event(client, "status", (status) => status === "connecting");
  assert.ok(performance.now() - began >= 690);
  await online(client);
});

test("a server that has fallen silent is asked, and left when it does not answer", async () => {
  server.welcome = { heartbeatSeconds: 0.05 };
  client.connect();
  await online(client);
  await server.until(() => server.peer.requests("account.me").length === 2);
  assert.equal(server.peers.length, 1);
  server.silent = true;
  await event(client, "status", (status) => status === "offline");
  assert.equal(client.error?.code, "timeout");
  server.silent = false;
  await online(client);
});

test("bytes that are no frames end the connection, and the client comes back", async () => {
  client.connect();
  await online(client);
  server.peer.socket.send(Buffer.from([0xc1]));
  await event(client, "status", (status) => status === "offline");
  assert.equal(client.error?.code, "invalid_message");
  await online(client);
});

test("a token is renewed on the connection a minute before it expires", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout", "Date"] });
  const requests: unknown[] = [];
  const connection = {
    request(operation: string, body: unknown, { replied }: { replied(body: unknown): void }) {
      requests.push([operation, body, Date.now()]);
      replied({ expiresAt: new Date(Date.now() + 900_000).toISOString() });
      return () => {};
    },
  } as unknown as Connection;
  const getToken = mock.fn(async () => "next");
  const renewal = new Renewal({ getToken }, assert.fail);
  renewal.start(connection, new Date(900_000).toISOString());
  for (const expected of [840_000, 1_680_000]) {
    context.mock.timers.tick(839_999);
    assert.equal(getToken.mock.callCount(), requests.length);
    context.mock.timers.tick(1);
    await new Promise(setImmediate);
    assert.deepEqual(requests.at(-1), ["session.renew", { token: "next" }, expected]);
  }
  renewal.stop();
});

test("a call settles once, whatever comes after", () => {
  const outcomes: unknown[] = [];
  const call = new Call("account.me", {}, {}, (error) => outcomes.push(error?.code));
  call.fail(new MemoError("busy"));
  call.fail(new MemoError("timeout"));
  assert.deepEqual(outcomes, ["busy"]);
});
