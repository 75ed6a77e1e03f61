import type { Connection } from "./connection.js";
import { MemoryDocument } from "./document.js";
import { MemoError } from "./errors.js";
import type { DocumentStore } from "./store.js";
import type { SharingChanged } from "./types.js";

/** How many documents send what was left unsent at once after a reconnect. */
const lanes = 4;
const sendLimitMs = 30_000;

interface Holding {
  references: number;
  /** There once it is loaded. */
  document?: MemoryDocument;
  loading: Promise<MemoryDocument>;
}

/** The open documents of one device, one object for each memory. */
export class Library {
  readonly #store: DocumentStore;
  /** Whether the server cannot know a memory yet. */
  readonly #isUnborn: (id: string) => boolean;
  readonly #holdings = new Map<string, Holding>();
  #connection?: Connection;
  /** Aborted when the connection is lost. */
  #online = new AbortController();

  constructor(store: DocumentStore, isUnborn: (id: string) => boolean) {
    this.#store = store;
    this.#isUnborn = isUnborn;
  }

  /** Rejects with `MemoError` `store_failed`. */
  open(id: string): Promise<MemoryDocument> {
    let holding = this.#holdings.get(id);
    if (!holding) {
      const loading = this.#load(id);
      holding = { references: 0, loading };
      this.#holdings.set(id, holding);
    }
    holding.references += 1;
    return holding.loading;
  }

  pending(): Promise<string[]> {
    return this.#store.pending();
  }

  /** Online: opens at the server what is open here, and sends what earlier sessions left. */
  attach(connection: Connection): void {
    this.#connection = connection;
    this.#online = new AbortController();
    for (const { document } of this.#holdings.values()) if (document) this.#attach(document);
    void this.#sendPending(this.#online.signal);
  }

  detach(): void {
    this.#connection = undefined;
    this.#online.abort();
    for (const { document } of this.#holdings.values()) document?.detach();
  }

  /** The server has come to know a memory that it may have refused before. */
  revive(id: string): void {
    const document = this.#holdings.get(id)?.document;
    if (document && !document.attached) this.#attach(document);
    else if (document?.sync.state === "refused") document.retry();
    else if (!document && this.#connection) void this.#sendPending(this.#online.signal);
  }

  /** The account has another role in a memory. */
  roleChanged({ memoryId, role }: SharingChanged): void {
    const canWrite = role === "owner" || role === "editor";
    this.#holdings.get(memoryId)?.document?.granted(canWrite);
  }

  async #load(id: string): Promise<MemoryDocument> {
    try {
      const stored = await this.#store.load(id);
      const document = new MemoryDocument(id, this.#store, stored, () => this.#release(document));
      this.#holdings.get(id)!.document = document;
      this.#attach(document);
      return document;
    } catch (error) {
      this.#holdings.delete(id);
      throw MemoError.from(error, "store_failed");
    }
  }

  /** Online, opens a document at the server, unless that is still to be told of the memory. */
  #attach(document: MemoryDocument): void {
    if (this.#connection && !this.#isUnborn(document.memoryId)) document.attach(this.#connection);
  }

  async #release(document: MemoryDocument): Promise<void> {
    const id = document.memoryId;
    const holding = this.#holdings.get(id);
    if (holding?.document !== document || holding.references === 0) return;
    holding.references -= 1;
    if (holding.references > 0) return;
    await document.rest();
    // It may have been opened again, or closed by another's release, in the meantime.
    if (holding.references > 0 || this.#holdings.get(id) !== holding) return;
    this.#holdings.delete(id);
    document.destroy();
  }

  async #sendPending(signal: AbortSignal): Promise<void> {
    const ids = await this.#store.pending().catch(() => []);
    const send = async () => {
      for (let id = ids.pop(); id !== undefined && !signal.aborted; id = ids.pop()) {
        if (!this.#holdings.has(id) && !this.#isUnborn(id)) await this.#sendUnsent(id, signal);
      }
    };
    await Promise.all(Array.from({ length: lanes }, send));
  }

  async #sendUnsent(id: string, signal: AbortSignal): Promise<void> {
    try {
      const document = await this.open(id);
      await document.settled(sendLimitMs, signal);
      await document.close();
    } catch {
      // A store that cannot be read: whoever opens the document will be told.
    }
  }
}
