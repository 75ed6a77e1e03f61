import type { Connection } from "./connection.js";
import { MemoError } from "./errors.js";
import type { Operations } from "./types.js";

export type Operation = keyof Operations;
export type RequestOf<K extends Operation> = Operations[K]["request"];
export type ResponseOf<K extends Operation> = Operations[K]["response"];

export interface CallOptions {
  /** Milliseconds until the call fails with `timeout`, the wait for a connection included. */
  timeoutMs?: number;
  /** Aborting it fails the call with `cancelled` and tells the server. */
  signal?: AbortSignal;
  /** Gets the parts of a streamed answer, in order, before the call settles. */
  onPart?: (part: unknown) => void;
}

/** Exactly one of the two is there. */
export type Settle<K extends Operation> = (
  error: MemoError | undefined,
  response: ResponseOf<K> | undefined,
) => void;

export const defaultTimeoutMs = 30_000;

/**
 * One request, from its making to its one outcome.
 *
 * `settle` is called while the reply's message is being read, and so before the frames behind the
 * reply are: a document has to know its channel when the first push to it comes.
 */
export class Call<K extends Operation> {
  readonly #operation: K;
  readonly #body: RequestOf<K>;
  readonly #options: CallOptions;
  readonly #settle: Settle<K>;
  readonly #timer: ReturnType<typeof setTimeout>;
  readonly #aborted = () => this.fail(new MemoError("cancelled"));
  #withdraw?: () => void;
  #settled = false;

  constructor(operation: K, body: RequestOf<K>, options: CallOptions, settle: Settle<K>) {
    this.#operation = operation;
    this.#body = body;
    this.#options = options;
    this.#settle = settle;
    const limit = options.timeoutMs ?? defaultTimeoutMs;
    this.#timer = setTimeout(() => {
      this.fail(new MemoError("timeout", `${operation}: no reply within ${limit} ms`));
    }, limit);
    options.signal?.addEventListener("abort", this.#aborted);
    if (options.signal?.aborted) this.#aborted();
  }

  get settled(): boolean {
    return this.#settled;
  }

  /** Sends the request. The call fails if the connection is lost before the reply. */
  send(connection: Connection): void {
    if (this.#settled) return;
    try {
      this.#withdraw = connection.request(this.#operation, this.#body, {
        replied: (body) => this.#finish(undefined, body as ResponseOf<K>),
        refused: (error) => this.#finish(error, undefined),
        part: (body) => this.#options.onPart?.(body),
      });
    } catch (error) {
      this.fail(MemoError.from(error, "invalid_request"));
    }
  }

  /** Ends the call with `error`, unless it has its outcome already. */
  fail(error: MemoError): void {
    this.#withdraw?.();
    this.#finish(error, undefined);
  }

  #finish(error: MemoError | undefined, response: ResponseOf<K> | undefined): void {
    if (this.#settled) return;
    this.#settled = true;
    clearTimeout(this.#timer);
    this.#options.signal?.removeEventListener("abort", this.#aborted);
    this.#settle(error, response);
  }
}
