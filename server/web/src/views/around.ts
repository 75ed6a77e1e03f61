import type { MemoryDocument } from "@memory-app/client";
import { Attachments } from "../attachments";
import { h } from "../dom";
import { icon, type IconName } from "../icons";
import { Members, type Role } from "../members";
import type { Row } from "../row";
import type { Workspace } from "../workspace";
import { FilesView } from "./files";
import { HistoryView } from "./history";
import { SharingView } from "./sharing";
import { ThreadView } from "./thread";
import type { Toasts } from "./toast";
import { Viewer } from "./viewer";

/**
 * What stands around a memory's body: its files and its thread below it, and the ways to its
 * members and its history. Files dropped or pasted anywhere on `page` come here.
 */
export class Around {
  readonly tools: HTMLElement;
  readonly files: FilesView;
  readonly thread: ThreadView;
  #workspace: Workspace;
  #memoryId: string;
  #members: Members;
  #attachments: Attachments;
  #page: HTMLElement;
  #count = h("span");
  #badge = h(
    "span",
    { class: "tool-badge", hidden: true },
    h("span", { class: "unseen" }, ", "),
    this.#count,
    h("span", { class: "unseen" }, " unread"),
  );
  #talk: HTMLButtonElement;
  #add: HTMLButtonElement;
  #share: HTMLButtonElement;
  #told: Role | undefined;
  #writable = false;
  #stop = new AbortController();
  #unsubscribe: (() => void)[];

  /** `changed` is called when the role is another one. */
  constructor(
    workspace: Workspace,
    toasts: Toasts,
    memory: MemoryDocument,
    page: HTMLElement,
    changed: () => void,
  ) {
    const { client, user, uploads } = workspace;
    const { memoryId } = memory;
    this.#workspace = workspace;
    this.#memoryId = memoryId;
    this.#page = page;
    this.#members = new Members(client, user, memoryId);
    this.#attachments = new Attachments(client, memoryId);
    const viewer = new Viewer(this.#attachments, this.#members, toasts);
    this.files = new FilesView(this.#attachments, uploads, viewer, memoryId);
    this.thread = new ThreadView(
      workspace,
      memory,
      this.#members,
      this.#attachments,
      viewer,
      toasts,
    );
    this.#share = tool("Share", "users", () =>
      SharingView.open(workspace, this.#members, toasts, memoryId, () => this.role),
    );
    this.#add = tool("Files", "clip", () => this.files.choose());
    this.#talk = tool("Thread", "chat", () => this.thread.go());
    this.#talk.append(this.#badge);
    const past = tool("History", "history", () => {
      new HistoryView(client, this.#members, toasts, memoryId, this.role, this.#writable);
    });
    this.tools = h("nav", { class: "memory-tools", "aria-label": "This memory" });
    this.tools.append(this.#talk, this.#add, past, this.#share);
    this.#unsubscribe = [
      client.on("event", (event) => {
        if (event.name !== "sharing.changed" || event.body.memoryId !== memoryId) return;
        this.#told = event.body.role;
        changed();
      }),
    ];
    this.#takeFiles();
  }

  /** What this account is here: told by the connection at once, by the list a moment later. */
  get role(): Role {
    const row = this.#workspace.library.get(this.#memoryId);
    return this.#told ?? row?.role ?? (this.#writable ? "editor" : "viewer");
  }

  update(row: Row | undefined, writable: boolean): void {
    if (row?.role === this.#told) this.#told = undefined;
    this.#writable = writable;
    this.files.setWritable(writable);
    this.thread.setRole(this.role, writable);
    this.#add.hidden = !writable;
    this.#share.hidden = row === undefined;
    const unread = row?.unreadCount ?? 0;
    this.#badge.hidden = unread === 0;
    const count = unread >= 100 ? "99+" : String(unread);
    if (this.#count.textContent !== count) this.#count.textContent = count;
  }

  destroy(): void {
    this.#stop.abort();
    for (const stop of this.#unsubscribe) stop();
    this.files.destroy();
    this.thread.destroy();
    this.#members.destroy();
    this.#attachments.destroy();
  }

  #takeFiles(): void {
    const { signal } = this.#stop;
    let over = 0; // each element below reports its own entering and leaving
    const show = (change: number) => {
      over = Math.max(0, over + change);
      this.#page.classList.toggle("dropping", over > 0);
    };
    const carries = (event: DragEvent) => event.dataTransfer?.types.includes("Files") ?? false;
    const enter = (event: DragEvent) => carries(event) && show(1);
    const leave = (event: DragEvent) => carries(event) && show(-1);
    const hover = (event: DragEvent) => carries(event) && event.preventDefault();
    const drop = (event: DragEvent) => {
      if (!carries(event)) return;
      event.preventDefault();
      event.stopPropagation();
      show(-over);
      this.#take(event.target, [...(event.dataTransfer?.files ?? [])]);
    };
    const paste = (event: ClipboardEvent) => {
      const files = [...(event.clipboardData?.files ?? [])];
      // A table's or a page's copy has a picture beside its text: the text is meant.
      if (files.length === 0 || event.clipboardData?.types.includes("text/plain")) return;
      event.preventDefault();
      event.stopPropagation();
      this.#take(event.target, files);
    };
    // Before the editor, which would read a dropped file as text.
    this.#page.addEventListener("dragenter", enter, { signal });
    this.#page.addEventListener("dragleave", leave, { signal });
    this.#page.addEventListener("dragover", hover, { signal, capture: true });
    this.#page.addEventListener("drop", drop, { signal, capture: true });
    this.#page.addEventListener("paste", paste, { signal, capture: true });
  }

  #take(target: EventTarget | null, files: readonly File[]): void {
    if (files.length === 0) return;
    const onThread = target instanceof Node && this.thread.element.contains(target);
    if (onThread || !this.#writable) this.thread.attach(files);
    else this.files.add(files);
  }
}

function tool(label: string, sign: IconName, click: () => void): HTMLButtonElement {
  return h(
    "button",
    { class: "tool", title: label, on: { click } },
    icon(sign),
    h("span", { class: "tool-label" }, label),
  );
}
