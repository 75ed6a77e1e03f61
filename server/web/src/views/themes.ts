import { h } from "../dom";
import { icon, type IconName } from "../icons";
import { theme, themes, type Theme } from "../theme";

const looks: Record<Theme, [label: string, name: IconName]> = {
  system: ["Device", "screen"],
  light: ["Light", "sun"],
  dark: ["Dark", "moon"],
};

/** Device, light or dark. `name` tells its radio buttons from those of another picker. */
export class ThemePicker {
  readonly element: HTMLElement;
  #inputs = new Map<Theme, HTMLInputElement>();

  constructor(name: string, pick: (theme: Theme) => void) {
    const options = themes.map((value) => {
      const [label, sign] = looks[value];
      const input = h("input", { type: "radio", name, value, on: { change: () => pick(value) } });
      this.#inputs.set(value, input);
      return h("label", {}, input, h("span", {}, icon(sign), label));
    });
    this.element = h("fieldset", { class: "themes" }, h("legend", {}, "Theme"), ...options);
    this.show();
  }

  /** Marks the one that is chosen by now. */
  show(): void {
    this.#inputs.get(theme())!.checked = true;
  }
}
