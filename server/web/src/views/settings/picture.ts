import { MemoError } from "@memory-app/client";
import type { MemoryClient } from "@memory-app/client";
import { h } from "../../dom";
import { pictureAt, pictureOf } from "../../profile";
import { sentence } from "../../refusal";
import { Face } from "../face";
import type { Context } from "./section";

const SIDE = 256; // pixels
const NAME = "avatar.jpg";

/** The account's picture, and buttons to change it. */
export function picture(context: Context): HTMLElement {
  const { client, profile, session, signal } = context;
  const face = new Face(client, "avatar-large");
  const outcome = h("span", { class: "action-outcome", role: "status", "data-failed": "true" });
  const input = h("input", { type: "file", accept: "image/*", "aria-label": "Picture" });
  const choose = h("label", { class: "button picture-choose" }, "Choose a picture", input);
  const remove = h("button", { class: "button", type: "button" }, "Remove the picture");
  const show = () => {
    face.show(profile.user);
    remove.hidden = profile.user.avatarUrl === null;
  };
  const change = async (make: () => Promise<string | null>) => {
    outcome.textContent = "";
    input.disabled = remove.disabled = true;
    try {
      const before = pictureOf(profile.user.avatarUrl);
      await profile.update({ avatarUrl: await make() });
      if (before) await forget(client, before);
    } catch (error) {
      if (!(error instanceof MemoError)) throw error;
      outcome.textContent = sentence(error);
    } finally {
      input.disabled = remove.disabled = false;
      input.value = "";
    }
  };
  input.addEventListener("change", () => {
    const [file] = input.files ?? [];
    if (!file) return;
    void change(async () => {
      const bytes = await square(file);
      const stored = await session.api.upload(await session.getToken(), bytes, NAME);
      return pictureAt(stored.id);
    });
  });
  remove.addEventListener("click", () => void change(() => Promise.resolve(null)));
  show();
  signal.addEventListener("abort", profile.on("changed", show));
  return h(
    "div",
    { class: "picture" },
    face.element,
    h("div", { class: "panel-actions" }, choose, remove, outcome),
  );
}

/** The middle of an image, small: a picture of many megabytes would be as much for each look. */
async function square(file: File): Promise<Blob> {
  let image: ImageBitmap;
  try {
    image = await createImageBitmap(file);
  } catch {
    throw new MemoError("invalid_request", "This browser can't read that file as a picture.");
  }
  const side = Math.min(image.width, image.height);
  const canvas = h("canvas", { width: SIDE, height: SIDE });
  const paper = canvas.getContext("2d")!;
  paper.fillStyle = "#fff"; // behind what is see-through: JPEG has none of that
  paper.fillRect(0, 0, SIDE, SIDE);
  const [left, top] = [(image.width - side) / 2, (image.height - side) / 2];
  paper.drawImage(image, left, top, side, side, 0, 0, SIDE, SIDE);
  image.close();
  return new Promise((resolve, reject) => {
    const made = (blob: Blob | null) =>
      blob ? resolve(blob) : reject(new MemoError("invalid_request", "It can't be made smaller."));
    canvas.toBlob(made, "image/jpeg", 0.9);
  });
}

/** Frees what a picture took that was made here; a file that is used elsewhere stays. */
async function forget(client: MemoryClient, id: string): Promise<void> {
  try {
    const { file } = await client.call("files.get", { id });
    if (file.filename === NAME && !file.memoryId) await client.call("files.delete", { id });
  } catch (error) {
    if (!(error instanceof MemoError)) throw error; // it stays, for a few kilobytes
  }
}
