import type { MemoryClient, User } from "@memory-app/client";
import { h } from "../dom";
import { icon, type IconName } from "../icons";
import { nameOf } from "../presence";
import type { Profile } from "../profile";
import { setTheme } from "../theme";
import { Face } from "./face";
import { ThemePicker } from "./themes";

export interface AccountActions {
  settings: () => void;
  signOut: () => void;
}

/** The foot of the list: who is signed in, and the menu behind it. */
export class Account {
  readonly element: HTMLElement;
  #connection = h("span", { class: "connection" });
  #face: Face;
  #names = [h("strong"), h("strong")] as const;
  #mail = h("span", { class: "menu-mail" });
  #unsubscribe: () => void;

  constructor(client: MemoryClient, profile: Profile, actions: AccountActions) {
    this.#face = new Face(client, "avatar-me");
    const themes = new ThemePicker("theme", (value) => {
      setTheme(value);
      void profile.prefer(value);
    });
    const item = (sign: IconName, label: string, act: () => void) => {
      const click = () => {
        menu.hidePopover();
        act();
      };
      return h("button", { class: "menu-item", on: { click } }, icon(sign), label);
    };
    const menu = h(
      "div",
      {
        class: "menu",
        id: "account-menu",
        popover: "auto",
        role: "dialog",
        "aria-label": "Account",
        on: { beforetoggle: () => themes.show() },
      },
      h("div", { class: "menu-who" }, this.#names[0], this.#mail),
      themes.element,
      item("settings", "Settings", actions.settings),
      h(
        "a",
        { class: "menu-item", href: "/docs", target: "_blank", rel: "noopener" },
        icon("book"),
        "API reference",
      ),
      item("signout", "Sign out", actions.signOut),
    );
    this.element = h(
      "footer",
      { class: "account" },
      h(
        "button",
        { class: "account-button", popovertarget: "account-menu" },
        this.#face.element,
        h(
          "span",
          { class: "account-name" },
          h("span", { class: "unseen" }, "Account "),
          this.#names[1],
          this.#connection,
        ),
      ),
      menu,
    );
    this.#unsubscribe = profile.on("changed", (user) => this.#named(user));
    this.#named(profile.user);
  }

  destroy(): void {
    this.#unsubscribe();
  }

  /** What the whole account's sync is like, in a word or two. */
  show(online: boolean, text: string): void {
    if (this.#connection.textContent === text) return;
    this.#connection.dataset.online = String(online);
    this.#connection.textContent = text;
  }

  #named(user: User): void {
    for (const name of this.#names) name.textContent = nameOf(user);
    this.#mail.textContent = user.email;
    this.#face.show(user);
  }
}
