import { h, setAttribute, takesText } from "../dom";
import { Filter } from "../filter";
import { icon } from "../icons";
import type { Returned } from "../oauth";
import type { Session } from "../session";
import type { Workspace } from "../workspace";
import { Account } from "./account";
import { Actions } from "./actions";
import { ask } from "./dialog";
import { Invitations } from "./invitations";
import { ListView } from "./list";
import { MemoryView } from "./memory";
import { brought } from "./settings/importing";
import { Settings, type SectionName } from "./settings/settings";
import { Sidebar } from "./sidebar";
import { changes } from "./status";
import type { Toasts } from "./toast";
import { TrashedView } from "./trashed";

const ONE_SCREEN = matchMedia("(width < 800px)"); // as the style sheet has it

/** The signed-in page: views, the list, the memory beside it, and the keys that work everywhere. */
export class Shell {
  readonly element = h("div", { class: "shell" });
  #workspace: Workspace;
  #session: Session;
  #toasts: Toasts;
  #filter: Filter;
  #actions: Actions;
  #sidebar: Sidebar;
  #list: ListView;
  #account: Account;
  #settings: Settings;
  #memory: MemoryView | TrashedView | undefined;
  #invitations: Invitations;
  #shown: string | undefined;
  #at = "";
  #place = h("div", { class: "shell-memory" });
  #stop = new AbortController();
  #unsubscribe: (() => void)[] = [];
  #justMade: string | undefined;

