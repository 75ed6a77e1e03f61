import type { MemoryDocument } from "@memory-app/client";
import { encodeStateVector } from "yjs";
import { h } from "../dom";
import { Editor } from "../editor";
import { icon } from "../icons";
import { announce } from "../presence";
import { draftOf, type Row } from "../row";
import { fullTime, shortTime } from "../time";
import type { Workspace } from "../workspace";
import type { Actions } from "./actions";
import { Around } from "./around";
import { CategoryChip } from "./categorychip";
import { People } from "./people";
import { Status, advice } from "./status";
import { Tags } from "./tags";
import { Title } from "./title";
import type { Toasts } from "./toast";

interface Part {
  destroy(): void;
}
interface Writer extends Part {
  setWritable(writable: boolean): void;
}

const MISSING = new Set(["gone", "not_found"]);

/** One memory, open for reading and writing. */
export class MemoryView {
  readonly element: HTMLElement;
  #workspace: Workspace;
  #toasts: Toasts;
  #actions: Actions;
  #id: string;
  #back: () => void;
  #document: MemoryDocument | undefined;
  #around: Around | undefined;
  #parts: Part[] = [];
  #writers: Writer[] = [];
  #unsubscribe: (() => void)[] = [];
  #status = new Status();
  #people = h("div", { class: "people-place" });
  #tools = h("div", { class: "tools-place" });
  #star = h("button", { class: "icon-button star", on: { click: () => this.#toggleFavorite() } });
  #archive = h("button", { class: "icon-button", on: { click: () => this.#toggleArchived() } });
  #remove: HTMLButtonElement;
  #category: CategoryChip;
  #banner = h("div", { class: "banner", role: "alert", hidden: true });
  /** For who does not see it: the title that is seen is a field. */
  #heading = h("h1", { class: "unseen" });
  #page = h("article", { class: "page" });
  #foot = h("p", { class: "page-foot" });
  /** The message to be shown once the thread is there. */
  #messageId: string | undefined;
  #wasListed = false;
  #isMine = true;
  #wasMissing = false;
  #closed = false;

