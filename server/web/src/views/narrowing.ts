import { h } from "../dom";
import { dayOf, type Filter, type Query } from "../filter";
import { icon } from "../icons";
import { shortDay } from "../time";

/** What narrows the list besides view and search, each with a way to let it go. */
export class Narrowing {
  readonly element = h("ul", { class: "list-chips", "aria-label": "Narrowed to", hidden: true });
  #filter: Filter;
  #shown = "";

  constructor(filter: Filter) {
    this.#filter = filter;
  }

  render({ tag, from, until }: Query): void {
    const now = JSON.stringify([tag, from, until]);
    if (this.#shown === now) return; // a button being clicked must stay
    this.#shown = now;
    const chips: HTMLElement[] = [];
    if (tag !== undefined) chips.push(this.#chip(`#${tag}`, { tag: undefined }));
    const always = { from: undefined, until: undefined };
    if (from ?? until) chips.push(this.#chip(span(from, until), always));
    this.element.replaceChildren(...chips);
    this.element.hidden = chips.length === 0;
  }

  #chip(label: string, off: Partial<Query>): HTMLElement {
    const remove = h(
      "button",
      {
        class: "chip-remove",
        "aria-label": `Remove the filter ${label}`,
        on: { click: () => this.#filter.set(off) },
      },
      icon("close"),
    );
    return h("li", { class: "chip" }, h("span", {}, label), remove);
  }
}

/** "1 May – 7 May", or what is open of it. */
function span(from: string | undefined, until: string | undefined): string {
  const today = dayOf(new Date());
  if (from === today && (until === undefined || until === today)) return "Today";
  if (from && from === until) return shortDay(from);
  if (from && until) return `${shortDay(from)} – ${shortDay(until)}`;
  return from ? `Since ${shortDay(from)}` : `Until ${shortDay(until!)}`;
}
