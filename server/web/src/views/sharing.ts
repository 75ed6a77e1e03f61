import type { Invitation, Member, MemoryClient } from "@memory-app/client";
import { h } from "../dom";
import { icon } from "../icons";
import { randomId } from "../library";
import { memberName, type Members, type Role } from "../members";
import { sentence } from "../refusal";
import type { Workspace } from "../workspace";
import { ask } from "./dialog";
import { memberFace } from "./face";
import { openSheet } from "./sheet";
import type { Toasts } from "./toast";

type SharedRole = Invitation["role"];

const roles: [role: SharedRole, label: string][] = [
  ["editor", "Can edit"],
  ["commenter", "Can comment"],
  ["viewer", "Can view"],
];
const levels: [level: string, label: string, text: string][] = [
  ["private", "Private", "Only you. All others lose access at once."],
  ["shared", "Shared", "The people here, and whoever you invite."],
  ["public", "Public", "Every account here that has the memory's address may read it."],
];

/** Who a memory is shared with, and how: to change for its owner, to see for the others. */
export class SharingView {
  readonly element = h("div", { class: "sharing" });
  #client: MemoryClient;
  #workspace: Workspace;
  #members: Members;
  #toasts: Toasts;
  #memoryId: string;
  #role: () => Role;
  #close: () => void;
  #people = h("ul", { class: "people-list", "aria-label": "Members" });
  #pending = h("ul", { class: "people-list", "aria-label": "Invitations" });
  #error = h("p", { class: "form-error", role: "alert" });
  #note = h("p", { class: "form-note", role: "status" });
  #levels = h("fieldset", { class: "levels" }, h("legend", {}, "Who can see it"));
  #links = new Map<string, string>();
  #unsubscribe: (() => void)[];

