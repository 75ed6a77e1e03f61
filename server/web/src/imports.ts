import { Emitter, MemoError } from "@memory-app/client";
import type { DocumentStore, Import, MemoryClient } from "@memory-app/client";
import type { Upload, Uploads } from "./uploads";

const KEY = "console.imports";
const TOGETHER_MS = 300; // news within this are answered by one look

/**
 * Archives on their way into the account: sent, brought in by the server, and then removed from
 * the account's files, where they would take room for nothing. It all goes on when the page shows
 * something else; what was sent is brought in after a reload too.
 */
export class Imports extends Emitter<{ changed: void; ended: Import }> {
  #client: MemoryClient;
  #uploads: Uploads;
  #store: DocumentStore;
  #stop: (() => void)[];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;
  /** What the server says there was and is, the newest first. */
  list: readonly Import[] = [];
  /** The archive that is being sent. */
  upload: Upload | undefined;
  /** Why the last one was not taken. */
  problem: MemoError | undefined;

  constructor(client: MemoryClient, uploads: Uploads, store: DocumentStore) {
    super();
    this.#client = client;
    this.#uploads = uploads;
    this.#store = store;
    this.#stop = [
      client.on("status", (status) => status === "online" && this.#look()),
      client.on("event", ({ name }) => {
        if (name === "imports.changed" || (name === "feed.changed" && this.running)) this.#look();
      }),
      client.on("settled", ({ operation }) => operation === "account.import" && this.#look()),
      client.on("refused", ({ entry, error }) => {
        if (entry.operation !== "account.import") return;
        void this.#discard([(entry.body as { fileId: string }).fileId]);
        this.problem = error;
        this.emit("changed", undefined);
      }),
    ];
  }

  /** Whether the server is at work on one. */
  get running(): boolean {
    return this.list.some(({ status }) => status === "running");
  }

  /** Sends an archive and has it brought in. One at a time. */
  bring(file: File): void {
    const upload = this.#uploads.add(file);
    this.problem = undefined;
    this.upload = upload;
    upload.on("changed", () => {
      if (upload.state === "done") {
        this.#start(upload).catch((error: unknown) => {
          this.upload = undefined;
          this.problem = MemoError.from(error, "store_failed");
          this.emit("changed", undefined);
        });
      }
      if (upload.state === "cancelled") this.upload = undefined;
      this.emit("changed", undefined);
    });
    this.emit("changed", undefined);
  }

  /** Asks the server how far it is. Rejects with a `MemoError`. */
  async update(): Promise<void> {
    const { imports } = await this.#client.call("account.imports", {});
    this.list = imports;
    this.emit("changed", undefined);
    const sent = await this.#sent();
    const over = imports.filter(({ fileId, status }) => status !== "running" && sent.includes(fileId));
    await this.#discard(over.map(({ fileId }) => fileId));
    for (const one of over) this.emit("ended", one);
  }

  stop(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    for (const stop of this.#stop) stop();
  }

  async #start(upload: Upload): Promise<void> {
    const fileId = upload.stored!.id;
    await this.#store.put(KEY, [...(await this.#sent()), fileId]);
    await this.#client.enqueue("account.import", { fileId });
    this.upload = undefined;
    this.emit("changed", undefined);
  }

  /** Looks, soon, if there is anything to see. */
  #look(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#lookNow().catch((error: unknown) => {
        // The next news ask again.
        if (!(error instanceof MemoError) && !this.#closed) throw error;
      });
    }, TOGETHER_MS);
  }

  async #lookNow(): Promise<void> {
    if (this.list.length > 0 || (await this.#sent()).length > 0) await this.update();
  }

  /** The files that were sent here only to be brought in. */
  async #sent(): Promise<string[]> {
    return (await this.#store.get<string[]>(KEY)) ?? [];
  }

  async #discard(fileIds: readonly string[]): Promise<void> {
    if (fileIds.length === 0) return;
    for (const id of fileIds) await this.#client.enqueue("files.delete", { id });
    const left = (await this.#sent()).filter((id) => !fileIds.includes(id));
    await this.#store.put(KEY, left);
  }
}
