import { h, setAttribute } from "../dom";
import type { Filter } from "../filter";
import { icon } from "../icons";
import type { Rows } from "./rows";

const STEPS: Record<string, number> = { ArrowDown: 1, ArrowUp: -1, PageDown: 5, PageUp: -5 };

/** Where one types what to look for. Arrows go through what is found, Enter opens it. */
export class SearchField {
  readonly element: HTMLElement;
  #input: HTMLInputElement;
  #filter: Filter;
  #rows: Rows;
  #open: (id: string) => void;

  constructor(filter: Filter, rows: Rows, open: (id: string) => void) {
    this.#filter = filter;
    this.#rows = rows;
    this.#open = open;
    this.#input = h("input", {
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
        input: () => filter.set({ search: this.#input.value }),
        keydown: (event) => this.#key(event),
        blur: () => this.#point(undefined),
      },
    });
    const hint = navigator.platform.startsWith("Mac") ? "⌘K" : "Ctrl K";
    this.element = h("div", { class: "search" }, icon("search"), this.#input, h("kbd", {}, hint));
  }

  focus(): void {
    this.#input.focus();
    this.#input.select();
  }

  /** What another part of the page made of the search. */
  render(): void {
    const { search } = this.#filter.query;
    if (this.#input.value !== search) this.#input.value = search;
    if (!this.#rows.activeElement) this.#point(undefined);
  }

  #point(id: string | undefined): void {
    setAttribute(this.#input, "aria-activedescendant", id);
  }

  #key(event: KeyboardEvent): void {
    if (event.isComposing) return;
    const step = STEPS[event.key];
    const { active } = this.#rows;
    if (step !== undefined) {
      // The first key down goes to the first row, not past it.
      const first = !this.#input.hasAttribute("aria-activedescendant");
      this.#rows.move(first && step > 0 ? step - 1 : step);
      this.#point(this.#rows.activeElement);
    } else if (event.key === "Enter" && active) this.#open(active);
    else if (event.key === "Escape" && this.#input.value) this.#filter.set({ search: "" });
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
