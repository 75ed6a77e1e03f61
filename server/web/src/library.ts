import { Emitter } from "@memory-app/client";
import type { Change, Changes, MemoryClient } from "@memory-app/client";
import type { Batch, Cache } from "./cache";
import { withDraft, type Drafts } from "./drafts";
import type { Outbox, Settled } from "./outbox";
import { newRow, rowOf, type Row } from "./row";

const PAGE = 500;
const RETRY_MS = 5_000;

/**
 * The list of memories: rows from the cache at once, brought up to date by the feed, and over
 * them what this device knows better (documents open here, changes that still wait).
 */
export class Library extends Emitter<{ changed: void; removed: string[] }> {
  #cache: Cache;
  #client: MemoryClient;
  #outbox: Outbox;
  #tabs: BroadcastChannel;
  #name: string;
  #rows = new Map<string, Row>();
  #drafts: Drafts;
  #view: Map<string, Row> | undefined;
  #updating: Promise<void> | undefined;
  #again = false;
  #retry: ReturnType<typeof setTimeout> | undefined;
  /** Whether there was ever an answer of the server: an empty list means something then. */
  loaded = false;

  /** `name` is one for all tabs of an account: they read the feed in turns, and share it. */
  constructor(name: string, cache: Cache, client: MemoryClient, outbox: Outbox, drafts: Drafts) {
    super();
    this.#name = name;
    this.#drafts = drafts;
    this.#cache = cache;
    this.#client = client;
    this.#outbox = outbox;
    this.#tabs = new BroadcastChannel(name);
    this.#tabs.onmessage = ({ data }: MessageEvent<Batch | "outbox">) => {
      if (data === "outbox") cache.detach(outbox.reload());
      else this.#show(data);
    };
    drafts.on("changed", () => this.#changed());
    drafts.on("keep", ({ id, draft }) => {
      const row = this.#rows.get(id);
      if (row) cache.detach(this.#apply({ put: [withDraft(row, draft)], remove: [] }));
    });
    outbox.on("changed", () => this.#changed());
    outbox.on("settled", (settled) => cache.detach(this.#settle(settled)));
  }

  /** Shows what is stored. Also for a tab that slept while others worked. */
  async load(): Promise<void> {
    const { rows, cursor, entries } = await this.#cache.load();
    this.#rows = new Map(rows.map((row) => [row.id, row]));
    this.loaded ||= cursor !== undefined;
    this.#outbox.entries = entries;
    this.#changed();
  }

  stop(): void {
    clearTimeout(this.#retry);
    this.#tabs.close();
  }

  get(id: string): Row | undefined {
    return this.rows.get(id);
  }

  /** Every memory by id, as this device should show it. */
  get rows(): ReadonlyMap<string, Row> {
    return (this.#view ??= this.#compose());
  }

  /** Tags in use with how often, the most used first. */
  tags(): [tag: string, count: number][] {
    const counts = new Map<string, number>();
    for (const row of this.rows.values()) {
      if (row.isArchived) continue;
      for (const tag of row.tags) counts.set(tag, (counts.get(tag) ?? 0) + 1);
    }
    return [...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
  }

  /** Makes a memory, online or not, and answers its id. */
  async create(): Promise<string> {
    const id = randomId();
    await this.#apply({ put: [newRow(id, new Date().toISOString())], remove: [] });
    await this.#outbox.add("memories.create", { id });
    this.#tabs.postMessage("outbox");
    return id;
  }

  async setFavorite(id: string, isFavorite: boolean): Promise<void> {
    await this.#outbox.add("memories.update", { id, isFavorite });
    this.#tabs.postMessage("outbox");
  }

  async delete(id: string): Promise<void> {
    await this.#outbox.add("memories.delete", { id });
    this.#tabs.postMessage("outbox");
  }

  /** Whether the server has yet to hear of this memory. */
  isUnsent(id: string): boolean {
    return this.#outbox.entries.some(
      (entry) => entry.operation === "memories.create" && entry.body.id === id,
    );
  }

  /** Asks the feed for what is new. Calls while it runs are answered by one more round. */
  update(): Promise<void> {
    this.#again = true;
    this.#updating ??= this.#update().finally(() => (this.#updating = undefined));
    return this.#updating;
  }

  async #update(): Promise<void> {
    clearTimeout(this.#retry);
    const turn = async () => {
      while (this.#again) {
        this.#again = false;
        await this.#catchUp();
      }
    };
    try {
      await (navigator.locks ? navigator.locks.request(`${this.#name}.feed`, turn) : turn());
    } catch {
      if (this.#client.status !== "online") return; // the next "online" asks again
      this.#retry = setTimeout(() => void this.update(), RETRY_MS);
    }
  }

  async #catchUp(): Promise<void> {
    let after = await this.#cache.cursor();
    let answer: Changes;
    do {
      answer = await this.#client.call("feed.changes", { after: after ?? null, limit: PAGE });
      after = answer.cursor;
      await this.#apply(batchOf(answer));
      this.loaded = true;
    } while (answer.more);
    this.#changed();
  }

  async #settle(settled: Settled): Promise<void> {
    this.#tabs.postMessage("outbox");
    const { operation, body } = settled.entry;
    if ("error" in settled) {
      if (operation === "memories.create") await this.#apply({ put: [], remove: [body.id!] });
    } else if (operation === "memories.delete") {
      await this.#apply({ put: [], remove: [body.id] });
    } else if (settled.memory && !this.#rows.has(settled.memory.id)) {
      await this.#apply({ put: [rowOf(settled.memory)], remove: [] });
    } else if (settled.memory) {
      const { id, isFavorite, isArchived } = settled.memory;
      const row = { ...this.#rows.get(id)!, isFavorite, isArchived };
      await this.#apply({ put: [row], remove: [] });
    }
  }

  async #apply(batch: Batch): Promise<void> {
    await this.#cache.apply(batch);
    this.#tabs.postMessage(batch);
    this.#show(batch);
    if (batch.remove.length > 0) this.emit("removed", batch.remove);
  }

  #show(batch: Batch): void {
    if (batch.reset) this.#rows.clear();
    for (const row of batch.put) this.#rows.set(row.id, row);
    for (const id of batch.remove) this.#rows.delete(id);
    this.loaded ||= batch.cursor !== undefined;
    this.#changed();
  }

  #compose(): Map<string, Row> {
    const view = new Map(this.#rows);
    for (const { operation, body } of this.#outbox.entries) {
      const id = body.id!;
      if (operation === "memories.delete") view.delete(id);
      else if (operation === "memories.create" && !view.has(id)) {
        view.set(id, newRow(id, new Date().toISOString())); // a reset of the feed took its row
      } else if (operation === "memories.update" && body.isFavorite !== undefined) {
        const row = view.get(id);
        if (row) view.set(id, { ...row, isFavorite: body.isFavorite });
      }
    }
    for (const [id, draft] of this.#drafts) {
      const row = view.get(id);
      if (row) view.set(id, withDraft(row, draft));
    }
    return view;
  }

  #changed(): void {
    this.#view = undefined;
    this.emit("changed", undefined);
  }
}

function batchOf({ items, cursor, reset }: Changes): Batch {
  const memories = items.filter((item) => item.kind === "memory");
  const gone = (item: Change) => item.deleted || !item.memory;
  return {
    put: memories.filter((item) => !gone(item)).map((item) => rowOf(item.memory!)),
    remove: memories.filter(gone).map((item) => item.id),
    reset,
    cursor,
  };
}

/** A version 4 UUID; `crypto.randomUUID` is missing on plain http off localhost. */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
