import { Call } from "./call.js";
import type { Credentials } from "./client.js";
import type { Connection } from "./connection.js";
import { MemoError } from "./errors.js";

/** How long before the end of a token's life the next one is given to the server. */
const leadMs = 60_000;
/** Between two renewals, whatever the server's and this device's clocks make of the time left. */
const leastMs = 10_000;
/** What a timer can wait at most. */
const mostMs = 2 ** 31 - 1;

/** Gives a connection fresh access tokens, so that it outlives the one it was opened with. */
export class Renewal {
  readonly #credentials: Credentials;
  readonly #ended: (error: MemoError) => void;
  #timer?: ReturnType<typeof setTimeout>;
  #connection?: Connection;

  /** `ended` is called when the credentials say that the session is over. */
  constructor(credentials: Credentials, ended: (error: MemoError) => void) {
    this.#credentials = credentials;
    this.#ended = ended;
  }

  /** `expiresAt`: the end of the current token's life, RFC 3339. */
  start(connection: Connection, expiresAt: string): void {
    this.stop();
    this.#connection = connection;
    const left = Date.parse(expiresAt) - Date.now() - leadMs;
    // Without a readable time there is nothing to plan by; the server will close with 4401.
    if (Number.isNaN(left)) return;
    const delay = Math.min(Math.max(left, leastMs), mostMs);
    this.#timer = setTimeout(() => void this.#renew(connection), delay);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#connection = undefined;
  }

  async #renew(connection: Connection): Promise<void> {
    try {
      const token = await this.#credentials.getToken();
      if (this.#connection !== connection) return;
      new Call("session.renew", { token }, {}, (_error, renewed) => {
        // When refused, the server closes with 4401 in time, and a token is forced then.
        if (renewed && this.#connection === connection) this.start(connection, renewed.expiresAt);
      }).send(connection);
    } catch (error) {
      if (this.#connection !== connection) return;
      const reason = MemoError.from(error, "unavailable");
      if (reason.code === "session_ended") this.#ended(reason);
      else this.start(connection, new Date(Date.now() + leadMs).toISOString());
    }
  }
}
