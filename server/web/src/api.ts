import { MemoError } from "@memory-app/client";
import type {
  FinishOAuth,
  Login,
  OAuthSignedIn,
  OneFile,
  Providers,
  Refreshed,
  Register,
  SignedIn,
  StartedOAuth,
  Verified,
} from "@memory-app/client";

const TIMEOUT_MS = 15_000;

/** The calls over REST: signing in, and a file. Each rejects with a `MemoError` that a person can read. */
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

  /** Proves an e-mail address by the token of a link. */
  verify(token: string): Promise<Verified> {
    return this.#post("verify", { token });
  }

  /** Has a link sent to set a new password with. The answer is the same for an unknown address. */
  forgot(email: string): Promise<void> {
    return this.#post("forgot", { email });
  }

  /** Sets a password by the token of a link. */
  reset(token: string, password: string): Promise<void> {
    return this.#post("reset", { token, password });
  }

  /** The providers that this server is set up to sign in with. */
  async providers(): Promise<Providers["providers"]> {
    return (await this.#call<Providers>("/api/auth/providers")).providers;
  }

  startOAuth(provider: Provider, redirectUri: string): Promise<StartedOAuth> {
    return this.#post(`oauth/${provider}/start`, { redirectUri });
  }

  finishOAuth(provider: Provider, body: FinishOAuth): Promise<OAuthSignedIn> {
    return this.#post(`oauth/${provider}`, body);
  }

  /** Stores a file of the account that `token` is of. */
  async upload(token: string, bytes: Blob, name: string): Promise<OneFile["file"]> {
    const form = new FormData();
    form.append("file", bytes, name);
    const headers = { Authorization: `Bearer ${token}` };
    return (await this.#call<OneFile>("/api/files", { method: "POST", headers, body: form })).file;
  }

  #post<T>(action: string, body: object): Promise<T> {
    return this.#call(`/api/auth/${action}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
  }

  async #call<T>(path: string, init: RequestInit = {}): Promise<T> {
    let response: Response;
    let text: string;
    try {
      const signal = AbortSignal.timeout(TIMEOUT_MS);
      response = await fetch(path, { ...init, signal });
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
      { details: error?.details, retryAfter: Number(response.headers.get("Retry-After")) || undefined },
    );
  }
}

export type Provider = Providers["providers"][number];

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
