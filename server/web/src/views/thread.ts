import type { MemoryDocument, Message, ThreadMessage } from "@memory-app/client";
import type { Attachments } from "../attachments";
import { h } from "../dom";
import { icon } from "../icons";
import type { Members, Role } from "../members";
import { CommentPen, DocumentPen, type Pen } from "../pen";
import { sentence } from "../refusal";
import type { Workspace } from "../workspace";
import { Composer } from "./composer";
import { ask } from "./dialog";
import { MessageView, type Frame } from "./message";
import { spotlight } from "./spotlight";
import type { Toasts } from "./toast";
import type { Viewer } from "./viewer";

const AT_FIRST = 50;
const MORE = 100;
const LOOK_MS = 250; // after the last change, what the server says of the messages is asked
const KNOWN_AT_MOST = 100;
const AROUND = 20; // messages shown before one that is gone to

/** The thread of a memory: its messages, and where the next one is written. */
export class ThreadView {
  readonly element: HTMLElement;
  #workspace: Workspace;
  #memory: MemoryDocument;
  #members: Members;
  #attachments: Attachments;
  #viewer: Viewer;
  #toasts: Toasts;
  #role: Role = "viewer";
  #pen: Pen | undefined;
  #views = new Map<string, MessageView>();
  #known = new Map<string, Message>();
  #shown = AT_FIRST;
  #readTo: string | null;
  #reading = false;
  #marked = "";
  #look: ReturnType<typeof setTimeout> | undefined;
  #list = h("ol", { class: "messages", "aria-label": "Messages" });
  #divider = h(
    "li",
    {},
    h("div", { class: "unread", role: "separator" }, h("span", {}, "New")),
  );
  #earlier: HTMLButtonElement;
  #none = h("p", { class: "section-none" });
  #only = h("p", { class: "thread-only" }, icon("eye"), h("span"));
  #end = h("div", { class: "thread-end" });
  #composer: Composer;
  #watch: IntersectionObserver;
  #unsubscribe: (() => void)[];
  #stop = new AbortController();
  #closed = false;
  /** A message to go to, which is not here yet. */
  #goal: string | undefined;
  #unlight = () => undefined as void;

  constructor(
    workspace: Workspace,
    memory: MemoryDocument,
    members: Members,
    attachments: Attachments,
    viewer: Viewer,
    toasts: Toasts,
  ) {
    this.#workspace = workspace;
    this.#memory = memory;
    this.#members = members;
    this.#attachments = attachments;
    this.#viewer = viewer;
    this.#toasts = toasts;
    this.#readTo = workspace.library.get(memory.memoryId)?.lastReadAt ?? null;
    this.#composer = new Composer(workspace.uploads, () => this.#sent());
    this.#earlier = h(
      "button",
      {
        class: "button thread-earlier",
        on: {
          click: () => {
            this.#shown += MORE;
            this.#render();
          },
        },
      },
      "Show earlier messages",
    );
    this.element = h(
      "section",
      { class: "section thread", "aria-label": "Thread" },
      h("header", { class: "section-head" }, h("h2", {}, "Thread")),
      this.#earlier,
      this.#list,
      this.#none,
      this.#end,
      this.#only,
      this.#composer.element,
    );
    this.#watch = new IntersectionObserver(([entry]) => {
      this.#reading = entry?.isIntersecting ?? false;
      void this.#markRead();
    });
    this.#watch.observe(this.#end);
    const { signal } = this.#stop;
    document.addEventListener("visibilitychange", () => void this.#markRead(), { signal });
    this.#unsubscribe = [
      memory.messages.observe(() => this.#changed()),
      members.on("changed", () => this.#render()),
      attachments.on("changed", () => this.#render()),
      workspace.client.on("status", () => this.#changed()),
      workspace.client.on("event", (event) => {
        const mine = event.name === "feed.changed" && event.body.memoryId === memory.memoryId;
        if (mine) this.#ask();
      }),
    ];
    this.#changed();
  }

  /** What this account may do here. `writable`: its document takes edits. */
  setRole(role: Role, writable: boolean): void {
    const { client, user } = this.#workspace;
    const kind = writable ? "document" : role === "commenter" ? "comment" : "none";
    if (this.element.dataset.pen !== kind || this.#role !== role) {
      this.element.dataset.pen = kind;
      this.#role = role;
      this.#pen =
        kind === "document"
          ? new DocumentPen(this.#memory, user)
          : kind === "comment"
            ? new CommentPen(client, this.#memory.memoryId)
            : undefined;
      this.#composer.setPen(this.#pen);
      this.#only.hidden = this.#pen !== undefined;
      const reads = "You can read this thread, not write in it.";
      this.#only.lastElementChild!.textContent =
        role === "viewer" ? reads : "Nothing can be added now.";
      this.#render();
    }
  }

  attach(files: readonly File[]): void {
    if (this.#pen) this.#composer.attach(files);
  }

  /** Goes to the first unread message, or to the end. */
  go(): void {
    const unread = this.#divider.isConnected;
    const end = this.#pen ? this.#composer.element : this.#end;
    const goal = unread ? this.#divider : end;
    goal.scrollIntoView({ block: unread ? "center" : "end", behavior: "smooth" });
    if (this.#pen && !matchMedia("(pointer: coarse)").matches) this.#composer.focus();
  }

  /** Goes to a message; to one that has yet to come from the server when it is there. */
  show(id: string): void {
    this.#goal = undefined;
    if (this.#jump(id)) return;
    this.#goal = id;
    void this.#memory.synced.then(() => {
      if (this.#closed || this.#goal !== id) return;
      this.#goal = undefined;
      this.#toasts.show("This message is no longer there.");
    });
  }

  destroy(): void {
    this.#closed = true;
    this.#unlight();
    clearTimeout(this.#look);
    this.#stop.abort();
    this.#watch.disconnect();
    this.#composer.destroy();
    for (const stop of this.#unsubscribe) stop();
  }

  #changed(): void {
    this.#render();
    this.#ask();
  }

  #sent(): void {
    this.#composer.element.scrollIntoView({ block: "nearest" });
  }

  #render(): void {
    const all = this.#memory.messages.list();
    const byId = new Map(all.map((message) => [message.id, message]));
    const window = all.slice(-this.#shown);
    this.#earlier.hidden = window.length === all.length;
    this.#none.hidden = all.length > 0;
    const invitation = this.#pen ? " Say something about this memory." : "";
    this.#none.textContent = `No messages yet.${invitation}`;
    const unread = window.find((message) => this.#isUnread(message));
    const nodes: Element[] = [];
    for (const message of window) {
      if (message === unread) nodes.push(this.#divider);
      nodes.push(this.#view(message, byId).element);
    }
    for (const [id, view] of this.#views) {
      if (byId.has(id)) continue;
      view.element.remove();
      this.#views.delete(id);
    }
    // Only what moved is moved: a field that is written in must keep its focus.
    nodes.forEach((node, index) => {
      const there = this.#list.children[index];
      if (there !== node) this.#list.insertBefore(node, there ?? null);
    });
    while (this.#list.childElementCount > nodes.length) this.#list.lastElementChild!.remove();
    if (this.#goal !== undefined && byId.has(this.#goal)) this.show(this.#goal);
  }

  #view(message: ThreadMessage, byId: Map<string, ThreadMessage>): MessageView {
    const author = this.#author(message);
    const mine = this.#members.isMe(author);
    const parent = message.parentMessageId ? byId.get(message.parentMessageId) : undefined;
    const frame: Frame = {
      author,
      parent,
      parentAuthor: parent ? this.#author(parent) : null,
      pen: this.#pen,
      mayEdit: this.#pen !== undefined && mine,
      mayDelete: this.#pen !== undefined && (mine || this.#role === "owner"),
    };
    const known = this.#views.get(message.id);
    if (known) {
      known.show(message, frame);
      return known;
    }
    const view = new MessageView(message, frame, this.#members, this.#attachments, this.#viewer, {
      reply: (id) => this.#reply(id),
      remove: (id) => void this.#remove(id),
      jump: (id) => void this.#jump(id, true),
      failed: (error) => this.#toasts.show(sentence(error), "error"),
    });
    this.#views.set(message.id, view);
    return view;
  }

  /** What the server knows of the log goes before what the document claims. */
  #author(message: ThreadMessage): string | null {
    const known = this.#known.get(message.id);
    return known ? known.userId : message.userId;
  }

  #isUnread(message: ThreadMessage): boolean {
    if (this.#members.isMe(this.#author(message))) return false;
    const received = this.#known.get(message.id)?.receivedAt ?? message.createdAt;
    return this.#readTo === null || received > this.#readTo;
  }

  #reply(id: string): void {
    const message = this.#memory.messages.get(id);
    if (message) this.#composer.reply(message, this.#members.name(this.#author(message)));
  }

  /** Brings a message into sight. Whether it is there. */
  #jump(id: string, focus = document.activeElement === document.body): boolean {
    if (!this.#views.get(id)?.element.isConnected) {
      const all = this.#memory.messages.list();
      const at = all.findIndex((message) => message.id === id);
      if (at < 0) return false;
      this.#shown = Math.max(this.#shown, all.length - at + AROUND);
      this.#render();
    }
    const { element } = this.#views.get(id)!;
    this.#unlight();
    this.#unlight = spotlight(element, this.element.closest<HTMLElement>(".page") ?? this.element);
    if (focus) element.focus({ preventScroll: true });
    return true;
  }

  async #remove(id: string): Promise<void> {
    const sure = await ask({
      title: "Delete this message?",
      text: "It goes away for everyone. Replies to it stay.",
      confirm: "Delete",
    });
    if (!sure) return;
    await this.#pen?.remove(id).catch((error: unknown) => {
      this.#toasts.show(sentence(error), "error");
    });
  }

  /** Asks, soon, whose the newest messages are and when the server got them. */
  #ask(): void {
    clearTimeout(this.#look);
    this.#look = setTimeout(() => void this.#learn(), LOOK_MS);
  }

  async #learn(): Promise<void> {
    const { client } = this.#workspace;
    if (client.status !== "online" || this.#memory.sync.state === "refused") return;
    try {
      const body = { memoryId: this.#memory.memoryId, limit: KNOWN_AT_MOST };
      const { messages } = await client.call("messages.list", body);
      if (this.#closed) return;
      for (const message of messages) this.#known.set(message.id, message);
    } catch {
      return; // asked again with the next change
    }
    this.#render();
    void this.#markRead();
  }

  /** What is seen is read: the end of the thread in sight, on a page that is looked at. */
  async #markRead(): Promise<void> {
    const visible = document.visibilityState === "visible" && this.#reading;
    if (!visible || this.#workspace.client.status !== "online") return;
    const row = this.#workspace.library.get(this.#memory.memoryId);
    let newest: Message | undefined;
    for (const message of this.#known.values()) {
      if (!newest || message.receivedAt > newest.receivedAt) newest = message;
    }
    if (!row || !newest || newest.id === this.#marked) return;
    if (row.lastReadAt !== null && newest.receivedAt <= row.lastReadAt) return;
    this.#marked = newest.id;
    const body = { memoryId: this.#memory.memoryId, messageId: newest.id };
    await this.#workspace.client.call("messages.markRead", body).catch(() => {
      this.#marked = "";
    });
  }
}
