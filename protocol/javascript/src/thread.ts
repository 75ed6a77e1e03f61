import * as Y from "yjs";

/** A message as a document has it. */
export interface ThreadMessage {
  id: string;
  content: string;
  /** What whoever wrote it claims; the server's `messages.list` says whose it is. */
  userId: string | null;
  messageType: string;
  metadata: Record<string, unknown> | null;
  /** Ids of files. */
  attachments: string[];
  isAiGenerated: boolean;
  parentMessageId: string | null;
  status: string;
  /** RFC 3339, or whatever else stands there. */
  createdAt: string;
}

export interface NewMessage {
  content: string;
  /** The account's own id. */
  userId: string;
  id?: string;
  messageType?: string;
  metadata?: Record<string, unknown>;
  attachments?: string[];
  parentMessageId?: string;
  createdAt?: Date;
}

/**
 * The messages of a document, to be read and edited without a network: `messages` is a Y.Map of
 * message id to Y.Map, each with a Y.Text `body`. What one call changes is one update.
 */
export class Thread {
  readonly #doc: Y.Doc;
  readonly #messages: Y.Map<unknown>;

  constructor(doc: Y.Doc) {
    this.#doc = doc;
    this.#messages = doc.getMap("messages");
  }

  /** All messages, the oldest first. What is no message is left out. */
  list(): ThreadMessage[] {
    const messages: ThreadMessage[] = [];
    for (const [id, value] of this.#messages) {
      const message = read(id, value);
      if (message) messages.push(message);
    }
    return messages.sort((a, b) => compare(a.createdAt, b.createdAt) || compare(a.id, b.id));
  }

  get(id: string): ThreadMessage | undefined {
    return read(id, this.#messages.get(id));
  }

  /** The text of a message, to be bound to an editor; undefined if there is none. */
  body(id: string): Y.Text | undefined {
    const body = this.#map(id)?.get("body");
    return body instanceof Y.Text ? body : undefined;
  }

  /** Writes a message; its id. One that has the id already stays as it is. */
  add(message: NewMessage): string {
    const id = message.id ?? newId();
    if (this.body(id)) return id;
    const { metadata, attachments, parentMessageId } = message;
    const fields = new Y.Map<unknown>();
    fields.set("body", new Y.Text(message.content));
    fields.set("messageType", message.messageType ?? "text");
    fields.set("userId", message.userId);
    fields.set("status", "sent");
    fields.set("createdAt", (message.createdAt ?? new Date()).toISOString());
    if (metadata) fields.set("metadata", metadata);
    if (attachments?.length) fields.set("attachments", attachments);
    if (parentMessageId) fields.set("parentMessageId", parentMessageId);
    this.#messages.set(id, fields);
    return id;
  }

  /**
   * Makes the text of a message `content`, so that edits elsewhere in it survive. False if there is
   * no such message.
   */
  edit(id: string, content: string): boolean {
    const body = this.body(id);
    if (body) this.#doc.transact(() => rewrite(body, content));
    return body !== undefined;
  }

  /** Sets one of the plain values of a message; undefined takes it away. */
  put(id: string, name: "metadata" | "attachments" | "status", value: unknown): boolean {
    const message = this.#map(id);
    if (!message) return false;
    if (value === undefined) message.delete(name);
    else message.set(name, value);
    return true;
  }

  /** Takes a message away; whether it was there. Replies to it stay. */
  remove(id: string): boolean {
    if (!this.#messages.has(id)) return false;
    this.#messages.delete(id);
    return true;
  }

  /** Calls `listener` after each change of any message. Returns what ends that. */
  observe(listener: () => void): () => void {
    this.#messages.observeDeep(listener);
    return () => this.#messages.unobserveDeep(listener);
  }

  #map(id: string): Y.Map<unknown> | undefined {
    const message = this.#messages.get(id);
    return message instanceof Y.Map ? message : undefined;
  }
}

/** A random UUID. Pages without TLS and React Native have no `crypto.randomUUID`. */
function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6]! & 0x0f) | 0x40;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

/** Replaces what differs, and no half of a surrogate pair. */
function rewrite(text: Y.Text, content: string): void {
  const old = text.toString();
  const shorter = Math.min(old.length, content.length);
  let start = 0;
  while (start < shorter && old[start] === content[start]) start += 1;
  if (start > 0 && isHighSurrogate(old, start - 1)) start -= 1;
  let end = 0;
  while (end < shorter - start && old[old.length - 1 - end] === content[content.length - 1 - end]) {
    end += 1;
  }
  if (end > 0 && isLowSurrogate(old, old.length - end)) end -= 1;
  const removed = old.length - end - start;
  if (removed > 0) text.delete(start, removed);
  const inserted = content.slice(start, content.length - end);
  if (inserted) text.insert(start, inserted);
}

function isHighSurrogate(text: string, at: number): boolean {
  return (text.charCodeAt(at) & 0xfc00) === 0xd800;
}

function isLowSurrogate(text: string, at: number): boolean {
  return (text.charCodeAt(at) & 0xfc00) === 0xdc00;
}

function read(id: string, value: unknown): ThreadMessage | undefined {
  const fields: unknown = value instanceof Y.Map ? value.toJSON() : value;
  if (!isRecord(fields) || typeof fields.body !== "string") return undefined;
  const { attachments, metadata } = fields;
  return {
    id,
    content: fields.body,
    userId: string(fields.userId) ?? null,
    messageType: string(fields.messageType) ?? "text",
    metadata: isRecord(metadata) ? metadata : null,
    attachments: Array.isArray(attachments) ? attachments.filter((each) => string(each)) : [],
    isAiGenerated: fields.isAiGenerated === true,
    parentMessageId: string(fields.parentMessageId) ?? null,
    status: string(fields.status) ?? "sent",
    createdAt: string(fields.createdAt) ?? "",
  };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function string(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
