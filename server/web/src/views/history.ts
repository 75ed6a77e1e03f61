import type { MemoryClient, Version, VersionContent } from "@memory-app/client";
import { h } from "../dom";
import { icon } from "../icons";
import { randomId } from "../library";
import type { Members, Role } from "../members";
import { sentence } from "../refusal";
import { fullTime, shortTime } from "../time";
import { difference } from "./difference";
import { openSheet } from "./sheet";
import type { Toasts } from "./toast";

const PAGE = 30;
const NAME_AT_MOST = 100;

/** What a memory was: its versions, each with its difference to now, to be named and restored. */
export class HistoryView {
  readonly element = h("div", { class: "history" });
  #client: MemoryClient;
  #members: Members;
  #toasts: Toasts;
  #memoryId: string;
  #role: Role;
  #writable: boolean;
  #close: () => void;
  #versions: Version[] = [];
  #more = false;
  #chosen: string | undefined;
  #list = h("ul", { class: "versions", "aria-label": "Versions" });
  #error = h("p", { class: "form-error", role: "alert" });
  #detail = h("div", { class: "version-detail", "aria-live": "polite" });

  constructor(
    client: MemoryClient,
    members: Members,
    toasts: Toasts,
    memoryId: string,
    role: Role,
    writable: boolean,
  ) {
    this.#client = client;
    this.#members = members;
    this.#toasts = toasts;
    this.#memoryId = memoryId;
    this.#role = role;
    this.#writable = writable;
    const side = h("div", { class: "history-side" }, this.#saveForm(), this.#list);
    this.element.append(this.#error, side, this.#detail);
    this.#close = openSheet("History", "history-sheet", this.element, () => undefined).close;
    this.#explain();
    void this.#load();
  }

  #saveForm(): HTMLElement | string {
    if (!this.#writable) return "";
    const name = h("input", {
      class: "input",
      maxlength: NAME_AT_MOST,
      required: true,
      placeholder: "Name what it is now",
      "aria-label": "Name of the version to save",
    });
    const submit = (event: Event) => {
      event.preventDefault();
      void this.#try(async () => {
        const body = { memoryId: this.#memoryId, name: name.value.trim(), id: randomId() };
        await this.#client.call("history.save", body);
        name.value = "";
        await this.#load();
      });
    };
    return h(
      "form",
      { class: "history-save", on: { submit } },
      name,
      h("button", { class: "button" }, "Save"),
    );
  }

  async #load(before?: string): Promise<void> {
    try {
      const body = { memoryId: this.#memoryId, limit: PAGE, ...(before && { before }) };
      const { versions, more } = await this.#client.call("history.list", body);
      this.#versions = before ? [...this.#versions, ...versions] : versions;
      this.#more = more;
      this.#render();
    } catch (error) {
      this.#list.replaceChildren(h("li", { class: "form-error" }, sentence(error)));
    }
  }

  #render(): void {
    const items = this.#versions.map((version) => this.#item(version));
    const last = this.#versions.at(-1)?.id;
    if (this.#more && last) {
      const more = () => void this.#load(last);
      items.push(
        h("li", {}, h("button", { class: "button button-wide", on: { click: more } }, "Show older")),
      );
    }
    if (items.length === 0) {
      items.push(h("li", { class: "section-none" }, "Versions appear here as it is edited."));
    }
    this.#list.replaceChildren(...items);
  }

