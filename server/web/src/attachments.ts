import { Emitter } from "@memory-app/client";
import type { File as StoredFile, MemoryClient } from "@memory-app/client";

const PAGE = 100;
const PAGES = 5;
const EARLY_MS = 60_000; // an address this close to its end is asked for again
const TOGETHER_MS = 150; // news within this are answered by one look
const PICTURE_MS = 2_000; // the server is at work on a picture: of those of others nothing tells
const PICTURE_TRIES = 5;

/** The files of one memory, those of its thread included, as the server has them. */
export class Attachments extends Emitter<{ changed: void }> {
  #client: MemoryClient;
  #memoryId: string;
  #urls = new Map<string, Promise<{ url: string; expiresAt: string }>>();
  #stop: (() => void)[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;
  #round = 0;
  #tries = 0;
  files: ReadonlyMap<string, StoredFile> = new Map();
  /** Whether the server has ever said what there is. */
  loaded = false;

  constructor(client: MemoryClient, memoryId: string) {
    super();
    this.#client = client;
    this.#memoryId = memoryId;
    this.#stop.push(
      client.on("status", (status) => status === "online" && this.update()),
      client.on("event", (event) => {
        if (event.name !== "feed.changed") return;
        if ((event.body.memoryId ?? memoryId) === memoryId) this.update();
      }),
    );
    if (client.status === "online") void this.#load();
  }

  destroy(): void {
    clearTimeout(this.#timer);
    this.#round += 1;
    for (const stop of this.#stop) stop();
  }

  /** Asks what there is, soon. */
  update(): void {
    this.#tries = 0;
    this.#later(TOGETHER_MS);
  }

  /** Shows a file that has just arrived. */
  put(file: StoredFile): void {
    this.files = new Map([[file.id, file], ...this.files]);
    this.emit("changed", undefined);
    this.update();
  }

  /** Rejects with a `MemoError`. */
  async remove(id: string): Promise<void> {
    await this.#client.call("files.delete", { id });
    const left = new Map(this.files);
    left.delete(id);
    this.files = left;
    this.emit("changed", undefined);
  }

  /** An address that needs no token. Rejects with a `MemoError`. */
  async url(id: string, thumbnail = false): Promise<string> {
    const key = `${id}/${thumbnail}`;
    const known = await this.#urls.get(key)?.catch(() => undefined);
    if (known && Date.parse(known.expiresAt) - EARLY_MS > Date.now()) return known.url;
    const asked = this.#client.call("files.url", { id, thumbnail });
    this.#urls.set(key, asked);
    return (await asked).url;
  }

  #later(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => void this.#load(), ms);
  }

  async #load(): Promise<void> {
    const round = ++this.#round;
    const found = new Map<string, StoredFile>();
    try {
      for (let page = 1; page <= PAGES; page += 1) {
        const body = { memoryId: this.#memoryId, page, limit: PAGE };
        const { files } = await this.#client.call("files.list", body);
        for (const file of files) found.set(file.id, file);
        if (files.length < PAGE) break;
      }
    } catch {
      return; // offline, or no member any more: what is known stays
    }
    if (round !== this.#round) return;
    this.files = found;
    this.loaded = true;
    this.emit("changed", undefined);
    const unready = [...found.values()].some((file) => !file.isProcessed);
    if (unready && this.#tries++ < PICTURE_TRIES) this.#later(PICTURE_MS);
  }
}

export function isImage(file: StoredFile): boolean {
  return file.hasThumbnail || /^image\/(?!svg)/.test(file.fileType);
}
