import type { ReceivedInvitation } from "@memory-app/client";
import { h } from "../dom";
import { icon } from "../icons";
import { sentence } from "../refusal";
import type { Workspace } from "../workspace";
import type { Toasts } from "./toast";

const AT_MOST = 3;
const roles: Record<string, string> = {
  editor: "You could edit it.",
  commenter: "You could comment on it.",
  viewer: "You could read it.",
};

/** Invitations that wait for this account's answer, over the page until they are put off. */
export class Invitations {
  readonly element = h("ul", { class: "invitations", "aria-label": "Invitations for you" });
  #workspace: Workspace;
  #toasts: Toasts;
  #list: readonly ReceivedInvitation[] = [];
  #later = new Set<string>();
  #stop: (() => void)[];

  constructor(workspace: Workspace, toasts: Toasts) {
    this.#workspace = workspace;
    this.#toasts = toasts;
    const { client } = workspace;
    this.#stop = [
      client.on("status", (status) => status === "online" && void this.#load()),
      client.on("event", (event) => event.name === "sharing.invited" && void this.#load()),
    ];
    if (client.status === "online") void this.#load();
    this.#render();
  }

  destroy(): void {
    for (const stop of this.#stop) stop();
    this.element.remove();
  }

  async #load(): Promise<void> {
    try {
      const { invitations } = await this.#workspace.client.call("sharing.invitations", {});
      this.#list = invitations;
      this.#render();
    } catch {
      // The next connection asks again.
    }
  }

  #render(): void {
    const waiting = this.#list.filter(({ id }) => !this.#later.has(id));
    this.element.hidden = waiting.length === 0;
    this.element.replaceChildren(...waiting.slice(0, AT_MOST).map((one) => this.#card(one)));
  }

  #card(invitation: ReceivedInvitation): HTMLElement {
    const { id, inviterName, memoryTitle, role } = invitation;
    const title = memoryTitle || "Untitled";
    const later = () => {
      this.#later.add(id);
      this.#render();
    };
    return h(
      "li",
      { class: "invitation" },
      h("p", {}, h("strong", {}, inviterName), ` shares “${title}” with you. `, roles[role]),
      h(
        "button",
        { class: "icon-button", "aria-label": "Decide later", on: { click: later } },
        icon("close"),
      ),
      h(
        "div",
        { class: "invitation-actions" },
        h(
          "button",
          { class: "button", on: { click: () => void this.#answer(invitation, false) } },
          "Decline",
        ),
        h(
          "button",
          {
            class: "button button-primary",
            on: { click: () => void this.#answer(invitation, true) },
          },
          "Accept",
        ),
      ),
    );
  }

  async #answer({ id }: ReceivedInvitation, accepted: boolean): Promise<void> {
    const { client, library } = this.#workspace;
    try {
      if (accepted) {
        const { memory } = await client.call("sharing.accept", { invitationId: id });
        await library.update();
        location.hash = memory.id;
      } else await client.call("sharing.decline", { invitationId: id });
    } catch (error) {
      this.#toasts.show(sentence(error), "error");
    }
    await this.#load();
  }
}
