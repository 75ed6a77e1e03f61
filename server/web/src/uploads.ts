import { Emitter, MemoError } from "@memory-app/client";
import type { Credentials, File as StoredFile, MemoryClient } from "@memory-app/client";
import { randomId } from "./library";
import { Sender } from "./sender";

const IN_ONE = 4 * 2 ** 20; // bytes: a file up to this goes in one request, a larger one in pieces
const PIECE = 8 * 2 ** 20;
const AT_ONCE = 3;
const TRIES = 8; // in a row that brought nothing on
const LONGEST_WAIT_MS = 15_000;
const KNOWN_KEY = "memo.uploads";
const KNOWN_AT_MOST = 50;
const TUS = { "Tus-Resumable": "1.0.0" };

export type UploadState = "queued" | "sending" | "waiting" | "done" | "failed" | "cancelled";

/** One file on its way to the server. */
export class Upload extends Emitter<{ changed: void }> {
  readonly file: File;
  readonly memoryId: string | undefined;
  readonly abort = new AbortController();
  id: string;
  state: UploadState = "queued";
  sent = 0;
  /** Whether the server keeps pieces of it. */
  begun = false;
  error: MemoError | undefined;
  stored: StoredFile | undefined;

  constructor(file: File, memoryId: string | undefined, id: string) {
    super();
    this.file = file;
    this.memoryId = memoryId;
    this.id = id;
  }

  get ended(): boolean {
    return this.state === "done" || this.state === "failed" || this.state === "cancelled";
  }

  become(state: UploadState, error?: MemoError): void {
    this.state = state;
    this.error = error;
    this.emit("changed", undefined);
  }

  progress(sent: number): void {
    this.sent = Math.min(sent, this.file.size);
    this.emit("changed", undefined);
  }
}

/**
 * Files on their way to the server, a few at a time. They go on when another memory is opened; a
 * large one that broke off goes on from there, also after a reload, once it is chosen again.
 */
export class Uploads extends Emitter<{ changed: Upload }> {
  #client: MemoryClient;
  #sender: Sender;
  #all = new Set<Upload>();

  constructor(client: MemoryClient, credentials: Credentials) {
    super();
    this.#client = client;
    this.#sender = new Sender(credentials);
  }

  /** Those into a memory that are under way, or failed and not dismissed. */
  of(memoryId: string): Upload[] {
    return [...this.#all].filter((upload) => upload.memoryId === memoryId);
  }

  /** Without a memory the file is the account's own, to be attached to a message. */
  add(file: File, memoryId?: string): Upload {
    const id = (file.size > IN_ONE && known(file, memoryId)) || randomId();
    const upload = new Upload(file, memoryId, id);
    upload.on("changed", () => this.emit("changed", upload));
    this.#all.add(upload);
    upload.become("queued");
    this.#next();
    return upload;
  }

  retry(upload: Upload): void {
    if (upload.state !== "failed") return;
    upload.become("queued");
    this.#next();
  }

  /** Stops an upload and takes back what came of it; one that failed is dismissed. */
  cancel(upload: Upload): void {
    this.#all.delete(upload);
    upload.abort.abort();
    forget(upload);
    const { id, file, sent, begun, state } = upload;
    if (state !== "done") upload.become("cancelled");
    // What the server is not told now ends by itself in a day, or stays with the account's files.
    if (state === "done" || sent >= file.size) {
      this.#client.call("files.delete", { id }).catch(() => undefined);
    } else if (begun) {
      const ended = this.#sender.send("DELETE", `/api/uploads/${id}`, { headers: TUS });
      ended.catch(() => undefined);
    }
  }

  stop(): void {
    for (const upload of this.#all) upload.abort.abort();
    this.#all.clear();
  }

  #next(): void {
    const running = [...this.#all].filter(({ state }) => state === "sending" || state === "waiting");
    const queued = [...this.#all].filter(({ state }) => state === "queued");
    for (const upload of queued.slice(0, Math.max(0, AT_ONCE - running.length))) {
      upload.become("sending");
      void this.#run(upload).finally(() => this.#next());
    }
  }

  async #run(upload: Upload): Promise<void> {
    const { signal } = upload.abort;
    let tries = 0;
    while (!signal.aborted) {
      const before = upload.sent;
      try {
        upload.become("sending");
        const whole = upload.file.size <= IN_ONE;
        upload.stored = await (whole ? this.#whole(upload) : this.#pieces(upload));
        this.#all.delete(upload);
        forget(upload);
        upload.become("done");
        return;
      } catch (thrown) {
        if (signal.aborted) return;
        const error = MemoError.from(thrown, "unavailable");
        tries = upload.sent > before ? 1 : tries + 1;
        // The id was another try's, of a file that was changed or deleted since.
        const spent = error.code === "conflict" || error.code === "gone";
        if (spent && tries === 1) upload.id = randomId();
        else if (!passing(error) || tries >= TRIES) return upload.become("failed", error);
        upload.become("waiting", error);
        const wait = Math.min(LONGEST_WAIT_MS, 500 * 2 ** tries);
        await pause(error.retryAfter ? error.retryAfter * 1000 : wait, signal);
      }
    }
  }

  async #whole(upload: Upload): Promise<StoredFile> {
    const form = new FormData();
    form.append("id", upload.id);
    if (upload.memoryId) form.append("memoryId", upload.memoryId);
    form.append("file", upload.file, upload.file.name || "file");
    const answer = await this.#sender.send("POST", "/api/files", {
      body: form,
      signal: upload.abort.signal,
      progress: (sent) => upload.progress(sent),
    });
    return (JSON.parse(answer.responseText) as { file: StoredFile }).file;
  }