  #item(version: Version): HTMLElement {
    const { id, kind, name, changedAt, authors } = version;
    const title =
      name ?? (kind === "current" ? "Now" : kind === "restore" ? "Before a restore" : fullTime(changedAt));
    const who = authors.map((author) => this.#person(author)).join(", ");
    const when = shortTime(changedAt);
    const facts = h(
      "span",
      {},
      [kind === "auto" && !name ? null : when, who || null].filter(Boolean).join(" · "),
    );
    const body = [h("strong", {}, title), facts];
    if (id === null) return h("li", {}, h("div", { class: "version version-now" }, ...body));
    const button = h(
      "button",
      { class: "version", on: { click: () => void this.#choose(id) } },
      ...body,
    );
    if (id === this.#chosen) button.setAttribute("aria-current", "true");
    return h("li", {}, button);
  }

  #person(person: { userId: string; firstName?: string | null; lastName?: string | null }): string {
    const name = [person.firstName, person.lastName].filter(Boolean).join(" ");
    return this.#members.isMe(person.userId) ? "You" : name || this.#members.name(person.userId);
  }

  async #choose(id: string): Promise<void> {
    this.#chosen = id;
    this.element.classList.add("choosing");
    this.#render();
    this.#detail.replaceChildren(h("div", { class: "viewer-stage" }, icon("spinner")));
    try {
      const body = { memoryId: this.#memoryId, versionId: id, compareTo: "current" };
      const content = await this.#client.call("history.get", body);
      if (this.#chosen === id) this.#show(content);
    } catch (error) {
      if (this.#chosen === id) this.#detail.replaceChildren(this.#bar(), failed(error));
    }
  }

  #show({ version, memory, diff }: VersionContent): void {
    const text = typeof memory.content.text === "string" ? memory.content.text : "";
    const plain = h(
      "div",
      { class: "difference" },
      h("h3", { class: "version-title" }, memory.title || "Untitled"),
      h("div", { class: "difference-text", dir: "auto" }, text || "Nothing was written yet."),
    );
    const changes = diff ? difference(diff) : plain;
    const place = h("div", { class: "version-content" }, changes);
    const same = diff?.fields.length === 0;
    const toggle = h(
      "button",
      {
        class: "filter",
        "aria-pressed": "true",
        on: {
          click: () => {
            const showing = toggle.getAttribute("aria-pressed") === "true";
            toggle.setAttribute("aria-pressed", String(!showing));
            place.replaceChildren(showing ? plain : changes);
          },
        },
      },
      "Show what changed since",
    );
    this.#detail.replaceChildren(
      this.#bar(version, same),
      h("p", { class: "version-facts" }, toggle),
      place,
    );
  }

  #bar(version?: Version, same = false): HTMLElement {
    const back = () => {
      this.#chosen = undefined;
      this.element.classList.remove("choosing");
      this.#render();
      this.#explain();
    };
    const bar = h(
      "header",
      { class: "version-bar" },
      h(
        "button",
        { class: "icon-button version-back", "aria-label": "Back to the versions", on: { click: back } },
        icon("back"),
      ),
    );
    if (!version?.id) return bar;
    const { id } = version;
    const title = version.name ?? fullTime(version.changedAt);
    bar.append(h("h3", {}, title));
    if (!this.#writable) return bar;
    const remove = h(
      "button",
      {
        class: "icon-button",
        title: "Remove",
        "aria-label": "Remove this version",
        on: { click: () => void this.#remove(id, back) },
      },
      icon("trash"),
    );
    remove.hidden = this.#role !== "owner";
    bar.append(
      h(
        "button",
        {
          class: "icon-button",
          title: "Name",
          "aria-label": version.name ? "Rename this version" : "Name this version",
          on: { click: () => this.#rename(bar, version) },
        },
        icon("tag"),
      ),
      remove,
      h(
        "button",
        {
          class: "button button-primary",
          disabled: same,
          on: { click: () => void this.#restore(id) },
        },
        icon("restore"),
        "Restore",
      ),
    );
    return bar;
  }

  #rename(bar: HTMLElement, version: Version): void {
    const field = h("input", {
      class: "input",
      maxlength: NAME_AT_MOST,
      "aria-label": "Name of this version",
      placeholder: "Name; empty takes it away",
    });
    field.value = version.name ?? "";
    const submit = (event: Event) => {
      event.preventDefault();
      void this.#try(async () => {
        const name = field.value.trim() || null;
        const body = { memoryId: this.#memoryId, versionId: version.id!, name };
        await this.#client.call("history.rename", body);
        await this.#load();
        await this.#choose(version.id!);
      });
    };
    const form = h("form", { class: "history-save", on: { submit } }, field);
    form.append(h("button", { class: "button" }, "Keep"));
    bar.replaceChildren(form);
    field.focus();
  }

  async #remove(id: string, done: () => void): Promise<void> {
    const gone = await this.#try(() =>
      this.#client.call("history.delete", { memoryId: this.#memoryId, versionId: id }),
    );
    if (!gone) return;
    this.#versions = this.#versions.filter((version) => version.id !== id);
    done();
  }

  /** The version that is saved before, under an id made here, is the way back. */
  async #restore(versionId: string): Promise<void> {
    const before = randomId();
    const restore = (version: string, id: string) =>
      this.#client.call("history.restore", { memoryId: this.#memoryId, versionId: version, id });
    if (!(await this.#try(() => restore(versionId, before)))) return;
    this.#close();
    this.#toasts.show("The version is restored.", {
      label: "Undo",
      run: () => {
        restore(before, randomId()).then(
          () => this.#toasts.show("It is as it was before."),
          (error: unknown) => this.#toasts.show(sentence(error), "error"),
        );
      },
    });
  }

  #explain(): void {
    const text = "Choose a version to see what has changed since.";
    this.#detail.replaceChildren(
      h("div", { class: "empty" }, icon("history"), h("p", {}, text)),
    );
  }

  async #try(work: () => Promise<unknown>): Promise<boolean> {
    this.#error.textContent = "";
    try {
      await work();
      return true;
    } catch (error) {
      this.#error.textContent = sentence(error);
      return false;
    }
  }
}

function failed(error: unknown): HTMLElement {
  return h("p", { class: "form-error" }, sentence(error));
}
