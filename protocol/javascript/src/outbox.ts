import * as Y from "yjs";

/** Updates of one document that may be on their way at once. */
const maxFlights = 32;
const maxEdits = 200;
const maxBytes = 256 * 1024;

/** A local edit the server has not acked yet. */
export interface Edit {
  readonly update: Uint8Array;
  /** Its number in the store, once it is written there. */
  seq?: number;
  /** It brings content that nobody has sent before: the server cannot know it yet. */
  novel: boolean;
  /** It is the device's whole state. */
  readonly whole: boolean;
}

/** An update on its way, and the edits it is made of. */
export interface Flight {
  readonly clientSeq: number;
  readonly update: Uint8Array;
  readonly edits: Edit[];
  /** It changes something for certain, so that the offset of its ack is its own. */
  readonly novel: boolean;
}

/** The edits of one document that wait for their ack, oldest first. */
export class Outbox {
  #waiting: Edit[] = [];
  #flights = new Map<number, Flight>();
  #nextSeq = 1;
  #flying = 0;

  /** How many edits are not acked. */
  get size(): number {
    return this.#waiting.length + this.#flying;
  }

  add(edit: Edit): void {
    this.#waiting.push(edit);
  }

  /** The numbers in the store of those edits that are written there. */
  get seqs(): Set<number | undefined> {
    return new Set(this.#edits().map((edit) => edit.seq));
  }

  /** The next update to send, made of as many waiting edits as fit; none while enough fly. */
  next(): Flight | undefined {
    if (this.#waiting.length === 0 || this.#flights.size >= maxFlights) return undefined;
    let bytes = 0;
    let count = 0;
    for (const edit of this.#waiting.slice(0, maxEdits)) {
      bytes += edit.update.length;
      if (count > 0 && bytes > maxBytes) break;
      count += 1;
    }
    const edits = this.#waiting.splice(0, count);
    const updates = edits.map((edit) => edit.update);
    const flight: Flight = {
      clientSeq: this.#nextSeq++,
      update: updates.length === 1 ? updates[0]! : Y.mergeUpdates(updates),
      edits,
      novel: edits.some((edit) => edit.novel),
    };
    this.#flights.set(flight.clientSeq, flight);
    this.#flying += edits.length;
    return flight;
  }

  find(clientSeq: number): Flight | undefined {
    return this.#flights.get(clientSeq);
  }

  /** The flight with this number, which flies no longer. */
  land(clientSeq: number): Flight | undefined {
    const flight = this.find(clientSeq);
    if (flight) {
      this.#flights.delete(clientSeq);
      this.#flying -= flight.edits.length;
    }
    return flight;
  }

  /** What was on its way waits again, in its old order. */
  rewind(): void {
    this.#waiting = this.#edits();
    // It may have arrived, or another tab may send it from the store before this one does.
    for (const edit of this.#waiting) edit.novel = false;
    this.#flights.clear();
    this.#flying = 0;
  }

  /** Puts `edit` in place of all there is. Returns what was there. */
  replace(edit: Edit): Edit[] {
    this.rewind();
    const replaced = this.#waiting;
    this.#waiting = [edit];
    return replaced;
  }

  #edits(): Edit[] {
    return [...[...this.#flights.values()].flatMap((flight) => flight.edits), ...this.#waiting];
  }
}
