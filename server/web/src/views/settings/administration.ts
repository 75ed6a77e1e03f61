import { MemoError } from "@memory-app/client";
import type { InstallationStats, User, UserPage } from "@memory-app/client";
import { size } from "../../bytes";
import { h } from "../../dom";
import { nameOf } from "../../presence";
import { fullTime } from "../../time";
import { sentence } from "../../refusal";
import { ask } from "../dialog";
import { actionButton, loaded, panel, type Context } from "./section";

const SEARCH_MS = 250; // after the last key
const AT_ONCE = 20;

type Role = "user" | "premium" | "admin";
const roles: Record<Role, string> = { user: "User", premium: "Premium", admin: "Admin" };

/** For who looks after the installation: its accounts, and how much there is on it. */
export function administrationSection(context: Context): HTMLElement {
  const { client } = context;
  const figures = loaded(context, async () => stats(await client.call("admin.stats", {})));
  return h(
    "div",
    {},
    panel("figures-panel", "This installation", figures),
    panel("users-panel", "Accounts", new Users(context).element),
  );
}

function stats(counts: InstallationStats): HTMLElement {
  const figure = (label: string, value: string) =>
    h("div", {}, h("dt", {}, label), h("dd", {}, value));
  const number = (value: number) => value.toLocaleString();
  return h(
    "dl",
    { class: "figures" },
    figure("Accounts", number(counts.users)),
    figure("Disabled", number(counts.disabledUsers)),
    figure("Signed-in devices", number(counts.activeSessions)),
    figure("Memories", number(counts.memories)),
    figure("Messages", number(counts.messages)),
    figure("Edits", number(counts.updates)),
    figure("Files", number(counts.files)),
    figure("In files", size(counts.fileBytes)),
    figure("Database", size(counts.databaseBytes)),
  );
}

/** All accounts, a page at a time, or those that a search finds. */
class Users {
  readonly element: HTMLElement;
  #context: Context;
  #search = h("input", {
    type: "search",
    class: "users-search",
    "aria-label": "Search accounts",
    placeholder: "Name, username or e-mail",
    maxlength: 200,
  });
  #place = h("div", {});
  #page = 1;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #turn = 0;

  constructor(context: Context) {
    this.#context = context;
    this.#search.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#show(1), SEARCH_MS);
    });
    context.signal.addEventListener("abort", () => clearTimeout(this.#timer));
    this.element = h("div", {}, this.#search, this.#place);
    this.#place.append(loaded(context, () => this.#load()));
  }

  #show(page: number): void {
    this.#page = page;
    const turn = ++this.#turn;
    this.#load()
      .then((content) => {
        if (turn === this.#turn) this.#place.replaceChildren(content);
      })
      .catch((error: unknown) => {
        if (!(error instanceof MemoError)) throw error;
        const problem = h("p", { class: "form-error", role: "alert" }, sentence(error));
        if (turn === this.#turn) this.#place.replaceChildren(problem);
      });
  }

  async #load(): Promise<HTMLElement> {
    const search = this.#search.value.trim() || null;
    const request = { search, page: this.#page, limit: AT_ONCE };
    return this.#render(await this.#context.client.call("admin.users", request));
  }

  #render({ users, pagination }: UserPage): HTMLElement {
    const { page, total, totalPages } = pagination;
    const step = (label: string, to: number) =>
      h(
        "button",
        {
          class: "button",
          type: "button",
          disabled: to < 1 || to > totalPages,
          on: { click: () => this.#show(to) },
        },
        label,
      );
    return h(
      "div",
      {},
      h("p", { class: "users-count", role: "status" }, found(total)),
      h("ul", { class: "entries" }, ...users.map((user) => this.#row(user))),
      totalPages > 1 &&
        h(
          "div",
          { class: "panel-actions" },
          step("Back", page - 1),
          h("span", {}, `Page ${page} of ${totalPages}`),
          step("On", page + 1),
        ),
    );
  }

  #row(user: User): HTMLElement {
    const element = h("li", { class: "entry entry-user" });
    const own = user.id === this.#context.profile.user.id;
    const replace = (now: User) => element.replaceWith(this.#row(now));
    element.append(
      h(
        "div",
        { class: "entry-text", title: `Since ${fullTime(user.createdAt)}` },
        h("strong", {}, nameOf(user)),
        h("span", {}, user.email),
      ),
      h(
        "div",
        { class: "entry-controls" },
        !user.isActive && h("span", { class: "badge", "data-good": "false" }, "Disabled"),
        own && h("span", { class: "badge", "data-good": "true" }, `${said(user.role)} · you`),
        !own && this.#role(user, replace),
        !own && this.#active(user, replace),
      ),
    );
    return element;
  }

  #role(user: User, replace: (user: User) => void): HTMLElement {
    const { client } = this.#context;
    const problem = h("span", { class: "action-outcome", role: "status", "data-failed": "true" });
    const options = Object.entries(roles).map(([role, name]) => h("option", { value: role }, name));
    const select = h("select", { "aria-label": `Role of ${nameOf(user)}` }, ...options);
    select.value = user.role;
    select.addEventListener("change", () => {
      const role = select.value as Role;
      select.disabled = true;
      client
        .call("admin.setRole", { userId: user.id, role })
        .then((answer) => replace(answer.user))
        .catch((error: unknown) => {
          if (!(error instanceof MemoError)) throw error;
          select.value = user.role;
          select.disabled = false;
          problem.textContent = sentence(error);
        });
    });
    return h("span", { class: "action" }, select, problem);
  }

  #active(user: User, replace: (user: User) => void): HTMLElement {
    const { client } = this.#context;
    const name = nameOf(user);
    const userId = user.id;
    if (!user.isActive) {
      const enable = async () => replace((await client.call("admin.enable", { userId })).user);
      return actionButton("Enable", enable, { name: `Enable ${name}` });
    }
    const disable = async () => {
      const sure = await ask({
        title: `Disable ${name}?`,
        text: "All their devices are signed out, and they cannot sign in. Nothing is deleted.",
        confirm: "Disable",
      });
      if (sure) replace((await client.call("admin.disable", { userId })).user);
    };
    return actionButton("Disable", disable, { name: `Disable ${name}` });
  }
}

function said(role: string): string {
  return role in roles ? roles[role as Role] : role;
}

function found(total: number): string {
  if (total === 0) return "No account found.";
  return total === 1 ? "1 account" : `${total.toLocaleString()} accounts`;
}
