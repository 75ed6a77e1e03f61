import { Backoff } from "./backoff.js";
import { Call, type CallOptions, type Operation, type RequestOf, type ResponseOf } from "./call.js";
import { Connection, type ConnectionOwner, type Loss } from "./connection.js";
import type { MemoryDocument } from "./document.js";
import { Emitter } from "./emitter.js";
import { MemoError } from "./errors.js";
import { Feed, type FollowOptions } from "./feed.js";
import { Library } from "./library.js";
import { RequestQueue } from "./queue.js";
import { Renewal } from "./renewal.js";
import type { Queueable, QueuedRequest, RefusedRequest, SettledRequest } from "./request.js";
import { MemoryStore, type DocumentStore } from "./store.js";
import { closeCodes, type Changes, type Events, type WelcomeBody } from "./types.js";

/**
 * `offline`: no connection, the next try is waited for. `closed`: no further try will be made,
 * because of `close()` or because the server said not to come back; `error` says why.
 */
export type ConnectionStatus = "offline" | "connecting" | "online" | "closed";

/** Where the client gets its access tokens. */
export interface Credentials {
  /**
   * A fresh access token. `force`: the last one was refused, get another. Rejects with
   * `MemoError` `session_ended` when signed out; any other rejection is tried again later.
   */
  getToken(force?: boolean): Promise<string>;
}

export interface ClientOptions {
  /** `wss://host/ws` */
  url: string;
  credentials: Credentials;
  /** Stays the same over restarts of one installed app. */
  deviceId?: string;
  /** Name and version of the app, for the server's logs. */
  client?: string;
  /** Default: a `MemoryStore`, which does not survive a restart. */
  store?: DocumentStore;
  /** Default: the global one. */
  WebSocket?: typeof WebSocket;
}

export type ClientEvent = {
  [Name in keyof Events]: { name: Name; body: Events[Name] };
}[keyof Events];

export interface ClientEvents {
  status: ConnectionStatus;
  event: ClientEvent;
  /** The account has to sign in again. The client is closed; the store is not touched. */
  "session-ended": MemoError;
  /** A queued request was carried out, for this tab or another one of the account. */
  settled: SettledRequest;
  /** A queued request was refused for good and is out of the line. Nothing else will tell. */
  refused: RefusedRequest;
  /** Other requests wait than before: see `queued`. */
  "queue-changed": void;
}

type WaitingCall = Pick<Call<Operation>, "send" | "fail">;

const unauthorized = 4401;
const rateLimited = 4429;
const sessionEnded = 4411;
const maxWaitingCalls = 256;
/** A connection that lived this long was a success, and the next loss starts with short waits. */
const stableMs = 10_000;
const wakeProbeMs = 5_000;
const tokenLimitMs = 30_000;
const feedPage = 200;

