import type { Attachments } from "../attachments";
import { h } from "../dom";
import { icon } from "../icons";
import type { Upload, Uploads } from "../uploads";
import { fileCard, pickFiles } from "./filecard";
import { uploadRow } from "./uploadrow";
import type { Viewer } from "./viewer";

/** The files of a memory, and those on their way to it. */
export class FilesView {
  readonly element: HTMLElement;
  #attachments: Attachments;
  #uploads: Uploads;
  #viewer: Viewer;
  #memoryId: string;
  #grid = h("ul", { class: "file-grid" });
  #list = h("ul", { class: "upload-list", "aria-label": "Uploads" });
  #add: HTMLButtonElement;
  #rows = new Map<Upload, { element: HTMLElement; stop: () => void }>();
  #drawn = "";
  #writable = false;
  #unsubscribe: (() => void)[];

  constructor(attachments: Attachments, uploads: Uploads, viewer: Viewer, memoryId: string) {
    this.#attachments = attachments;
    this.#uploads = uploads;
    this.#viewer = viewer;
    this.#memoryId = memoryId;
    this.#add = h(
      "button",
      { class: "button section-button", on: { click: () => this.choose() } },
      icon("plus"),
      "Add files",
    );
    this.element = h(
      "section",
      { class: "section files", "aria-label": "Files" },
      h("header", { class: "section-head" }, h("h2", {}, "Files"), this.#add),
      this.#grid,
      this.#list,
    );
    this.#unsubscribe = [
      attachments.on("changed", () => this.#render()),
      uploads.on("changed", (upload) => this.#follow(upload)),
    ];
    for (const upload of uploads.of(memoryId)) this.#follow(upload);
    this.#render();
  }

  setWritable(writable: boolean): void {
    this.#writable = writable;
    this.#render();
  }

  choose(): void {
    pickFiles((files) => this.add(files));
  }

  add(files: readonly File[]): void {
    for (const file of files) this.#uploads.add(file, this.#memoryId);
    this.element.scrollIntoView({ block: "nearest", behavior: "smooth" });
  }

  destroy(): void {
    for (const stop of this.#unsubscribe) stop();
    for (const { stop } of this.#rows.values()) stop();
  }

  #follow(upload: Upload): void {
    if (upload.memoryId !== this.#memoryId) return;
    if (upload.state === "done" || upload.state === "cancelled") {
      this.#forget(upload);
      if (upload.stored) this.#attachments.put(upload.stored);
    } else if (!this.#rows.has(upload)) {
      const row = uploadRow(upload, this.#uploads, () => this.#forget(upload));
      this.#rows.set(upload, row);
      this.#list.append(row.element);
      this.#render();
    }
  }

  #forget(upload: Upload): void {
    const row = this.#rows.get(upload);
    row?.stop();
    row?.element.remove();
    this.#rows.delete(upload);
    this.#render();
  }

  #render(): void {
    const files = [...this.#attachments.files.values()].filter((file) => file.messageId === null);
    this.#add.hidden = !this.#writable;
    this.#list.hidden = this.#rows.size === 0;
    this.#grid.hidden = files.length === 0;
    this.element.hidden = files.length === 0 && this.#rows.size === 0;
    const mark = files.map((file) => `${file.id} ${file.filename} ${file.hasThumbnail}`).join("\n");
    if (mark === this.#drawn) return;
    this.#drawn = mark;
    const cards = files.map((file) => fileCard(file.id, this.#attachments, this.#viewer));
    this.#grid.replaceChildren(...cards);
  }
}
