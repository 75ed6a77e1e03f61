import type { User } from "@memory-app/client";
import { answer, committed } from "./database";

const NAME = "memo.session";
const TABLE = "values";
const KEY = "session";

/** What a device keeps of the session that is signed in on it. */
export interface Stored {
  user: User;
  accessToken: string;
  refreshToken: string;
  expiresAt: number; // ms since 1970
}

/**
 * Where the session is kept for all tabs. In IndexedDB, because localStorage is a copy in each
 * tab that lags behind: a tab could read a refresh token there that another has just spent.
 */
export class Vault {
  #database: IDBDatabase;

  private constructor(database: IDBDatabase) {
    this.#database = database;
  }

  static open(): Promise<Vault> {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE);
    return answer(request).then((database) => new Vault(database));
  }

  read(): Promise<Stored | undefined> {
    return answer(this.#database.transaction(TABLE).objectStore(TABLE).get(KEY));
  }

  /** `undefined` empties it. */
  write(stored: Stored | undefined): Promise<void> {
    const transaction = this.#database.transaction(TABLE, "readwrite", { durability: "strict" });
    const table = transaction.objectStore(TABLE);
    if (stored) table.put(stored, KEY);
    else table.delete(KEY);
    return committed(transaction);
  }
}
