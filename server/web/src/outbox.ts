import { Emitter, MemoError } from "@memory-app/client";
import type { MemoryClient, Operations } from "@memory-app/client";
import type { Answered, Cache, Entry, Queued } from "./cache";

const CALL_TIMEOUT_MS = 15_000;
const RETRY_MS = 5_000;
/** What the server says of the change itself. Anything else says: later. */
const FINAL = new Set([
  "conflict",
  "forbidden",
  "invalid_message",
  "invalid_request",
  "too_large",
  "unknown_operation",
]);

/** How a queued change ended: with the server's answer, or refused for good. */
export type Settled = Answered | (Entry & { error: MemoError });

/**
 * Changes that do not live in a document (new memories, favourites, the trash, categories), kept
 * until the server has answered them. They survive a restart, and every one may be sent twice.
 */
export class Outbox extends Emitter<{ changed: void; settled: Settled }> {
  #cache: Cache;
  #client: MemoryClient;
  #name: string;
  #retry: ReturnType<typeof setTimeout> | undefined;
  entries: readonly Entry[] = [];

  /** `name` is one for all tabs of an account: they drain in turns. */
  constructor(name: string, cache: Cache, client: MemoryClient) {
    super();
    this.#name = name;
    this.#cache = cache;
    this.#client = client;
  }

  async add<K extends Queued>(operation: K, body: Operations[K]["request"]): Promise<void> {
    await this.#cache.enqueue(operation, body);
    await this.reload();
    this.#cache.detach(this.drain());
  }

  /** Reads the line afresh: another tab may have added to it or worked it off. */
  async reload(): Promise<void> {
    this.entries = await this.#cache.entries();
    this.emit("changed", undefined);
  }

  /** Sends what waits, in order, as far as the server can be reached. */
  async drain(): Promise<void> {
    clearTimeout(this.#retry);
    const turn = () => this.#drain();
    try {
      await (navigator.locks ? navigator.locks.request(`${this.#name}.outbox`, turn) : turn());
    } catch (error) {
      if (!(error instanceof MemoError)) throw error;
      const wait = error.retryAfter === undefined ? RETRY_MS : error.retryAfter * 1000;
      this.#retry = setTimeout(() => this.#cache.detach(this.drain()), wait);
    }
  }

  stop(): void {
    clearTimeout(this.#retry);
  }

  async #drain(): Promise<void> {
    for (const entry of await this.#cache.entries()) {
      if (this.#client.status !== "online") return; // the next "online" drains again
      this.emit("settled", await this.#send(entry));
      await this.#cache.settle(entry.seq);
      await this.reload();
    }
  }

  async #send(entry: Entry): Promise<Settled> {
    try {
      const options = { timeoutMs: CALL_TIMEOUT_MS };
      const answer = await this.#client.call(entry.operation, entry.body, options);
      return { ...entry, answer } as Answered;
    } catch (error) {
      if (!(error instanceof MemoError)) throw error;
      if (error.code === "gone" || error.code === "not_found") {
        return { ...entry, answer: undefined };
      }
      if (FINAL.has(error.code)) return { ...entry, error };
      throw error;
    }
  }
}
