import { Emitter } from "@memory-app/client";
import type {
  BulkMemories,
  Category,
  Change,
  Changes,
  MemoryClient,
  Operations,
} from "@memory-app/client";
import type { Cache } from "./cache";
import { withDraft, type Drafts } from "./drafts";
import { isInView } from "./filter";
import type { Entry, Outbox, Queued, Settled } from "./outbox";
import { newRow, rowOf, type Row } from "./row";
import { copyOf, effect, newShelf, outcome, place, type Batch, type Shelf } from "./shelf";

const PAGE = 500;
const TRASH_PAGE = 100;
const AT_ONCE = 100; // memories in one call
const RETRY_MS = 5_000;

export type Action = BulkMemories["action"];

/** How a category looks; what is left out stays as it is. */
export type Looks = Partial<Pick<Category, "name" | "icon" | "color">>;

export interface Counts {
  all: number;
  categories: Map<string, number>;
  tags: Map<string, number>;
}

/**
 * Memories, trash and categories: from the cache at once, brought up to date by the feed, and over
 * them what this device knows better (documents open here, changes that still wait).
 */
export class Library extends Emitter<{ changed: void; removed: string[] }> {
  #cache: Cache;
  #client: MemoryClient;
  #outbox: Outbox;
  #tabs: BroadcastChannel;
  #name: string;
  #shelf: Shelf = newShelf();
  #drafts: Drafts;
  #view: Shelf | undefined;
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
    this.#tabs.onmessage = ({ data }: MessageEvent<Batch>) => this.#show(data);
    drafts.on("changed", () => this.#changed());
    drafts.on("keep", ({ id, draft }) => {
      const row = this.#shelf.rows.get(id);
      if (row) cache.detach(this.#apply({ rows: { put: [withDraft(row, draft)] } }));
    });
    outbox.on("changed", () => this.#changed());
    outbox.on("settled", (settled) => cache.detach(this.#settle(settled)));
  }

  /** Shows what is stored. Also for a tab that slept while others worked. */
  async load(): Promise<void> {
    const [{ shelf, cursor }] = await Promise.all([this.#cache.load(), this.#outbox.reload()]);
    this.#shelf = shelf;
    this.loaded ||= cursor !== undefined;
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
    return this.#composed.rows;
  }

  /** What is in the trash, as far as this device knows. */
  get trash(): ReadonlyMap<string, Row> {
    return this.#composed.trash;
  }

  /** All categories in their order. */
  get categories(): Category[] {
    return [...this.#composed.categories.values()].sort(
      (a, b) => a.sortOrder - b.sortOrder || (a.id < b.id ? -1 : 1),
    );
  }

  category(id: string | null | undefined): Category | undefined {
    return id ? this.#composed.categories.get(id) : undefined;
  }

  get #composed(): Shelf {
    return (this.#view ??= this.#compose());
  }

  /** How many memories there are outside the archive, and with each category and tag. */
  counts(): Counts {
    const counts: Counts = { all: 0, categories: new Map(), tags: new Map() };
    const add = (map: Map<string, number>, key: string) => map.set(key, (map.get(key) ?? 0) + 1);
    for (const row of this.rows.values()) {
      if (!isInView(row, { view: "all", category: undefined })) continue;
      counts.all += 1;
      if (row.categoryId) add(counts.categories, row.categoryId);
      for (const tag of row.tags) add(counts.tags, tag);
    }
    return counts;
  }

  /** Tags in use, the most used first. */
  tags(counts = this.counts()): string[] {
    const sorted = [...counts.tags].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0]));
    return sorted.map(([tag]) => tag);
  }

  /** Makes a memory, online or not, and answers its id. */
  async create(): Promise<string> {
    const id = randomId();
    await this.#apply({ rows: { put: [newRow(id, new Date().toISOString())] } });
    await this.#enqueue("memories.create", { id });
    return id;
  }

  /** Does one thing to memories; `categoryId` goes with `categorize`. */
  async change(
    ids: readonly string[],
    action: Action,
    categoryId: string | null = null,
  ): Promise<void> {
    for (let start = 0; start < ids.length; start += AT_ONCE) {
      const some = ids.slice(start, start + AT_ONCE);
      const body = { ids: some, action, ...(action === "categorize" && { categoryId }) };
      await this.#enqueue("memories.bulk", body);
    }
  }

  /** Makes a category, and answers its id. */
  async createCategory(name: string, looks: Looks): Promise<string> {
    const id = randomId();
    await this.#enqueue("categories.create", { ...looks, id, name });
    return id;
  }

  async updateCategory(id: string, looks: Looks): Promise<void> {
    await this.#enqueue("categories.update", { ...looks, id });
  }

  /** `ids` are all categories in their new order. */
  async reorderCategories(ids: string[]): Promise<void> {
    await this.#enqueue("categories.reorder", { ids });
  }

  /** The memories in it stay, without one. */
  async deleteCategory(id: string): Promise<void> {
    await this.#enqueue("categories.delete", { id });
  }

  /** Whether the server has yet to hear of this memory. */
  isUnsent(id: string): boolean {
    return this.#outbox.entries.some(
      (entry) => entry.operation === "memories.create" && entry.body.id === id,
    );
  }

  /** Whether the server is yet to make this memory, or to take it out of the trash. */
  isAwaited(id: string): boolean {
    return this.isUnsent(id) || this.#outbox.entries.some(restores(id));
  }

  /** Resolves when no change that takes this memory out of the trash is on its way. */
  restored(id: string): Promise<void> {
    return this.#outbox.without(restores(id));
  }

  /** Asks the server what is in the trash: the feed says only that something is gone. */
  async updateTrash(): Promise<void> {
    const put: Row[] = [];
    let page = 1;
    let pages: number;
    do {
      const answer = await this.#client.call("memories.list", {
        trashed: true,
        sortBy: "deleted_at",
        limit: TRASH_PAGE,
        page: page++,
      });
      put.push(...answer.memories.map(rowOf));
      pages = answer.pagination.totalPages;
    } while (page <= pages);
    await this.#apply({ trash: { put, whole: true } });
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

  async #enqueue<K extends Queued>(operation: K, body: Operations[K]["request"]): Promise<void> {
    await this.#outbox.add(operation, body);
  }

