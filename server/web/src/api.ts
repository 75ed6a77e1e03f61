import { MemoError } from "@memory-app/client";
import type { Login, Refreshed, Register, SignedIn } from "@memory-app/client";

const TIMEOUT_MS = 15_000;

/** The REST calls of `/api/auth`. Each rejects with a `MemoError` that a person can read. */
export class Api {
  register(body: Register): Promise<SignedIn> {
    return this.#post("register", body);
  }

  login(body: Login): Promise<SignedIn> {
    return this.#post("login", body);
  }

  refresh(refreshToken: string): Promise<Refreshed> {
    return this.#post("refresh", { refreshToken });
  }

  /** Ends the session on the server. */
  logout(refreshToken: string): Promise<void> {
    return this.#post("logout", { refreshToken });
  }

  async #post<T>(action: string, body: object): Promise<T> {
    let response: Response;
    let text: string;
    try {
      response = await fetch(`/api/auth/${action}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      text = await response.text();
    } catch {
      throw new MemoError(
        "unavailable",
        "The server can't be reached. Check your connection and try again.",
      );
    }
    const answer = parse(text);
    if (response.ok) return answer as T;
    const error = (answer as Partial<ErrorAnswer> | undefined)?.error;
    throw new MemoError(
      error?.code ?? "unavailable",
      error?.message ?? `The server answered ${response.status}. Try again in a moment.`,
      { details: error?.details },
    );
  }
}

interface ErrorAnswer {
  error: { code: string; message: string; details?: Record<string, unknown> };
}

function parse(text: string): unknown {
  try {
    return text ? JSON.parse(text) : undefined;
  } catch {
    return undefined;
  }
}
