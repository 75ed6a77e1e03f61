/**
 * Where a device stands in a document's log: it has everything up to `offset`, under `epoch`.
 *
 * Pushes and acks together cover every offset, in any order; `offset` moves only over what is
 * covered without a hole.
 */
export class Position {
  epoch?: string;
  offset = 0;
  readonly #ahead = new Set<number>();

  /** How many offsets beyond the first hole are covered. */
  get ahead(): number {
    return this.#ahead.size;
  }

  /** Stands at `offset` and nowhere beyond it. */
  reset(epoch: string | undefined, offset: number): void {
    this.epoch = epoch;
    this.offset = offset;
    this.#ahead.clear();
  }

  /** Covers `count` offsets from `first` on. */
  cover(first: number, count = 1): void {
    for (let offset = Math.max(first, this.offset + 1); offset < first + count; offset += 1) {
      this.#ahead.add(offset);
    }
    while (this.#ahead.delete(this.offset + 1)) this.offset += 1;
  }
}
