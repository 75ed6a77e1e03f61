import type { User } from "@memory-app/client";
import { h } from "../dom";
import { icon, type IconName } from "../icons";
import { initials, nameOf } from "../presence";
import { setTheme, theme, themes, type Theme } from "../theme";

const looks: Record<Theme, [label: string, name: IconName]> = {
  system: ["Device", "screen"],
  light: ["Light", "sun"],
  dark: ["Dark", "moon"],
};

/** The foot of the list: who is signed in, and the menu behind it. */
export class Account {
  readonly element: HTMLElement;
  #connection = h("span", { class: "connection" });

  constructor(user: User, signOut: () => void) {
    const name = nameOf(user);
    const menu = h(
      "div",
      {
        class: "menu",
        id: "account-menu",
        popover: "auto",
        role: "dialog",
        "aria-label": "Account",
      },
      h(
        "div",
        { class: "menu-who" },
        h("strong", {}, name),
        h("span", { class: "menu-mail" }, user.email),
      ),
      themePicker(),
      h(
        "a",
        { class: "menu-item", href: "/docs", target: "_blank", rel: "noopener" },
        icon("book"),
        "API reference",
      ),
      h(
        "button",
        {
          class: "menu-item",
          on: {
            click: () => {
              menu.hidePopover();
              signOut();
            },
          },
        },
        icon("signout"),
        "Sign out",
      ),
    );
    this.element = h(
      "footer",
      { class: "account" },
      h(
        "button",
        { class: "account-button", popovertarget: "account-menu", "aria-label": "Account" },
        h("span", { class: "avatar avatar-me", "aria-hidden": "true" }, initials(name)),
        h("span", { class: "account-name" }, h("strong", {}, name), this.#connection),
      ),
      menu,
    );
  }

  /** What the whole account's sync is like, in a word or two. */
  show(online: boolean, text: string): void {
    if (this.#connection.textContent === text) return;
    this.#connection.dataset.online = String(online);
    this.#connection.textContent = text;
  }
}

function themePicker(): HTMLElement {
  const options = themes.map((value) => {
    const [label, name] = looks[value];
    const input = h("input", {
      type: "radio",
      name: "theme",
      value,
      checked: value === theme(),
      on: { change: () => setTheme(value) },
    });
    return h("label", {}, input, h("span", {}, icon(name), label));
  });
  return h("fieldset", { class: "themes" }, h("legend", {}, "Theme"), ...options);
}
