import { h } from "../dom";
import { isNarrowed, type Query } from "../filter";
import { icon } from "../icons";

/** Why no row is shown: `waiting` for an answer, out of reach (`offline`), or there is `none`. */
export type Lack = "waiting" | "offline" | "none";

/** What stands in the place of the rows where there are none. */
export class Blank {
  readonly element = h("div", { class: "empty", hidden: true });
  #create: () => void;
  #showAll: () => void;
  #shown = "";

  constructor(create: () => void, showAll: () => void) {
    this.#create = create;
    this.#showAll = showAll;
  }

  /** `lack` undefined: there are rows. */
  show(query: Query, lack: Lack | undefined): void {
    this.element.hidden = lack === undefined;
    const now = lack === undefined ? "" : lack + JSON.stringify(query);
    if (now === this.#shown) return; // a button being clicked must stay
    this.#shown = now;
    if (lack !== undefined) this.element.replaceChildren(...this.#content(query, lack));
  }

  #content(query: Query, lack: Lack): Node[] {
    if (lack === "waiting") {
      return [1, 2, 3].map(() => h("div", { class: "row-skeleton", "aria-hidden": "true" }));
    }
    if (lack === "offline") {
      const text = "It is shown here when you are back online.";
      return [icon("offline"), ...said("The trash is on the server", text)];
    }
    if (isNarrowed(query)) {
      const all = { class: "button", on: { click: this.#showAll } };
      return [
        ...said("Nothing found", "No memory matches."),
        h("button", all, "Show all memories"),
      ];
    }
    const { view, category } = query;
    const [title, text] = reasons[category === undefined ? view : "category"];
    const nodes = said(title, text);
    if (view === "all") {
      const label = category === undefined ? "Write the first one" : "Write one here";
      nodes.push(h("button", { class: "button", on: { click: this.#create } }, label));
    }
    return nodes;
  }
}

function said(title: string, text: string): Node[] {
  return [h("p", { class: "empty-title" }, title), h("p", {}, text)];
}

const reasons = {
  all: ["No memories yet", "What you write appears here, the latest on top."],
  category: ["Nothing in here yet", "Put memories into this category from their menus."],
  favorites: ["No favourites yet", "Star a memory, and it is always at hand here."],
  shared: ["Nothing shared with you", "Memories that others share with you appear here."],
  uncategorized: ["Nothing is left to sort", "Memories without a category appear here."],
  archive: ["The archive is empty", "What you archive leaves the list and is kept here."],
  trash: ["The trash is empty", "Deleted memories wait here before they go for good."],
} as const;
