import { h, setAttribute } from "../dom";
import { viewNames, type Filter, type View } from "../filter";
import { icon, mark, type IconName } from "../icons";
import type { Library } from "../library";
import { Categories } from "./categories";

const TAGS_SHOWN = 40;
const WIDE = matchMedia("(width >= 1100px)");

export const views: Readonly<Record<View, [label: string, icon: IconName]>> = {
  all: ["All memories", "inbox"],
  favorites: ["Favourites", "star"],
  shared: ["Shared with me", "users"],
  uncategorized: ["Uncategorized", "dashed"],
  archive: ["Archive", "archive"],
  trash: ["Trash", "trash"],
};

/** Where to look: views, categories and tags. A drawer where the window is narrow. */
export class Sidebar {
  readonly element: HTMLElement;
  #library: Library;
  #filter: Filter;
  #categories: Categories;
  #views = new Map<View, HTMLButtonElement>();
  #count = h("span", { class: "side-count", "aria-hidden": "true" });
  #tags = h("div", { class: "side-tags" });
  #tagged: HTMLElement;
  #unsubscribe: (() => void)[] = [];
  #stop = new AbortController();
  #frame = 0;

  /** `foot` stands below everything. */
  constructor(library: Library, filter: Filter, foot: HTMLElement) {
    this.#library = library;
    this.#filter = filter;
    this.#categories = new Categories(library, filter, () => this.#close());
    const items = viewNames.map((view) => h("li", {}, this.#view(view)));
    this.#views.get("all")!.append(this.#count);
    this.#tagged = h(
      "section",
      { "aria-labelledby": "tags-title" },
      h("div", { class: "side-head" }, h("h2", { id: "tags-title" }, "Tags")),
      this.#tags,
    );
    this.element = h(
      "aside",
      { class: "side", id: "side", popover: "auto", "aria-label": "Views" },
      h("header", { class: "side-top" }, h("p", { class: "brand" }, mark(), "Memory")),
      h(
        "nav",
        { class: "side-scroll", "aria-label": "Views and categories" },
        h("ul", { class: "side-items" }, ...items),
        this.#categories.element,
        this.#tagged,
      ),
      foot,
    );
    const render = () => (this.#frame ||= requestAnimationFrame(() => this.#render()));
    this.#unsubscribe.push(library.on("changed", render), filter.on("changed", render));
    WIDE.addEventListener("change", () => this.#close(), { signal: this.#stop.signal });
    this.#render();
  }

  destroy(): void {
    cancelAnimationFrame(this.#frame);
    this.#stop.abort();
    this.#categories.destroy();
    for (const stop of this.#unsubscribe) stop();
  }

  #view(view: View): HTMLButtonElement {
    const [label, name] = views[view];
    const show = () => {
      this.#filter.show(view);
      this.#close();
    };
    const button = h(
      "button",
      { class: "side-item", on: { click: show } },
      h("span", { class: "side-sign" }, icon(name)),
      h("span", { class: "side-name" }, label),
    );
    this.#views.set(view, button);
    return button;
  }

  #close(): void {
    if (this.element.matches(":popover-open")) this.element.hidePopover();
  }

  #render(): void {
    this.#frame = 0;
    const { query } = this.#filter;
    const counts = this.#library.counts();
    for (const [view, button] of this.#views) {
      const shown = query.view === view && query.category === undefined;
      setAttribute(button, "aria-current", shown && "true");
    }
    this.#count.textContent = counts.all > 0 ? counts.all.toLocaleString() : "";
    this.#categories.render(counts);
    this.#renderTags(this.#library.tags(counts));
  }

  #renderTags(tags: string[]): void {
    const chosen = this.#filter.query.tag;
    const shown = tags.slice(0, TAGS_SHOWN);
    if (chosen !== undefined && !shown.includes(chosen)) shown.unshift(chosen);
    const now = `${shown.join("\n")}\n\n${chosen ?? ""}`;
    if (this.#tags.dataset.shown === now) return; // a chip being clicked must not be replaced
    this.#tags.dataset.shown = now;
    this.#tagged.hidden = shown.length === 0;
    const focused = this.#tags.contains(document.activeElement)
      ? document.activeElement!.textContent
      : undefined;
    const chips = shown.map((tag) => {
      const toggle = () => {
        this.#filter.set({ tag: chosen === tag ? undefined : tag });
        this.#close();
      };
      return h(
        "button",
        { class: "filter", "aria-pressed": String(chosen === tag), on: { click: toggle } },
        tag,
      );
    });
    this.#tags.replaceChildren(...chips);
    chips.find((chip) => chip.textContent === focused)?.focus();
  }
}

/** What the list is called: the view's or the category's name. */
export function titleOf(library: Library, { query }: Filter): string {
  return library.category(query.category)?.name ?? views[query.view][0];
}

