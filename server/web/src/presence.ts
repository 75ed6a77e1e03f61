import type { MemoryDocument, User } from "@memory-app/client";

export const COLORS = 8;

/** Someone else in a document. `color` is a place in the palette of the style sheet. */
export interface Peer {
  client: number;
  name: string;
  color: number;
  isMe: boolean;
  cursor: unknown;
}

/** The name to show, which accounts made elsewhere may lack. */
export function nameOf(user: User): string {
  return [user.firstName, user.lastName].filter(Boolean).join(" ") || user.username || user.email;
}

export function initials(name: string): string {
  const words = name.split(/\s+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0]!, words.at(-1)!] : words;
  return letters.map((word) => [...word][0]!.toLocaleUpperCase()).join("") || "?";
}

/** Tells the others in the document who is here. */
export function announce({ awareness, doc }: MemoryDocument, user: User): void {
  awareness.setLocalStateField("user", {
    id: user.id,
    name: nameOf(user),
    color: doc.clientID % COLORS,
  });
}

/** Who else is here. What they send is untrusted: a name is cut, a colour is a palette's place. */
export function peers({ awareness }: MemoryDocument, me: User): Peer[] {
  const found: Peer[] = [];
  for (const [client, state] of awareness.getStates()) {
    const user = state.user as { id?: unknown; name?: unknown; color?: unknown } | undefined;
    if (client === awareness.clientID || !user) continue;
    const color = typeof user.color === "number" ? Math.trunc(Math.abs(user.color)) : client;
    found.push({
      client,
      name: typeof user.name === "string" ? user.name.slice(0, 60) : "Someone",
      color: (color || 0) % COLORS,
      isMe: user.id === me.id,
      cursor: state.cursor,
    });
  }
  return found.sort((a, b) => a.client - b.client);
}
