import { h } from "../dom";

export interface Question {
  title: string;
  text: string;
  confirm: string;
  cancel?: string;
}

/** Asks before something that cannot be taken back. Esc, the backdrop and Cancel say no. */
export function ask({ title, text, confirm, cancel = "Cancel" }: Question): Promise<boolean> {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      {
        class: "dialog",
        "aria-labelledby": "dialog-title",
        "aria-describedby": "dialog-text",
        on: {
          close: () => {
            dialog.remove();
            resolve(dialog.returnValue === "yes");
          },
          click: (event) => event.target === dialog && dialog.close(),
        },
      },
      h(
        "form",
        { method: "dialog" },
        h("h2", { id: "dialog-title" }, title),
        h("p", { id: "dialog-text" }, text),
        h(
          "div",
          { class: "dialog-actions" },
          h("button", { class: "button", value: "no", autofocus: true }, cancel),
          h("button", { class: "button button-danger", value: "yes" }, confirm),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}
