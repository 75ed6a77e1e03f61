import { closeCodes, errorCodes, type ErrorBody, type ErrorCode } from "./types.js";

/**
 * A refusal with its code: the server's, or the client's own for what never reached the server.
 *
 * The client's own codes are the server's too (`timeout`, `cancelled`, `unavailable`, `busy`,
 * `too_large`, `session_ended`), and `store_failed`: this device could not write to its storage.
 */
export class MemoError extends Error {
  /** One of `ErrorCode`, or `store_failed`. */
  readonly code: string;
  /** Seconds to wait before the same call can succeed. */
  readonly retryAfter?: number;
  /** What is wrong, by the name of the field. */
  readonly details?: Record<string, unknown>;

  constructor(
    code: string,
    message?: string,
    options: { retryAfter?: number; details?: Record<string, unknown>; cause?: unknown } = {},
  ) {
    super(message ?? errorCodes[code as ErrorCode]?.meaning ?? code, { cause: options.cause });
    this.name = "MemoError";
    this.code = code;
    this.retryAfter = options.retryAfter;
    this.details = options.details;
  }

  /** Whether the same call may succeed later without a change. */
  get temporary(): boolean {
    return errorCodes[this.code as ErrorCode]?.temporary ?? false;
  }

  static fromBody(body: ErrorBody): MemoError {
    return new MemoError(body.code, body.message, body);
  }

  /** Why a socket was closed, as an error. Codes outside the table count as a lost network. */
  static fromClose(code: number, reason: string): MemoError {
    const row = closeCodes[code];
    const known = row !== undefined && row.name in errorCodes ? row.name : "unavailable";
    return new MemoError(known, reason || row?.meaning || "The connection was lost.");
  }

  /** `error` itself if it is a `MemoError`, else one with `code` that has it as its cause. */
  static from(error: unknown, code: string): MemoError {
    if (error instanceof MemoError) return error;
    const message = error instanceof Error ? error.message : String(error);
    return new MemoError(code, message, { cause: error });
  }
}
