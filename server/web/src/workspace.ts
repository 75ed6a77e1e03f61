import { Emitter, IndexedDbStore, MemoError, MemoryClient } from "@memory-app/client";
import type { MemoryDocument, User } from "@memory-app/client";
import { Cache } from "./cache";
import { Drafts } from "./drafts";
import { Imports } from "./imports";
import { Library, randomId } from "./library";
import { Outbox } from "./outbox";
import { Profile } from "./profile";
import type { Session } from "./session";
import { leftOut } from "./shelf";
import { Uploads } from "./uploads";

const DEVICE_KEY = "memo.device";
const NEWS_MS = 200; // someone who types makes news at every key: the list takes them together

/** Everything of one signed-in account on this device: its stores, its connection, its list. */
export class Workspace extends Emitter<{ refused: string; trash: void }> {
  readonly client: MemoryClient;
  readonly profile: Profile;
  readonly library: Library;
  readonly drafts: Drafts;
  readonly outbox: Outbox;
  readonly uploads: Uploads;
  readonly imports: Imports;
  #store: IndexedDbStore;
  #cache: Cache;
  #stop = new AbortController();
  #news: ReturnType<typeof setTimeout> | undefined;
  #trashShown = false;
  #trashAsked = false;
  #trashNews = false;
  /** Whether the server has ever told this page what is in the trash. */
  trashKnown = false;

  private constructor(user: User, session: Session, store: IndexedDbStore, cache: Cache) {
    super();
    this.#store = store;
    this.#cache = cache;
    const url = new URL("/ws", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.client = new MemoryClient({
      url: url.href,
      credentials: session,
      deviceId: deviceId(),
      client: "console",
      store,
    });
    this.profile = new Profile(user, this.client, session);
    this.uploads = new Uploads(this.client, session);
    this.imports = new Imports(this.client, this.uploads, store);
    const name = nameOf(user);
    this.drafts = new Drafts();
    this.outbox = new Outbox(this.client, (work) => cache.detach(work));
    this.library = new Library(name, cache, this.client, this.outbox, this.drafts);
    this.client.on("status", () => this.#online());
    this.client.on("event", ({ name }) => {
      if (name === "feed.changed") this.#news ??= setTimeout(() => this.#heard(), NEWS_MS);
    });
    this.client.on("session-ended", (reason) => void session.end(reason));
    this.outbox.on("settled", (settled) => {
      const refused = "error" in settled ? settled.error.message : leftOut(settled);
      if (refused) this.emit("refused", refused);
    });
    this.library.on("removed", (ids) => cache.detach(this.#forget(ids)));
    const { signal } = this.#stop;
    const seen = () => {
      if (document.visibilityState === "visible") cache.detach(this.library.load());
    };
    document.addEventListener("visibilitychange", seen, { signal });
    addEventListener("offline", () => this.#redial(), { signal });
  }

  static async open(user: User, session: Session): Promise<Workspace> {
    const name = nameOf(user);
    const [store, cache] = await Promise.all([
      IndexedDbStore.open(`${name}.documents`),
      Cache.open(name),
    ]);
    const workspace = new Workspace(user, session, store, cache);
    await workspace.library.load();
    workspace.client.connect();
    return workspace;
  }

  /** What is kept of this account on the device has names that begin with this. */
  get name(): string {
    return nameOf(this.user);
  }

  /** The account as it is by now. */
  get user(): User {
    return this.profile.user;
  }

  /** A memory's document; the server has taken the memory out of the trash before it is asked. */
  async open(memoryId: string): Promise<MemoryDocument> {
    await this.library.restored(memoryId);
    return this.client.open(memoryId);
  }

  /** How many memories and categories have changes that this device alone knows of. */
  async unsent(): Promise<number> {
    const changed = new Set(await this.client.pendingDocuments());
    for (const { body } of this.outbox.entries) {
      if ("ids" in body) for (const id of body.ids) changed.add(id);
      else changed.add(body.id);
    }
    return changed.size;
  }

  /** Whether the trash is looked at: it is kept up to date then. */
  showTrash(shown: boolean): void {
    if (shown === this.#trashShown) return;
    this.#trashShown = shown;
    if (shown) this.#cache.detach(this.#updateTrash());
  }

  close(): void {
    this.#stop.abort();
    clearTimeout(this.#news);
    this.library.stop();
    this.profile.stop();
    this.imports.stop();
    this.uploads.stop();
    this.client.close();
    this.#cache.close();
  }

  /** Closes, and removes all of this account's data from the device. */
  async destroy(): Promise<void> {
    this.close();
    await Promise.all([this.#store.destroy(), Cache.destroy(nameOf(this.user))]);
  }

  #heard(): void {
    this.#news = undefined;
    void this.library.update();
    this.#cache.detach(this.#updateTrash());
  }

  /** Asks once more when there was news while it asked: an old answer must not be the last. */
  async #updateTrash(): Promise<void> {
    this.#trashNews = true;
    if (this.#trashAsked) return;
    this.#trashAsked = true;
    try {
      while (this.#trashNews && this.#trashShown && this.client.status === "online") {
        this.#trashNews = false;
        await this.library.updateTrash();
        this.trashKnown = true;
        this.emit("trash", undefined);
      }
    } catch (error) {
      if (!(error instanceof MemoError)) throw error; // the next news ask again
    } finally {
      this.#trashAsked = false;
    }
  }

  /** Frees what deleted memories take here, but not edits that nobody else has. */
  async #forget(ids: string[]): Promise<void> {
    const unsent = new Set(await this.client.pendingDocuments());
    const spent = ids.filter((id) => !unsent.has(id));
    await Promise.all(spent.map((id) => this.#store.remove(id)));
  }

  /** The network went: its socket may take minutes to notice. A server on this machine stays. */
  #redial(): void {
    this.client.close();
    this.client.connect();
  }

  async #catchUp(): Promise<void> {
    await Promise.all([this.library.update(), this.#updateTrash()]);
  }

  #online(): void {
    if (this.client.status !== "online") return;
    this.#cache.detach(this.#catchUp());
  }
}

function nameOf(user: User): string {
  return `memo.${user.id}`;
}

/** Stable for this browser, so that the server can tell a device that returns from a new one. */
function deviceId(): string {
  const known = localStorage.getItem(DEVICE_KEY);
  if (known) return known;
  const id = randomId();
  localStorage.setItem(DEVICE_KEY, id);
  return id;
}
