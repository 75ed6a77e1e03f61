import { Emitter, MemoError } from "@memory-app/client";
import type { MemoryClient, UpdateAccount, User } from "@memory-app/client";
import type { Session } from "./session";
import type { Theme } from "./theme";

const OWN_FILES = "/api/files/";

/** The signed-in account as the server has it now, and what it may do. */
export class Profile extends Emitter<{ changed: User }> {
  #client: MemoryClient;
  #session: Session;
  #user: User;
  #permissions: ReadonlySet<string> = new Set();
  #unsubscribe: (() => void)[];

  constructor(user: User, client: MemoryClient, session: Session) {
    super();
    this.#user = user;
    this.#client = client;
    this.#session = session;
    this.#unsubscribe = [
      client.on("status", () => this.#ask()),
      client.on("event", ({ name }) => {
        if (name === "account.changed") this.#ask();
      }),
      session.on("profile", (user) => this.#become(user)), // of another tab
    ];
    this.#ask();
  }

  get user(): User {
    return this.#user;
  }

  may(permission: string): boolean {
    return this.#permissions.has(permission);
  }

  /** Throws what the server refuses it with, naming the fields. */
  async update(fields: UpdateAccount): Promise<void> {
    await this.#keep((await this.#client.call("account.update", fields)).user);
  }

  /** Has devices on which none was chosen begin with this theme; this one has it without. */
  async prefer(themePreference: Theme): Promise<void> {
    try {
      await this.update({ themePreference });
    } catch (error) {
      if (!(error instanceof MemoError)) throw error; // no reason to bother anybody
    }
  }

  stop(): void {
    for (const stop of this.#unsubscribe) stop();
  }

  #ask(): void {
    if (this.#client.status !== "online") return;
    this.#load().catch((error: unknown) => {
      if (!(error instanceof MemoError)) throw error; // with the next connection, then
    });
  }

  async #load(): Promise<void> {
    const { user, permissions } = await this.#client.call("account.me", {});
    this.#permissions = new Set(permissions);
    await this.#keep(user);
  }

  async #keep(user: User): Promise<void> {
    await this.#session.update(user);
    this.#become(user);
  }

  #become(user: User): void {
    this.#user = user;
    this.emit("changed", user);
  }
}

/** The id of the file that a picture is. One of another server is not shown: it would be told. */
export function pictureOf(avatarUrl: string | null): string | undefined {
  return avatarUrl?.startsWith(OWN_FILES) ? avatarUrl.slice(OWN_FILES.length) : undefined;
}

export function pictureAt(fileId: string): string {
  return `${OWN_FILES}${fileId}`;
}
