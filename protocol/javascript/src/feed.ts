import { Backoff } from "./backoff.js";
import { MemoError } from "./errors.js";
import type { Changes } from "./types.js";

export interface FollowOptions {
  /** The cursor of an earlier page; without it the feed is read from its beginning. */
  after?: string;
  /** See `GetChanges`. */
  brief?: boolean;
  /** The server refuses for good (a cursor it does not know, a right that is gone): no more pages. */
  onError?: (error: MemoError) => void;
}

/**
 * The feed from a cursor on: page after page, and again whenever there may be news.
 *
 * The next page is asked for when the listener has taken the last one, so that it may keep the
 * cursor together with what the page brought. A page it could not take is brought again.
 */
export class Feed {
  readonly #ask: (after: string | undefined) => Promise<Changes>;
  readonly #listener: (changes: Changes) => void | Promise<void>;
  readonly #onError?: (error: MemoError) => void;
  readonly #backoff = new Backoff(500, 60_000);
  #after?: string;
  #online = false;
  #due = true;
  #running = false;
  #ended = false;
  #timer?: ReturnType<typeof setTimeout>;

  constructor(
    ask: (after: string | undefined) => Promise<Changes>,
    listener: (changes: Changes) => void | Promise<void>,
    options: FollowOptions,
  ) {
    this.#ask = ask;
    this.#listener = listener;
    this.#after = options.after;
    this.#onError = options.onError;
  }

  start(): void {
    this.#online = true;
    this.hint();
  }

  stop(): void {
    this.#online = false;
    clearTimeout(this.#timer);
  }

  /** There may be news. */
  hint(): void {
    this.#due = true;
    if (!this.#running && !this.#ended && this.#online) void this.#run();
  }

  end(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
  }

  async #run(): Promise<void> {
    this.#running = true;
    clearTimeout(this.#timer);
    let waitMs: number | undefined;
    while (this.#due && this.#online && !this.#ended && waitMs === undefined) {
      this.#due = false;
      waitMs = await this.#page();
    }
    this.#running = false;
    if (waitMs !== undefined && this.#online && !this.#ended) {
      this.#timer = setTimeout(() => this.hint(), waitMs);
    }
  }

  /** Brings one page. Returns the milliseconds to wait if that has to be done again. */
  async #page(): Promise<number | undefined> {
    let changes: Changes;
    try {
      changes = await this.#ask(this.#after);
    } catch (failure) {
      const error = MemoError.from(failure, "invalid_message");
      this.#due = true;
      if (error.temporary || !this.#online) {
        return Math.max((error.retryAfter ?? 0) * 1000, this.#backoff.next());
      }
      this.end();
      this.#onError?.(error);
      return undefined;
    }
    if (this.#ended) return undefined;
    try {
      await this.#listener(changes);
    } catch (error) {
      this.#due = true;
      // An application's mistake is reported as its own.
      queueMicrotask(() => {
        throw error;
      });
      return this.#backoff.next();
    }
    this.#backoff.reset();
    this.#after = changes.cursor;
    this.#due ||= changes.more ?? false;
    return undefined;
  }
}
