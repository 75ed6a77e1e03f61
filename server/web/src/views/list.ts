import { h, setAttribute } from "../dom";
import {
  dayOf,
  everything,
  isListed,
  isNarrowed,
  select,
  type Filter,
  type Query,
} from "../filter";
import { Finder } from "../finder";
import { icon } from "../icons";
import type { Row } from "../row";
import { shortDay } from "../time";
import { parse } from "../words";
import type { Workspace } from "../workspace";
import type { Actions } from "./actions";
import { ChoiceBar } from "./choicebar";
import { Order } from "./order";
import { Rows } from "./rows";
import { titleOf } from "./sidebar";

/** The memories that a view holds: search, order, and what is done to many of them at once. */
export class ListView {
  readonly element: HTMLElement;
  #workspace: Workspace;
  #filter: Filter;
  #actions: Actions;
  #finder: Finder;
  #rows: Rows;
  #found: Row[] = [];
  #words = parse("");
  #search: HTMLInputElement;
  #order: Order;
  #title = h("h2", { class: "list-title" });
  #count = h("span", { class: "list-count" });
  #said = h("p", { class: "unseen", role: "status" });
  #choose = h("button", { class: "icon-button", on: { click: () => this.#toggleChoosing() } });
  #new: HTMLButtonElement;
  #emptyTrash: HTMLButtonElement;
  #chips = h("ul", { class: "list-chips", "aria-label": "Narrowed to" });
  #empty = h("div", { class: "empty" });
  #archived = h("button", { class: "list-more link-button", hidden: true });
  #bar: ChoiceBar;
  #chosen: Set<string> | undefined;
  #anchor: string | undefined; // where a range of chosen rows starts
  #listed = "";
  #create: () => void;
  #unsubscribe: (() => void)[] = [];
  #frame = 0;

