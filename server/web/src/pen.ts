import type { MemoryClient, MemoryDocument, User } from "@memory-app/client";
import { randomId } from "./library";

export interface Draft {
  content: string;
  messageType: "text" | "image" | "document";
  attachments: string[];
  parentMessageId?: string;
}

/** How messages are written. Each call rejects with a `MemoError` if it was refused. */
export interface Pen {
  /** Whether an edit is shown to others as it is typed, and so must be made at each key. */
  readonly live: boolean;
  add(draft: Draft): Promise<void>;
  edit(id: string, content: string): Promise<void>;
  remove(id: string): Promise<void>;
}

/** In the memory's document, online or not: for who may write it. */
export class DocumentPen implements Pen {
  readonly live = true;
  #memory: MemoryDocument;
  #user: User;

  constructor(memory: MemoryDocument, user: User) {
    this.#memory = memory;
    this.#user = user;
  }

  async add({ content, messageType, attachments, parentMessageId }: Draft): Promise<void> {
    this.#memory.doc.transact(() => {
      this.#memory.messages.add({
        id: randomId(),
        content,
        userId: this.#user.id,
        messageType,
        attachments,
        ...(parentMessageId && { parentMessageId }),
      });
    });
  }

  async edit(id: string, content: string): Promise<void> {
    this.#memory.messages.edit(id, content);
  }

  async remove(id: string): Promise<void> {
    this.#memory.messages.remove(id);
  }
}

/** By the server: for who may comment, and may not write the document. */
export class CommentPen implements Pen {
  readonly live = false;
  #client: MemoryClient;
  #memoryId: string;
  #last: { draft: string; id: string } | undefined;

  constructor(client: MemoryClient, memoryId: string) {
    this.#client = client;
    this.#memoryId = memoryId;
  }

  async add(draft: Draft): Promise<void> {
    // The same words again after a failure are the same message: the first may have arrived.
    const key = JSON.stringify(draft);
    if (this.#last?.draft !== key) this.#last = { draft: key, id: randomId() };
    const { id } = this.#last;
    await this.#client.call("messages.create", { memoryId: this.#memoryId, id, ...draft });
    this.#last = undefined;
  }

  async edit(id: string, content: string): Promise<void> {
    await this.#client.call("messages.update", { memoryId: this.#memoryId, id, content });
  }

  async remove(id: string): Promise<void> {
    await this.#client.call("messages.delete", { memoryId: this.#memoryId, id });
  }
}
