import type { MemoryDocument } from "@memory-app/client";
import { h } from "../dom";
import { icon, type IconName } from "../icons";

const CONNECTING_MS = 2_000; // how long a fresh page may say so before it calls itself offline
const SETTLE_MS = 400; // "Saved" comes late rather than flickering at every key

type Sync = MemoryDocument["sync"];
type Look = "saved" | "saving" | "offline" | "refused";

/** Whether what one wrote is safe, in a few words. */
export class Status {
  readonly element = h("p", { class: "status", role: "status" });
  #text = h("span");
  #since = performance.now();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #wasSaving = false;
  /** Whether who reads only may comment. */
  #comments = false;

  constructor() {
    this.element.append(this.#text);
  }

  show(sync: Sync, comments = this.#comments): void {
    this.#comments = comments;
    clearTimeout(this.#timer);
    const young = performance.now() - this.#since < CONNECTING_MS;
    if (sync.state === "offline" && sync.pending === 0 && young) {
      this.#look("saving", "spinner", "Connecting…");
      this.#timer = setTimeout(() => this.show(sync), CONNECTING_MS);
    } else if (sync.state === "saved" && this.#wasSaving) {
      this.#wasSaving = false;
      this.#timer = setTimeout(() => this.show(sync), SETTLE_MS);
    } else {
      this.#wasSaving = sync.state === "saving";
      this.#look(sync.state, icons[sync.state], words(sync, comments));
    }
  }

  destroy(): void {
    clearTimeout(this.#timer);
  }

  #look(look: Look, name: IconName, text: string): void {
    if (this.#text.textContent === text) return;
    this.element.dataset.state = look;
    this.#text.textContent = text;
    this.element.replaceChildren(icon(name), this.#text);
  }
}

const icons: Record<Look, IconName> = {
  saved: "cloud",
  saving: "spinner",
  offline: "offline",
  refused: "alert",
};

function words({ state, pending, canWrite }: Sync, comments: boolean): string {
  if (state === "offline") return `Offline · ${changes(pending)}`;
  if (state === "refused") return "Not saved";
  if (state === "saving") return "Saving…";
  if (canWrite) return "Saved on the server";
  return comments ? "You can comment" : "View only";
}

/** "3 unsent changes" */
export function changes(count: number): string {
  if (count === 0) return "nothing unsent";
  return count === 1 ? "1 unsent change" : `${count} unsent changes`;
}

/** What to do about edits that the server will not take. */
export function advice(code: string | undefined, message: string | undefined): string {
  switch (code) {
    case "forbidden":
      return "You may no longer edit this memory. Copy your text if you want to keep it.";
    case "unshared":
      return "This memory is no longer shared with you. Copy your text if you want to keep it.";
    case "gone":
    case "not_found":
      return "This memory was deleted on another device. Copy your text if you want to keep it.";
    case "client_id_taken":
      return "This page can't go on writing here. Copy your text, then reload the page.";
    case "too_large":
      return "This change is larger than the server takes. Copy your text, and split it in two.";
    default:
      return `${message ?? "The server refused a change."} Copy your text to be safe.`;
  }
}
