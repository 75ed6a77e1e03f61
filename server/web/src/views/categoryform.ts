import type { Category } from "@memory-app/client";
import { h } from "../dom";
import { icon } from "../icons";
import type { Library } from "../library";
import { categoryIcon, categoryIcons, colors, tint } from "../palette";

const LENGTH_AT_MOST = 100;

/** Makes a category, or changes `known`, as a person chooses; answers its id unless they don't. */
export function editCategory(library: Library, known?: Category): Promise<string | undefined> {
  return new Promise((resolve) => {
    const first = colors[library.categories.length % colors.length]![0];
    const form = new Form(known?.name ?? "", known?.icon ?? "folder", known?.color ?? first);
    const title = known ? "Change category" : "New category";
    const cancel = () => dialog.close();
    const dialog = h(
      "dialog",
      {
        class: "dialog category-form",
        "aria-labelledby": "category-title",
        on: {
          close: () => {
            dialog.remove();
            if (dialog.returnValue !== "yes") return resolve(undefined);
            const { name, looks } = form;
            const done = known
              ? library.updateCategory(known.id, { name, ...looks }).then(() => known.id)
              : library.createCategory(name, looks);
            void done.then(resolve);
          },
          click: (event) => event.target === dialog && dialog.close(),
        },
      },
      h(
        "form",
        { method: "dialog", on: { submit: (event) => form.check(event) } },
        h("h2", { id: "category-title" }, title),
        ...form.fields,
        h(
          "div",
          { class: "dialog-actions" },
          h("button", { class: "button", type: "button", on: { click: cancel } }, "Cancel"),
          h("button", { class: "button button-primary", value: "yes" }, known ? "Save" : "Create"),
        ),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
    form.focus();
  });
}

/** Name, colour and icon, with a picture of the three. */
class Form {
  readonly fields: HTMLElement[];
  #name: HTMLInputElement;
  #sample = h("span", { class: "category-sample", "aria-hidden": "true" });
  #icon: string;
  #color: string;

  constructor(name: string, chosen: string, color: string) {
    this.#icon = chosen;
    this.#color = color;
    this.#name = h("input", {
      id: "category-name",
      value: name,
      maxlength: LENGTH_AT_MOST,
      required: true,
      autocomplete: "off",
      placeholder: "Name",
      "aria-label": "Name",
    });
    const known = colors.some(([value]) => value.toLowerCase() === color.toLowerCase());
    const shown: typeof colors = known ? colors : [[color, "The colour it has"], ...colors];
    const swatches = shown.map(([value, label]) => {
      const swatch = h("span", { class: "swatch" });
      tint(swatch, value);
      return option("color", label, swatch, value.toLowerCase() === color.toLowerCase(), () => {
        this.#color = value;
        this.#draw();
      });
    });
    const icons = Object.entries(categoryIcons).map(([value, [glyph, label]]) => {
      const checked = glyph === categoryIcon(chosen);
      return option("icon", label, h("span", { class: "glyph" }, icon(glyph)), checked, () => {
        this.#icon = value;
        this.#draw();
      });
    });
    this.fields = [
      h("div", { class: "category-name" }, this.#sample, this.#name),
      h("fieldset", { class: "swatches" }, h("legend", {}, "Colour"), ...swatches),
      h("fieldset", { class: "glyphs" }, h("legend", {}, "Icon"), ...icons),
    ];
    this.#draw();
  }

  get name(): string {
    return this.#name.value.trim();
  }

  get looks(): { icon: string; color: string } {
    return { icon: this.#icon, color: this.#color };
  }

  focus(): void {
    this.#name.focus();
    this.#name.select();
  }

  check(event: SubmitEvent): void {
    if (this.name) return;
    event.preventDefault();
    this.#name.value = "";
    this.#name.reportValidity();
  }

  #draw(): void {
    this.#sample.replaceChildren(icon(categoryIcon(this.#icon)));
    tint(this.#sample, this.#color);
  }
}

function option(
  group: string,
  label: string,
  look: HTMLElement,
  checked: boolean,
  choose: () => void,
): HTMLElement {
  const input = h("input", {
    type: "radio",
    name: group,
    checked,
    "aria-label": label,
    on: { change: choose },
  });
  return h("label", { title: label }, input, look);
}
