import { Emitter, MemoError } from "@memory-app/client";
import type {
  Credentials,
  FinishOAuth,
  Login,
  Register,
  SignedIn,
  User,
} from "@memory-app/client";
import type { Api, Provider } from "./api";
import { Vault, type Stored } from "./vault";

const NAME = "memo.session";
const EARLY_MS = 30_000; // a token this close to its end is renewed before it is used
const ENDS_SESSION = new Set([
  "unauthorized",
  "session_ended",
  "token_expired",
  "account_disabled",
  "invalid_credentials",
]);

/**
 * Who is signed in, the same in all tabs.
 *
 * A refresh token works once and its second use ends the session, so tabs take turns under a
 * lock, and whoever comes second finds the first one's tokens.
 */
export class Session
  extends Emitter<{ changed: User | null; profile: User }>
  implements Credentials
{
  readonly api: Api;
  #vault: Vault;
  #stored: Stored | undefined;
  #issued: string | undefined;
  #tabs = new BroadcastChannel(NAME);
  /** Why the last session ended by itself, for the sign-in page to say. */
  endedBecause: MemoError | undefined;

  private constructor(api: Api, vault: Vault, stored: Stored | undefined) {
    super();
    this.api = api;
    this.#vault = vault;
    this.#stored = stored;
    this.#tabs.onmessage = () => void this.#reload();
  }

  /** The session that this browser has, if any. */
  static async open(api: Api): Promise<Session> {
    const vault = await Vault.open();
    return new Session(api, vault, await vault.read());
  }

  get user(): User | null {
    return this.#stored?.user ?? null;
  }

  async register(body: Register): Promise<void> {
    await this.#begin(await this.api.register(body));
  }

  async login(body: Login): Promise<void> {
    await this.#begin(await this.api.login(body));
  }

  /** Signs in with what a provider returned. */
  async finishOAuth(provider: Provider, body: FinishOAuth): Promise<void> {
    await this.#begin(await this.api.finishOAuth(provider, body));
  }

  /** The signed-in account as the server has it now. */
  update(user: User): Promise<void> {
    return exclusively(async () => {
      await this.#reload();
      const stored = this.#stored;
      if (stored?.user.id === user.id && !same(stored.user, user)) {
        await this.#keep({ ...stored, user });
      }
    });
  }

  /** Forgets the session here at once, and tells the server as far as it can be reached. */
  async logout(): Promise<void> {
    const stored = this.#stored;
    await this.#keep(undefined);
    if (stored) await this.api.logout(stored.refreshToken).catch(() => undefined);
  }

  /** The server ended the session: local data stays, so that unsent changes are not lost. */
  async end(reason: MemoError): Promise<void> {
    if (!this.#stored) return;
    this.endedBecause = reason;
    await this.#keep(undefined);
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
    const stored = this.#stored;
    if (!stored) throw new MemoError("session_ended", "You are signed out.");
    const fresh = stored.expiresAt - EARLY_MS > Date.now();
    return fresh && stored.accessToken !== refused ? stored.accessToken : undefined;
  }

  async #refresh(refused: string | undefined): Promise<string> {
    await this.#reload();
    const renewedElsewhere = this.#usable(refused);
    if (renewedElsewhere) return renewedElsewhere;
    const { user, refreshToken } = this.#stored!;
    try {
      const answer = await this.api.refresh(refreshToken);
      if (!this.#stored) throw new MemoError("session_ended", "You are signed out.");
      await this.#keep({ user, ...tokens(answer) });
      return answer.accessToken;
    } catch (error) {
      if (error instanceof MemoError && ENDS_SESSION.has(error.code)) await this.end(error);
      throw error;
    }
  }

  async #begin(answer: SignedIn): Promise<void> {
    this.endedBecause = undefined;
    await this.#keep({ user: answer.user, ...tokens(answer) });
  }

  async #keep(stored: Stored | undefined): Promise<void> {
    await this.#vault.write(stored);
    this.#tabs.postMessage("changed");
    this.#become(stored);
  }

  async #reload(): Promise<void> {
    this.#become(await this.#vault.read());
  }

  #become(stored: Stored | undefined): void {
    const before = this.#stored?.user;
    this.#stored = stored;
    if (before?.id !== stored?.user.id) this.emit("changed", this.user);
    else if (before && stored && !same(before, stored.user)) this.emit("profile", stored.user);
  }
}

function same(one: User, other: User): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
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
  return navigator.locks ? navigator.locks.request(NAME, work) : work();
}