  constructor(workspace: Workspace, session: Session, toasts: Toasts) {
    this.#workspace = workspace;
    this.#session = session;
    this.#toasts = toasts;
    this.#filter = new Filter(workspace.name);
    const { library } = workspace;
    this.#actions = new Actions(library, toasts, (ids) => this.#leave(ids));
    const create = () => void this.#create();
    const open = (id: string, messageId?: string) => this.#go(id, messageId);
    this.#list = new ListView(workspace, this.#filter, this.#actions, open, create);
    const { client, profile } = workspace;
    this.#settings = new Settings(workspace, session, () => this.#deleted());
    this.#account = new Account(client, profile, {
      settings: () => this.#settings.open(),
      signOut: () => void this.#signOut(),
    });
    this.#sidebar = new Sidebar(library, this.#filter, this.#account.element);
    const list = h("div", { class: "shell-list" }, this.#list.element);
    const screens = () => setAttribute(list, "role", ONE_SCREEN.matches && "main");
    this.#invitations = new Invitations(workspace, toasts);
    this.element.append(this.#sidebar.element, list, this.#place, this.#invitations.element);
    const { signal } = this.#stop;
    addEventListener("hashchange", () => location.hash !== this.#at && this.#route(), { signal });
    addEventListener("keydown", (event) => this.#key(event), { signal });
    ONE_SCREEN.addEventListener("change", screens, { signal });
    screens();
    const connection = () => this.#connection();
    this.#unsubscribe.push(
      workspace.client.on("status", connection),
      workspace.outbox.on("changed", connection),
      workspace.on("refused", (message) => toasts.show(message, "error")),
      workspace.imports.on("ended", (one) => {
        if (document.querySelector("dialog.settings")) return; // it is seen there
        if (one.status === "failed") toasts.show("The archive could not be brought in.", "error");
        else toasts.show(`The archive is brought in: ${brought(one)}.`);
      }),
      this.#filter.on("changed", ({ view }) => this.#looked(view === "trash")),
      library.on("changed", () => this.#restored()),
    );
    this.#connection();
    workspace.showTrash(this.#filter.query.view === "trash");
    this.#route();
  }

  /** `back` is what a provider's page returned with, to be linked. */
  openSettings(section: SectionName, back?: Returned): void {
    this.#settings.open(section, back);
  }

  destroy(): void {
    this.#stop.abort();
    this.#settings.close();
    this.#account.destroy();
    for (const stop of this.#unsubscribe) stop();
    this.#memory?.destroy();
    this.#list.destroy();
    this.#invitations.destroy();
    this.#sidebar.destroy();
  }

  /** The address names the memory, and maybe one of its messages: `#` and its id, `/` and its. */
  #route(): void {
    this.#at = location.hash;
    const [, id, messageId] = /^#([0-9a-f-]{36})(?:\/([0-9a-f-]{36}))?$/.exec(location.hash) ?? [];
    if (id && id === this.#shown && this.#memory instanceof MemoryView) {
      return this.#memory.show(messageId);
    }
    const hadMemory = this.#memory !== undefined;
    this.#memory?.destroy();
    this.#memory = undefined;
    this.#shown = id;
    this.#list.select(id);
    this.element.classList.toggle("reading", id !== undefined);
    if (!id) {
      this.#place.replaceChildren(this.#welcome());
      if (hadMemory) this.#list.focus();
      return;
    }
    const { library } = this.#workspace;
    const back = () => this.#go(undefined);
    if (library.trash.has(id) && !library.rows.has(id)) {
      this.#memory = new TrashedView(library, this.#actions, id, back);
      this.#place.replaceChildren(this.#memory.element);
      return;
    }
    const memory = new MemoryView(this.#workspace, this.#toasts, this.#actions, id, back);
    this.#memory = memory;
    this.#place.replaceChildren(memory.element);
    const focus = this.#justMade === id;
    this.#justMade = undefined;
    memory.show(messageId);
    memory.open(focus).catch((error: unknown) => {
      this.#toasts.show(`This memory can't be opened: ${String(error)}`, "error");
    });
  }

  /** Goes to a memory, or to one of its messages, at once; the way back is the browser's. */
  #go(id: string | undefined, messageId?: string): void {
    location.hash = [id, messageId].filter(Boolean).join("/");
    this.#route(); // the browser tells of it only later: the next key may be there before
  }

  #leave(ids: readonly string[]): void {
    if (this.#shown !== undefined && ids.includes(this.#shown)) this.#go(undefined);
  }

  /** A memory of the trash that is open is shown as one again once it is back, or left. */
  #restored(): void {
    const { trash } = this.#workspace.library;
    if (!(this.#memory instanceof TrashedView) || !this.#shown || trash.has(this.#shown)) return;
    if (this.#workspace.library.rows.has(this.#shown)) this.#route();
    else this.#go(undefined);
  }

  /** What is open of the trash is none of another view's. */
  #looked(trash: boolean): void {
    this.#workspace.showTrash(trash);
    if (!trash && this.#memory instanceof TrashedView) this.#go(undefined);
  }

  async #create(): Promise<void> {
    this.#list.clear();
    const { library } = this.#workspace;
    const { category } = this.#filter.query;
    const id = await library.create();
    if (category !== undefined) await library.change([id], "categorize", category);
    this.#justMade = id;
    this.#go(id);
  }

  async #signOut(): Promise<void> {
    const count = await this.#workspace.unsent();
    if (count > 0) {
      const sure = await ask({
        title: "Sign out with unsent changes?",
        text:
          `${count === 1 ? "One item has" : `${count} items have`} changes that have not ` +
          "reached the server. Signing out removes them from this device for good.",
        confirm: "Sign out and lose them",
        cancel: "Stay signed in",
      });
      if (!sure) return;
    }
    await this.#forget();
  }

  /** The account is no more, and its sessions with it. */
  async #deleted(): Promise<void> {
    await this.#forget();
    this.#toasts.show("Your account is deleted, with all that was in it.");
  }

  /** Removes all of the account from this device, and shows the door. */
  async #forget(): Promise<void> {
    const { user } = this.#workspace;
    this.destroy();
    this.#filter.forget();
    await this.#workspace.destroy().catch(() => {
      this.#toasts.show(`Some data of ${user.email} may be left in this browser.`, "error");
    });
    location.hash = "";
    await this.#session.logout();
  }

  #connection(): void {
    const online = this.#workspace.client.status === "online";
    const waiting = this.#workspace.outbox.entries.length;
    const text = online ? (waiting > 0 ? "Sending…" : "Online") : "Offline";
    this.element.dataset.online = String(online);
    this.#account.show(online, waiting > 0 && !online ? `Offline · ${changes(waiting)}` : text);
  }

  #key(event: KeyboardEvent): void {
    if (document.querySelector("dialog[open], :popover-open")) return;
    const command = event.ctrlKey || event.metaKey;
    if (command && event.key.toLowerCase() === "k") {
      if (ONE_SCREEN.matches) this.#go(undefined);
      this.#list.focusSearch();
    } else if (command && event.key === "z" && !takesText(event.target)) {
      if (!this.#toasts.act()) return;
    } else if (event.key === "n" && !command && !event.altKey && !takesText(event.target)) {
      void this.#create();
    } else if (event.key === "Escape" && this.#memory && !takesText(event.target)) {
      this.#go(undefined);
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
        key("M", "What to do with it"),
        key("Space", "Select"),
        key("Del", "Move to trash"),
        key("Ctrl Z", "Undo"),
      ),
    );
  }
}
