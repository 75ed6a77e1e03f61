import { MemoError } from "@memory-app/client";
import type { MemoryClient, User } from "@memory-app/client";
import { h } from "../dom";
import { colorOf, type Members } from "../members";
import { COLORS, initials, nameOf } from "../presence";
import { pictureOf } from "../profile";

/** The signed-in account's picture, or its initials: without one, or as long as it is not there. */
export class Face {
  readonly element: HTMLElement;
  #client: MemoryClient;
  #shown: string | null | undefined;

  constructor(client: MemoryClient, look: string) {
    this.#client = client;
    this.element = h("span", { class: `avatar ${look}`, "aria-hidden": "true" });
  }

  show(user: User): void {
    const { avatarUrl } = user;
    const letters = initials(nameOf(user));
    if (avatarUrl && avatarUrl === this.#shown) return;
    this.#shown = undefined;
    this.element.textContent = letters;
    const id = pictureOf(avatarUrl);
    if (!id) return;
    this.#shown = avatarUrl;
    this.#load(id, avatarUrl!).catch((error: unknown) => {
      if (!(error instanceof MemoError)) throw error;
      if (this.#shown === avatarUrl) this.#shown = undefined; // the next time, then
    });
  }

  async #load(id: string, avatarUrl: string): Promise<void> {
    const { url } = await this.#client.call("files.url", { id });
    const picture = h("img", { src: url, alt: "" });
    picture.addEventListener("load", () => {
      if (this.#shown === avatarUrl) this.element.replaceChildren(picture);
    });
  }
}

/** Somebody's picture, or initials in a colour that is theirs everywhere. */
export function memberFace(members: Members, userId: string | null): HTMLElement {
  const look = `avatar peer-${colorOf(userId, COLORS)}`;
  const face = h("span", { class: look, "aria-hidden": "true" }, initials(members.name(userId)));
  const id = members.picture(userId);
  if (id) void show(face, members, id);
  return face;
}

async function show(face: HTMLElement, members: Members, id: string): Promise<void> {
  try {
    const picture = h("img", { src: await members.pictureUrl(id), alt: "" });
    await picture.decode();
    face.replaceChildren(picture);
  } catch {
    // The initials stay: the picture can't be had now.
  }
}
