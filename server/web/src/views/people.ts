import type { MemoryDocument, User } from "@memory-app/client";
import { h } from "../dom";
import { initials, peers } from "../presence";

const AT_MOST = 4;

/** Who else has this memory open, as a row of avatars. */
export class People {
  readonly element = h("ul", { class: "people", "aria-label": "Also here" });
  #document: MemoryDocument;
  #user: User;
  #changed = () => this.#render();

  constructor(document: MemoryDocument, user: User) {
    this.#document = document;
    this.#user = user;
    document.awareness.on("change", this.#changed);
    this.#render();
  }

  destroy(): void {
    this.#document.awareness.off("change", this.#changed);
  }

  #render(): void {
    const here = peers(this.#document, this.#user);
    const avatars = here.slice(0, AT_MOST).map((peer) => {
      const label = peer.isMe ? `${peer.name} (you, on another device)` : peer.name;
      const avatar = h("span", { class: `avatar peer-${peer.color}`, role: "img", title: label });
      avatar.setAttribute("aria-label", label);
      avatar.textContent = initials(peer.name);
      return h("li", {}, avatar);
    });
    const more = here.length - avatars.length;
    if (more > 0) avatars.push(h("li", {}, h("span", { class: "avatar" }, `+${more}`)));
    this.element.replaceChildren(...avatars);
  }
}
