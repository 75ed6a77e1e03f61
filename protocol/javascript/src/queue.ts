import { Backoff } from "./backoff.js";
import type { Operation, RequestOf } from "./call.js";
import { MemoError } from "./errors.js";
import {
  madeMemory,
  queuedBody,
  subjects,
  type QueuedRequest,
  type QueueNews,
  type RefusedRequest,
} from "./request.js";
import type { DocumentStore } from "./store.js";

/** How many requests may wait. */
const maxQueued = 10_000;
const firstRetryMs = 500;
const lastRetryMs = 60_000;
/** These are about the session, not about the request: it waits for the next one. */
const ofSession = new Set([
  "account_disabled",
  "cancelled",
  "session_ended",
  "token_expired",
  "unauthorized",
]);

/** The client that a line belongs to. */
export interface QueueHost {
  /** Calls the server. Rejects with `MemoError`. */
  send(entry: QueuedRequest): Promise<unknown>;
  settled(entry: QueuedRequest, response: unknown): void;
  refused(refusal: RefusedRequest): void;
  /** The line is another one. */
  changed(): void;
  /** The server has come to know a memory, or will not. */
  born(memoryId: string): void;
}

/** A request that has to wait, since the server could not take it. */
interface Hold {
  until: number;
  error: MemoError;
  backoff: Backoff;
}

/**
 * The requests of one account that wait for the server, in the order they were made.
 *
 * One at a time is sent, by one tab at a time. One that fails for now is tried again later; what
 * shares an id with it waits behind it, so that a create stays ahead of what builds on it, and
 * the rest goes by.
 */
export class RequestQueue {
  readonly #store: DocumentStore;
  readonly #host: QueueHost;
  readonly #holds = new Map<number, Hold>();
  readonly #loaded: Promise<void>;
  /** The memories whose create is in the line. */
  readonly #unborn = new Set<string>();
  #size = 0;
  #online = false;
  #running = false;
  #again = false;
  #timer?: ReturnType<typeof setTimeout>;
  readonly #storeBackoff = new Backoff(firstRetryMs, lastRetryMs);

