import type { ThreadMessage } from "@memory-app/client";
import type { Attachments } from "../attachments";
import { h } from "../dom";
import { icon } from "../icons";
import type { Members } from "../members";
import type { Pen } from "../pen";
import { fullTime, shortTime } from "../time";
import { memberFace } from "./face";
import { fileCard } from "./filecard";
import type { Viewer } from "./viewer";

const LENGTH_AT_MOST = 10_000;

/** What a message is shown with, and what may be done to it. */
export interface Frame {
  author: string | null;
  parent: ThreadMessage | undefined;
  parentAuthor: string | null;
  pen: Pen | undefined;
  mayEdit: boolean;
  mayDelete: boolean;
}

export interface MessageActions {
  reply: (id: string) => void;
  remove: (id: string) => void;
  jump: (id: string) => void;
  failed: (error: unknown) => void;
}

/** One message of a thread. It is drawn afresh when it changes, but not while it is edited. */
export class MessageView {
  readonly element = h("li", { class: "message", tabindex: "-1" });
  #actions: MessageActions;
  #members: Members;
  #attachments: Attachments;
  #viewer: Viewer;
  #message: ThreadMessage;
  #frame: Frame;
  #drawn = "";
  #field: HTMLTextAreaElement | undefined;

  constructor(
    message: ThreadMessage,
    frame: Frame,
    members: Members,
    attachments: Attachments,
    viewer: Viewer,
    actions: MessageActions,
  ) {
    this.#message = message;
    this.#frame = frame;
    this.#members = members;
    this.#attachments = attachments;
    this.#viewer = viewer;
    this.#actions = actions;
    this.element.dataset.id = message.id;
    this.show(message, frame);
  }

  show(message: ThreadMessage, frame: Frame): void {
    const before = this.#message.content;
    this.#message = message;
    this.#frame = frame;
    if (this.#field && frame.mayEdit) {
      if (frame.pen?.live && message.content !== before) this.#merge(message.content);
      return;
    }
    this.#field = undefined;
    this.#draw();
  }

  #draw(): void {
    const { author, parent, parentAuthor, mayEdit, mayDelete, pen } = this.#frame;
    const { content, createdAt, attachments } = this.#message;
    const name = this.#members.name(author);
    const files = attachments.map((id) => this.#attachments.files.get(id));
    const mark = [
      name, this.#members.picture(author), content, createdAt, mayEdit, mayDelete, Boolean(pen),
      this.#message.parentMessageId, parent?.content, this.#members.name(parentAuthor),
      ...attachments, ...files.map((file) => `${file?.filename} ${file?.hasThumbnail}`),
    ].join("\u0000");
    if (mark === this.#drawn) return;
    this.#drawn = mark;
    const time = Number.isNaN(Date.parse(createdAt))
      ? null
      : h("time", { datetime: createdAt, title: fullTime(createdAt) }, shortTime(createdAt));
    this.element.replaceChildren(
      memberFace(this.#members, author),
      h(
        "div",
        { class: "message-main" },
        h("p", { class: "message-head" }, h("strong", {}, name), time),
        this.#message.parentMessageId !== null && this.#quote(),
        content ? h("p", { class: "message-text", dir: "auto" }, content) : null,
        attachments.length > 0 &&
          h(
            "ul",
            { class: "file-grid message-files" },
            ...attachments.map((id) => fileCard(id, this.#attachments, this.#viewer)),
          ),
      ),
      this.#tools(name),
    );
  }

  #quote(): HTMLElement {
    const { parent, parentAuthor } = this.#frame;
    if (!parent) return h("p", { class: "message-quote" }, icon("reply"), "A deleted message");
    return h(
      "button",
      {
        class: "message-quote",
        title: "Go to this message",
        on: { click: () => this.#actions.jump(parent.id) },
      },
      icon("reply"),
      h("strong", {}, this.#members.name(parentAuthor)),
      h("span", {}, parent.content.slice(0, 120) || "a file"),
    );
  }

  #tools(name: string): HTMLElement {
    const { id } = this.#message;
    const { pen, mayEdit, mayDelete } = this.#frame;
    const tool = (label: string, sign: "reply" | "pencil" | "trash", click: () => void) =>
      h(
        "button",
        { class: "icon-button", title: label, "aria-label": label, on: { click } },
        icon(sign),
      );
    const tools = h("div", { class: "message-tools", role: "group" });
    tools.setAttribute("aria-label", `Message of ${name}`);
    if (pen) tools.append(tool("Reply", "reply", () => this.#actions.reply(id)));
    if (mayEdit) tools.append(tool("Edit message", "pencil", () => this.#edit()));
    if (mayDelete) tools.append(tool("Delete message", "trash", () => this.#actions.remove(id)));
    return tools;
  }

  #edit(): void {
    const field = h("textarea", {
      class: "message-field",
      "aria-label": "Edit message",
      maxlength: LENGTH_AT_MOST,
      rows: 1,
      on: {
        input: () => {
          fit(field);
          if (this.#frame.pen?.live && field.value.trim()) this.#write(field.value);
        },
        keydown: (event) => {
          if (event.isComposing) return;
          const done = event.key === "Enter" && !event.shiftKey;
          if (!done && event.key !== "Escape") return;
          event.preventDefault();
          event.stopPropagation();
          if (done || this.#frame.pen?.live) this.#done();
          else this.#leave();
        },
      },
    });
    field.value = this.#message.content;
    this.#field = field;
    const done = h("button", { class: "button", on: { click: () => this.#done() } }, "Done");
    const text = this.element.querySelector(".message-text");
    const editor = h("div", { class: "message-editor" }, field, done);
    if (text) text.replaceWith(editor);
    else this.element.querySelector(".message-main")?.append(editor);
    this.element.querySelector(".message-tools")?.replaceChildren();
    fit(field);
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }

  /** Takes in what others write meanwhile; the caret keeps its place in the text. */
  #merge(content: string): void {
    const field = this.#field!;
    const old = field.value;
    if (old === content) return;
    let same = 0;
    while (same < old.length && old[same] === content[same]) same += 1;
    const moved = (at: number) =>
      at <= same ? at : Math.max(same, at + content.length - old.length);
    const [start, end] = [moved(field.selectionStart), moved(field.selectionEnd)];
    field.value = content;
    field.setSelectionRange(start, end);
    fit(field);
  }

  #write(content: string): void {
    const { id } = this.#message;
    this.#frame.pen?.edit(id, content).catch((error: unknown) => this.#actions.failed(error));
  }

  #done(): void {
    const content = this.#field?.value.trim() ? this.#field.value : this.#message.content;
    if (content !== this.#message.content) this.#write(content);
    this.#message = { ...this.#message, content };
    this.#leave();
  }

  #leave(): void {
    this.#field = undefined;
    this.#drawn = "";
    this.#draw();
    this.element.focus();
  }
}

/** As high as its lines. */
export function fit(field: HTMLTextAreaElement): void {
  field.style.height = "0";
  field.style.height = `${field.scrollHeight}px`;
}
