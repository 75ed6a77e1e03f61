import { WebSocket } from "ws";
import * as Y from "yjs";

import {
  MemoryClient,
  type ClientOptions,
  type Emitter,
  type MemoryDocument,
} from "../src/index.js";

/** A client of `url` with a token that is always good. */
export function device(url: string, options: Partial<ClientOptions> = {}): MemoryClient {
  return new MemoryClient({
    url,
    credentials: { getToken: async () => "token" },
    WebSocket: WebSocket as unknown as typeof globalThis.WebSocket,
    ...options,
  });
}

/** Resolves with the first value of the event for which `wanted` holds. */
export function event<Events extends object, Name extends keyof Events>(
  emitter: Emitter<Events>,
  name: Name,
  wanted: (value: Events[Name]) => boolean = () => true,
): Promise<Events[Name]> {
  return new Promise((resolve) => {
    const off = emitter.on(name, (value) => {
      if (!wanted(value)) return;
      off();
      resolve(value);
    });
  });
}

export async function online(client: MemoryClient): Promise<void> {
  if (client.status !== "online") await event(client, "status", (status) => status === "online");
}

export async function saved(document: MemoryDocument): Promise<void> {
  if (document.sync.state !== "saved") {
    await event(document, "sync", ({ state }) => state === "saved");
  }
}

export function text(document: { doc: Y.Doc }): Y.Text {
  return document.doc.getText("content");
}

/** Resolves when the document's text is `wanted`. */
export async function reads(document: MemoryDocument, wanted: string): Promise<void> {
  while (text(document).toString() !== wanted) await event(document, "remote");
}

/** The updates of a device that types each of `words` at the end, one update each. */
export function typed(...words: string[]): Uint8Array[] {
  const doc = new Y.Doc();
  const updates: Uint8Array[] = [];
  doc.on("update", (update: Uint8Array) => updates.push(update));
  for (const word of words) text({ doc }).insert(text({ doc }).length, word);
  return updates;
}
