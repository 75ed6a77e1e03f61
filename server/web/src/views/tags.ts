import type { MemoryDocument } from "@memory-app/client";
import { h } from "../dom";
import { icon } from "../icons";

const TAGS_AT_MOST = 10;
const LENGTH_AT_MOST = 50;

/** A memory's tags as chips, edited in its document, so that it works offline. */
export class Tags {
  readonly element = h("div", { class: "tags", role: "group", "aria-label": "Tags" });
  #document: MemoryDocument;
  #chips = h("ul", { class: "chips" });
  #suggestions = h("datalist", { id: "tag-suggestions" });
  #input: HTMLInputElement;
  #known: () => string[];
  #writable = false;
  #changed = () => this.#render();

  /** `known` answers the tags in use elsewhere, to choose from. */
  constructor(document: MemoryDocument, known: () => string[]) {
    this.#document = document;
    this.#known = known;
    this.#input = h("input", {
      class: "tag-input",
      "aria-label": "Add a tag",
      placeholder: "Add tag",
      maxlength: LENGTH_AT_MOST,
      list: "tag-suggestions",
      autocapitalize: "none",
      on: {
        focus: () => this.#suggest(),
        blur: () => this.#add(),
        keydown: (event) => this.#key(event),
      },
    });
    this.element.append(icon("tag"), this.#chips, this.#input, this.#suggestions);
    this.#map.observe(this.#changed);
    this.#render();
  }

  setWritable(writable: boolean): void {
    this.#writable = writable;
    this.#render();
  }

  destroy(): void {
    this.#map.unobserve(this.#changed);
  }

  get #map() {
    return this.#document.doc.getMap("tags");
  }

  #key(event: KeyboardEvent): void {
    if (event.isComposing) return;
    if (event.key === "Enter" || event.key === ",") {
      event.preventDefault();
      this.#add();
    } else if (event.key === "Backspace" && !this.#input.value) {
      const last = [...this.#map.keys()].sort().at(-1);
      if (last) this.#map.delete(last);
    }
  }

  #add(): void {
    const tag = this.#input.value.trim();
    this.#input.value = "";
    if (tag && !this.#map.has(tag) && this.#map.size < TAGS_AT_MOST) this.#map.set(tag, true);
  }

  #suggest(): void {
    const options = this.#known().filter((tag) => !this.#map.has(tag));
    this.#suggestions.replaceChildren(...options.map((tag) => h("option", { value: tag })));
  }

  #render(): void {
    const chips = [...this.#map.keys()].sort().map((tag) => {
      const remove = h(
        "button",
        {
          class: "chip-remove",
          "aria-label": `Remove tag ${tag}`,
          on: { click: () => this.#map.delete(tag) },
        },
        icon("close"),
      );
      return h("li", { class: "chip" }, tag, this.#writable && remove);
    });
    this.#chips.replaceChildren(...chips);
    this.#input.hidden = !this.#writable || this.#map.size >= TAGS_AT_MOST;
    this.element.hidden = !this.#writable && chips.length === 0;
  }
}
