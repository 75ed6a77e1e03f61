import { h } from "../dom";
import { icon, type IconName } from "../icons";
import type { Row } from "../row";
import type { Actions } from "./actions";

/** What can be done with the memories that are chosen, at the foot of the list. */
export class ChoiceBar {
  readonly element = h("div", {
    class: "choice",
    role: "toolbar",
    "aria-label": "Selected memories",
    hidden: true,
  });
  #actions: Actions;
  #done: () => void;
  #count = h("span", { class: "choice-count", role: "status" });
  #all = h("button", { class: "link-button" }, "Select all");
  #buttons = h("div", { class: "choice-buttons" });
  #rows: readonly Row[] = [];
  #state = "";

  constructor(actions: Actions, done: () => void) {
    this.#actions = actions;
    this.#done = done;
    this.element.append(h("div", { class: "choice-head" }, this.#count, this.#all), this.#buttons);
  }

  /** `rows` undefined: nothing is being chosen. */
  show(rows: readonly Row[] | undefined, trash: boolean, all: () => void): void {
    this.element.hidden = rows === undefined;
    this.#rows = rows ?? [];
    this.#all.onclick = all;
    const text = this.#rows.length === 0 ? "None selected" : `${this.#rows.length} selected`;
    if (this.#count.textContent !== text) this.#count.textContent = text;
    const starred = this.#rows.length > 0 && this.#rows.every((row) => row.isFavorite);
    const archived = this.#rows.length > 0 && this.#rows.every((row) => row.isArchived);
    const none = this.#rows.length === 0;
    const state = JSON.stringify([trash, starred, archived, none]);
    if (state === this.#state) return; // a button being clicked must stay
    this.#state = state;
    const actions = this.#actions;
    const living = () => [
      this.#button("star", starred ? "Remove from favourites" : "Favourite", (chosen) =>
        actions.favorite(chosen, !starred),
      ),
      this.#categorize(),
      this.#button(archived ? "unarchive" : "archive", archived ? "Unarchive" : "Archive", (rows) =>
        actions.archive(rows, !archived),
      ),
      this.#button("trash", "Delete", (chosen) => actions.delete(chosen)),
    ];
    const dead = () => [
      this.#button("restore", "Restore", (chosen) => actions.restore(chosen)),
      this.#button("trash", "Delete for good", (chosen) => actions.purge(chosen)),
    ];
    const buttons = trash ? dead() : living();
    for (const button of buttons) button.disabled = none;
    this.#buttons.replaceChildren(...buttons);
  }

  #categorize(): HTMLButtonElement {
    const button = this.#plain("folder", "Category");
    button.addEventListener("click", () => this.#actions.categorize(this.#rows, button));
    return button;
  }

  /** What is done ends the choosing, unless a person thinks better of it. */
  #button(
    name: IconName,
    label: string,
    act: (rows: readonly Row[]) => Promise<boolean | void>,
  ): HTMLButtonElement {
    const button = this.#plain(name, label);
    button.addEventListener("click", () => {
      void act(this.#rows).then((done) => done !== false && this.#done());
    });
    return button;
  }

  #plain(name: IconName, label: string): HTMLButtonElement {
    return h("button", { class: "choice-button", title: label }, icon(name), h("span", {}, label));
  }
}
