import type { Awareness } from "y-protocols/awareness";
import * as Y from "yjs";

import { Channel } from "./channel.js";
import type { Connection } from "./connection.js";
import { Emitter } from "./emitter.js";
import { MemoError } from "./errors.js";
import { Journal } from "./journal.js";
import { Outbox } from "./outbox.js";
import { Position } from "./position.js";
import { Presence } from "./presence.js";
import type { DocumentStore, PendingEdit, StoredDocument } from "./store.js";
import { Thread } from "./thread.js";

/** How long the last `close` waits for acks; edits that take longer go with the next connection. */
const closeLimitMs = 5_000;

export interface SyncState {
  /**
   * `saved`: all edits are acked, and so on the server's disk. `saving`: some are on their way.
   * `offline`: the document is not open at the server; edits wait in the store. `refused`: the
   * server will not take the edits; `error` says why, and they stay in the store.
   */
  state: "saved" | "saving" | "offline" | "refused";
  /** How many edits are not acked. */
  pending: number;
  /** Whether the server lets this account edit. True until the server has said no. */
  canWrite: boolean;
  /** Why the edits are refused, or `store_failed` if this device cannot keep them. */
  error?: MemoError;
}

export interface DocumentEvents {
  /** `sync` has changed. */
  sync: SyncState;
  /** The server refused the document or an edit; it is tried again after a reconnect. */
  refused: MemoError;
  /** Edits of others were applied. */
  remote: void;
}

/** A memory's document on this device, kept the same as everywhere else. */
export class MemoryDocument extends Emitter<DocumentEvents> {
  readonly memoryId: string;
  readonly doc = new Y.Doc();
  /** The memory's messages, to be read and written offline. */
  readonly messages = new Thread(this.doc);
  readonly awareness: Awareness;
  /** Resolves when the document has caught up with the server for the first time, if ever. */
  readonly synced: Promise<void>;

  readonly #store: DocumentStore;
  readonly #release: () => Promise<void>;
  readonly #outbox = new Outbox();
  readonly #position = new Position();
  readonly #journal: Journal;
  readonly #presence: Presence;
  readonly #channel: Channel;
  readonly #unwatch?: () => void;
  #storeFailure?: MemoError;
  /** The updates of this turn; they become one edit at its end. */
  #typed: Uint8Array[] = [];
  #typedNovel = false;
  #sync: SyncState = { state: "offline", pending: 0, canWrite: true };

