import { Emitter } from "@memory-app/client";
import type { Row } from "./row";
import { isEmpty, matches, parse } from "./words";

export const viewNames = [
  "all",
  "favorites",
  "shared",
  "uncategorized",
  "archive",
  "trash",
] as const;
export type View = (typeof viewNames)[number];
export const sortNames = ["edited", "created", "title"] as const;
export type Sort = (typeof sortNames)[number];

/** Which memories are listed, and in which order. */
export interface Query {
  view: View;
  /** One of the account's categories, within the view `all`. */
  category: string | undefined;
  tag: string | undefined;
  search: string;
  /** Days of this device's calendar, both included, as `2026-05-31`. */
  from: string | undefined;
  until: string | undefined;
  sort: Sort;
}

export const everything: Omit<Query, "sort"> = {
  view: "all",
  category: undefined,
  tag: undefined,
  search: "",
  from: undefined,
  until: undefined,
};

/** The query of the page, which side bar and list share. All but its words outlives a reload. */
export class Filter extends Emitter<{ changed: Query }> {
  #key: string;
  query: Query;

  /** `name` is one for each account on this device. */
  constructor(name: string) {
    super();
    this.#key = `${name}.list`;
    const last = sessionStorage.getItem(this.#key) ?? localStorage.getItem(this.#key);
    this.query = { ...everything, sort: "edited", ...kept(last) };
  }

  set(change: Partial<Query>): void {
    this.query = { ...this.query, ...change };
    const text = JSON.stringify({ ...this.query, search: undefined });
    sessionStorage.setItem(this.#key, text); // this tab's, which reloads as it is
    localStorage.setItem(this.#key, text); // the device's, for the next tab
    this.emit("changed", this.query);
  }

  /** Leaves nothing of it on the device. */
  forget(): void {
    for (const storage of [sessionStorage, localStorage]) storage.removeItem(this.#key);
  }

  /** Another view, and what narrowed the last one is let go. */
  show(view: View, category?: string): void {
    this.set({ ...everything, view, category });
  }
}

/** What is worth anything of a query that this or another version of the console has kept. */
function kept(text: string | null): Partial<Query> {
  let found: unknown;
  try {
    found = JSON.parse(text ?? "{}");
  } catch {
    return {};
  }
  const { view, sort, ...rest } = Object(found) as Record<string, unknown>;
  const query: Partial<Query> = {};
  query.view = viewNames.find((name) => name === view) ?? "all";
  query.sort = sortNames.find((name) => name === sort) ?? "edited";
  for (const name of ["category", "tag", "from", "until"] as const) {
    const value = rest[name];
    if (typeof value === "string") query[name] = value;
  }
  return query;
}

/** Whether the rows of a view are narrowed further. */
export function isNarrowed({ tag, search, from, until }: Query): boolean {
  return Boolean(tag ?? (search || from || until));
}

export function isInView(row: Row, { view, category }: Pick<Query, "view" | "category">): boolean {
  if (view === "trash") return true; // its rows are others to begin with
  if (row.isArchived !== (view === "archive")) return false;
  if (view === "favorites") return row.isFavorite;
  if (view === "shared") return row.role !== "owner";
  if (view === "uncategorized") return row.categoryId === null;
  return category === undefined || row.categoryId === category;
}

/** Whether the row answers all of the query but its words. */
export function isListed(row: Row, query: Query): boolean {
  if (!isInView(row, query)) return false;
  if (query.tag !== undefined && !row.tags.includes(query.tag)) return false;
  if (query.from === undefined && query.until === undefined) return true;
  const day = dayOf(new Date(timeOf(row, query)));
  return (!query.from || day >= query.from) && (!query.until || day <= query.until);
}

/** The rows that answer the query, in its order. */
export function select(rows: Iterable<Row>, query: Query): Row[] {
  const words = parse(query.search);
  const plain = isEmpty(words);
  const found: Row[] = [];
  for (const row of rows) {
    if (isListed(row, query) && (plain || matches(row, words))) found.push(row);
  }
  if (query.sort === "title") {
    return found.sort((a, b) => a.title.localeCompare(b.title) || latestFirst(a.id, b.id));
  }
  return found.sort(
    (a, b) => latestFirst(timeOf(a, query), timeOf(b, query)) || latestFirst(a.id, b.id),
  );
}

/** The time that the query sorts and chooses by, and that its rows show. */
export function timeOf(row: Row, { sort }: Pick<Query, "sort">): string {
  return row.deletedAt ?? (sort === "created" ? row.createdAt : row.updatedAt);
}

/** A day of this device's calendar, as `2026-05-31`. */
export function dayOf(moment: Date): string {
  const two = (number: number) => String(number).padStart(2, "0");
  return `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}`;
}

const latestFirst = (a: string, b: string) => (a < b ? 1 : a > b ? -1 : 0);
