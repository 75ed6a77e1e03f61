import type { Memory, MemoryDocument } from "@memory-app/client";

/** What the list keeps of a memory. Times are RFC 3339, in UTC, and so sort as text. */
export interface Row {
  id: string;
  title: string;
  text: string;
  tags: string[];
  isFavorite: boolean;
  isArchived: boolean;
  role: Memory["role"];
  privacyLevel: string;
  lastReadAt: string | null;
  unreadCount: number;
  createdAt: string;
  updatedAt: string;
}

export function rowOf(memory: Memory): Row {
  const { text } = memory.content;
  return {
    id: memory.id,
    title: memory.title ?? "",
    text: typeof text === "string" ? text : "",
    tags: memory.tags,
    isFavorite: memory.isFavorite,
    isArchived: memory.isArchived,
    role: memory.role,
    privacyLevel: memory.privacyLevel,
    lastReadAt: memory.lastReadAt ?? null,
    unreadCount: memory.unreadCount ?? 0,
    createdAt: memory.createdAt,
    updatedAt: memory.updatedAt,
  };
}

/** A memory that the server does not know yet. */
export function newRow(id: string, createdAt: string): Row {
  return {
    id,
    title: "",
    text: "",
    tags: [],
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

export type Sort = "edited" | "created" | "title";

export interface Query {
  search: string;
  favorites: boolean;
  tag: string | undefined;
  sort: Sort;
}

/** The rows that answer the query, in its order. Every word of the search must occur. */
export function select(rows: Iterable<Row>, query: Query): Row[] {
  const words = query.search.toLocaleLowerCase().split(/\s+/).filter(Boolean);
  const found: Row[] = [];
  for (const row of rows) {
    if (row.isArchived || (query.favorites && !row.isFavorite)) continue;
    if (query.tag !== undefined && !row.tags.includes(query.tag)) continue;
    if (words.length > 0) {
      const text = `${row.title}\n${row.text}\n${row.tags.join("\n")}`.toLocaleLowerCase();
      if (!words.every((word) => text.includes(word))) continue;
    }
    found.push(row);
  }
  return found.sort(orders[query.sort]);
}

const latestFirst = (a: string, b: string) => (a < b ? 1 : a > b ? -1 : 0);
const orders: Record<Sort, (a: Row, b: Row) => number> = {
  edited: (a, b) => latestFirst(a.updatedAt, b.updatedAt) || latestFirst(a.id, b.id),
  created: (a, b) => latestFirst(a.createdAt, b.createdAt) || latestFirst(a.id, b.id),
  title: (a, b) => a.title.localeCompare(b.title) || latestFirst(a.id, b.id),
};
