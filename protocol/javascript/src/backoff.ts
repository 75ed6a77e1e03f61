/**
 * How long to wait before trying again: doubling from `firstMs` to `lastMs`, and of that a random
 * half at least, so that the devices of a restarted server do not return all at once.
 */
export class Backoff {
  #attempts = 0;
  readonly #firstMs: number;
  readonly #lastMs: number;

  constructor(firstMs: number, lastMs: number) {
    this.#firstMs = firstMs;
    this.#lastMs = lastMs;
  }

  /** Milliseconds until the next try. */
  next(): number {
    const ceiling = Math.min(this.#firstMs * 2 ** this.#attempts, this.#lastMs);
    if (ceiling < this.#lastMs) this.#attempts += 1;
    return ceiling * (0.5 + Math.random() / 2);
  }

  reset(): void {
    this.#attempts = 0;
  }
}
