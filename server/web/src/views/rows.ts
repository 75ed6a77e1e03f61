import { h, setAttribute } from "../dom";
import { icon } from "../icons";
import type { Row } from "../row";
import { shortTime } from "../time";

const ROW_HEIGHT = 84; // px, as the style sheet has it
const BEYOND = 6; // rows kept above and below what is seen

/** A list of any length as a listbox: only the rows in sight are in the page. */
export class Rows {
  readonly element: HTMLElement;
  #space = h("div", { class: "rows-space", role: "presentation" });
  #shown = new Map<string, { row: Row; node: HTMLDivElement }>();
  #rows: readonly Row[] = [];
  #active = 0;
  #selected: string | undefined;
  #open: (id: string) => void;

  constructor(open: (id: string) => void) {
    this.#open = open;
    this.element = h(
      "div",
      {
        class: "rows",
        role: "listbox",
        tabindex: "0",
        "aria-label": "Memories",
        on: {
          keydown: (event) => this.#key(event),
          focus: () => this.#render(),
          scroll: () => this.#render(),
          click: ({ target }) => {
            const row = (target as Element).closest<HTMLElement>("[role=option]");
            if (row?.dataset.id) this.#open(row.dataset.id);
          },
        },
      },
      this.#space,
    );
    new ResizeObserver(() => this.#render()).observe(this.element);
  }

  show(rows: readonly Row[]): void {
    const active = this.#rows[this.#active]?.id;
    this.#rows = rows;
    const moved = rows.findIndex((row) => row.id === active);
    this.#active = moved >= 0 ? moved : Math.min(this.#active, Math.max(0, rows.length - 1));
    this.#space.style.height = `${rows.length * ROW_HEIGHT}px`;
    this.#render();
  }

  select(id: string | undefined): void {
    this.#selected = id;
    const index = this.#rows.findIndex((row) => row.id === id);
    if (index >= 0) this.#activate(index);
    else this.#render();
  }

  focus(): void {
    this.element.focus();
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
    const active = this.#rows[this.#active];
    if (move !== undefined && last >= 0) this.#activate(Math.max(0, Math.min(last, move)));
    else if (event.key === "Enter" && active) this.#open(active.id);
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
    window.forEach((row, offset) => {
      const shown = this.#shown.get(row.id);
      const node = shown?.row === row ? shown.node : draw(row, shown?.node);
      this.#shown.set(row.id, { row, node });
      const index = first + offset;
      node.style.transform = `translateY(${index * ROW_HEIGHT}px)`;
      node.id = `row-${index}`;
      setAttribute(node, "aria-posinset", index + 1);
      setAttribute(node, "aria-setsize", this.#rows.length);
      setAttribute(node, "aria-selected", String(row.id === this.#selected));
      node.classList.toggle("active", index === this.#active);
      if (this.#space.children[offset] !== node) {
        this.#space.insertBefore(node, this.#space.children[offset] ?? null);
      }
    });
    const active = this.#rows.length > 0 ? `row-${this.#active}` : undefined;
    setAttribute(this.element, "aria-activedescendant", active);
  }
}

function draw(row: Row, node = h("div", { class: "row", role: "option" })): HTMLDivElement {
  node.dataset.id = row.id;
  node.replaceChildren(
    h(
      "div",
      { class: "row-head" },
      h("span", { class: row.title ? "row-title" : "row-title untitled" }, row.title || "Untitled"),
      row.isFavorite && h("span", { class: "row-star", title: "Favourite" }, icon("star")),
      h("time", { class: "row-time", datetime: row.updatedAt }, shortTime(row.updatedAt)),
    ),
    h("p", { class: "row-text" }, excerpt(row.text) || "Nothing written yet"),
  );
  if (row.tags.length > 0) {
    const tags = row.tags.slice(0, 4).map((tag) => h("span", {}, tag));
    node.append(h("p", { class: "row-tags" }, ...tags));
  }
  return node;
}

const TABLE_RULES = /^[|:\s-]*-{3}[|:\s-]*$/gm;
const LINE_MARKS = /^\s*(?:(?:#+|>|[-*+]|\d+\.)\s+(?:\[[ xX]\]\s+)?|\|)/gm;
const INLINE_MARKS = /[*_`~]{1,3}|\|\s*$/gm;

/** The first words, without Markdown's marks. */
function excerpt(text: string): string {
  const words = [TABLE_RULES, LINE_MARKS, INLINE_MARKS].reduce(
    (rest, marks) => rest.replace(marks, ""),
    text.slice(0, 400),
  );
  return words.replace(/\s*\|\s*|\s+/g, (gap) => (gap.includes("|") ? " · " : " ")).trim();
}
