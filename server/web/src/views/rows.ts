import type { Category } from "@memory-app/client";
import { h, setAttribute } from "../dom";
import { timeOf, type Query } from "../filter";
import type { Hit } from "../finder";
import { icon, type IconName } from "../icons";
import { categoryIcon, tint } from "../palette";
import { plain } from "../prose";
import type { Row } from "../row";
import { fullTime, shortTime } from "../time";
import { excerpt, mark, type Excerpt, type Words } from "../words";
import type { Anchor } from "./menu";

const ROW_HEIGHT = 84; // px, as the style sheet has it
const BEYOND = 6; // rows kept above and below what is seen
const EXCERPT = 400; // characters of the body

/** What a row shows besides itself. */
export interface Showing {
  words: Words;
  sort: Query["sort"];
  hits: ReadonlyMap<string, Hit>;
  category: (id: string | null) => Category | undefined;
}

export interface RowsOwner {
  open(id: string): void;
  /** Asks for what can be done with a row. */
  menu(id: string, at: Anchor): void;
  /** Adds a row to those chosen, or takes it out; `range`: all up to it. */
  choose(id: string, range: boolean): void;
  /** A key that the list itself has no use for. True: it was taken. */
  key(event: KeyboardEvent, active: string | undefined): boolean;
}

/** What a drawn row shows: it is drawn anew when one of these is another. */
interface Drawn {
  row: Row;
  hit: Hit | undefined;
  category: Category | undefined;
  words: Words;
  sort: Query["sort"];
}

/** A list of any length as a listbox: only the rows in sight are in the page. */
export class Rows {
  readonly element: HTMLElement;
  #space = h("div", { class: "rows-space", role: "presentation" });
  #shown = new Map<string, { drawn: Drawn; node: HTMLDivElement }>();
  #rows: readonly Row[] = [];
  #showing: Showing | undefined;
  #active = 0;
  #selected: string | undefined;
  #chosen: ReadonlySet<string> | undefined;
  #owner: RowsOwner;

  constructor(owner: RowsOwner) {
    this.#owner = owner;
    this.element = h(
      "div",
      {
        class: "rows",
        id: "rows",
        role: "listbox",
        tabindex: "0",
        "aria-label": "Memories",
        on: {
          keydown: (event) => this.#key(event),
          focus: () => this.#render(),
          scroll: () => this.#render(),
          click: (event) => this.#click(event),
          contextmenu: (event) => this.#menu(event),
        },
      },
      this.#space,
    );
    new ResizeObserver(() => this.#render()).observe(this.element);
  }

  /** `top`: it is another list, and starts at its beginning. */
  show(rows: readonly Row[], showing: Showing, top: boolean): void {
    const active = top ? undefined : this.#rows[this.#active]?.id;
    this.#rows = rows;
    this.#showing = showing;
    const moved = rows.findIndex((row) => row.id === active);
    this.#active = moved >= 0 ? moved : Math.min(this.#active, Math.max(0, rows.length - 1));
    if (top) this.#active = Math.max(0, this.#indexOf(this.#selected));
    this.#space.style.height = `${rows.length * ROW_HEIGHT}px`;
    if (top) this.element.scrollTop = 0;
    this.#render();
  }

  select(id: string | undefined): void {
    this.#selected = id;
    const index = this.#indexOf(id);
    if (index >= 0) this.#activate(index);
    else this.#render();
  }

  /** Shows which rows are chosen; `undefined`: none can be. */
  choose(chosen: ReadonlySet<string> | undefined): void {
    this.#chosen = chosen;
    this.element.classList.toggle("choosing", chosen !== undefined);
    setAttribute(this.element, "aria-multiselectable", chosen && "true");
    this.#render();
  }

  focus(): void {
    this.element.focus();
  }

  get active(): string | undefined {
    return this.#rows[this.#active]?.id;
  }

  /** The id of the active row's element, for a field that moves through the list. */
  get activeElement(): string | undefined {
    return this.#rows.length > 0 ? `row-${this.#active}` : undefined;
  }

  /** Goes up or down. */
  move(by: number): void {
    if (this.#rows.length === 0) return;
    this.#activate(Math.max(0, Math.min(this.#rows.length - 1, this.#active + by)));
  }

  #indexOf(id: string | undefined): number {
    return id === undefined ? -1 : this.#rows.findIndex((row) => row.id === id);
  }

  #click(event: MouseEvent): void {
    const target = event.target as Element;
    const id = target.closest<HTMLElement>("[role=option]")?.dataset.id;
    if (!id) return;
    const more = target.closest(".row-more");
    if (more) this.#owner.menu(id, more);
    else if (event.shiftKey || event.ctrlKey || event.metaKey || this.#chosen) {
      this.#activate(this.#indexOf(id));
      this.#owner.choose(id, event.shiftKey);
    } else this.#owner.open(id);
  }

