import { h, takesText } from "../dom";
import { icon } from "../icons";
import type { Session } from "../session";
import type { Workspace } from "../workspace";
import { Account } from "./account";
import { ask } from "./dialog";
import { Invitations } from "./invitations";
import { ListView } from "./list";
import { MemoryView } from "./memory";
import { changes } from "./status";
import type { Toasts } from "./toast";

/** The signed-in page: the list, the memory beside it, and the keys that work everywhere. */
export class Shell {
  readonly element = h("div", { class: "shell" });
  #workspace: Workspace;
  #session: Session;
  #toasts: Toasts;
  #list: ListView;
  #account: Account;
  #memory: MemoryView | undefined;
  #invitations: Invitations;
  #place = h("div", { class: "shell-memory" });
  #stop = new AbortController();
  #unsubscribe: (() => void)[] = [];
  #justMade: string | undefined;

  constructor(workspace: Workspace, session: Session, toasts: Toasts) {
    this.#workspace = workspace;
    this.#session = session;
    this.#toasts = toasts;
    this.#list = new ListView(workspace, go, () => void this.#create());
    this.#account = new Account(workspace.user, () => void this.#signOut());
    const side = h("aside", { class: "shell-list" }, this.#list.element, this.#account.element);
    this.#invitations = new Invitations(workspace, toasts);
    this.element.append(side, this.#place, this.#invitations.element);
    const { signal } = this.#stop;
    addEventListener("hashchange", () => this.#route(), { signal });
    addEventListener("keydown", (event) => this.#key(event), { signal });
    const connection = () => this.#connection();
    this.#unsubscribe.push(
      workspace.client.on("status", connection),
      workspace.outbox.on("changed", connection),
      workspace.on("refused", (message) => toasts.show(message, "error")),
    );
    this.#connection();
    this.#route();
  }

  destroy(): void {
    this.#stop.abort();
    for (const stop of this.#unsubscribe) stop();
    this.#memory?.destroy();
    this.#list.destroy();
    this.#invitations.destroy();
  }

  /** The address names the memory: `#` and its id. */
  #route(): void {
    const id = /^#([0-9a-f-]{36})$/.exec(location.hash)?.[1];
    const hadMemory = this.#memory !== undefined;
    this.#memory?.destroy();
    this.#memory = undefined;
    this.#list.select(id);
    this.element.classList.toggle("reading", id !== undefined);
    if (!id) {
      this.#place.replaceChildren(this.#welcome());
      if (hadMemory) this.#list.focus();
      return;
    }
    const memory = new MemoryView(this.#workspace, this.#toasts, id, () => go(undefined));
    this.#memory = memory;
    this.#place.replaceChildren(memory.element);
    const focus = this.#justMade === id;
    this.#justMade = undefined;
    memory.open(focus).catch((error: unknown) => {
      this.#toasts.show(`This memory can't be opened: ${String(error)}`, "error");
    });
  }

  async #create(): Promise<void> {
    this.#list.clear();
    const id = await this.#workspace.library.create();
    this.#justMade = id;
    go(id);
  }

  async #signOut(): Promise<void> {
    const count = await this.#workspace.unsent();
    if (count > 0) {
      const sure = await ask({
        title: "Sign out with unsent changes?",
        text:
          `${count === 1 ? "One memory has" : `${count} memories have`} changes that have not ` +
          "reached the server. Signing out removes them from this device for good.",
        confirm: "Sign out and lose them",
        cancel: "Stay signed in",
      });
      if (!sure) return;
    }
    const { user } = this.#workspace;
    this.destroy();
    await this.#workspace.destroy().catch(() => {
      this.#toasts.show(`Some data of ${user.email} may be left in this browser.`, "error");
    });
    go(undefined);
    await this.#session.logout();
  }

  #connection(): void {
    const online = this.#workspace.client.status === "online";
    const waiting = this.#workspace.outbox.entries.length;
    const text = online ? (waiting > 0 ? "Sending…" : "Online") : "Offline";
    this.#account.show(online, waiting > 0 && !online ? `Offline · ${changes(waiting)}` : text);
  }

  #key(event: KeyboardEvent): void {
    if (document.querySelector("dialog[open], :popover-open")) return;
    const command = event.ctrlKey || event.metaKey;
    if (command && event.key.toLowerCase() === "k") {
      if (matchMedia("(width < 800px)").matches) go(undefined);
      this.#list.focusSearch();
    } else if (event.key === "n" && !command && !event.altKey && !takesText(event.target)) {
      void this.#create();
    } else if (event.key === "Escape" && this.#memory && !takesText(event.target)) {
      go(undefined);
    } else return;
    event.preventDefault();
  }

  #welcome(): HTMLElement {
    const key = (name: string, text: string) => h("li", {}, h("kbd", {}, name), text);
    return h(
      "main",
      { class: "welcome" },
      h("div", { class: "welcome-art", "aria-hidden": "true" }, icon("pencil")),
      h("h2", {}, "Pick a memory, or write a new one"),
      h(
        "ul",
        { class: "keys", "aria-label": "Keys" },
        key("N", "New memory"),
        key("Ctrl K", "Search"),
        key("↑ ↓", "Through the list"),
        key("Esc", "Back to the list"),
      ),
    );
  }
}

/** Navigates; the way back is the browser's. */
function go(id: string | undefined): void {
  location.hash = id ?? "";
}
