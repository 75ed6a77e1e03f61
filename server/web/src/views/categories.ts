import type { Category } from "@memory-app/client";
import { h } from "../dom";
import type { Filter } from "../filter";
import { icon } from "../icons";
import type { Counts, Library } from "../library";
import { categoryIcon, tint } from "../palette";
import { editCategory } from "./categoryform";
import { ask } from "./dialog";
import { Drag } from "./drag";
import { openMenu, type Anchor, type MenuEntry } from "./menu";

/**
 * The categories in the side bar. They are put in order by dragging, which a finger begins by
 * resting on one, or with Alt and an arrow key, or from each one's menu.
 */
export class Categories {
  readonly element: HTMLElement;
  #library: Library;
  #filter: Filter;
  #chosen: () => void;
  #list = h("ul", { class: "side-items" });
  #said = h("p", { class: "unseen", role: "status" });
  #drag: Drag | undefined;
  #counts: Counts | undefined;
  #shown = "";

  /** `chosen` is called when a category is shown. */
  constructor(library: Library, filter: Filter, chosen: () => void) {
    this.#library = library;
    this.#filter = filter;
    this.#chosen = chosen;
    const add = h(
      "button",
      {
        class: "icon-button side-add",
        "aria-label": "New category",
        title: "New category",
        on: { click: () => void editCategory(library) },
      },
      icon("plus"),
    );
    // There from the start: a browser does not ask one that comes in the middle of a touch.
    const stay = (event: TouchEvent) => {
      if (this.#drag?.lifted && event.cancelable) event.preventDefault();
    };
    this.#list.addEventListener("touchmove", stay, { passive: false });
    this.element = h(
      "section",
      { "aria-labelledby": "categories-title" },
      h("div", { class: "side-head" }, h("h2", { id: "categories-title" }, "Categories"), add),
      this.#list,
      this.#said,
    );
  }

  render(counts: Counts): void {
    this.#counts = counts;
    if (this.#drag) return; // what is being dragged must stay
    const { category: shown } = this.#filter.query;
    const { categories } = this.#library;
    const looks = categories.map(({ id, name, icon, color }) => [id, name, icon, color]);
    const now = JSON.stringify([shown, looks, [...counts.categories].sort()]);
    if (this.#shown === now) return; // and so must what is being clicked
    this.#shown = now;
    const focused = (document.activeElement as HTMLElement | null)?.dataset.category;
    const items = categories.map((category) =>
      this.#item(category, counts.categories.get(category.id) ?? 0, category.id === shown),
    );
    this.#list.replaceChildren(...items);
    if (focused) this.#button(focused)?.focus();
  }

  #item(category: Category, count: number, shown: boolean): HTMLElement {
    const { id, name } = category;
    const sign = h("span", { class: "side-sign" }, icon(categoryIcon(category.icon)));
    tint(sign, category.color);
    const button = h(
      "button",
      {
        class: "side-item",
        title: name,
        "aria-description": count === 1 ? "1 memory" : `${count} memories`,
        "aria-current": shown && "true",
        "data-category": id,
        "aria-keyshortcuts": "Alt+ArrowUp Alt+ArrowDown",
        on: {
          click: () => {
            this.#filter.show("all", id);
            this.#chosen();
          },
          keydown: (event) => this.#key(event, id),
          contextmenu: (event) => {
            event.preventDefault();
            if (this.#drag) return; // a finger rests: the menu comes when it leaves without moving
            const keyed = event.button !== 2;
            this.#menu(id, keyed ? button : { x: event.x, y: event.y, within: button });
          },
        },
      },
      sign,
      h("span", { class: "side-name" }, name),
      count > 0 && h("span", { class: "side-count", "aria-hidden": "true" }, String(count)),
    );
    const more = h(
      "button",
      {
        class: "icon-button side-more",
        "aria-label": `Change ${name}`,
        on: { click: () => this.#menu(id, more) },
      },
      icon("more"),
    );
    const item = h("li", { "data-id": id }, button, more);
    item.addEventListener("pointerdown", (event) => this.#press(event, item));
    return item;
  }

  #button(id: string): HTMLButtonElement | null {
    return this.#list.querySelector(`[data-category="${CSS.escape(id)}"]`);
  }

  #menu(id: string, at: Anchor): void {
    const category = this.#library.category(id);
    if (!category) return;
    const { categories } = this.#library;
    const place = categories.findIndex((one) => one.id === id);
    const entries: MenuEntry[] = [
      {
        label: "Change…",
        icon: "pencil",
        run: () => void editCategory(this.#library, this.#library.category(id)),
      },
    ];
    if (place > 0) entries.push({ label: "Move up", icon: "up", run: () => this.#move(id, -1) });
    if (place < categories.length - 1) {
      entries.push({ label: "Move down", icon: "down", run: () => this.#move(id, 1) });
    }
    const run = () => void this.#delete(category);
    entries.push("line", { label: "Delete…", icon: "trash", danger: true, run });
    openMenu(at, category.name, entries);
  }

  async #delete({ id, name }: Category): Promise<void> {
    const sure = await ask({
      title: `Delete the category “${name}”?`,
      text: "The memories in it stay, without a category.",
      confirm: "Delete",
    });
    if (!sure) return;
    if (this.#filter.query.category === id) this.#filter.show("all");
    await this.#library.deleteCategory(id);
  }

  #key(event: KeyboardEvent, id: string): void {
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (!event.altKey || step === undefined) return;
    event.preventDefault();
    this.#move(id, step);
  }

  #move(id: string, step: number): void {
    const ids = this.#library.categories.map((one) => one.id);
    const from = ids.indexOf(id);
    const to = from + step;
    if (from < 0 || to < 0 || to >= ids.length) return;
    ids.splice(to, 0, ...ids.splice(from, 1));
    const { name } = this.#library.category(id)!;
    this.#said.textContent = `${name} is number ${to + 1} of ${ids.length}.`;
    void this.#library.reorderCategories(ids).then(() => this.#button(id)?.focus());
  }

  #press(event: PointerEvent, item: HTMLElement): void {
    if (event.button !== 0 || this.#drag) return;
    const touch = event.pointerType === "touch";
    this.#drag = new Drag(item, event, (dragged) => {
      this.#drag = undefined;
      if (dragged === "moved") {
        this.#shown = "";
        const ids = [...this.#list.children].map((child) => (child as HTMLElement).dataset.id!);
        void this.#library.reorderCategories(ids);
        return;
      }
      // What came meanwhile, but not before the click that this was.
      setTimeout(() => {
        if (this.#counts) this.render(this.#counts);
        const { id } = item.dataset;
        const button = id && this.#button(id);
        if (touch && dragged === "put back" && button) this.#menu(id, button);
      });
    });
  }

  destroy(): void {
    this.#drag?.stop();
  }
}
