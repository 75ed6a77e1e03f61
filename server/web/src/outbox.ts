import { Emitter } from "@memory-app/client";
import type { MemoError, MemoryClient, Operations, QueuedRequest } from "@memory-app/client";

const operations = [
  "memories.create",
  "memories.bulk",
  "categories.create",
  "categories.update",
  "categories.reorder",
  "categories.delete",
] as const;
export type Queued = (typeof operations)[number];

/** A change that waits for the server. */
export type Entry = { [K in Queued]: QueuedRequest<K> }[Queued];

/** A change with what the server says to it; `undefined` when what it was to change is gone. */
export type Answered = {
  [K in Queued]: QueuedRequest<K> & { answer: Operations[K]["response"] | undefined };
}[Queued];

/** How a queued change ended: with the server's answer, or refused for good. */
export type Settled = Answered | (Entry & { error: MemoError });

/**
 * Changes of the list that do not live in a document (new memories, favourites, the trash,
 * categories): those requests of the client's line that the list has to show as if they were done.
 */
export class Outbox extends Emitter<{ changed: void; settled: Settled }> {
  #client: MemoryClient;
  entries: readonly Entry[] = [];

  /** `detach` lets go of work that nobody awaits. */
  constructor(client: MemoryClient, detach: (work: Promise<unknown>) => void) {
    super();
    this.#client = client;
    client.on("queue-changed", () => detach(this.reload()));
    client.on("settled", ({ entry, response }) => {
      if (isOurs(entry)) this.emit("settled", { ...entry, answer: response } as Answered);
    });
    client.on("refused", ({ entry, error }) => {
      if (!isOurs(entry)) return;
      const gone = error.code === "gone" || error.code === "not_found";
      this.emit("settled", gone ? { ...entry, answer: undefined } : { ...entry, error });
    });
  }

  async add<K extends Queued>(operation: K, body: Operations[K]["request"]): Promise<void> {
    await this.#client.enqueue(operation, body);
    await this.reload();
  }

  /** Reads the line afresh. */
  async reload(): Promise<void> {
    this.entries = (await this.#client.queued()).filter(isOurs);
    this.emit("changed", undefined);
  }

  /** Resolves when no change waits that `concerns` names, or the server is out of reach. */
  without(concerns: (entry: Entry) => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = () => {
        if (this.#client.status === "online" && this.entries.some(concerns)) return;
        for (const stop of stops) stop();
        resolve();
      };
      const stops = [this.on("changed", check), this.#client.on("status", check)];
      check();
    });
  }
}

function isOurs(entry: QueuedRequest): entry is Entry {
  return (operations as readonly string[]).includes(entry.operation);
}