  /** Made by `MemoryClient.open`. `release` gives back one of its references. */
  constructor(
    memoryId: string,
    store: DocumentStore,
    stored: StoredDocument | undefined,
    release: () => Promise<void>,
  ) {
    super();
    this.memoryId = memoryId;
    this.#store = store;
    this.#release = release;
    let caughtUp!: () => void;
    this.synced = new Promise((resolve) => (caughtUp = resolve));
    this.#presence = new Presence(this.doc, (payload) => this.#channel.sendPresence(payload));
    this.awareness = this.#presence.awareness;
    const rows = stored?.updates.length ?? 0;
    this.#journal = new Journal(memoryId, store, this.#position, rows, (error) =>
      this.#storeFailed(error),
    );
    const host = {
      memoryId,
      apply: (updates: Uint8Array[]) => this.#apply(updates),
      encode: () => this.#encode(),
      adopt: () => this.#adopt(),
      presence: (payload: Uint8Array) => this.#presence.received(payload),
      opened: () => {
        this.#presence.opened();
        caughtUp();
      },
      left: () => this.#presence.lost(),
      refused: (error: MemoError) => this.emit("refused", error),
      changed: () => this.#publish(),
    };
    this.#channel = new Channel(host, this.#outbox, this.#position, this.#journal);
    if (stored) this.#restore(stored);
    this.doc.on("update", (update, origin, _doc, transaction) => {
      if (origin !== this) this.#edited(update, transaction);
    });
    this.#unwatch = store.watch?.(memoryId, (updates) => this.#apply(updates));
    this.#publish();
  }

  /** How this document stands with the server. A new object after each change. */
  get sync(): SyncState {
    return this.#sync;
  }

  /** Gives the document back. The last one to do so closes it, once its edits are saved or kept. */
  close(): Promise<void> {
    return this.#release();
  }

  /** Tries again what was refused, without waiting for the next reconnect. */
  retry(): void {
    this.#channel.retry();
  }

  /** Resolves when the edits are saved or refused, when `limitMs` are over, or on `signal`. */
  settled(limitMs: number, signal?: AbortSignal): Promise<SyncState> {
    const rests = () => this.#sync.state === "saved" || this.#sync.state === "refused";
    if (rests() || signal?.aborted) return Promise.resolve(this.#sync);
    return new Promise((resolve) => {
      const finish = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", finish);
        off();
        resolve(this.#sync);
      };
      const timer = setTimeout(finish, limitMs);
      signal?.addEventListener("abort", finish);
      const off = this.on("sync", () => rests() && finish());
    });
  }

  /** For the client only: whether it was told that it is online. */
  get attached(): boolean {
    return this.#channel.connected;
  }

  /** For the client only: it is online. */
  attach(connection: Connection): void {
    this.#channel.attach(connection);
  }

  /** For the client only: it is offline. */
  detach(): void {
    this.#channel.detach();
  }

  /** For the client only: the account may edit from now on, or not. */
  granted(canWrite: boolean): void {
    this.#channel.granted(canWrite);
  }

  /** For the client only: brings all edits to the server, if it is there, and to the store. */
  async rest(): Promise<void> {
    this.#collect();
    const connected = this.#channel.connected;
    await this.#sent();
    await this.#journal.flushed();
    if (connected || !this.#channel.connected) return;
    // It was attached while it was written, as the server came to know its memory: nobody else
    // sends these edits before the next connection.
    await this.#sent();
    await this.#journal.flushed();
  }

  /** For the client only: the end of this object. */
  destroy(): void {
    this.#presence.close();
    this.#channel.close();
    this.#unwatch?.();
    this.doc.destroy();
  }

  async #sent(): Promise<void> {
    if (this.#channel.connected && this.#outbox.size > 0) await this.settled(closeLimitMs);
  }

  #restore(stored: StoredDocument): void {
    const { snapshot, updates, pending } = stored;
    const content = [...updates, ...pending.map((edit) => edit.update)];
    this.#apply(snapshot ? [snapshot, ...content] : content);
    this.#position.reset(stored.epoch, stored.offset);
    this.#resend(pending);
  }

  #resend(edits: PendingEdit[]): void {
    for (const { seq, update } of edits) {
      this.#outbox.add({ seq, update, novel: false, whole: false });
    }
  }

  #edited(update: Uint8Array, transaction: Y.Transaction): void {
    const { clientID } = this.doc;
    const { beforeState, afterState } = transaction;
    this.#typedNovel ||= beforeState.get(clientID) !== afterState.get(clientID);
    this.#typed.push(update);
    if (this.#typed.length > 1) return;
    queueMicrotask(() => this.#collect());
    this.#publish();
  }

  /** Makes one edit of what was typed in this turn, and sends it. */
  #collect(): void {
    const [first, ...more] = this.#typed;
    if (!first) return;
    const update = more.length === 0 ? first : Y.mergeUpdates(this.#typed);
    const edit = { update, novel: this.#typedNovel, whole: false };
    this.#typed = [];
    this.#typedNovel = false;
    this.#outbox.add(edit);
    this.#journal.edited(edit);
    this.#channel.pump();
    this.#publish();
  }

  #apply(updates: Uint8Array[]): boolean {
    if (updates.length === 0) return true;
    try {
      const all = () => updates.forEach((update) => Y.applyUpdate(this.doc, update, this));
      Y.transact(this.doc, all, this, false);
    } catch (error) {
      this.#channel.refuse(MemoError.from(error, "malformed_update"));
      return false;
    }
    this.emit("remote", undefined);
    return true;
  }

  #encode(): Uint8Array {
    // What was typed in this very turn is in the state, and is no edit beside it.
    this.#typed = [];
    this.#typedNovel = false;
    return Y.encodeStateAsUpdate(this.doc);
  }

  /** Takes over what a tab that is gone has left unsent. A live tab's edits may go out twice. */
  async #adopt(): Promise<void> {
    await this.#journal.flushed();
    try {
      const unsent = await this.#store.unsent(this.memoryId);
      const known = this.#outbox.seqs;
      const foreign = unsent.filter(({ seq }) => !known.has(seq));
      this.#apply(foreign.map(({ update }) => update));
      this.#resend(foreign);
    } catch (error) {
      this.#storeFailed(MemoError.from(error, "store_failed"));
    }
  }

  #storeFailed(error: MemoError): void {
    this.#storeFailure = error;
    this.#publish();
  }

  #publish(): void {
    const { canWrite, refusal, isOpen } = this.#channel;
    const pending = this.#outbox.size + (this.#typed.length > 0 ? 1 : 0);
    const online = pending > 0 ? "saving" : "saved";
    const state = refusal ? "refused" : isOpen ? online : "offline";
    const error = refusal ?? this.#storeFailure;
    const old = this.#sync;
    const same = old.state === state && old.pending === pending && old.error === error;
    if (same && old.canWrite === canWrite) return;
    this.#sync = { state, pending, canWrite, error };
    this.emit("sync", this.#sync);
  }
}
