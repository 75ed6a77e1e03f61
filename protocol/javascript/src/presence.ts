import {
  Awareness,
  applyAwarenessUpdate,
  encodeAwarenessUpdate,
  removeAwarenessStates,
} from "y-protocols/awareness";
import type * as Y from "yjs";

/** A cursor may move with every key; others see it move this often. */
const throttleMs = 50;

interface Changed {
  added: number[];
  updated: number[];
  removed: number[];
}

/** Who else is in a document, and telling them of this device. */
export class Presence {
  readonly awareness: Awareness;
  readonly #send: (payload: Uint8Array) => void;
  #open = false;
  #announced = false;
  #timer?: ReturnType<typeof setTimeout>;

  /** `send` is only called between `opened` and `lost`. */
  constructor(doc: Y.Doc, send: (payload: Uint8Array) => void) {
    this.awareness = new Awareness(doc);
    this.#send = send;
    this.awareness.on("update", (changed: Changed, origin: unknown) => {
      const clients = [...changed.added, ...changed.updated, ...changed.removed];
      if (origin !== this && clients.includes(this.awareness.clientID)) this.#schedule();
    });
  }

  /** The channel is open: others hear of this device, if it has anything to tell. */
  opened(): void {
    this.#open = true;
    // The server has told others that this device left, at the clock it had then. A state they
    // believe needs a later one.
    const state = this.awareness.getLocalState();
    if (state !== null && this.#speaks) this.awareness.setLocalState(state);
  }

  /** Bytes that are no awareness states are left out: presence is never worth an error. */
  received(payload: Uint8Array): void {
    try {
      applyAwarenessUpdate(this.awareness, payload, this);
    } catch {
      return;
    }
  }

  /** The channel is gone, and with it the knowledge of who is there. */
  lost(): void {
    this.#open = false;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const others = [...this.awareness.getStates().keys()];
    removeAwarenessStates(
      this.awareness,
      others.filter((client) => client !== this.awareness.clientID),
      this,
    );
  }

  /** Takes this device's presence back. */
  close(): void {
    this.awareness.setLocalState(null);
    this.#tell();
    this.lost();
    this.awareness.destroy();
  }

  /** A document opened only to send its edits has an empty state, and bothers nobody with it. */
  get #speaks(): boolean {
    const state = this.awareness.getLocalState();
    return this.#announced || (state !== null && Object.keys(state).length > 0);
  }

  #schedule(): void {
    if (this.#open && this.#speaks) this.#timer ??= setTimeout(() => this.#tell(), throttleMs);
  }

  #tell(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (!this.#open || !this.#speaks) return;
    this.#announced = true;
    this.#send(encodeAwarenessUpdate(this.awareness, [this.awareness.clientID]));
  }
}
