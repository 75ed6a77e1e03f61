import type { QueuedRequest, QueueNews } from "./request.js";
import {
  advanced,
  folded,
  type DocumentChange,
  type DocumentStore,
  type NewRequest,
  type PendingEdit,
  type Standing,
  type StoredDocument,
} from "./store.js";

interface DocumentRow extends Standing {
  id: string;
  snapshot?: Uint8Array;
}

/** An update of a document. `unsent` is the document's id too, as long as nobody acked it. */
interface UpdateRow {
  seq: number;
  document: string;
  update: Uint8Array;
  unsent?: string;
}

/** What tabs tell each other: updates of a document, or what became of the line. */
type Notice = { id: string; updates: Uint8Array[] } | { news: QueueNews };

type Mode = "readonly" | "readwrite";
const tables = ["documents", "updates"];
const version = 2;

/**
 * A store in the browser's IndexedDB, shared by all tabs that open the same name.
 *
 * Each write is one transaction. Tabs tell each other of their writes, so that they show each
 * other's edits without a network too. Use one name for each account.
 */
export class IndexedDbStore implements DocumentStore {
  readonly #name: string;
  readonly #database: IDBDatabase;
  readonly #watchers = new Map<string, Set<(updates: Uint8Array[]) => void>>();
  readonly #listeners = new Set<(news: QueueNews) => void>();
  readonly #tabs?: BroadcastChannel;