  /** With a mouse where it points; with the keyboard at the active row. */
  #menu(event: MouseEvent): void {
    event.preventDefault();
    const row = (event.target as Element).closest<HTMLElement>("[role=option]");
    if (row?.dataset.id) {
      this.#owner.menu(row.dataset.id, { x: event.x, y: event.y, within: row });
    } else if (this.active) {
      const place = this.#shown.get(this.active)?.node.querySelector(".row-more");
      this.#owner.menu(this.active, place ?? this.element);
    }
  }

  #key(event: KeyboardEvent): void {
    const page = Math.max(1, Math.floor(this.element.clientHeight / ROW_HEIGHT) - 1);
    const last = this.#rows.length - 1;
    const moves: Record<string, number> = {
      ArrowDown: this.#active + 1,
      ArrowUp: this.#active - 1,
      PageDown: this.#active + page,
      PageUp: this.#active - page,
      Home: 0,
      End: last,
    };
    const move = moves[event.key];
    const { active } = this;
    if (move !== undefined && last >= 0) {
      this.#activate(Math.max(0, Math.min(last, move)));
      if (event.shiftKey && this.active) this.#owner.choose(this.active, true);
    } else if (event.key === " " && active) this.#owner.choose(active, event.shiftKey);
    else if (event.key === "Enter" && active) {
      if (this.#chosen) this.#owner.choose(active, false);
      else this.#owner.open(active);
    } else if (this.#owner.key(event, active)) event.stopPropagation();
    else return;
    event.preventDefault();
  }

  #activate(index: number): void {
    this.#active = index;
    const { scrollTop, clientHeight } = this.element;
    const top = index * ROW_HEIGHT;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (top + ROW_HEIGHT > scrollTop + clientHeight) {
      this.element.scrollTop = top + ROW_HEIGHT - clientHeight;
    }
    this.#render();
  }

  #render(): void {
    const showing = this.#showing;
    if (!showing) return;
    const { scrollTop, clientHeight } = this.element;
    const first = Math.max(0, Math.floor(scrollTop / ROW_HEIGHT) - BEYOND);
    const end = Math.ceil((scrollTop + clientHeight) / ROW_HEIGHT) + BEYOND;
    const window = this.#rows.slice(first, end);
    const ids = new Set(window.map((row) => row.id));
    for (const [id, { node }] of this.#shown) {
      if (ids.has(id)) continue;
      node.remove();
      this.#shown.delete(id);
    }
    const { words, sort } = showing;
    window.forEach((row, offset) => {
      const shown = this.#shown.get(row.id);
      const hit = showing.hits.get(row.id);
      const category = showing.category(row.categoryId);
      const drawn: Drawn = { row, hit, category, words, sort };
      const node = shown && same(shown.drawn, drawn) ? shown.node : draw(drawn, shown?.node);
      this.#shown.set(row.id, { drawn, node });
      const index = first + offset;
      node.style.transform = `translateY(${index * ROW_HEIGHT}px)`;
      node.id = `row-${index}`;
      setAttribute(node, "aria-posinset", index + 1);
      setAttribute(node, "aria-setsize", this.#rows.length);
      const selected = this.#chosen ? this.#chosen.has(row.id) : row.id === this.#selected;
      setAttribute(node, "aria-selected", String(selected));
      node.classList.toggle("active", index === this.#active);
      if (this.#space.children[offset] !== node) {
        this.#space.insertBefore(node, this.#space.children[offset] ?? null);
      }
    });
    setAttribute(this.element, "aria-activedescendant", this.activeElement);
  }
}

