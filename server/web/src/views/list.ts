import { h } from "../dom";
import { icon, mark } from "../icons";
import { select, type Query, type Sort } from "../row";
import type { Workspace } from "../workspace";
import { Rows } from "./rows";

const TAGS_SHOWN = 12;
const sorts: [value: Sort, label: string][] = [
  ["edited", "Recently edited"],
  ["created", "Recently created"],
  ["title", "Title"],
];

/** The left side: search, filters and the list. */
export class ListView {
  readonly element: HTMLElement;
  #workspace: Workspace;
  #query: Query = { search: "", favorites: false, tag: undefined, sort: "edited" };
  #rows: Rows;
  #search: HTMLInputElement;
  #all = chip("All", () => this.#filter({ favorites: false, tag: undefined }));
  #favorites = chip("Favourites", () => this.#filter({ favorites: !this.#query.favorites }));
  #tags = h("div", { class: "filter-tags" });
  #empty = h("div", { class: "empty" });
  #create: () => void;
  #unsubscribe: () => void;
  #frame = 0;

  constructor(workspace: Workspace, open: (id: string) => void, create: () => void) {
    this.#workspace = workspace;
    this.#create = create;
    this.#rows = new Rows(open);
    this.#favorites.prepend(icon("star"));
    this.#search = h("input", {
      type: "search",
      id: "search",
      placeholder: "Search memories",
      "aria-label": "Search memories",
      autocomplete: "off",
      on: {
        input: () => this.#filter({ search: this.#search.value }),
        keydown: (event) => this.#searchKey(event),
      },
    });
    const sort = h(
      "select",
      {
        class: "sort",
        "aria-label": "Sort by",
        on: { change: () => this.#filter({ sort: sort.value as Sort }) },
      },
      ...sorts.map(([value, label]) => h("option", { value }, label)),
    );
    const add = h(
      "button",
      { class: "button button-primary new", title: "New memory (N)", on: { click: create } },
      icon("plus"),
      "New memory",
    );
    const hint = navigator.platform.startsWith("Mac") ? "⌘K" : "Ctrl K";
    this.element = h(
      "nav",
      { class: "list", "aria-label": "Your memories" },
      h("header", { class: "list-head" }, h("h1", { class: "brand" }, mark(), "Memory"), add),
      h("div", { class: "search" }, icon("search"), this.#search, h("kbd", {}, hint)),
      h("div", { class: "filters" }, this.#all, this.#favorites, sort),
      this.#tags,
      this.#rows.element,
      this.#empty,
    );
    this.#unsubscribe = workspace.library.on("changed", () => {
      this.#frame ||= requestAnimationFrame(() => this.#render());
    });
    this.#render();
  }

  select(id: string | undefined): void {
    this.#rows.select(id);
  }

  focus(): void {
    this.#rows.focus();
  }

  focusSearch(): void {
    this.#search.focus();
    this.#search.select();
  }

  /** Shows everything again: a new memory must not hide behind a filter. */
  clear(): void {
    this.#search.value = "";
    this.#filter({ search: "", favorites: false, tag: undefined });
  }

  destroy(): void {
    cancelAnimationFrame(this.#frame);
    this.#unsubscribe();
  }

  #searchKey(event: KeyboardEvent): void {
    if (event.key === "ArrowDown" || event.key === "Enter") this.#rows.focus();
    else if (event.key === "Escape" && this.#search.value) {
      this.#search.value = "";
      this.#filter({ search: "" });
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #filter(change: Partial<Query>): void {
    this.#query = { ...this.#query, ...change };
    this.#render();
  }

  #render(): void {
    this.#frame = 0;
    const { library } = this.#workspace;
    const { search, favorites, tag } = this.#query;
    const found = select(library.rows.values(), this.#query);
    const plain = !search && !favorites && tag === undefined;
    this.#rows.show(found);
    press(this.#all, !favorites && tag === undefined);
    press(this.#favorites, favorites);
    this.#renderTags();
    this.#rows.element.hidden = found.length === 0;
    this.#empty.hidden = found.length > 0;
    if (found.length > 0) return;
    if (!plain) {
      this.#empty.replaceChildren(
        h("p", { class: "empty-title" }, "Nothing found"),
        h("p", {}, favorites ? "No favourite matches." : "No memory matches."),
        h("button", { class: "button", on: { click: () => this.clear() } }, "Show all memories"),
      );
    } else if (library.loaded) {
      this.#empty.replaceChildren(
        h("p", { class: "empty-title" }, "No memories yet"),
        h("p", {}, "What you write appears here, the latest on top."),
        h("button", { class: "button", on: { click: this.#create } }, "Write the first one"),
      );
    } else {
      const line = () => h("div", { class: "row-skeleton", "aria-hidden": "true" });
      this.#empty.replaceChildren(line(), line(), line());
    }
  }

  #renderTags(): void {
    const tags = this.#workspace.library.tags().map(([tag]) => tag);
    const chosen = this.#query.tag;
    const shown = tags.slice(0, TAGS_SHOWN);
    if (chosen !== undefined && !shown.includes(chosen)) shown.unshift(chosen);
    const now = `${shown.join("\n")}\n\n${chosen ?? ""}`;
    if (this.#tags.dataset.shown === now) return; // a chip being clicked must not be replaced
    this.#tags.dataset.shown = now;
    this.#tags.hidden = shown.length === 0;
    this.#tags.replaceChildren(
      ...shown.map((tag) => {
        const button = chip(tag, () => this.#filter({ tag: chosen === tag ? undefined : tag }));
        press(button, chosen === tag);
        return button;
      }),
    );
  }
}

function chip(label: string, click: () => void): HTMLButtonElement {
  return h("button", { class: "filter", "aria-pressed": "false", on: { click } }, label);
}

function press(button: HTMLButtonElement, pressed: boolean): void {
  button.setAttribute("aria-pressed", String(pressed));
}