  constructor(store: DocumentStore, host: QueueHost) {
    this.#store = store;
    this.#host = host;
    store.hear?.((news) => this.#heard(news));
    this.#loaded = this.#load();
  }

  /** Rejects with `MemoError`: `invalid_request`, `too_large` (10,000 wait), `store_failed`. */
  async add<K extends Operation>(operation: K, body: RequestOf<K>): Promise<QueuedRequest<K>> {
    const queued = queuedBody(operation, body);
    if (this.#size >= maxQueued) {
      throw new MemoError("too_large", `${maxQueued} requests wait already`);
    }
    const fresh = { operation, body: queued, queuedAt: new Date().toISOString() };
    const made = madeMemory({ ...fresh, seq: 0 } as QueuedRequest);
    if (made) this.#unborn.add(made);
    this.#size += 1;
    try {
      const entry = { ...fresh, seq: await this.#store.enqueue(fresh) };
      this.#tell({ type: "queued", entry: entry as QueuedRequest });
      this.#host.changed();
      this.#wake();
      return entry;
    } catch (error) {
      this.#size -= 1;
      if (made) this.#unborn.delete(made);
      throw MemoError.from(error, "store_failed");
    }
  }

  /** All that waits, oldest first. Rejects with `MemoError` `store_failed`. */
  async list(): Promise<QueuedRequest[]> {
    try {
      return await this.#read();
    } catch (error) {
      throw MemoError.from(error, "store_failed");
    }
  }

  /** Takes a request out of the line; whether it was there. What is on its way may still land. */
  async discard(seq: number): Promise<boolean> {
    const entry = (await this.list()).find((each) => each.seq === seq);
    if (!entry) return false;
    await this.#remove(entry);
    this.#tell({ type: "discarded", entry });
    this.#host.changed();
    this.#wake();
    return true;
  }

  /** Whether the server cannot know a memory yet, because its create waits here. */
  isUnborn(memoryId: string): boolean {
    return this.#unborn.has(memoryId);
  }

  /** Online: sends what waits. */
  start(): void {
    this.#online = true;
    this.#holds.clear();
    this.#wake();
  }

  stop(): void {
    this.#online = false;
    clearTimeout(this.#timer);
  }

  #wake(): void {
    this.#again = true;
    if (this.#online && !this.#running) void this.#run();
  }

  async #run(): Promise<void> {
    this.#running = true;
    clearTimeout(this.#timer);
    await this.#loaded;
    let waitMs = Infinity;
    while (this.#again && this.#online) {
      this.#again = false;
      try {
        const pass = () => this.#pass();
        waitMs = await (this.#store.alone ? this.#store.alone(pass) : pass());
        this.#storeBackoff.reset();
      } catch {
        // The store failed; what it has not let go of is sent again, which is harmless.
        waitMs = this.#storeBackoff.next();
      }
    }
    this.#running = false;
    if (this.#online && waitMs < Infinity) {
      this.#timer = setTimeout(() => this.#wake(), waitMs);
    }
  }

  /** Sends what may be sent, in order. Returns the milliseconds until more may be, if ever. */
  async #pass(): Promise<number> {
    /** The ids, domains and operations that have to wait. */
    const waiting = new Set<string>();
    let next = Infinity;
    for (const entry of this.#online ? await this.#read() : []) {
      const about = subjects(entry);
      if (![...about, entry.operation].some((each) => waiting.has(each))) {
        if (await this.#trySend(entry)) continue;
        const hold = this.#holds.get(entry.seq);
        // Offline, or online anew: whatever waits is tried with the next connection.
        if (!this.#online || !hold) return Infinity;
        next = Math.min(next, hold.until);
        // Whom the server fails with one request it may serve with the like of it; who has called
        // too often, or called when the server was down, would only hear the same again.
        if (hold.error.code !== "internal") waiting.add(entry.operation);
      }
      for (const each of about) waiting.add(each);
    }
    return Math.max(next - Date.now(), 0);
  }

  /** Sends an entry, unless its time has not come. Whether it is out of the line. */
  async #trySend(entry: QueuedRequest): Promise<boolean> {
    const hold = this.#holds.get(entry.seq);
    if (!this.#online || (hold && hold.until > Date.now())) return false;
    let response: unknown;
    try {
      response = await this.#host.send(entry);
    } catch (failure) {
      const error = MemoError.from(failure, "invalid_request");
      if (!this.#online) return false;
      if (error.temporary || ofSession.has(error.code)) {
        const backoff = hold?.backoff ?? new Backoff(firstRetryMs, lastRetryMs);
        const waitMs = Math.max((error.retryAfter ?? 0) * 1000, backoff.next());
        this.#holds.set(entry.seq, { until: Date.now() + waitMs, error, backoff });
        return false;
      }
      this.#host.refused({ entry, error });
      await this.#remove(entry);
      const { code, message, retryAfter, details } = error;
      this.#tell({ type: "refused", entry, error: { code, message, retryAfter, details } });
      this.#host.changed();
      return true;
    }
    // Told before it is forgotten: should the app end in between, it will be told again.
    this.#host.settled(entry, response);
    await this.#remove(entry);
    this.#tell({ type: "settled", entry, response });
    this.#host.changed();
    return true;
  }

  async #remove(entry: QueuedRequest): Promise<void> {
    await this.#store.dequeue(entry.seq);
    this.#forget(entry);
  }

  /** The entry is out of the line, here or in another tab. */
  #forget(entry: QueuedRequest): void {
    this.#holds.delete(entry.seq);
    this.#size = Math.max(this.#size - 1, 0);
    const made = madeMemory(entry);
    if (made && this.#unborn.delete(made)) this.#host.born(made);
  }

  async #read(): Promise<QueuedRequest[]> {
    const line = await this.#store.queued();
    this.#size = line.length;
    return line;
  }

  async #load(): Promise<void> {
    // A store that cannot be read fails whoever uses it.
    for (const entry of await this.#read().catch(() => [])) {
      const made = madeMemory(entry);
      if (made) this.#unborn.add(made);
    }
  }

  #tell(news: QueueNews): void {
    this.#store.announce?.(news);
  }

  #heard(news: QueueNews): void {
    if (news.type === "queued") {
      this.#size += 1;
      const made = madeMemory(news.entry);
      if (made) this.#unborn.add(made);
    } else this.#forget(news.entry);
    if (news.type === "settled") this.#host.settled(news.entry, news.response);
    if (news.type === "refused") {
      this.#host.refused({ entry: news.entry, error: MemoError.fromBody(news.error) });
    }
    this.#host.changed();
    this.#wake();
  }
}
