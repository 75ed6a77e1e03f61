import * as Y from "yjs";

import type { QueuedRequest, QueueNews } from "./request.js";

/** A local edit that no server has acked. */
export interface PendingEdit {
  /** Its number in the store, rising in the order of writing. */
  seq: number;
  update: Uint8Array;
}

/** A document as a store has it: everything of its log up to `offset`, and the pending edits. */
export interface StoredDocument {
  snapshot?: Uint8Array;
  updates: Uint8Array[];
  pending: PendingEdit[];
  epoch?: string;
  offset: number;
}

/** What one atomic write does to a document. */
export interface DocumentChange {
  /** Updates from others, and own ones that were acked before they were ever written. */
  content: Uint8Array[];
  /** New local edits. */
  pending: Uint8Array[];
  /** Numbers of pending edits that are acked: they stay as content. Unknown ones are ignored. */
  acked: number[];
  epoch?: string;
  offset: number;
  /** `epoch` and `offset` replace the stored ones, rather than move them forward. */
  rebased: boolean;
}

/** A request that has no number yet. */
export type NewRequest = Omit<QueuedRequest, "seq">;

/**
 * Where documents, their unsent edits, the requests that wait for a connection and an application's
 * small values survive a restart.
 *
 * Several tabs may share one store. Every method rejects with whatever the storage below throws.
 */
export interface DocumentStore {
  load(id: string): Promise<StoredDocument | undefined>;
  /** Makes all of `change` durable or none of it. Returns the numbers of its `pending` edits. */
  write(id: string, change: DocumentChange): Promise<number[]>;
  /** The pending edits of a document, whoever wrote them, oldest first. */
  unsent(id: string): Promise<PendingEdit[]>;
  /** The ids of the documents that have pending edits. */
  pending(): Promise<string[]>;
  /** Folds a document's content, but not its pending edits, into its snapshot. */
  compact(id: string): Promise<void>;
  /** Forgets a document, its pending edits too. */
  remove(id: string): Promise<void>;
  /** Calls `listener` with what other tabs write to a document, until the result is called. */
  watch?(id: string, listener: (updates: Uint8Array[]) => void): () => void;
  /** Puts a request at the end of the line. Returns its number, higher than all before it. */
  enqueue(request: NewRequest): Promise<number>;
  /** The requests in the line, whoever queued them, oldest first. */
  queued(): Promise<QueuedRequest[]>;
  /** Takes a request out of the line, if it is there. */
  dequeue(seq: number): Promise<void>;
  /** Runs `work`, and no other tab's at the same time. */
  alone?<Value>(work: () => Promise<Value>): Promise<Value>;
  /** Tells the other tabs what became of the line. */
  announce?(news: QueueNews): void;
  /** Calls `listener` with what other tabs announce. */
  hear?(listener: (news: QueueNews) => void): void;
  get<Value>(key: string): Promise<Value | undefined>;
  /** Keeps a JSON value; `undefined` takes it away. */
  put(key: string, value: unknown): Promise<void>;
  close(): void;
}

/** Where a document stands. */
export interface Standing {
  epoch?: string;
  offset: number;
}

/**
 * Where a document stands after `change`. The one who writes has stored everything up to his own
 * offset, so the higher of two tabs' offsets holds; one who still follows another epoch moves
 * nothing.
 */
export function advanced(stored: Standing | undefined, change: DocumentChange): Standing {
  const { epoch, offset } = change;
  if (change.rebased || stored?.epoch === undefined) return { epoch, offset };
  if (stored.epoch !== epoch) return { epoch: stored.epoch, offset: stored.offset };
  return { epoch, offset: Math.max(stored.offset, offset) };
}

/** One update with the content of all these, less what was deleted. */
export function folded(updates: Uint8Array[]): Uint8Array {
  const doc = new Y.Doc();
  doc.transact(() => updates.forEach((update) => Y.applyUpdate(doc, update)));
  const snapshot = Y.encodeStateAsUpdate(doc);
  doc.destroy();
  return snapshot;
}

interface MemoryRecord extends Standing {
  snapshot?: Uint8Array;
  updates: Uint8Array[];
  pending: PendingEdit[];
}

/** A store that lives as long as its process: for tests, and where there is no IndexedDB. */
export class MemoryStore implements DocumentStore {
  readonly #documents = new Map<string, MemoryRecord>();
  readonly #values = new Map<string, string>();
  readonly #requests = new Map<number, string>();
  #nextSeq = 1;

  async load(id: string): Promise<StoredDocument | undefined> {
    const record = this.#documents.get(id);
    return record && { ...record, updates: [...record.updates], pending: [...record.pending] };
  }

  async write(id: string, change: DocumentChange): Promise<number[]> {
    const record = this.#documents.get(id) ?? { updates: [], pending: [], offset: 0 };
    const added = change.pending.map((update) => ({ seq: this.#nextSeq++, update }));
    const acked = record.pending.filter(({ seq }) => change.acked.includes(seq));
    this.#documents.set(id, {
      ...record,
      ...advanced(record, change),
      updates: [...record.updates, ...acked.map(({ update }) => update), ...change.content],
      pending: [...record.pending.filter((edit) => !acked.includes(edit)), ...added],
    });
    return added.map(({ seq }) => seq);
  }

  async unsent(id: string): Promise<PendingEdit[]> {
    return [...(this.#documents.get(id)?.pending ?? [])];
  }

  async pending(): Promise<string[]> {
    return [...this.#documents].filter(([, { pending }]) => pending.length > 0).map(([id]) => id);
  }

  async compact(id: string): Promise<void> {
    const record = this.#documents.get(id);
    if (!record) return;
    const content = record.snapshot ? [record.snapshot, ...record.updates] : record.updates;
    this.#documents.set(id, { ...record, snapshot: folded(content), updates: [] });
  }

  async remove(id: string): Promise<void> {
    this.#documents.delete(id);
  }

  async enqueue(request: NewRequest): Promise<number> {
    const seq = this.#nextSeq++;
    this.#requests.set(seq, JSON.stringify({ ...request, seq }));
    return seq;
  }

  async queued(): Promise<QueuedRequest[]> {
    return [...this.#requests.values()].map((request) => JSON.parse(request) as QueuedRequest);
  }

  async dequeue(seq: number): Promise<void> {
    this.#requests.delete(seq);
  }

  async get<Value>(key: string): Promise<Value | undefined> {
    const value = this.#values.get(key);
    return value === undefined ? undefined : (JSON.parse(value) as Value);
  }

  async put(key: string, value: unknown): Promise<void> {
    if (value === undefined) this.#values.delete(key);
    else this.#values.set(key, JSON.stringify(value));
  }

  close(): void {}
}
