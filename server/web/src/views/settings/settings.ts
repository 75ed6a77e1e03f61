import { h } from "../../dom";
import { icon, type IconName } from "../../icons";
import type { Returned } from "../../oauth";
import type { Session } from "../../session";
import type { Workspace } from "../../workspace";
import { administrationSection } from "./administration";
import { dataSection } from "./data";
import { devicesSection } from "./devices";
import { profileSection } from "./profile";
import type { Context } from "./section";
import { securitySection } from "./security";
import { storageSection } from "./storage";

export type SectionName = "profile" | "security" | "devices" | "storage" | "data" | "administration";

const sections: Record<SectionName, [label: string, sign: IconName]> = {
  profile: ["Profile", "user"],
  security: ["Security", "shield"],
  devices: ["Devices", "screen"],
  storage: ["Storage", "cloud"],
  data: ["Your data", "archive"],
  administration: ["Administration", "users"],
};

const MANAGE_USERS = "manage:users";

/** The account's settings, over the page. */
export class Settings {
  #workspace: Workspace;
  #session: Session;
  #leave: () => Promise<void>;
  #dialog: HTMLDialogElement | undefined;

  /** `leave` is called when the account is no more. */
  constructor(workspace: Workspace, session: Session, leave: () => Promise<void>) {
    this.#workspace = workspace;
    this.#session = session;
    this.#leave = leave;
  }

  /** `back` is what a provider's page returned with, for the security section to link. */
  open(first: SectionName = "profile", back?: Returned): void {
    this.close();
    const body = h("div", { class: "settings-body" });
    const nav = h("nav", { class: "settings-nav", "aria-label": "Sections" });
    let shown = new AbortController();
    const show = (name: SectionName, back?: Returned) => {
      shown.abort();
      shown = new AbortController();
      const context: Context = {
        workspace: this.#workspace,
        client: this.#workspace.client,
        profile: this.#workspace.profile,
        session: this.#session,
        leave: this.#leave,
        signal: shown.signal,
      };
      const title = h("h3", { id: "section-title", tabindex: "-1" }, sections[name][0]);
      const content = contentOf(name, context, back);
      body.replaceChildren(
        h("section", { "aria-labelledby": "section-title" }, title, content),
      );
      body.scrollTop = 0;
      for (const button of nav.querySelectorAll("button")) {
        if (button.dataset.section === name) button.setAttribute("aria-current", "page");
        else button.removeAttribute("aria-current");
      }
    };
    nav.append(
      ...this.#names().map((name) =>
        h(
          "button",
          {
            class: "settings-link",
            type: "button",
            "data-section": name,
            on: { click: () => show(name) },
          },
          icon(sections[name][1]),
          sections[name][0],
        ),
      ),
    );
    const dialog = h("dialog", { class: "settings", "aria-labelledby": "settings-title" });
    dialog.addEventListener("close", () => {
      shown.abort();
      dialog.remove();
    });
    dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close());
    dialog.append(
      h(
        "div",
        { class: "settings-frame" },
        h(
          "header",
          { class: "settings-head" },
          h("h2", { id: "settings-title" }, "Settings"),
          h(
            "button",
            {
              class: "icon-button",
              type: "button",
              "aria-label": "Close settings",
              on: { click: () => dialog.close() },
            },
            icon("close"),
          ),
        ),
        nav,
        body,
      ),
    );
    this.#dialog = dialog;
    document.body.append(dialog);
    show(first, back);
    dialog.showModal();
    nav.querySelector<HTMLElement>("[aria-current]")?.focus();
  }

  close(): void {
    this.#dialog?.close();
    this.#dialog = undefined;
  }

  #names(): SectionName[] {
    const names = Object.keys(sections) as SectionName[];
    const administers = this.#workspace.profile.may(MANAGE_USERS);
    return names.filter((name) => name !== "administration" || administers);
  }
}

function contentOf(name: SectionName, context: Context, back?: Returned): HTMLElement {
  switch (name) {
    case "profile":
      return profileSection(context);
    case "security":
      return securitySection(context, back);
    case "devices":
      return devicesSection(context);
    case "storage":
      return storageSection(context);
    case "data":
      return dataSection(context);
    case "administration":
      return administrationSection(context);
  }
}