  private constructor(
    workspace: Workspace,
    members: Members,
    toasts: Toasts,
    memoryId: string,
    role: () => Role,
  ) {
    this.#workspace = workspace;
    this.#client = workspace.client;
    this.#members = members;
    this.#toasts = toasts;
    this.#memoryId = memoryId;
    this.#role = role;
    const sheet = openSheet("Share", "sharing-sheet", this.element, () => this.#destroy());
    this.#close = sheet.close;
    this.#unsubscribe = [
      members.on("changed", () => this.#render()),
      workspace.library.on("changed", () => this.#renderLevels()),
    ];
    this.#render();
    void members.update();
  }

  static open(
    workspace: Workspace,
    members: Members,
    toasts: Toasts,
    memoryId: string,
    role: () => Role,
  ): void {
    new SharingView(workspace, members, toasts, memoryId, role);
  }

  get #owns(): boolean {
    return this.#role() === "owner";
  }

  #destroy(): void {
    for (const stop of this.#unsubscribe) stop();
  }

  #build(): void {
    this.element.dataset.owns = String(this.#owns);
    const parts: Node[] = [];
    if (this.#owns) parts.push(this.#inviteForm(), this.#error, this.#note);
    parts.push(h("h3", {}, "People"), this.#people);
    if (this.#owns) parts.push(this.#pending, this.#levels);
    else {
      parts.push(
        this.#error,
        h(
          "button",
          { class: "button sharing-leave", on: { click: () => void this.#leave() } },
          icon("signout"),
          "Leave this memory",
        ),
      );
    }
    this.element.replaceChildren(...parts);
    this.#renderLevels();
  }

  #inviteForm(): HTMLElement {
    const email = h("input", {
      type: "email",
      class: "input",
      required: true,
      autocomplete: "off",
      placeholder: "name@example.com",
      "aria-label": "E-mail address to invite",
    });
    const role = roleSelect("editor", "Role of who is invited");
    const submit = (event: Event) => {
      event.preventDefault();
      const address = email.value.trim();
      void this.#try(async () => {
        const body = { memoryId: this.#memoryId, email: address, role: role.value as SharedRole };
        await this.#client.call("sharing.invite", { ...body, id: randomId() });
        email.value = "";
        this.#note.textContent = `${address} is invited.`;
      });
    };
    const link = () =>
      void this.#try(async () => {
        const body = { memoryId: this.#memoryId, role: role.value as SharedRole, id: randomId() };
        const { invitation } = await this.#client.call("sharing.link", body);
        if (!invitation.token) return;
        // The page knows best where it is reached from.
        this.#links.set(invitation.id, new URL(`/join#${invitation.token}`, location.href).href);
        await this.#members.update();
        await this.#copy(invitation.id);
      });
    return h(
      "form",
      { class: "invite", on: { submit } },
      email,
      role,
      h("button", { class: "button button-primary" }, "Invite"),
      h(
        "button",
        { class: "button invite-link", type: "button", on: { click: link } },
        icon("link"),
        "Copy a link that lets people join with this role",
      ),
    );
  }

  #render(): void {
    if (this.element.dataset.owns !== String(this.#owns)) this.#build();
    this.#people.replaceChildren(...this.#members.list.map((member) => this.#person(member)));
    const pending = this.#members.invitations.filter(({ status }) => status === "pending");
    this.#pending.replaceChildren(...pending.map((one) => this.#invitation(one)));
    this.#pending.hidden = pending.length === 0;
  }

  #person(member: Member): HTMLElement {
    const name = memberName(member);
    const me = this.#members.isMe(member.userId);
    const line = h(
      "li",
      { class: "person" },
      memberFace(this.#members, member.userId),
      h(
        "span",
        { class: "person-name" },
        h("strong", {}, me ? `${name} (you)` : name),
        member.email && member.email !== name ? h("span", {}, member.email) : null,
      ),
    );
    if (member.role === "owner") line.append(h("span", { class: "person-role" }, "Owner"));
    else if (this.#owns) line.append(this.#roleOf(member, name));
    else {
      const label = roles.find(([role]) => role === member.role)?.[1] ?? member.role;
      line.append(h("span", { class: "person-role" }, label));
    }
    return line;
  }

  #roleOf(member: Member, name: string): HTMLElement {
    const select = roleSelect(member.role as SharedRole, `Role of ${name}`);
    select.append(
      h("hr"),
      h("option", { value: "owner" }, "Make owner"),
      h("option", { value: "remove" }, "Remove"),
    );
    select.addEventListener("change", () => {
      const { value } = select;
      select.value = member.role;
      if (value === "remove") void this.#remove(member, name);
      else if (value === "owner") void this.#transfer(member, name);
      else {
        const role = value as SharedRole;
        const body = { memoryId: this.#memoryId, userId: member.userId, role };
        void this.#try(() => this.#client.call("sharing.setRole", body));
      }
    });
    return select;
  }

  #invitation(invitation: Invitation): HTMLElement {
    const { id, email, role, uses } = invitation;
    const label = roles.find(([name]) => name === role)?.[1] ?? role;
    const joined =
      uses === 0 ? "nobody joined yet" : uses === 1 ? "1 person joined" : `${uses} people joined`;
    const name = email ?? "Link";
    const revoke = () => {
      const body = { memoryId: this.#memoryId, invitationId: id };
      void this.#try(() => this.#client.call("sharing.revoke", body));
    };
    return h(
      "li",
      { class: "person" },
      h("span", { class: "avatar avatar-me", "aria-hidden": "true" }, icon(email ? "users" : "link")),
      h(
        "span",
        { class: "person-name" },
        h("strong", {}, name),
        h("span", {}, email ? `Invited · ${label}` : `${label} · ${joined}`),
      ),
      this.#links.has(id) &&
        h(
          "button",
          {
            class: "icon-button",
            title: "Copy the link",
            "aria-label": "Copy the link",
            on: { click: () => void this.#copy(id) },
          },
          icon("copy"),
        ),
      h(
        "button",
        {
          class: "icon-button",
          title: "Revoke",
          "aria-label": email ? `Revoke the invitation of ${email}` : "Revoke the link",
          on: { click: revoke },
        },
        icon("close"),
      ),
    );
  }

  #renderLevels(): void {
    if (!this.#owns) return;
    const now = this.#workspace.library.get(this.#memoryId)?.privacyLevel ?? "private";
    if (this.#levels.dataset.level === now) return;
    this.#levels.dataset.level = now;
    const options = levels.map(([level, label, text]) =>
      h(
        "label",
        { class: "level" },
        h("input", {
          type: "radio",
          name: "level",
          value: level,
          checked: level === now,
          on: { change: () => void this.#setLevel(level, now) },
        }),
        h("span", {}, h("strong", {}, label), h("span", {}, text)),
      ),
    );
    this.#levels.replaceChildren(this.#levels.firstElementChild!, ...options);
  }

  async #setLevel(level: string, before: string): Promise<void> {
    const others = this.#members.list.length > 1 || this.#members.invitations.length > 0;
    const sure =
      level !== "private" ||
      !others ||
      (await ask({
        title: "Make this memory private?",
        text: "All others lose access at once, and invitations end.",
        confirm: "Make it private",
      }));
    const privacyLevel = level as "private" | "shared" | "public";
    const body = { id: this.#memoryId, privacyLevel };
    const done = sure && (await this.#try(() => this.#client.call("memories.update", body)));
    if (done) await this.#workspace.library.update();
    else {
      const chosen = this.#levels.querySelector<HTMLInputElement>(`[value="${before}"]`);
      if (chosen) chosen.checked = true;
    }
  }

  async #remove(member: Member, name: string): Promise<void> {
    const sure = await ask({
      title: `Remove ${name}?`,
      text: "They lose access to this memory at once. What they wrote stays.",
      confirm: "Remove",
    });
    const body = { memoryId: this.#memoryId, userId: member.userId };
    if (sure) await this.#try(() => this.#client.call("sharing.remove", body));
  }

  async #transfer(member: Member, name: string): Promise<void> {
    const sure = await ask({
      title: `Make ${name} the owner?`,
      text: "You stay as somebody who can edit. Only the new owner can give it back.",
      confirm: "Make owner",
    });
    const body = { memoryId: this.#memoryId, userId: member.userId };
    if (sure && (await this.#try(() => this.#client.call("sharing.transfer", body)))) this.#close();
  }

  async #leave(): Promise<void> {
    const sure = await ask({
      title: "Leave this memory?",
      text: "You lose access at once. Only its owner can invite you again.",
      confirm: "Leave",
    });
    const body = { memoryId: this.#memoryId };
    if (!sure || !(await this.#try(() => this.#client.call("sharing.leave", body)))) return;
    this.#close();
    location.hash = "";
    this.#toasts.show("You left the memory.");
  }

  async #copy(id: string): Promise<void> {
    const url = this.#links.get(id);
    if (!url) return;
    try {
      await navigator.clipboard.writeText(url);
      this.#note.textContent = "The link is on the clipboard.";
    } catch {
      const field = h("input", { class: "input", readonly: true, value: url, "aria-label": "Link" });
      this.#error.before(field);
      field.focus();
      field.select();
    }
  }

  /** Whether it was done; what the server said against it is shown. */
  async #try(work: () => Promise<unknown>): Promise<boolean> {
    this.#error.textContent = "";
    this.#note.textContent = "";
    try {
      await work();
    } catch (error) {
      this.#error.textContent = sentence(error);
      return false;
    }
    await this.#members.update();
    return true;
  }
}

function roleSelect(chosen: SharedRole, label: string): HTMLSelectElement {
  const options = roles.map(([value, text]) =>
    h("option", { value, selected: value === chosen }, text),
  );
  return h("select", { class: "select", "aria-label": label }, ...options);
}
