import type { File as StoredFile } from "@memory-app/client";
import type { Attachments } from "../attachments";
import { size } from "../bytes";
import { h } from "../dom";
import { icon, type IconName } from "../icons";
import type { Viewer } from "./viewer";

const signs: [type: RegExp, sign: IconName][] = [
  [/^image\//, "image"],
  [/^video\//, "film"],
  [/^audio\//, "music"],
];

/** A file as a card: its picture or sign, its name and size. Pressed, it opens. */
export function fileCard(id: string, attachments: Attachments, viewer: Viewer): HTMLElement {
  const file = attachments.files.get(id);
  if (!file) {
    const what = attachments.loaded ? "A file that was removed" : "A file";
    return h("li", { class: "file" }, h("div", { class: "file-open" }, sign("file"), label(what)));
  }
  const open = h(
    "button",
    {
      class: "file-open",
      on: { click: () => viewer.open(file) },
    },
    sign(signs.find(([type]) => type.test(file.fileType))?.[1] ?? "file"),
    label(file.filename, size(file.fileSize), h("span", { class: "unseen" }, "Open ")),
  );
  const card = h("li", { class: "file", title: file.filename }, open);
  if (file.hasThumbnail) void picture(file, attachments, open);
  return card;
}

async function picture(
  file: StoredFile,
  attachments: Attachments,
  open: HTMLElement,
): Promise<void> {
  try {
    const image = h("img", { class: "file-picture", alt: "", draggable: "false" });
    image.src = await attachments.url(file.id, true);
    await image.decode();
    open.querySelector(".file-sign")?.replaceWith(image);
  } catch {
    // Its sign stays: the picture can't be had now.
  }
}

function sign(name: IconName): HTMLElement {
  return h("span", { class: "file-sign" }, icon(name));
}

function label(name: string, bytes?: string, does?: HTMLElement): HTMLElement {
  return h(
    "span",
    { class: "file-label" },
    h("strong", {}, does, name),
    bytes ? h("span", {}, bytes) : null,
  );
}

/** Has files chosen. */
export function pickFiles(picked: (files: File[]) => void): void {
  const input = h("input", {
    type: "file",
    multiple: true,
    on: { change: () => picked([...(input.files ?? [])]) },
  });
  input.click();
}
