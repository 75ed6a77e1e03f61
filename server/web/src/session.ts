import { Emitter, MemoError } from "@memory-app/client";
import type { Credentials, Login, Register, SignedIn, User } from "@memory-app/client";
import type { Api } from "./api";

const KEY = "memo.session";
const EARLY_MS = 30_000; // a token this close to its end is renewed before it is used
const ENDS_SESSION = new Set([
  "unauthorized",
  "session_ended",
  "token_expired",
  "account_disabled",
  "invalid_credentials",
]);

interface Stored {
  user: User;
  accessToken: string;
  refreshToken: string;
  expiresAt: number; // ms since 1970
}

/**
 * Who is signed in, shared by all tabs through localStorage.
 *
 * A refresh token works once and its second use ends the session, so tabs take turns under a
 * lock, and whoever comes second finds the first one's tokens.
 */
export class Session extends Emitter<{ changed: User | null }> implements Credentials {
  #api: Api;
  #issued: string | undefined;
  /** Why the last session ended by itself, for the sign-in page to say. */
  endedBecause: MemoError | undefined;

  constructor(api: Api) {
    super();
    this.#api = api;
    addEventListener("storage", (event) => {
      if (event.key !== KEY && event.key !== null) return;
      const user = this.user;
      if (parse(event.oldValue)?.user.id !== user?.id) this.emit("changed", user);
    });
  }

  get user(): User | null {
    return this.#read()?.user ?? null;
  }

  async register(body: Register): Promise<void> {
    this.#begin(await this.#api.register(body));
  }

  async login(body: Login): Promise<void> {
    this.#begin(await this.#api.login(body));
  }

  /** Forgets the session here at once, and tells the server as far as it can be reached. */
  async logout(): Promise<void> {
    const stored = this.#read();
    localStorage.removeItem(KEY);
    this.emit("changed", null);
    if (stored) await this.#api.logout(stored.refreshToken).catch(() => undefined);
  }

  /**
   * A fresh access token. `force`: the last one was refused.
   *
   * Throws `session_ended` when there is no session any more, `unavailable` when the server
   * cannot be asked right now.
   */
  async getToken(force = false): Promise<string> {
    const refused = force ? this.#issued : undefined;
    const usable = this.#usable(refused) ?? (await exclusively(() => this.#refresh(refused)));
    this.#issued = usable;
    return usable;
  }

  #usable(refused: string | undefined): string | undefined {
    const stored = this.#read();
    if (!stored) throw new MemoError("session_ended", "You are signed out.");
    const fresh = stored.expiresAt - EARLY_MS > Date.now();
    return fresh && stored.accessToken !== refused ? stored.accessToken : undefined;
  }

  async #refresh(refused: string | undefined): Promise<string> {
    const renewedElsewhere = this.#usable(refused);
    if (renewedElsewhere) return renewedElsewhere;
    const stored = this.#read()!;
    try {
      const answer = await this.#api.refresh(stored.refreshToken);
      if (!this.#read()) throw new MemoError("session_ended", "You are signed out.");
      this.#write({ user: stored.user, ...tokens(answer) });
      return answer.accessToken;
    } catch (error) {
      if (error instanceof MemoError && ENDS_SESSION.has(error.code)) this.end(error);
      throw error;
    }
  }

  /** The server ended the session: local data stays, so that unsent changes are not lost. */
  end(reason: MemoError): void {
    if (!this.#read()) return;
    this.endedBecause = reason;
    localStorage.removeItem(KEY);
    this.emit("changed", null);
  }

  #begin(answer: SignedIn): void {
    this.endedBecause = undefined;
    this.#write({ user: answer.user, ...tokens(answer) });
    this.emit("changed", answer.user);
  }

  #read(): Stored | undefined {
    return parse(localStorage.getItem(KEY));
  }

  #write(stored: Stored): void {
    localStorage.setItem(KEY, JSON.stringify(stored));
  }
}

function parse(text: string | null): Stored | undefined {
  try {
    return text ? (JSON.parse(text) as Stored) : undefined;
  } catch {
    return undefined; // not written by this program: as good as signed out
  }
}

function tokens(answer: { accessToken: string; refreshToken: string; expiresIn: number }) {
  return {
    accessToken: answer.accessToken,
    refreshToken: answer.refreshToken,
    expiresAt: Date.now() + answer.expiresIn * 1000,
  };
}

/** Runs `work` while no other tab does. Plain http off localhost has no locks: tabs race there. */
function exclusively<T>(work: () => Promise<T>): Promise<T> {
  return navigator.locks ? navigator.locks.request(KEY, work) : work();
}
