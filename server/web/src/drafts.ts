import { Emitter } from "@memory-app/client";
import type { MemoryDocument } from "@memory-app/client";
import type { Doc, Transaction } from "yjs";
import { draftOf, type Row } from "./row";

const KEEP_AFTER_MS = 500;

export type Draft = Pick<Row, "title" | "text" | "tags"> & { updatedAt?: string };

/**
 * What the documents open here say of their memories, ahead of the rows that the server makes
 * of them. `keep` says that a draft has come to rest and is worth storing.
 */
export class Drafts extends Emitter<{ changed: void; keep: { id: string; draft: Draft } }> {
  #drafts = new Map<string, Draft>();

  [Symbol.iterator](): Iterator<[string, Draft]> {
    return this.#drafts.entries();
  }

  /** Follows an open document until the answered function is called. */
  follow(document: MemoryDocument): () => void {
    const { memoryId: id, doc } = document;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const keep = () => {
      clearTimeout(timer);
      timer = undefined;
      const draft = this.#drafts.get(id);
      if (draft) this.emit("keep", { id, draft });
    };
    const changed = (_update: Uint8Array, _origin: unknown, _doc: Doc, by: Transaction) => {
      // Only an edit made here is news of this moment: loading a document is not editing it.
      const updatedAt = by.local ? new Date().toISOString() : this.#drafts.get(id)?.updatedAt;
      this.#drafts.set(id, { ...draftOf(document), ...(updatedAt && { updatedAt }) });
      timer ??= setTimeout(keep, KEEP_AFTER_MS);
      this.emit("changed", undefined);
    };
    doc.on("update", changed);
    return () => {
      doc.off("update", changed);
      keep();
      this.#drafts.delete(id);
    };
  }
}

/** The row with the draft over it; its time never runs backwards. */
export function withDraft(row: Row, draft: Draft): Row {
  const { updatedAt = row.updatedAt } = draft;
  return { ...row, ...draft, updatedAt: updatedAt > row.updatedAt ? updatedAt : row.updatedAt };
}
