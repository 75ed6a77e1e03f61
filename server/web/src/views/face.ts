import { MemoError } from "@memory-app/client";
import type { MemoryClient, User } from "@memory-app/client";
import { h } from "../dom";
import { initials, nameOf } from "../presence";

const OWN_FILES = "/api/files/";

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
    const id = fileOf(avatarUrl);
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

/** The id of the file that an avatar is. One of another server is not shown: it would be told. */
export function fileOf(avatarUrl: string | null): string | undefined {
  return avatarUrl?.startsWith(OWN_FILES) ? avatarUrl.slice(OWN_FILES.length) : undefined;
}

export function addressOf(fileId: string): string {
  return `${OWN_FILES}${fileId}`;
}
