import { h } from "../dom";
import { icon } from "../icons";

export interface Sheet {
  element: HTMLDialogElement;
  close(): void;
}

/** A page over the page, with a title. Esc, the backdrop and its button close it. */
export function openSheet(title: string, name: string, content: Node, closed: () => void): Sheet {
  const element: HTMLDialogElement = h(
    "dialog",
    {
      class: `dialog sheet ${name}`,
      "aria-label": title,
      on: {
        close: () => {
          element.remove();
          closed();
        },
        // A press that began inside, to select text, and ended outside is no wish to leave.
        mousedown: (event) => event.target === element && element.close(),
      },
    },
    h(
      "div",
      { class: "sheet-body" },
      h(
        "header",
        { class: "sheet-head" },
        h("h2", {}, title),
        h(
          "button",
          { class: "icon-button", "aria-label": "Close", on: { click: () => element.close() } },
          icon("close"),
        ),
      ),
      content,
    ),
  );
  document.body.append(element);
  element.showModal();
  return { element, close: () => element.close() };
}
