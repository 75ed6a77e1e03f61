import type { MemoryDocument } from "@memory-app/client";
import { h } from "../dom";

const LENGTH_AT_MOST = 255;

/** A memory's title: one line of text that wraps, kept in its document. */
export class Title {
  readonly element: HTMLTextAreaElement;
  #document: MemoryDocument;
  #changed = () => this.#render();

  constructor(document: MemoryDocument, next: () => void, escape: () => void) {
    this.#document = document;
    this.element = h("textarea", {
      class: "title",
      rows: 1,
      placeholder: "Untitled",
      "aria-label": "Title",
      maxlength: LENGTH_AT_MOST,
      on: {
        input: () => this.#write(),
        keydown: (event) => {
          if (event.isComposing) return;
          if (event.key === "Enter") next();
          else if (event.key === "Escape") escape();
          else return;
          event.preventDefault();
          event.stopPropagation();
        },
      },
    });
    this.#map.observe(this.#changed);
    new ResizeObserver(() => this.fit()).observe(this.element);
    this.#render();
  }

  setWritable(writable: boolean): void {
    this.element.readOnly = !writable;
  }

  focus(): void {
    this.element.focus();
  }

  /** As high as its lines. */
  fit(): void {
    this.element.style.height = "0";
    this.element.style.height = `${this.element.scrollHeight}px`;
  }

  destroy(): void {
    this.#map.unobserve(this.#changed);
  }

  get #map() {
    return this.#document.doc.getMap("properties");
  }

  #write(): void {
    const title = this.element.value.replace(/\s*\n\s*/g, " ");
    if (title !== this.#map.get("title")) this.#map.set("title", title);
    this.fit();
  }

  #render(): void {
    const title = this.#map.get("title");
    const text = typeof title === "string" ? title : "";
    if (text === this.element.value) return;
    const { selectionStart, selectionEnd } = this.element;
    this.element.value = text;
    if (document.activeElement === this.element) {
      this.element.setSelectionRange(selectionStart, selectionEnd);
    }
    this.fit();
  }
}
