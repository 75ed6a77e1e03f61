import { MemoError } from "./errors.js";
import type { Edit } from "./outbox.js";
import type { Position } from "./position.js";
import type { DocumentChange, DocumentStore } from "./store.js";

/** Updates after which a document's rows in the store are folded into its snapshot. */
const maxRows = 200;

/**
 * Writes what happens to one document into the store, in order, one atomic write at a time. What
 * happens during a write goes into the next one together.
 *
 * A write carries the position as of then, and all content up to that position was told to the
 * journal before: so the stored offset is never ahead of the stored content. After a write that
 * failed nothing is written any more, for the same reason.
 */
export class Journal {
  readonly #id: string;
  readonly #store: DocumentStore;
  readonly #position: Position;
  readonly #failed: (error: MemoError) => void;
  #content: Uint8Array[] = [];
  #added: Edit[] = [];
  #acked: Edit[] = [];
  #rebased = false;
  #rows: number;
  #broken = false;
  #writing?: Promise<void>;

  /** `rows`: how many updates of the document the store has beside its snapshot. */
  constructor(
    id: string,
    store: DocumentStore,
    position: Position,
    rows: number,
    failed: (error: MemoError) => void,
  ) {
    this.#id = id;
    this.#store = store;
    this.#position = position;
    this.#rows = rows;
    this.#failed = failed;
  }

  /** Others' updates, after which the document stands where `position` says. */
  received(updates: Uint8Array[]): void {
    this.#content.push(...updates);
    this.#start();
  }

  /** The position was set anew, and replaces the stored one. */
  rebased(): void {
    this.#rebased = true;
    this.#start();
  }

  edited(edit: Edit): void {
    this.#added.push(edit);
    this.#start();
  }

  acked(edits: Edit[]): void {
    for (const edit of edits) {
      const unwritten = this.#added.indexOf(edit);
      if (unwritten < 0) this.#acked.push(edit);
      else {
        this.#added.splice(unwritten, 1);
        this.#content.push(edit.update);
      }
    }
    this.#start();
  }

  /** Resolves when all that was told is written, or writing has failed. */
  async flushed(): Promise<void> {
    await this.#writing;
  }

  get #dirty(): boolean {
    return this.#rebased || this.#content.length + this.#added.length + this.#acked.length > 0;
  }

  #start(): void {
    if (!this.#broken) this.#writing ??= this.#run();
    else this.#content = this.#added = this.#acked = [];
  }

  async #run(): Promise<void> {
    // What else happens in this turn belongs into the same write.
    await Promise.resolve();
    try {
      do await this.#write();
      while (this.#dirty);
      if (this.#rows > maxRows) {
        this.#rows = 0;
        await this.#store.compact(this.#id);
      }
    } catch (error) {
      this.#broken = true;
      this.#failed(MemoError.from(error, "store_failed"));
    }
    this.#writing = undefined;
    if (this.#dirty) this.#start();
  }

  async #write(): Promise<void> {
    const added = this.#added;
    const change: DocumentChange = {
      content: this.#content,
      pending: added.map((edit) => edit.update),
      // Those of an earlier write have their numbers by now.
      acked: this.#acked.map((edit) => edit.seq!),
      epoch: this.#position.epoch,
      offset: this.#position.offset,
      rebased: this.#rebased,
    };
    this.#content = [];
    this.#added = [];
    this.#acked = [];
    this.#rebased = false;
    this.#rows += change.content.length + change.acked.length;
    const seqs = await this.#store.write(this.#id, change);
    added.forEach((edit, index) => (edit.seq = seqs[index]));
  }
}