/** One device's connection to the server, kept alive; its calls, and its documents. */
export class MemoryClient extends Emitter<ClientEvents> {
  readonly #options: ClientOptions;
  readonly #queue: RequestQueue;
  readonly #library: Library;
  readonly #feeds = new Set<Feed>();
  readonly #renewal: Renewal;
  readonly #backoff = new Backoff(300, 30_000);
  readonly #waiting = new Set<WaitingCall>();
  readonly #wake = () => this.#woken();
  readonly #owner: ConnectionOwner = {
    welcomed: (connection, welcome) => this.#welcomed(connection, welcome),
    event: (name, body) => this.#heard({ name, body } as ClientEvent),
    lost: (loss) => this.#lost(loss),
  };
  #status: ConnectionStatus = "offline";
  #connection?: Connection;
  #retry?: ReturnType<typeof setTimeout>;
  /** Counts the attempts to connect; a token that comes for an earlier one is let go. */
  #turn = 0;
  #forced = false;
  #onlineSince?: number;

  /** Where `feed.changes` continues from: the cursor of the last welcome. */
  cursor?: string;
  /** Why the last connection ended, until the next welcome. */
  error?: MemoError;

  /** Throws `MemoError` `invalid_request` if `url` is no WebSocket address, or there is no WebSocket. */
  constructor(options: ClientOptions) {
    super();
    if (!/^wss?:\/\//.test(options.url)) {
      throw new MemoError("invalid_request", `url: ${options.url} does not start with ws(s)://`);
    }
    if (!options.WebSocket && !globalThis.WebSocket) {
      const advice = "pass one as the option `WebSocket`, such as that of the package ws";
      throw new MemoError("invalid_request", `there is no WebSocket here: ${advice}`);
    }
    this.#options = options;
    const store = options.store ?? new MemoryStore();
    this.#queue = new RequestQueue(store, {
      send: ({ operation, body }) => this.call(operation, body),
      settled: (entry, response) =>
        this.emit("settled", { operation: entry.operation, entry, response } as SettledRequest),
      refused: (refusal) => this.emit("refused", refusal),
      changed: () => this.emit("queue-changed", undefined),
      born: (memoryId) => this.#library.revive(memoryId),
    });
    this.#library = new Library(store, (memoryId) => this.#queue.isUnborn(memoryId));
    this.#renewal = new Renewal(options.credentials, (error) => this.#stop(error));
  }

  get status(): ConnectionStatus {
    return this.#status;
  }

  /**
   * Connects, and reconnects whenever the connection is lost, until `close`. Called again it ends
   * the wait for the next try, or asks an old connection for a sign of life.
   */
  connect(): void {
    if (this.#status === "online") this.#connection?.probe(wakeProbeMs);
    if (this.#status === "online" || this.#status === "connecting") return;
    // React Native and Node have no such events.
    globalThis.addEventListener?.("online", this.#wake);
    globalThis.document?.addEventListener("visibilitychange", this.#wake);
    this.#forced = false;
    this.#begin();
  }

  /** Disconnects. Open documents stay usable, and their edits in the store. */
  close(): void {
    this.#connection?.close();
    this.#halt(new MemoError("unavailable", "The client was closed."));
  }

  /**
   * Calls an operation of the server. Without a connection the call waits for one, as long as its
   * time limit (30 s) lets it. Rejects with `MemoError`: the server's, or `timeout`, `cancelled`,
   * `too_large`, `busy` (256 calls wait already), or `unavailable` (the connection was lost before
   * the reply, and whether the server acted on it is unknown; or the client is closed).
   */
  async call<K extends Operation>(
    operation: K,
    body: RequestOf<K>,
    options: CallOptions = {},
  ): Promise<ResponseOf<K>> {
    if (this.#status === "closed") throw new MemoError("unavailable", "The client is closed.");
    if (this.#waiting.size >= maxWaitingCalls) throw new MemoError("busy");
    const response = await new Promise<ResponseOf<K>>((resolve, reject) => {
      const call = new Call(operation, body, options, (error, answer) => {
        // An aborted signal settles the call before it has its name.
        queueMicrotask(() => this.#waiting.delete(call));
        if (error) reject(error);
        else resolve(answer!);
      });
      if (this.#status === "online") call.send(this.#connection!);
      else if (!call.settled) this.#waiting.add(call);
    });
    // Edits that the server refused, since there was no such memory or it was in the trash, can go.
    if (operation === "memories.create" || operation === "memories.restore") {
      this.#library.revive((response as ResponseOf<"memories.create">).memory.id);
    }
    return response;
  }

  /**
   * Keeps a request in the store and calls the server with it once there is a connection, in this
   * run of the app or a later one; `settled` or `refused` tells how that ended. What shares an id
   * is carried out in the order of queueing. It may be sent twice, so what it makes has an id:
   * one is given where the caller left it out.
   *
   * Resolves when it is in the store. Rejects with `MemoError`: `invalid_request` (the operation
   * is of one connection), `too_large` (10,000 wait already), `store_failed`.
   */
  enqueue<K extends Queueable>(operation: K, body: RequestOf<K>): Promise<QueuedRequest<K>> {
    return this.#queue.add(operation, body);
  }

  /** The requests that wait for the server, of all tabs, oldest first. */
  queued(): Promise<QueuedRequest[]> {
    return this.#queue.list();
  }

  /** Takes back a queued request; whether it still waited. What is on its way may still land. */
  discard(seq: number): Promise<boolean> {
    return this.#queue.discard(seq);
  }

  /**
   * Brings `listener` the feed from `options.after` on: what changed while this device was away,
   * page after page, and then what changes, until the result is called. The last page of what
   * there is has no `more`. Keep `changes.cursor` with what the page brought: a later run goes on
   * from there. Items of a kind that the app does not know are to be passed over.
   */
  follow(
    listener: (changes: Changes) => void | Promise<void>,
    options: FollowOptions = {},
  ): () => void {
    const { brief } = options;
    const ask = (after?: string) => this.call("feed.changes", { after, brief, limit: feedPage });
    const feed = new Feed(ask, listener, options);
    this.#feeds.add(feed);
    if (this.#status === "online") feed.start();
    return () => {
      this.#feeds.delete(feed);
      feed.end();
    };
  }

  /**
   * A memory's document, with what this device has of it; what the server has follows when online
   * (`synced`). Everyone who opens a memory gets the same object and has to `close` it. Rejects
   * with `MemoError` `store_failed`.
   */
  open(memoryId: string): Promise<MemoryDocument> {
    return this.#library.open(memoryId);
  }

  /** The ids of memories with edits that no server has acked. Sent with each new connection. */
  pendingDocuments(): Promise<string[]> {
    return this.#library.pending();
  }

  #welcomed(connection: Connection, welcome: WelcomeBody): void {
    this.#forced = false;
    this.#onlineSince = Date.now();
    this.cursor = welcome.cursor;
    this.error = undefined;
    this.#renewal.start(connection, welcome.expiresAt);
    this.#become("online");
    if (this.#connection !== connection) return;
    for (const call of [...this.#waiting]) call.send(connection);
    this.#waiting.clear();
    this.#library.attach(connection);
    this.#queue.start();
    for (const feed of this.#feeds) feed.start();
  }

  #heard(event: ClientEvent): void {
    if (event.name === "sharing.changed") this.#library.roleChanged(event.body);
    if (event.name === "feed.changed") for (const feed of this.#feeds) feed.hint();
    this.emit("event", event);
  }

  #lost({ code, error, reconnectAfterMs }: Loss): void {
    // Only a connection that held resets it: a dial that failed was never online.
    if (Date.now() - (this.#onlineSince ?? Date.now()) > stableMs) this.#backoff.reset();
    this.#onlineSince = undefined;
    this.error = error;
    this.#disconnect();
    // The token may have been refused all the same.
    if (code === rateLimited) this.#forced = true;
    if (code === unauthorized && !this.#forced) {
      this.#forced = true;
      this.#begin();
    } else if (code === unauthorized || code === sessionEnded) this.#stop(error);
    else if (closeCodes[code]?.reconnect ?? true) {
      this.#later(reconnectAfterMs ?? (error.retryAfter && error.retryAfter * 1000));
    }
    else this.#halt(error);
  }

  #begin(): void {
    clearTimeout(this.#retry);
    this.#retry = undefined;
    this.#become("connecting");
    void this.#dial(++this.#turn);
  }

  async #dial(turn: number): Promise<void> {
    const { url, credentials, deviceId, client, WebSocket } = this.#options;
    try {
      const token = await within(tokenLimitMs, credentials.getToken(this.#forced));
      if (turn !== this.#turn) return;
      const hello = { token, deviceId, client };
      this.#connection = new Connection(WebSocket ?? globalThis.WebSocket, url, hello, this.#owner);
    } catch (error) {
      if (turn !== this.#turn) return;
      this.error = MemoError.from(error, "unavailable");
      if (this.error.code === "session_ended") this.#stop(this.error);
      else this.#later();
    }
  }

  /** Tries again after a while: the server's wish, spread a little, or the next backoff. */
  #later(afterMs?: number): void {
    const delay = afterMs === undefined ? this.#backoff.next() : afterMs * (1 + Math.random() / 4);
    this.#retry = setTimeout(() => this.#begin(), delay);
    this.#become("offline");
  }

  /** The network is back, or the page is seen again: no reason to wait any longer. */
  #woken(): void {
    if (globalThis.document?.visibilityState === "hidden") return;
    this.connect();
  }

  /** The account has to sign in again. */
  #stop(error: MemoError): void {
    this.#connection?.close();
    this.#halt(error);
    this.emit("session-ended", error);
  }

  /** No connection, and no further try. */
  #halt(error: MemoError): void {
    this.#turn += 1;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    globalThis.removeEventListener?.("online", this.#wake);
    globalThis.document?.removeEventListener("visibilitychange", this.#wake);
    this.error = error;
    this.#disconnect();
    for (const call of [...this.#waiting]) call.fail(error);
    this.#waiting.clear();
    this.#become("closed");
  }

  #disconnect(): void {
    this.#connection = undefined;
    this.#renewal.stop();
    this.#queue.stop();
    for (const feed of this.#feeds) feed.stop();
    this.#library.detach();
  }

  #become(status: ConnectionStatus): void {
    if (this.#status === status) return;
    this.#status = status;
    this.emit("status", status);
  }
}

function within<Value>(limitMs: number, promise: Promise<Value>): Promise<Value> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new MemoError("timeout")), limitMs);
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
