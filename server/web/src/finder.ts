import { Emitter, MemoError } from "@memory-app/client";
import type { MemoryClient, SearchQuery, SearchResult } from "@memory-app/client";
import type { Query } from "./filter";
import { rowOf, type Row } from "./row";
import type { Excerpt } from "./words";

const PAUSE_MS = 180; // of someone who types
const LIMIT = 50;
const TIMEOUT_MS = 10_000;

/** What the server found in a memory, and where the words are. */
export interface Hit extends Excerpt {
  row: Row;
  field: SearchResult["highlights"][number]["field"] | undefined;
  /** The message that has the words, where it is one that is shown. */
  messageId: string | undefined;
}

/**
 * The server's search, which knows threads and files as well, beside the one of this device.
 *
 * It asks once typing pauses; an answer that nobody waits for any more is given up. Offline it
 * finds nothing, and asks when the connection is back.
 */
export class Finder extends Emitter<{ changed: void }> {
  #client: MemoryClient;
  #asked = "";
  #search = "";
  #ask: (() => void) | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #call: AbortController | undefined;
  #unsubscribe: () => void;
  /** The hits for the query asked last, by memory, the best first. */
  hits: ReadonlyMap<string, Hit> = new Map();
  /** Whether the server has yet to answer. */
  searching = false;

  constructor(client: MemoryClient) {
    super();
    this.#client = client;
    this.#unsubscribe = client.on("status", (status) => {
      if (status === "online") this.#ask?.();
    });
  }

  look({ view, search, category, tag }: Query): void {
    const query = search.trim().slice(0, 200);
    const asked = view === "trash" || !query ? "" : JSON.stringify([query, category, tag]);
    if (asked === this.#asked) return;
    this.#asked = asked;
    this.#stop();
    // Whoever types on sees what was found so far until there is more to say.
    if (!this.#search || !search.startsWith(this.#search)) this.hits = new Map();
    this.#search = search;
    this.#ask = undefined;
    this.searching = asked !== "";
    if (!asked) {
      this.hits = new Map();
      return;
    }
    const body = { query, limit: LIMIT, categoryId: category ?? null, tags: tag ? [tag] : [] };
    this.#ask = () => void this.#send(body);
    this.#timer = setTimeout(this.#ask, PAUSE_MS);
  }

  destroy(): void {
    this.#stop();
    this.#unsubscribe();
  }

  async #send(body: SearchQuery): Promise<void> {
    this.#stop();
    if (this.#client.status !== "online") return this.#found(new Map());
    const call = new AbortController();
    this.#call = call;
    try {
      const options = { signal: call.signal, timeoutMs: TIMEOUT_MS };
      const { results } = await this.#client.call("search.query", body, options);
      if (this.#call !== call) return;
      this.#ask = undefined;
      this.#found(new Map(results.map((result) => [result.memory.id, hitOf(result)])));
    } catch (error) {
      if (!(error instanceof MemoError)) throw error;
      if (this.#call === call) this.#found(new Map()); // what this device found is shown
    }
  }

  #found(hits: ReadonlyMap<string, Hit>): void {
    this.hits = hits;
    this.searching = false;
    this.emit("changed", undefined);
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#call?.abort();
    this.#call = undefined;
  }
}

/** The highlight to show: one of what the list does not show anyway, if there is any. */
function hitOf({ memory, highlights, messageId }: SearchResult): Hit {
  const beyond = highlights.find(({ field }) => field === "messages" || field === "files");
  const chosen = beyond ?? highlights.find(({ field }) => field === "content") ?? highlights[0];
  return {
    row: rowOf(memory),
    field: chosen?.field,
    messageId: chosen?.field === "messages" ? (messageId ?? undefined) : undefined,
    text: chosen?.text ?? "",
    ranges: (chosen?.ranges ?? []) as Hit["ranges"],
  };
}
