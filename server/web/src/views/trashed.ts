import { h } from "../dom";
import { icon } from "../icons";
import type { Library } from "../library";
import { fullTime } from "../time";
import type { Actions } from "./actions";

/** A memory in the trash: to read, to take back or to delete for good. */
export class TrashedView {
  readonly element: HTMLElement;

  constructor(library: Library, actions: Actions, id: string, back: () => void) {
    const row = library.trash.get(id)!;
    const title = row.title || "Untitled";
    document.title = `${title} · Memory`;
    const restore = h(
      "button",
      { class: "button", on: { click: () => void actions.restore([row]) } },
      icon("restore"),
      "Restore",
    );
    const purge = h(
      "button",
      { class: "button", on: { click: () => void actions.purge([row]) } },
      icon("trash"),
      "Delete for good",
    );
    this.element = h(
      "main",
      { class: "memory trashed", "aria-label": "Memory in the trash" },
      h(
        "header",
        { class: "memory-bar" },
        h(
          "button",
          { class: "icon-button back", "aria-label": "Back to the list", on: { click: back } },
          icon("back"),
        ),
        h("p", { class: "status" }, icon("trash"), h("span", {}, "In the trash")),
        h("div", { class: "memory-actions" }, restore, purge),
      ),
      h(
        "div",
        { class: "memory-scroll", tabindex: "0" },
        h(
          "article",
          { class: "page" },
          h("h1", { class: row.title ? "title" : "title untitled" }, title),
          h("p", { class: "trashed-time" }, `Deleted ${fullTime(row.deletedAt!)}`),
          h("p", { class: "trashed-text" }, row.text || "Nothing written"),
        ),
      ),
    );
  }

  destroy(): void {
    document.title = "Memory";
  }
}
