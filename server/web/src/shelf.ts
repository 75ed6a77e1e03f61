import type { Category } from "@memory-app/client";
import type { Answered, Entry } from "./outbox";
import { newRow, rowOf, type Row } from "./row";

interface Kinds {
  rows: Row;
  trash: Row;
  categories: Category;
}
export type Kind = keyof Kinds;
export const kinds: readonly Kind[] = ["rows", "trash", "categories"];

/** All that the library holds, by id. */
export type Shelf = { [K in Kind]: Map<string, Kinds[K]> };

/**
 * A change of the shelf. `whole`: `put` is all there is of this kind. A batch with a cursor is one
 * of the feed, written whole or not at all, so that the cursor is never ahead of the rows.
 */
export type Batch = { [K in Kind]?: Part<Kinds[K]> } & { cursor?: string };

interface Part<T> {
  put?: T[];
  remove?: string[];
  whole?: boolean;
}

export function newShelf(): Shelf {
  return { rows: new Map(), trash: new Map(), categories: new Map() };
}

export function copyOf({ rows, trash, categories }: Shelf): Shelf {
  return { rows: new Map(rows), trash: new Map(trash), categories: new Map(categories) };
}

export function place(shelf: Shelf, batch: Batch): void {
  for (const kind of kinds) {
    const part = batch[kind];
    if (!part) continue;
    const map = shelf[kind] as Map<string, Kinds[Kind]>;
    if (part.whole) map.clear();
    for (const id of part.remove ?? []) map.delete(id);
    for (const item of part.put ?? []) map.set(item.id, item);
  }
}

/** What a change that waits for the server makes of the shelf. */
export function effect(shelf: Shelf, entry: Entry): Batch {
  const { operation, body } = entry;
  switch (operation) {
    case "memories.create":
      // It is on the shelf from the start, unless a reset of the feed took it.
      return shelf.rows.has(body.id!) ? {} : { rows: { put: [newRow(body.id!, entry.queuedAt)] } };
    case "memories.bulk": {
      const found = (kind: "rows" | "trash") =>
        body.ids.map((id) => shelf[kind].get(id)).filter((row) => row !== undefined);
      const change = (part: Partial<Row>) => ({
        rows: { put: found("rows").map((row) => ({ ...row, ...part })) },
      });
      switch (body.action) {
        case "favorite":
        case "unfavorite":
          return change({ isFavorite: body.action === "favorite" });
        case "archive":
        case "unarchive":
          return change({ isArchived: body.action === "archive" });
        case "categorize":
          return change({ categoryId: body.categoryId ?? null });
        case "delete": {
          const put = found("rows").map((row) => ({ ...row, deletedAt: entry.queuedAt }));
          return { rows: { remove: body.ids }, trash: { put } };
        }
        case "restore": {
          const put = found("trash").map(({ deletedAt: _, ...row }) => row);
          return { rows: { put }, trash: { remove: body.ids } };
        }
        case "purge":
          return { trash: { remove: body.ids } };
      }
      break;
    }
    case "categories.create": {
      const { name, icon = null, color = null } = body;
      const last = Math.max(0, ...[...shelf.categories.values()].map((one) => one.sortOrder));
      const category: Category = {
        id: body.id!,
        name,
        description: null,
        icon,
        color,
        isDefault: false,
        sortOrder: last + 1,
        createdAt: entry.queuedAt,
        updatedAt: entry.queuedAt,
      };
      return { categories: { put: [category] } };
    }
    case "categories.update": {
      const known = shelf.categories.get(body.id);
      return known ? { categories: { put: [{ ...known, ...body }] } } : {};
    }
    case "categories.reorder": {
      const put: Category[] = [];
      for (const id of body.ids) {
        const known = shelf.categories.get(id);
        if (known) put.push({ ...known, sortOrder: put.length });
      }
      return { categories: { put } };
    }
    case "categories.delete": {
      const emptied = [...shelf.rows.values()].filter((row) => row.categoryId === body.id);
      return {
        categories: { remove: [body.id] },
        rows: { put: emptied.map((row) => ({ ...row, categoryId: null })) },
      };
    }
  }
}

const GONE = new Set(["gone", "not_found"]);

/** What the server's answer makes of the shelf. Without one, what was to be changed is gone. */
export function outcome(shelf: Shelf, settled: Answered): Batch {
  switch (settled.operation) {
    case "memories.create": {
      const { answer } = settled;
      if (!answer || shelf.rows.has(answer.memory.id)) return {};
      return { rows: { put: [rowOf(answer.memory)] } };
    }
    case "memories.bulk": {
      const { answer, body } = settled;
      const removes = body.action === "delete" || body.action === "purge";
      const done = (answer?.results ?? []).filter(
        ({ error }) => !error || (removes && GONE.has(error.code)),
      );
      return effect(shelf, { ...settled, body: { ...body, ids: done.map(({ id }) => id) } });
    }
    case "categories.create":
    case "categories.update": {
      const { answer, body } = settled;
      if (answer) return { categories: { put: [answer.category] } };
      return { categories: { remove: [body.id!] } };
    }
    case "categories.reorder":
      return { categories: { put: settled.answer?.categories ?? [] } };
    case "categories.delete":
      return effect(shelf, settled);
  }
}

/** How many of many the server would not change, and what it says of the first. */
export function leftOut(settled: Answered): string | undefined {
  if (settled.operation !== "memories.bulk") return undefined;
  const refused = (settled.answer?.results ?? []).filter(
    ({ error }) => error && !GONE.has(error.code),
  );
  if (refused.length === 0) return undefined;
  const what = refused.length === 1 ? "One memory" : `${refused.length} memories`;
  return `${what} could not be changed: ${refused[0]!.error!.message}`;
}