  async #pieces(upload: Upload): Promise<StoredFile> {
    const { file, memoryId } = upload;
    const { signal } = upload.abort;
    remember(upload);
    const told = { filename: file.name || "file", id: upload.id, ...(memoryId && { memoryId }) };
    const metadata = Object.entries(told).map(([name, value]) => `${name} ${base64(value)}`);
    // Made again under its id, an upload answers how far it has come.
    const made = await this.#sender.send("POST", "/api/uploads", {
      headers: { ...TUS, "Upload-Length": String(file.size), "Upload-Metadata": metadata.join(",") },
      signal,
    });
    upload.begun = true;
    let offset = Number(made.getResponseHeader("Upload-Offset") ?? 0);
    upload.progress(offset);
    while (offset < file.size) {
      const start = offset;
      const answer = await this.#sender.send("PATCH", `/api/uploads/${upload.id}`, {
        headers: {
          ...TUS,
          "Content-Type": "application/offset+octet-stream",
          "Upload-Offset": String(start),
        },
        body: file.slice(start, start + PIECE),
        signal,
        progress: (sent) => upload.progress(start + sent),
      });
      offset = Number(answer.getResponseHeader("Upload-Offset"));
      upload.progress(offset);
    }
    return (await this.#client.call("files.get", { id: upload.id }, { signal })).file;
  }
}

/** Whether the same request may succeed later. */
function passing(error: MemoError): boolean {
  return error.temporary || error.code === "unavailable" || error.code === "timeout";
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener("online", done);
    signal.addEventListener("abort", done);
  });
}

/** The ids of large uploads under way, by what tells their files apart, over reloads. */
function ids(): Record<string, string> {
  try {
    return JSON.parse(localStorage.getItem(KNOWN_KEY) ?? "{}") as Record<string, string>;
  } catch {
    return {};
  }
}

function print(file: File, memoryId: string | undefined): string {
  return [memoryId ?? "", file.name, file.size, file.lastModified].join("\n");
}

function known(file: File, memoryId: string | undefined): string | undefined {
  return ids()[print(file, memoryId)];
}

function remember(upload: Upload): void {
  const kept = Object.entries(ids()).slice(1 - KNOWN_AT_MOST);
  const now = Object.fromEntries(kept);
  now[print(upload.file, upload.memoryId)] = upload.id;
  localStorage.setItem(KNOWN_KEY, JSON.stringify(now));
}

function forget(upload: Upload): void {
  const now = ids();
  delete now[print(upload.file, upload.memoryId)];
  localStorage.setItem(KNOWN_KEY, JSON.stringify(now));
}

function base64(text: string): string {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}
