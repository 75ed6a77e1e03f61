import type { Operations } from "@memory-app/client";
import { answer, committed } from "./database";
import type { Row } from "./row";

/** A change that waits for the server; `seq` is its place in the line. */
export type Entry = { [K in Queued]: EntryOf<K> }[Queued];
export type Queued = "memories.create" | "memories.update" | "memories.delete";

interface EntryOf<K extends Queued> {
  seq: number;
  operation: K;
  body: Operations[K]["request"];
}

/** One batch of the feed: written whole or not at all, so the cursor is never ahead of the rows. */
export interface Batch {
  put: Row[];
  remove: string[];
  reset?: boolean;
  cursor?: string;
}

/** What the list needs to show at once and offline, in IndexedDB: rows, cursor, outbox. */
export class Cache {
  #database: IDBDatabase;
  #closed = false;

  private constructor(database: IDBDatabase) {
    this.#database = database;
    // Another tab signs out and deletes the database: let go, or it waits for ever.
    database.addEventListener("versionchange", () => this.close());
  }

  static open(name: string): Promise<Cache> {
    const request = indexedDB.open(name, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("rows", { keyPath: "id" });
      request.result.createObjectStore("values");
      request.result.createObjectStore("outbox", { keyPath: "seq", autoIncrement: true });
    };
    return answer(request).then((database) => new Cache(database));
  }

  static async destroy(name: string): Promise<void> {
    await answer(indexedDB.deleteDatabase(name));
  }

  close(): void {
    this.#closed = true;
    this.#database.close();
  }

  /** Lets go of work that nobody awaits. It may fail once the cache is closed, and only then. */
  detach(work: Promise<unknown>): void {
    work.catch((error: unknown) => {
      if (!this.#closed) throw error;
    });
  }

  async load(): Promise<{ rows: Row[]; cursor: string | undefined; entries: Entry[] }> {
    const transaction = this.#database.transaction(["rows", "values", "outbox"]);
    const [rows, cursor, entries] = await Promise.all([
      answer<Row[]>(transaction.objectStore("rows").getAll()),
      answer<string | undefined>(transaction.objectStore("values").get("cursor")),
      answer<Entry[]>(transaction.objectStore("outbox").getAll()),
    ]);
    return { rows, cursor, entries };
  }

  cursor(): Promise<string | undefined> {
    return answer(this.#database.transaction("values").objectStore("values").get("cursor"));
  }

  apply(batch: Batch): Promise<void> {
    const transaction = this.#database.transaction(["rows", "values"], "readwrite");
    const rows = transaction.objectStore("rows");
    if (batch.reset) rows.clear();
    for (const row of batch.put) rows.put(row);
    for (const id of batch.remove) rows.delete(id);
    if (batch.cursor) transaction.objectStore("values").put(batch.cursor, "cursor");
    return committed(transaction);
  }

  entries(): Promise<Entry[]> {
    return answer(this.#database.transaction("outbox").objectStore("outbox").getAll());
  }

  enqueue<K extends Queued>(operation: K, body: Operations[K]["request"]): Promise<void> {
    const transaction = this.#database.transaction("outbox", "readwrite", { durability: "strict" });
    transaction.objectStore("outbox").add({ operation, body });
    return committed(transaction);
  }

  settle(seq: number): Promise<void> {
    const transaction = this.#database.transaction("outbox", "readwrite");
    transaction.objectStore("outbox").delete(seq);
    return committed(transaction);
  }
}
