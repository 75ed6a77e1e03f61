import type { File as StoredFile } from "@memory-app/client";
import { isImage, type Attachments } from "../attachments";
import { size } from "../bytes";
import { h } from "../dom";
import { icon } from "../icons";
import type { Members } from "../members";
import { sentence } from "../refusal";
import { fullTime } from "../time";
import { ask } from "./dialog";
import { openSheet } from "./sheet";
import type { Toasts } from "./toast";

/** A file in full, with what can be done to it. */
export class Viewer {
  #attachments: Attachments;
  #members: Members;
  #toasts: Toasts;

  constructor(attachments: Attachments, members: Members, toasts: Toasts) {
    this.#attachments = attachments;
    this.#members = members;
    this.#toasts = toasts;
  }

  open(file: StoredFile): void {
    const stage = h("div", { class: "viewer-stage" }, icon("spinner"));
    const actions = h("div", { class: "viewer-actions" });
    const who = `${this.#members.name(file.userId)} · ${fullTime(file.createdAt)}`;
    const facts = h("p", { class: "viewer-facts" }, `${size(file.fileSize)} · ${who}`);
    const foot = h("footer", { class: "viewer-foot" }, facts, actions);
    const content = h("div", { class: "viewer-content" }, stage, foot);
    const sheet = openSheet(file.filename, "viewer", content, () => undefined);
    if (this.#members.isMe(file.userId)) {
      actions.append(
        h(
          "button",
          { class: "button", on: { click: () => void this.#remove(file, sheet.close) } },
          icon("trash"),
          "Remove",
        ),
      );
    }
    void this.#show(file, stage, actions);
  }

  async #show(file: StoredFile, stage: HTMLElement, actions: HTMLElement): Promise<void> {
    let url: string;
    try {
      url = await this.#attachments.url(file.id);
    } catch (error) {
      stage.replaceChildren(icon("alert"), h("p", {}, sentence(error)));
      return;
    }
    stage.replaceChildren(display(file, url));
    const link = { href: url, class: "button", rel: "noopener" };
    if (/^application\/pdf$/.test(file.fileType) || isImage(file)) {
      actions.prepend(h("a", { ...link, target: "_blank" }, icon("eye"), "Open in a tab"));
    }
    actions.prepend(
      h(
        "a",
        { ...link, class: "button button-primary", download: file.filename },
        icon("download"),
        "Download",
      ),
    );
  }

  async #remove(file: StoredFile, close: () => void): Promise<void> {
    const sure = await ask({
      title: `Remove “${file.filename}”?`,
      text: "It goes away for everyone who sees this memory.",
      confirm: "Remove",
    });
    if (!sure) return;
    try {
      await this.#attachments.remove(file.id);
      this.#toasts.show(`“${file.filename}” was removed.`);
      close();
    } catch (error) {
      this.#toasts.show(sentence(error), "error");
    }
  }
}

function display(file: StoredFile, url: string): HTMLElement {
  if (isImage(file)) {
    const broken = () => image.replaceWith(h("p", {}, "This picture can't be shown here."));
    const image = h("img", { src: url, alt: file.filename, on: { error: broken } });
    return image;
  }
  if (file.fileType.startsWith("video/")) return h("video", { src: url, controls: true });
  if (file.fileType.startsWith("audio/")) return h("audio", { src: url, controls: true });
  return h("div", { class: "viewer-plain" }, icon("file"), h("p", {}, "Download it to see it."));
}
