import { h, setAttribute } from "../dom";
import { everything, isListed, isNarrowed, select, type Filter, type Query } from "../filter";
import { Finder } from "../finder";
import { icon } from "../icons";
import type { Row } from "../row";
import { parse } from "../words";
import type { Workspace } from "../workspace";
import type { Actions } from "./actions";
import { Blank, type Lack } from "./blank";
import { ChoiceBar } from "./choicebar";
import { Narrowing } from "./narrowing";
import { Order } from "./order";
import { Rows } from "./rows";
import { SearchField } from "./searchfield";
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
  #search: SearchField;
  #blank: Blank;
  #order: Order;
  #title = h("h1", { class: "list-title" });
  #count = h("span", { class: "list-count" });
  #said = h("p", { class: "unseen", role: "status" });
  #choose: HTMLButtonElement;
  #new: HTMLButtonElement;
  #emptyTrash: HTMLButtonElement;
  #narrowing: Narrowing;
  #archived = h("button", { class: "list-more link-button", hidden: true });
  #bar: ChoiceBar;
  #chosen: Set<string> | undefined;
  #anchor: string | undefined; // where a range of chosen rows starts
  #lacked: Lack | undefined;
  #listed = "";
  #unsubscribe: (() => void)[] = [];
  #frame = 0;

  constructor(
    workspace: Workspace,
    filter: Filter,
    actions: Actions,
    go: (id: string, messageId?: string) => void,
    create: () => void,
  ) {
    const { library } = workspace;
    this.#workspace = workspace;
    this.#filter = filter;
    this.#actions = actions;
    this.#finder = new Finder(workspace.client);
    this.#order = new Order(filter);
    const open = (id: string) => go(id, this.#finder.hits.get(id)?.messageId);
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
    this.#narrowing = new Narrowing(filter);
    this.#search = new SearchField(filter, this.#rows, open);
    this.#blank = new Blank(create, () => filter.show("all"));
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
    this.#choose = h(
      "button",
      {
        class: "icon-button",
        "aria-label": "Select memories",
        title: "Select memories",
        on: { click: () => this.#choosing(this.#chosen ? undefined : new Set()) },
      },
      icon("select"),
    );
    this.#archived.addEventListener("click", () => filter.set({ view: "archive" }));
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
      this.#search.element,
      this.#narrowing.element,
      this.#rows.element,
      this.#blank.element,
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
  }

  /** Shows everything of the view again: a new memory must not hide. */
  clear(): void {
    const { view, category } = this.#filter.query;
    if (category !== undefined || view === "all" || view === "uncategorized") {
      this.#filter.set({ ...everything, view, category });
    } else this.#filter.show("all");
  }

  destroy(): void {
    cancelAnimationFrame(this.#frame);
    this.#finder.destroy();
    for (const stop of this.#unsubscribe) stop();
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
      // A list that is whole knows better than an answer from before.
      const row = library.rows.get(id) ?? (library.loaded ? undefined : hit.row);
      if (row && !shown.has(id) && isListed(row, query)) found.push(row);
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
    this.#narrowing.render(query);
    this.#lacked = this.#lack(query);
    this.#blank.show(query, this.#lacked);
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
    this.#search.render();
    const waits = query.search !== "" && this.#finder.searching;
    this.element.classList.toggle("searching", waits);
    if (!query.search) this.#said.textContent = "";
    else if (!waits) {
      const text = count === 1 ? "1 memory found" : `${count} memories found`;
      if (this.#said.textContent !== text) this.#said.textContent = text;
    }
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
    setAttribute(this.#choose, "aria-pressed", String(chosen !== undefined));
    this.#rows.choose(this.#chosen);
    this.#bar.show(chosen, this.#filter.query.view === "trash", () =>
      this.#choosing(new Set(this.#found.map((row) => row.id))),
    );
  }

  #lack(query: Query): Lack | undefined {
    if (this.#found.length > 0) return undefined;
    const { library, client, trashKnown } = this.#workspace;
    // Whoever types on where nothing was found sees no more than that until there is an answer.
    if (query.search && this.#finder.searching) return this.#lacked === "none" ? "none" : "waiting";
    if (query.view !== "trash") return library.loaded || isNarrowed(query) ? "none" : "waiting";
    if (trashKnown) return "none";
    return client.status === "online" ? "waiting" : "offline";
  }
}