  constructor(
    workspace: Workspace,
    toasts: Toasts,
    actions: Actions,
    id: string,
    back: () => void,
  ) {
    this.#workspace = workspace;
    this.#toasts = toasts;
    this.#actions = actions;
    this.#id = id;
    this.#back = back;
    this.#star.append(icon("star"));
    this.#category = new CategoryChip(workspace.library, actions, id);
    this.#remove = h(
      "button",
      {
        class: "icon-button",
        "aria-label": "Delete memory",
        title: "Delete memory",
        on: { click: () => this.#delete() },
      },
      icon("trash"),
    );
    this.element = h(
      "main",
      { class: "memory", "aria-label": "Memory" },
      this.#heading,
      h(
        "header",
        { class: "memory-bar" },
        h(
          "button",
          { class: "icon-button back", "aria-label": "Back to the list", on: { click: back } },
          icon("back"),
        ),
        this.#status.element,
        this.#people,
        this.#tools,
        h("div", { class: "memory-actions" }, this.#star, this.#archive, this.#remove),
      ),
      this.#banner,
      h("div", { class: "memory-scroll" }, this.#page),
    );
    this.#skeleton();
    this.#unsubscribe.push(workspace.library.on("changed", () => this.#update()));
    this.#update();
  }

  /** Opens the document; `focus` where writing starts, in a memory just made. */
  async open(focus: boolean): Promise<void> {
    const memory = await this.#workspace.open(this.#id);
    if (this.#closed) return memory.close();
    this.#document = memory;
    this.#unsubscribe.push(this.#workspace.drafts.follow(memory));
    this.#unsubscribe.push(memory.on("sync", () => this.#update()));
    announce(memory, this.#workspace.user);
    const people = new People(memory, this.#workspace.user);
    this.#people.append(people.element);
    this.#parts.push(people);
    this.#update();
    if (isEmpty(memory) && !this.#workspace.library.isUnsent(this.#id)) {
      if (this.#workspace.client.status !== "online") this.#absent();
      await memory.synced;
      if (this.#closed) return;
    }
    this.#build(memory, focus);
  }

  /** Goes to a message, now or as soon as it is there. */
  show(messageId: string | undefined): void {
    this.#messageId = messageId;
    if (messageId) this.#around?.thread.show(messageId);
  }

  destroy(): void {
    this.#closed = true;
    document.title = "Memory";
    for (const stop of this.#unsubscribe) stop();
    for (const part of [...this.#parts, ...this.#writers]) part.destroy();
    this.#status.destroy();
    this.#document?.awareness.setLocalState(null);
    void this.#document?.close();
  }

  #build(memory: MemoryDocument, focus: boolean): void {
    const { user, library } = this.#workspace;
    const editor = new Editor(memory, user, this.#back);
    const title = new Title(memory, () => editor.focus(), this.#back);
    const tags = new Tags(memory, () => library.tags());
    const changed = () => this.#update();
    const around = new Around(this.#workspace, this.#toasts, memory, this.element, changed);
    this.#around = around;
    this.#parts.push(around);
    this.#writers.push(editor, title, tags);
    const about = h("div", { class: "page-about" }, this.#category.element, tags.element);
    this.#page.replaceChildren(title.element, about, editor.element, this.#foot);
    this.#page.append(around.files.element, around.thread.element);
    this.#tools.replaceChildren(around.tools);
    title.fit();
    this.#update();
    if (focus) title.focus();
    this.show(this.#messageId);
  }

  /** The document's standing, or the list's row of this memory, has changed. */
  #update(): void {
    const { library } = this.#workspace;
    const row = library.get(this.#id);
    const sync = this.#document?.sync;
    this.#wasListed ||= row !== undefined;
    if (row) {
      this.#isMine = row.role === "owner";
      this.#describe(row);
    }
    // Until the server has made a memory, or restored it, it has none, and that is no refusal.
    const missing = MISSING.has(sync?.error?.code ?? "");
    const early = missing && library.isAwaited(this.#id);
    const refused = sync?.state === "refused" && !early;
    const gone = this.#wasListed && !row;
    const isBack = missing && this.#wasMissing && row !== undefined && !early;
    this.#wasMissing = early || gone;
    if (isBack) this.#document?.retry();
    // Offline the connection has not said so, but the list knows who only reads.
    const role = this.#around?.role ?? row?.role;
    // Edits of a document that is yet to be opened at the server are on their way.
    const online = this.#workspace.client.status === "online";
    const opening = online && sync?.state === "offline" && sync.pending > 0;
    const shown = sync && (early || opening) ? { ...sync, state: "saving" as const } : sync;
    if (shown) this.#status.show(shown, role === "commenter");
    if (refused && this.#writers.length === 0) this.#page.replaceChildren();
    const lost = gone && !this.#isMine ? "unshared" : sync?.error?.code;
    if (refused) this.#warn(advice(lost, sync.error?.message));
    else if (gone) this.#warn(advice(this.#isMine ? "gone" : "unshared", undefined));
    this.#banner.hidden = !refused && !gone;
    this.element.classList.toggle("gone", gone);
    const reads = role === "viewer" || role === "commenter";
    const writable = sync?.canWrite === true && !refused && !gone && !(row && reads);
    for (const part of this.#writers) part.setWritable(writable);
    this.#around?.update(row, writable);
  }

  #describe(row: Row): void {
    document.title = `${row.title || "Untitled"} · Memory`;
    this.#heading.textContent = row.title || "Untitled";
    const label = row.isFavorite ? "Remove from favourites" : "Add to favourites";
    this.#star.setAttribute("aria-label", label);
    this.#star.title = label;
    this.#star.setAttribute("aria-pressed", String(row.isFavorite));
    this.#describeArchive(row.isArchived);
    this.#remove.hidden = row.role !== "owner";
    this.#category.render();
    const words = row.text.split(/\s+/).filter(Boolean).length;
    const count = words === 1 ? "1 word" : `${words.toLocaleString()} words`;
    this.#foot.textContent = `Edited ${shortTime(row.updatedAt)} · ${count}`;
    this.#foot.title = `Written ${fullTime(row.createdAt)}, edited ${fullTime(row.updatedAt)}`;
  }

  #describeArchive(isArchived: boolean): void {
    const label = isArchived ? "Take out of the archive" : "Archive";
    if (this.#archive.title === label) return;
    this.#archive.title = label;
    this.#archive.setAttribute("aria-label", label);
    this.#archive.replaceChildren(icon(isArchived ? "unarchive" : "archive"));
  }

  #toggleFavorite(): void {
    const row = this.#workspace.library.get(this.#id);
    if (row) void this.#actions.favorite([row], !row.isFavorite);
  }

  #toggleArchived(): void {
    const row = this.#workspace.library.get(this.#id);
    if (row) void this.#actions.archive([row], !row.isArchived);
  }

  #delete(): void {
    const row = this.#workspace.library.get(this.#id);
    if (row) void this.#actions.delete([row]);
  }

  #warn(text: string): void {
    if (this.#banner.dataset.text === text) return; // read out once
    this.#banner.dataset.text = text;
    const copy = h(
      "button",
      { class: "button", on: { click: () => void this.#copy() } },
      icon("copy"),
      "Copy text",
    );
    this.#banner.replaceChildren(icon("alert"), h("p", {}, text), copy);
  }

  async #copy(): Promise<void> {
    if (!this.#document) return;
    const { title, text } = draftOf(this.#document);
    try {
      await navigator.clipboard.writeText(`${title}\n\n${text}`);
      this.#toasts.show("The text is on the clipboard.");
    } catch {
      this.#toasts.show("The browser didn't allow copying. Select the text instead.", "error");
    }
  }

  #skeleton(): void {
    const line = (name: string) => h("div", { class: `skeleton ${name}` });
    this.#page.replaceChildren(line("skeleton-title"), line(""), line(""), line("skeleton-short"));
  }

  #absent(): void {
    this.#page.replaceChildren(
      h(
        "div",
        { class: "empty" },
        icon("offline"),
        h("p", { class: "empty-title" }, "Not on this device yet"),
        h("p", {}, "This memory appears here as soon as you are back online."),
      ),
    );
  }
}

function isEmpty(document: MemoryDocument): boolean {
  return encodeStateVector(document.doc).length <= 1;
}
