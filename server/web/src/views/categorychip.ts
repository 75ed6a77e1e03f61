import { h } from "../dom";
import { icon } from "../icons";
import type { Library } from "../library";
import { categoryIcon, tint } from "../palette";
import type { Actions } from "./actions";

/** The category of an open memory, and the way to another. It is each member's own. */
export class CategoryChip {
  readonly element: HTMLButtonElement;
  #library: Library;
  #id: string;
  #shown = "";

  constructor(library: Library, actions: Actions, id: string) {
    this.#library = library;
    this.#id = id;
    this.element = h("button", {
      class: "category-chip",
      "aria-haspopup": "menu",
      on: {
        click: () => {
          const row = library.get(id);
          if (row) actions.categorize([row], this.element);
        },
      },
    });
    this.render();
  }

  render(): void {
    const category = this.#library.category(this.#library.get(this.#id)?.categoryId);
    const now = category ? JSON.stringify([category.name, category.icon, category.color]) : "none";
    if (now === this.#shown) return;
    this.#shown = now;
    const name = category?.name ?? "Category";
    this.element.setAttribute("aria-label", category ? `Category: ${name}` : "Choose a category");
    this.element.classList.toggle("none", !category);
    this.element.replaceChildren(
      icon(category ? categoryIcon(category.icon) : "folder"),
      h("span", {}, name),
    );
    tint(this.element, category?.color ?? null);
  }
}