  async #settle(settled: Settled): Promise<void> {
    if (!("error" in settled)) await this.#apply(outcome(this.#shelf, settled));
    else if (settled.operation === "memories.create") {
      await this.#apply({ rows: { remove: [settled.body.id!] } });
    }
  }

  /** Shows it at once: what waited for it must not be seen undone while it is written. */
  async #apply(batch: Batch): Promise<void> {
    this.#show(batch);
    await this.#cache.apply(batch);
    this.#tabs.postMessage(batch);
    const removed = batch.rows?.remove ?? [];
    if (removed.length > 0) this.emit("removed", removed);
  }

  #show(batch: Batch): void {
    place(this.#shelf, batch);
    this.loaded ||= batch.cursor !== undefined;
    this.#changed();
  }

  #compose(): Shelf {
    const view = copyOf(this.#shelf);
    for (const entry of this.#outbox.entries) place(view, effect(view, entry));
    for (const [id, draft] of this.#drafts) {
      const row = view.rows.get(id);
      if (row) view.rows.set(id, withDraft(row, draft));
    }
    // The feed gives back what was restored; it has nothing to say of the trash.
    for (const id of view.trash.keys()) if (view.rows.has(id)) view.trash.delete(id);
    return view;
  }

  #changed(): void {
    this.#view = undefined;
    this.emit("changed", undefined);
  }
}

function batchOf({ items, cursor, reset }: Changes): Batch {
  const batch = { rows: part<Row>(reset), categories: part<Category>(reset), cursor };
  for (const item of items) {
    if (item.kind === "memory") sort(batch.rows, item, item.memory && rowOf(item.memory));
    else if (item.kind === "category") sort(batch.categories, item, item.category);
  }
  return batch;
}

/** Tells the changes that take a memory out of the trash. */
function restores(id: string): (entry: Entry) => boolean {
  return ({ operation, body }) =>
    operation === "memories.bulk" && body.action === "restore" && body.ids.includes(id);
}

function part<T>(whole = false): { put: T[]; remove: string[]; whole: boolean } {
  return { put: [], remove: [], whole };
}

function sort<T>(into: { put: T[]; remove: string[] }, item: Change, value: T | undefined): void {
  if (item.deleted || !value) into.remove.push(item.id);
  else into.put.push(value);
}

/** A version 4 UUID; `crypto.randomUUID` is missing on plain http off localhost. */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
