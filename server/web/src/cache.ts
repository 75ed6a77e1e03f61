import type { Category } from "@memory-app/client";
import { answer, committed } from "./database";
import type { Row } from "./row";
import { kinds, type Batch, type Shelf } from "./shelf";

const VERSION = 3;

/** What the list needs to show at once and offline, in IndexedDB: the shelf and the cursor. */
export class Cache {
  #database: IDBDatabase;
  #closed = false;

  private constructor(database: IDBDatabase) {
    this.#database = database;
    // Another tab signs out and deletes the database: let go, or it waits for ever.
    database.addEventListener("versionchange", () => this.close());
  }

  static open(name: string): Promise<Cache> {
    const request = indexedDB.open(name, VERSION);
    request.onupgradeneeded = () => {
      const { result: database, transaction } = request;
      const names = database.objectStoreNames;
      // What an earlier version kept of the feed lacks what this one shows: it is read afresh.
      for (const kind of kinds) {
        if (names.contains(kind)) database.deleteObjectStore(kind);
        database.createObjectStore(kind, { keyPath: "id" });
      }
      if (names.contains("values")) transaction!.objectStore("values").clear();
      else database.createObjectStore("values");
      if (names.contains("outbox")) database.deleteObjectStore("outbox");
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

  async load(): Promise<{ shelf: Shelf; cursor: string | undefined }> {
    const transaction = this.#database.transaction([...kinds, "values"]);
    const all = <T>(store: string) => answer<T[]>(transaction.objectStore(store).getAll());
    const [rows, trash, categories, cursor] = await Promise.all([
      all<Row>("rows"),
      all<Row>("trash"),
      all<Category>("categories"),
      answer<string | undefined>(transaction.objectStore("values").get("cursor")),
    ]);
    const shelf = { rows: byId(rows), trash: byId(trash), categories: byId(categories) };
    return { shelf, cursor };
  }

  cursor(): Promise<string | undefined> {
    return answer(this.#database.transaction("values").objectStore("values").get("cursor"));
  }

  apply(batch: Batch): Promise<void> {
    const transaction = this.#database.transaction([...kinds, "values"], "readwrite");
    for (const kind of kinds) {
      const part = batch[kind];
      if (!part) continue;
      const store = transaction.objectStore(kind);
      if (part.whole) store.clear();
      for (const id of part.remove ?? []) store.delete(id);
      for (const item of part.put ?? []) store.put(item);
    }
    if (batch.cursor) transaction.objectStore("values").put(batch.cursor, "cursor");
    return committed(transaction);
  }
}

function byId<T extends { id: string }>(items: T[]): Map<string, T> {
  return new Map(items.map((item) => [item.id, item]));
}
