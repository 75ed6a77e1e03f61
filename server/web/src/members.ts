import { Emitter } from "@memory-app/client";
import type { Invitation, Member, MemoryClient, User } from "@memory-app/client";
import { nameOf } from "./presence";
import { pictureOf } from "./profile";

export type Role = Member["role"];

/** Who one memory is shared with, kept as the server says. */
export class Members extends Emitter<{ changed: void }> {
  #client: MemoryClient;
  #user: User;
  #memoryId: string;
  #stop: (() => void)[] = [];
  #asked = 0;
  #pictures = new Map<string, Promise<string>>();
  list: readonly Member[] = [];
  /** Pending ones, for the owner alone. */
  invitations: readonly Invitation[] = [];

  constructor(client: MemoryClient, user: User, memoryId: string) {
    super();
    this.#client = client;
    this.#user = user;
    this.#memoryId = memoryId;
    this.#stop.push(
      client.on("status", (status) => status === "online" && void this.update()),
      client.on("event", (event) => {
        const about = event.name === "members.changed" || event.name === "sharing.changed";
        if (about && event.body.memoryId === memoryId) void this.update();
      }),
    );
    if (client.status === "online") void this.update();
  }

  destroy(): void {
    this.#asked += 1;
    for (const stop of this.#stop) stop();
  }

  /** Whose name it is; without one where the account is no member any more. */
  name(userId: string | null): string {
    if (userId === this.#user.id) return nameOf(this.#user);
    const member = this.list.find((one) => one.userId === userId);
    return member ? memberName(member) : "Someone";
  }

  isMe(userId: string | null): boolean {
    return userId === this.#user.id;
  }

  /** The file that is an account's picture, if it is a member with one. */
  picture(userId: string | null): string | undefined {
    return pictureOf(this.list.find((one) => one.userId === userId)?.avatarUrl ?? null);
  }

  /** An address of a picture. Rejects with a `MemoError`. */
  pictureUrl(id: string): Promise<string> {
    let url = this.#pictures.get(id);
    if (!url) {
      url = this.#client.call("files.url", { id }).then((answer) => answer.url);
      url.catch(() => this.#pictures.delete(id)); // the next look asks again
      this.#pictures.set(id, url);
    }
    return url;
  }

  async update(): Promise<void> {
    const asked = ++this.#asked;
    try {
      const body = { memoryId: this.#memoryId };
      const { members, invitations } = await this.#client.call("sharing.members", body);
      if (asked !== this.#asked) return;
      this.list = members;
      this.invitations = invitations;
      this.emit("changed", undefined);
    } catch {
      // Offline, or no member any more: what is known stays.
    }
  }
}

export function memberName(member: Member): string {
  const name = [member.firstName, member.lastName].filter(Boolean).join(" ");
  return name || member.username || member.email || "Someone";
}

/** A colour of the palette that is the same for an account everywhere. */
export function colorOf(userId: string | null, colors: number): number {
  let sum = 0;
  for (const letter of userId ?? "") sum = (sum * 31 + letter.charCodeAt(0)) >>> 0;
  return sum % colors;
}
