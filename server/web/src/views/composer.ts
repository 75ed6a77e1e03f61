import type { ThreadMessage } from "@memory-app/client";
import { h } from "../dom";
import { icon } from "../icons";
import type { Pen } from "../pen";
import { sentence } from "../refusal";
import type { Upload, Uploads } from "../uploads";
import { pickFiles } from "./filecard";
import { fit } from "./message";
import { uploadRow } from "./uploadrow";

const LENGTH_AT_MOST = 10_000;
const FILES_AT_MOST = 5;

/** Where the next message of a thread is written. */
export class Composer {
  readonly element: HTMLElement;
  #uploads: Uploads;
  #pen: Pen | undefined;
  #field: HTMLTextAreaElement;
  #send: HTMLButtonElement;
  #quote = h("div", { class: "composer-quote", hidden: true });
  #files = h("ul", { class: "upload-list", "aria-label": "Attachments", hidden: true });
  #error = h("p", { class: "composer-error", role: "alert" });
  #attached: { upload: Upload; stop: () => void }[] = [];
  #parent: string | undefined;
  #sending = false;
  #sent: () => void;

  constructor(uploads: Uploads, sent: () => void) {
    this.#uploads = uploads;
    this.#sent = sent;
    this.#field = h("textarea", {
      class: "composer-field",
      rows: 1,
      placeholder: "Write a message",
      "aria-label": "Write a message",
      maxlength: LENGTH_AT_MOST,
      on: {
        input: () => {
          fit(this.#field);
          this.#update();
        },
        keydown: (event) => this.#key(event),
      },
    });
    this.#send = h(
      "button",
      {
        class: "icon-button composer-send",
        "aria-label": "Send",
        title: "Send",
        on: { click: () => void this.#submit() },
      },
      icon("send"),
    );
    // A button that took the focus would close a phone's keyboard, and move away from the finger.
    const keepFocus = (event: Event) => event.target !== this.#field && event.preventDefault();
    this.element = h(
      "div",
      { class: "composer", on: { mousedown: keepFocus } },
      this.#quote,
      this.#files,
      h(
        "div",
        { class: "composer-line" },
        h(
          "button",
          {
            class: "icon-button",
            "aria-label": "Attach files",
            title: "Attach files",
            on: { click: () => pickFiles((files) => this.attach(files)) },
          },
          icon("clip"),
        ),
        this.#field,
        this.#send,
      ),
      this.#error,
    );
    this.#update();
  }

  setPen(pen: Pen | undefined): void {
    this.#pen = pen;
    this.element.hidden = pen === undefined;
  }

  focus(): void {
    this.#field.focus();
  }

  reply(message: ThreadMessage, author: string): void {
    this.#parent = message.id;
    this.#quote.hidden = false;
    this.#quote.replaceChildren(
      icon("reply"),
      h("strong", {}, `Reply to ${author}`),
      h("span", {}, message.content.slice(0, 120) || "a file"),
      h(
        "button",
        {
          class: "icon-button",
          "aria-label": "No reply",
          on: { click: () => this.#unquote() },
        },
        icon("close"),
      ),
    );
    this.focus();
  }

  attach(files: readonly File[]): void {
    const room = FILES_AT_MOST - this.#attached.length;
    this.#error.textContent =
      files.length > room ? `A message takes at most ${FILES_AT_MOST} files.` : "";
    for (const file of files.slice(0, Math.max(0, room))) {
      const upload = this.#uploads.add(file);
      const { element, stop } = uploadRow(upload, this.#uploads, () => this.#detach(upload));
      this.#files.append(element);
      const unfollow = upload.on("changed", () => this.#update());
      this.#attached.push({
        upload,
        stop: () => {
          unfollow();
          stop();
          element.remove();
        },
      });
    }
    this.#update();
    this.focus();
  }

  /** What was attached and not sent is taken back. */
  destroy(): void {
    for (const { upload, stop } of this.#attached) {
      stop();
      this.#uploads.cancel(upload);
    }
  }

  #detach(upload: Upload): void {
    this.#attached.find((one) => one.upload === upload)?.stop();
    this.#attached = this.#attached.filter((one) => one.upload !== upload);
    this.#update();
  }

  #unquote(): void {
    this.#parent = undefined;
    this.#quote.hidden = true;
    this.#quote.replaceChildren();
  }

  #update(): void {
    this.#files.hidden = this.#attached.length === 0;
    const ready = this.#attached.every(({ upload }) => upload.state === "done");
    const something = this.#field.value.trim() !== "" || this.#attached.length > 0;
    this.#send.disabled = this.#sending || !ready || !something;
  }

  #key(event: KeyboardEvent): void {
    if (event.isComposing) return;
    const newLine = event.shiftKey || matchMedia("(pointer: coarse)").matches;
    if (event.key === "Enter" && !newLine) void this.#submit();
    else if (event.key === "Escape" && this.#parent) this.#unquote();
    else if (event.key === "Escape") this.#field.blur();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  async #submit(): Promise<void> {
    if (this.#send.disabled || !this.#pen) return;
    const files = this.#attached.flatMap(({ upload }) => upload.stored ?? []);
    const names = files.map((file) => file.filename).join(", ");
    const written = this.#field.value.trim();
    const images = files.every((file) => file.fileType.startsWith("image/"));
    this.#sending = true;
    this.#update();
    try {
      await this.#pen.add({
        content: written || names,
        messageType: written || files.length === 0 ? "text" : images ? "image" : "document",
        attachments: files.map((file) => file.id),
        ...(this.#parent && { parentMessageId: this.#parent }),
      });
      for (const { stop } of this.#attached) stop();
      this.#attached = [];
      if (this.#field.value.trim() === written) this.#field.value = "";
      this.#error.textContent = "";
      this.#unquote();
      fit(this.#field);
      this.#sent();
    } catch (error) {
      this.#error.textContent = `Not sent. ${sentence(error)}`;
    } finally {
      this.#sending = false;
      this.#update();
    }
  }
}
