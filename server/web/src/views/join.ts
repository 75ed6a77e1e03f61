import { MemoError, type ReceivedInvitation } from "@memory-app/client";
import { h } from "../dom";
import { sentence } from "../refusal";
import type { Workspace } from "../workspace";
import { openSheet } from "./sheet";

const KEY = "memo.join";
const rights: Record<string, string> = {
  editor: "You will be able to edit it.",
  commenter: "You will be able to read it and comment on it.",
  viewer: "You will be able to read it.",
};

/**
 * The invitation that this page was opened with, at `/join#token`. It is taken out of the address
 * and kept in this tab until it is answered, over signing in.
 */
export function takeInvitation(): string | undefined {
  if (location.pathname === "/join") {
    const token = location.hash.slice(1);
    if (token) sessionStorage.setItem(KEY, token);
    history.replaceState(null, "", "/");
  }
  return sessionStorage.getItem(KEY) ?? undefined;
}

/** Asks whether to join by the invitation, and joins. */
export class JoinView {
  #workspace: Workspace;
  #token: string;
  #content = h("div", { class: "join" });
  #error = h("p", { class: "form-error", role: "alert" });
  #close: () => void;

  constructor(workspace: Workspace, token: string) {
    this.#workspace = workspace;
    this.#token = token;
    const sheet = openSheet("You are invited", "join-sheet", this.#content, () => {
      sessionStorage.removeItem(KEY);
    });
    this.#close = sheet.close;
    this.#show(undefined);
    if (this.#byMail) void this.#look();
  }

  /** An invitation by e-mail is named by its id, a link by its token. */
  get #byMail(): boolean {
    return /^[0-9a-f]{8}-[0-9a-f-]{27}$/.test(this.#token);
  }

  #show(invitation: ReceivedInvitation | undefined): void {
    const { email } = this.#workspace.user;
    const what = invitation
      ? `${invitation.inviterName} shares “${invitation.memoryTitle || "Untitled"}” with you. ` +
        (rights[invitation.role] ?? "")
      : "Somebody shares a memory with you.";
    const decline = () => void this.#decline();
    this.#content.replaceChildren(
      h("p", {}, what),
      h("p", {}, `You join as ${email}.`),
      this.#error,
      h(
        "div",
        { class: "dialog-actions" },
        invitation
          ? h("button", { class: "button", on: { click: decline } }, "Decline")
          : h("button", { class: "button", on: { click: () => this.#close() } }, "Not now"),
        h(
          "button",
          { class: "button button-primary", on: { click: () => void this.#join() } },
          "Join",
        ),
      ),
    );
  }

  async #look(): Promise<void> {
    try {
      const { invitations } = await this.#workspace.client.call("sharing.invitations", {});
      const mine = invitations.find(({ id }) => id === this.#token);
      if (mine) this.#show(mine);
    } catch {
      // Joining will say what is wrong.
    }
  }

  async #join(): Promise<void> {
    const { client, library } = this.#workspace;
    const body = this.#byMail ? { invitationId: this.#token } : { token: this.#token };
    try {
      const { memory } = await client.call("sharing.accept", body);
      await library.update();
      this.#close();
      location.hash = memory.id;
    } catch (error) {
      this.#error.textContent = refusal(error, this.#workspace.user.email);
    }
  }

  async #decline(): Promise<void> {
    try {
      await this.#workspace.client.call("sharing.decline", { invitationId: this.#token });
      this.#close();
    } catch (error) {
      this.#error.textContent = sentence(error);
    }
  }
}

function refusal(error: unknown, email: string): string {
  if (error instanceof MemoError && error.code === "not_found") {
    return `This invitation is not known, or it was sent to another address than ${email}.`;
  }
  if (error instanceof MemoError && error.code === "gone") {
    return "This invitation is no longer valid. Ask for a new one.";
  }
  return sentence(error);
}
