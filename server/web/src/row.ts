import type { Memory, MemoryDocument } from "@memory-app/client";

/** What the list keeps of a memory. Times are RFC 3339, in UTC, and so sort as text. */
export interface Row {
  id: string;
  title: string;
  text: string;
  tags: string[];
  categoryId: string | null;
  isFavorite: boolean;
  isArchived: boolean;
  role: Memory["role"];
  privacyLevel: string;
  lastReadAt: string | null;
  /** Messages of others, up to 100, which stands for more. */
  unreadCount: number;
  createdAt: string;
  updatedAt: string;
  /** There while the memory is in the trash. */
  deletedAt?: string;
}

export function rowOf(memory: Memory): Row {
  const { text } = memory.content;
  return {
    id: memory.id,
    title: memory.title ?? "",
    text: typeof text === "string" ? text : "",
    tags: memory.tags,
    categoryId: memory.categoryId,
    isFavorite: memory.isFavorite,
    isArchived: memory.isArchived,
    role: memory.role,
    privacyLevel: memory.privacyLevel,
    lastReadAt: memory.lastReadAt ?? null,
    unreadCount: memory.unreadCount ?? 0,
    createdAt: memory.createdAt,
    updatedAt: memory.updatedAt,
    ...(memory.deletedAt && { deletedAt: memory.deletedAt }),
  };
}

/** A memory that the server does not know yet. */
export function newRow(id: string, createdAt: string): Row {
  return {
    id,
    title: "",
    text: "",
    tags: [],
    categoryId: null,
    isFavorite: false,
    isArchived: false,
    role: "owner",
    privacyLevel: "private",
    lastReadAt: null,
    unreadCount: 0,
    createdAt,
    updatedAt: createdAt,
  };
}

/** What an open document says, which is ahead of the row that the server makes of it. */
export function draftOf(document: MemoryDocument): Pick<Row, "title" | "text" | "tags"> {
  const title = document.doc.getMap("properties").get("title");
  return {
    title: typeof title === "string" ? title : "",
    text: document.doc.getText("content").toString(),
    tags: [...document.doc.getMap("tags").keys()].sort(),
  };
}