  constructor(
    workspace: Workspace,
    filter: Filter,
    actions: Actions,
    open: (id: string) => void,
    create: () => void,
  ) {
    const { library } = workspace;
    this.#workspace = workspace;
    this.#filter = filter;
    this.#actions = actions;
    this.#create = create;
    this.#finder = new Finder(workspace.client);
    this.#order = new Order(filter);
    this.#rows = new Rows({
      open,
      menu: (id, at) => actions.menu(this.#rowsOf([id]), at, () => this.#pick(id, false)),
      choose: (id, range) => this.#pick(id, range),
      key: (event, active) => this.#key(event, active),
    });
    this.#bar = new ChoiceBar(actions, () => {
      this.#choosing(undefined);
      this.#rows.focus();
    });
    this.#search = h("input", {
      type: "search",
      id: "search",
      placeholder: "Search memories",
      role: "combobox",
      "aria-label": "Search memories",
      "aria-controls": "rows",
      "aria-expanded": "true",
      "aria-autocomplete": "list",
      autocomplete: "off",
      maxlength: 200,
      on: {
        input: () => filter.set({ search: this.#search.value }),
        keydown: (event) => this.#searchKey(event, open),
        blur: () => setAttribute(this.#search, "aria-activedescendant", undefined),
      },
    });
    this.#new = h(
      "button",
      {
        class: "button button-primary new",
        "aria-label": "New memory",
        title: "New memory (N)",
        on: { click: create },
      },
      icon("plus"),
      "New",
    );
    this.#emptyTrash = h(
      "button",
      {
        class: "button",
        on: { click: () => void actions.purge([...library.trash.values()]) },
      },
      "Empty trash",
    );
    this.#choose.append(icon("select"));
    this.#archived.addEventListener("click", () => filter.set({ view: "archive" }));
    const hint = navigator.platform.startsWith("Mac") ? "⌘K" : "Ctrl K";
    this.element = h(
      "section",
      { class: "list", "aria-label": "Your memories" },
      h(
        "header",
        { class: "list-head" },
        h(
          "button",
          {
            class: "icon-button side-open",
            popovertarget: "side",
            "aria-label": "Views and categories",
            title: "Views and categories",
          },
          icon("menu"),
        ),
        h("div", { class: "list-name" }, this.#title, this.#count),
        this.#choose,
        this.#order.button,
        this.#new,
        this.#emptyTrash,
      ),
      this.#order.panel,
      h("div", { class: "search" }, icon("search"), this.#search, h("kbd", {}, hint)),
      this.#chips,
      this.#rows.element,
      this.#empty,
      this.#archived,
      this.#bar.element,
      this.#said,
    );
    const render = () => (this.#frame ||= requestAnimationFrame(() => this.#render()));
    this.#unsubscribe.push(
      library.on("changed", render),
      this.#finder.on("changed", render),
      filter.on("changed", () => this.#filtered()),
      workspace.on("trash", render),
      workspace.client.on("status", render),
    );
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

  /** Shows everything of the view again: a new memory must not hide. */
  clear(): void {
    const { view, category } = this.#filter.query;
    if (category !== undefined || view === "all") {
      this.#filter.set({ ...everything, category });
    } else this.#filter.show("all");
  }

  destroy(): void {
    cancelAnimationFrame(this.#frame);
    this.#finder.destroy();
    for (const stop of this.#unsubscribe) stop();
  }

  #searchKey(event: KeyboardEvent, open: (id: string) => void): void {
    const steps: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: 5, PageUp: -5 };
    const step = steps[event.key];
    const { active } = this.#rows;
    if (event.isComposing) return;
    if (step !== undefined) {
      // The first key down goes to the first row, not past it.
      const first = !this.#search.hasAttribute("aria-activedescendant");
      this.#rows.move(first && step > 0 ? step - 1 : step);
      setAttribute(this.#search, "aria-activedescendant", this.#rows.activeElement);
    } else if (event.key === "Enter" && active) open(active);
    else if (event.key === "Escape" && this.#search.value) this.#filter.set({ search: "" });
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #key(event: KeyboardEvent, active: string | undefined): boolean {
    const command = event.ctrlKey || event.metaKey;
    if (event.key === "Escape" && this.#chosen) this.#choosing(undefined);
    else if (command && event.key.toLowerCase() === "a") {
      this.#choosing(new Set(this.#found.map((row) => row.id)));
    } else if (event.key === "Delete" && active) {
      const rows = this.#rowsOf(this.#chosen?.size ? [...this.#chosen] : [active]);
      if (this.#filter.query.view === "trash") void this.#actions.purge(rows);
      else void this.#actions.delete(rows);
    } else return false;
    return true;
  }

  #rowsOf(ids: Iterable<string>): Row[] {
    const { rows, trash } = this.#workspace.library;
    const found = this.#filter.query.view === "trash" ? trash : rows;
    return [...ids].map((id) => found.get(id)).filter((row) => row !== undefined);
  }

  #toggleChoosing(): void {
    this.#choosing(this.#chosen ? undefined : new Set());
  }

  #pick(id: string, range: boolean): void {
    const chosen = new Set(this.#chosen);
    const at = (one: string | undefined) => this.#found.findIndex((row) => row.id === one);
    const start = at(this.#anchor);
    if (range && start >= 0) {
      const end = at(id);
      const [low, high] = start < end ? [start, end] : [end, start];
      for (const row of this.#found.slice(low, high + 1)) chosen.add(row.id);
    } else {
      if (!chosen.delete(id)) chosen.add(id);
      this.#anchor = id;
    }
    this.#choosing(chosen);
  }

  #choosing(chosen: Set<string> | undefined): void {
    this.#chosen = chosen;
    if (!chosen) this.#anchor = undefined;
    this.#renderChoice();
  }

  #filtered(): void {
    this.#choosing(undefined);
    this.#render();
  }

  #render(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const { library } = this.#workspace;
    const { query } = this.#filter;
    if (query.category !== undefined && !library.category(query.category)) {
      return this.#filter.show("all"); // it was deleted
    }
    const trash = query.view === "trash";
    this.#finder.look(query);
    const { hits } = this.#finder;
    const found = select((trash ? library.trash : library.rows).values(), query);
    const shown = new Set(found.map((row) => row.id));
    for (const [id, hit] of hits) {
      const row = library.rows.get(id) ?? hit.row;
      if (!shown.has(id) && isListed(row, query)) found.push(row);
    }
    const listed = JSON.stringify(query);
    if (listed !== this.#listed) this.#words = parse(query.search);
    this.#rows.show(
      found,
      {
        words: this.#words,
        sort: query.sort,
        hits,
        category: (id) => (id === query.category ? undefined : library.category(id)),
      },
      listed !== this.#listed,
    );
    this.#listed = listed;
    this.#found = found;
    this.#rows.element.hidden = found.length === 0;
    this.#renderHead(found.length);
    this.#renderChips(query);
    this.#renderEmpty(query);
    this.#renderArchived(query);
    this.#renderChoice();
  }

  #renderHead(count: number): void {
    const { library } = this.#workspace;
    const { query } = this.#filter;
    const trash = query.view === "trash";
    this.#title.textContent = titleOf(library, this.#filter);
    this.#title.title = this.#title.textContent;
    this.#count.textContent = count > 0 ? count.toLocaleString() : "";
    this.#new.hidden = trash;
    this.#emptyTrash.hidden = !trash || library.trash.size === 0;
    this.#choose.disabled = count === 0 && !this.#chosen;
    this.#order.render(query);
    if (this.#search.value !== query.search) this.#search.value = query.search;
    const waits = query.search !== "" && this.#finder.searching;
    this.element.classList.toggle("searching", waits);
    if (!query.search) this.#said.textContent = "";
    else if (!waits) {
      const text = count === 1 ? "1 memory found" : `${count} memories found`;
      if (this.#said.textContent !== text) this.#said.textContent = text;
    }
  }

  #renderChips({ tag, from, until }: Query): void {
    const now = JSON.stringify([tag, from, until]);
    if (this.#chips.dataset.shown === now) return;
    this.#chips.dataset.shown = now;
    const chips: [label: string, off: Partial<Query>][] = [];
    if (tag !== undefined) chips.push([`#${tag}`, { tag: undefined }]);
    if (from ?? until) chips.push([span(from, until), { from: undefined, until: undefined }]);
    this.#chips.replaceChildren(
      ...chips.map(([label, off]) => {
        const remove = h(
          "button",
          {
            class: "chip-remove",
            "aria-label": `Remove the filter ${label}`,
            on: { click: () => this.#filter.set(off) },
          },
          icon("close"),
        );
        return h("li", { class: "chip" }, h("span", {}, label), remove);
      }),
    );
    this.#chips.hidden = chips.length === 0;
  }

  /** Whoever searches everything is told of what the archive has. */
  #renderArchived(query: Query): void {
    const { rows } = this.#workspace.library;
    const asked = query.search !== "" && query.view === "all" && query.category === undefined;
    const count = asked ? select(rows.values(), { ...query, view: "archive" }).length : 0;
    this.#archived.hidden = count === 0;
    const text = `${count.toLocaleString()} more in the archive`;
    if (this.#archived.textContent !== text) this.#archived.textContent = text;
  }

  #renderChoice(): void {
    const chosen = this.#chosen && this.#rowsOf(this.#chosen);
    if (chosen) this.#chosen = new Set(chosen.map((row) => row.id));
    const label = chosen ? "Stop selecting" : "Select memories";
    setAttribute(this.#choose, "aria-label", label);
    setAttribute(this.#choose, "aria-pressed", String(chosen !== undefined));
    this.#choose.title = label;
    this.#rows.choose(this.#chosen);
    this.#bar.show(chosen, this.#filter.query.view === "trash", () =>
      this.#choosing(new Set(this.#found.map((row) => row.id))),
    );
  }

  #renderEmpty(query: Query): void {
    const { library } = this.#workspace;
    const nothing = this.#found.length === 0;
    this.#empty.hidden = !nothing;
    const waits = query.search !== "" && this.#finder.searching;
    const online = this.#workspace.client.status === "online";
    const trash = query.view === "trash";
    const known = trash ? this.#workspace.trashKnown : library.loaded;
    const standing = `${known}${trash && online}${JSON.stringify(query)}`;
    const state = !nothing ? "" : waits ? "searching" : standing;
    if (this.#empty.dataset.shown === state) return; // a button being clicked must stay
    this.#empty.dataset.shown = state;
    if (!nothing) return;
    if (trash && !known && !online) {
      this.#empty.replaceChildren(
        icon("offline"),
        h("p", { class: "empty-title" }, "The trash is on the server"),
        h("p", {}, "It is shown here when you are back online."),
      );
    } else if (waits || (!known && !isNarrowed(query))) {
      const line = () => h("div", { class: "row-skeleton", "aria-hidden": "true" });
      this.#empty.replaceChildren(line(), line(), line());
    } else if (isNarrowed(query)) {
      const all = { class: "button", on: { click: () => this.#filter.show("all") } };
      this.#empty.replaceChildren(
        h("p", { class: "empty-title" }, "Nothing found"),
        h("p", {}, "No memory matches."),
        h("button", all, "Show all memories"),
      );
    } else this.#empty.replaceChildren(...this.#blank(query));
  }

  #blank({ view, category }: Query): Node[] {
    const [title, text] = category !== undefined ? blank.category : blank[view];
    const nodes: Node[] = [h("p", { class: "empty-title" }, title), h("p", {}, text)];
    if (view === "all") {
      const label = category === undefined ? "Write the first one" : "Write one here";
      nodes.push(h("button", { class: "button", on: { click: this.#create } }, label));
    }
    return nodes;
  }
}

const blank = {
  all: ["No memories yet", "What you write appears here, the latest on top."],
  category: ["Nothing in here yet", "Put memories into this category from their menus."],
  favorites: ["No favourites yet", "Star a memory, and it is always at hand here."],
  shared: ["Nothing shared with you", "Memories that others share with you appear here."],
  archive: ["The archive is empty", "What you archive leaves the list and is kept here."],
  trash: ["The trash is empty", "Deleted memories wait here before they go for good."],
} as const;

/** "1 May – 7 May", or what is open of it. */
function span(from: string | undefined, until: string | undefined): string {
  const today = dayOf(new Date());
  if (from === today && (until === undefined || until === today)) return "Today";
  if (from === until) return shortDay(from!);
  if (from && until) return `${shortDay(from)} – ${shortDay(until)}`;
  return from ? `Since ${shortDay(from)}` : `Until ${shortDay(until!)}`;
}