function same(a: Drawn, b: Drawn): boolean {
  return (
    a.row === b.row &&
    a.hit === b.hit &&
    a.category === b.category &&
    a.words === b.words &&
    a.sort === b.sort
  );
}

function draw(drawn: Drawn, node = h("div", { class: "row", role: "option" })): HTMLDivElement {
  const { row, hit, category, words, sort } = drawn;
  const time = timeOf(row, { sort });
  const title = row.title ? marked(mark(row.title, words)) : ["Untitled"];
  const sign = category && h("span", { class: "row-sign", role: "img", title: category.name });
  if (category && sign) {
    sign.setAttribute("aria-label", category.name);
    sign.append(icon(categoryIcon(category.icon)));
    tint(sign, category.color);
  }
  node.dataset.id = row.id;
  node.replaceChildren(
    h("span", { class: "row-check", "aria-hidden": "true" }, icon("check")),
    h(
      "div",
      { class: "row-head" },
      sign,
      h("span", { class: row.title ? "row-title" : "row-title untitled" }, ...title),
      row.role !== "owner" && badge("users", "Shared with you"),
      row.isFavorite && badge("star", "Favourite"),
      row.unreadCount > 0 && unread(row.unreadCount),
      h("time", { class: "row-time", datetime: time, title: fullTime(time) }, shortTime(time)),
      // For the mouse: with the keyboard the same menu comes at its own key.
      h("span", { class: "row-more", "aria-hidden": "true", title: "More" }, icon("more")),
    ),
    h("p", { class: "row-text" }, ...body(row, hit, words)),
  );
  const place = hit && places[hit.field ?? ""];
  if (hit?.text && place) {
    const [label, name] = place;
    const found = h("span", {}, ...marked(hit));
    node.append(
      h("p", { class: "row-hit" }, icon(name), h("span", { class: "unseen" }, `${label}: `), found),
    );
  } else if (row.tags.length > 0) {
    const tags = row.tags.slice(0, 4).map((tag) => h("span", {}, tag));
    node.append(h("p", { class: "row-tags" }, ...tags));
  }
  return node;
}

/** What the server may find that the list does not show. */
const places: Record<string, [label: string, icon: IconName]> = {
  messages: ["In the thread", "chat"],
  files: ["In a file's name", "file"],
};

function badge(name: IconName, label: string): HTMLElement {
  const node = h("span", { class: `row-badge row-${name}`, role: "img", title: label }, icon(name));
  node.setAttribute("aria-label", label);
  return node;
}

const MOST_UNREAD = 99;

function unread(count: number): HTMLElement {
  const text = count > MOST_UNREAD ? `${MOST_UNREAD}+` : String(count);
  const node = h("span", { class: "row-unread", role: "img", title: "Unread messages" }, text);
  node.setAttribute("aria-label", `${text} unread`);
  return node;
}

/** The piece with the words of the search, as this device or else the server found it. */
function body(row: Row, hit: Hit | undefined, words: Words): (Node | string)[] {
  const found = excerpt(row.text, words);
  if (found) return marked(found);
  if (hit?.text && (hit.field === "content" || hit.field === "description")) return marked(hit);
  return [plain(row.text, EXCERPT) || "Nothing written yet"];
}

function marked({ text, ranges }: Excerpt): (Node | string)[] {
  const parts: (Node | string)[] = [];
  let at = 0;
  for (const [start, end] of ranges) {
    if (start < at || end <= start) continue;
    parts.push(text.slice(at, start), h("mark", {}, text.slice(start, end)));
    at = end;
  }
  parts.push(text.slice(at));
  return parts;
}