  private constructor(name: string, database: IDBDatabase) {
    this.#name = name;
    this.#database = database;
    // Another tab deletes the store: holding on would block it.
    database.onversionchange = () => this.close();
    if (typeof BroadcastChannel !== "undefined") {
      this.#tabs = new BroadcastChannel(`memory-app:${name}`);
      this.#tabs.onmessage = ({ data }: MessageEvent<Notice>) => {
        if ("news" in data) for (const listener of this.#listeners) listener(data.news);
        else for (const watcher of this.#watchers.get(data.id) ?? []) watcher(data.updates);
      };
    }
  }

  /** Rejects with the browser's error where storage is denied. */
  static async open(name: string): Promise<IndexedDbStore> {
    const request = indexedDB.open(name, version);
    request.onupgradeneeded = ({ oldVersion }) => {
      const database = request.result;
      database.createObjectStore("requests", { keyPath: "seq", autoIncrement: true });
      if (oldVersion > 0) return;
      database.createObjectStore("documents", { keyPath: "id" });
      database.createObjectStore("values");
      const updates = database.createObjectStore("updates", {
        keyPath: "seq",
        autoIncrement: true,
      });
      updates.createIndex("document", "document");
      updates.createIndex("unsent", "unsent");
    };
    return new IndexedDbStore(name, await outcome(request));
  }

  async load(id: string): Promise<StoredDocument | undefined> {
    const transaction = this.#begin(tables, "readonly");
    const [row, rows] = await Promise.all([
      outcome<DocumentRow | undefined>(transaction.objectStore("documents").get(id)),
      outcome<UpdateRow[]>(transaction.objectStore("updates").index("document").getAll(id)),
    ]);
    if (!row) return undefined;
    return {
      snapshot: row.snapshot,
      updates: rows.filter((each) => !each.unsent).map((each) => each.update),
      pending: rows.filter((each) => each.unsent),
      epoch: row.epoch,
      offset: row.offset,
    };
  }

  async write(id: string, change: DocumentChange): Promise<number[]> {
    const transaction = this.#begin(tables, "readwrite");
    const documents = transaction.objectStore("documents");
    const updates = transaction.objectStore("updates");
    const stored = documents.get(id) as IDBRequest<DocumentRow | undefined>;
    stored.onsuccess = () => {
      documents.put({ ...stored.result, id, ...advanced(stored.result, change) });
    };
    for (const seq of change.acked) {
      const request = updates.get(seq) as IDBRequest<UpdateRow | undefined>;
      request.onsuccess = () => {
        if (!request.result) return;
        const { unsent: _, ...acked } = request.result;
        updates.put(acked);
      };
    }
    for (const update of change.content) updates.add({ document: id, update: owned(update) });
    const added = change.pending.map((update) =>
      updates.add({ document: id, update: owned(update), unsent: id }),
    );
    await completion(transaction);
    const news = [...change.content, ...change.pending];
    if (news.length > 0) this.#tabs?.postMessage({ id, updates: news.map(owned) });
    return added.map((request) => request.result as number);
  }

  async unsent(id: string): Promise<PendingEdit[]> {
    const updates = this.#begin("updates", "readonly").objectStore("updates");
    return outcome<UpdateRow[]>(updates.index("unsent").getAll(id));
  }

  async pending(): Promise<string[]> {
    const ids: string[] = [];
    const transaction = this.#begin("updates", "readonly");
    const index = transaction.objectStore("updates").index("unsent");
    const request = index.openKeyCursor(null, "nextunique");
    request.onsuccess = () => {
      if (!request.result) return;
      ids.push(request.result.key as string);
      request.result.continue();
    };
    await completion(transaction);
    return ids;
  }

  async compact(id: string): Promise<void> {
    const transaction = this.#begin(tables, "readwrite");
    const documents = transaction.objectStore("documents");
    const updates = transaction.objectStore("updates");
    const stored = documents.get(id) as IDBRequest<DocumentRow | undefined>;
    const listed = updates.index("document").getAll(id) as IDBRequest<UpdateRow[]>;
    listed.onsuccess = () => {
      const row = stored.result;
      const rows = listed.result.filter((each) => !each.unsent);
      if (!row || rows.length === 0) return;
      const content = rows.map((each) => each.update);
      if (row.snapshot) content.unshift(row.snapshot);
      documents.put({ ...row, snapshot: folded(content) });
      for (const { seq } of rows) updates.delete(seq);
    };
    await completion(transaction);
  }

  async remove(id: string): Promise<void> {
    const transaction = this.#begin(tables, "readwrite");
    const updates = transaction.objectStore("updates");
    transaction.objectStore("documents").delete(id);
    const keys = updates.index("document").getAllKeys(id);
    keys.onsuccess = () => keys.result.forEach((key) => updates.delete(key));
    await completion(transaction);
  }

  watch(id: string, listener: (updates: Uint8Array[]) => void): () => void {
    const watchers = this.#watchers.get(id) ?? new Set();
    this.#watchers.set(id, watchers.add(listener));
    return () => {
      watchers.delete(listener);
      if (watchers.size === 0 && this.#watchers.get(id) === watchers) this.#watchers.delete(id);
    };
  }

  async enqueue(request: NewRequest): Promise<number> {
    // No other copy of it is anywhere: it is on the disk before anybody is told.
    const transaction = this.#begin("requests", "readwrite", "strict");
    const added = transaction.objectStore("requests").add(request);
    await completion(transaction);
    return added.result as number;
  }

  async queued(): Promise<QueuedRequest[]> {
    return outcome<QueuedRequest[]>(
      this.#begin("requests", "readonly").objectStore("requests").getAll(),
    );
  }

  async dequeue(seq: number): Promise<void> {
    const transaction = this.#begin("requests", "readwrite");
    transaction.objectStore("requests").delete(seq);
    await completion(transaction);
  }

  /** Where there are no locks (pages without TLS), `work` just runs. */
  alone<Value>(work: () => Promise<Value>): Promise<Value> {
    const locks = globalThis.navigator?.locks as LockManager | undefined;
    return locks ? locks.request(`memory-app:${this.#name}`, work) : work();
  }

  announce(news: QueueNews): void {
    this.#tabs?.postMessage({ news } satisfies Notice);
  }

  hear(listener: (news: QueueNews) => void): void {
    this.#listeners.add(listener);
  }

  async get<Value>(key: string): Promise<Value | undefined> {
    const values = this.#begin("values", "readonly").objectStore("values");
    return outcome<Value | undefined>(values.get(key));
  }

  async put(key: string, value: unknown): Promise<void> {
    const transaction = this.#begin("values", "readwrite");
    const values = transaction.objectStore("values");
    if (value === undefined) values.delete(key);
    else values.put(value, key);
    await completion(transaction);
  }

  /** Ends the use of the store; what is in it stays. */
  close(): void {
    this.#tabs?.close();
    this.#database.close();
  }

  /** Deletes the store and all that is in it, as on sign-out. Other tabs lose it too. */
  async destroy(): Promise<void> {
    this.close();
    await outcome(indexedDB.deleteDatabase(this.#name));
  }

  #begin(names: string | string[], mode: Mode, durability: IDBTransactionDurability = "default") {
    return this.#database.transaction(names, mode, { durability });
  }
}

/** `update` in a buffer of its own: a view would be stored with all of the buffer it views. */
function owned(update: Uint8Array): Uint8Array {
  return update.byteLength === update.buffer.byteLength ? update : update.slice();
}

function outcome<Value>(request: IDBRequest): Promise<Value>;
function outcome(request: IDBOpenDBRequest): Promise<IDBDatabase>;
function outcome(request: IDBRequest): Promise<unknown> {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

function completion(transaction: IDBTransaction): Promise<void> {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(transaction.error);
  });
}
