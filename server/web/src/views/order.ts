import { h, setAttribute } from "../dom";
import { dayOf, type Filter, type Query, type Sort } from "../filter";
import { icon } from "../icons";

const sorts: [value: Sort, label: string][] = [
  ["edited", "Recently edited"],
  ["created", "Recently created"],
  ["title", "Title, A to Z"],
];

/** The order of the list and the days it shows, behind one button. */
export class Order {
  readonly button: HTMLButtonElement;
  readonly panel: HTMLElement;
  #sorts: HTMLInputElement[];
  #legend = h("legend", {});
  #from: HTMLInputElement;
  #until: HTMLInputElement;

  constructor(filter: Filter) {
    this.button = h(
      "button",
      {
        class: "icon-button order-button",
        popovertarget: "order",
        "aria-label": "Sort and dates",
        title: "Sort and dates",
      },
      icon("filter"),
    );
    this.#sorts = sorts.map(([value]) =>
      h("input", {
        type: "radio",
        name: "sort",
        value,
        on: { change: () => filter.set({ sort: value }) },
      }),
    );
    const labels = sorts.map(([, label], index) => h("label", {}, this.#sorts[index]!, label));
    this.#from = this.#day("From", (from) => filter.set({ from }));
    this.#until = this.#day("Until", (until) => filter.set({ until }));
    const spans: [label: string, days: number][] = [
      ["Today", 0],
      ["7 days", 6],
      ["30 days", 29],
    ];
    const quick = spans.map(([label, days]) =>
      h(
        "button",
        {
          class: "filter",
          on: {
            click: () => {
              const start = new Date();
              start.setDate(start.getDate() - days);
              filter.set({ from: dayOf(start), until: undefined });
            },
          },
        },
        label,
      ),
    );
    const always = h(
      "button",
      { class: "filter", on: { click: () => filter.set({ from: undefined, until: undefined }) } },
      "Always",
    );
    this.panel = h(
      "div",
      { class: "menu popup order", id: "order", popover: "auto", role: "dialog" },
      h("fieldset", { class: "order-sorts" }, h("legend", {}, "Sort by"), ...labels),
      h(
        "fieldset",
        { class: "order-dates" },
        this.#legend,
        h("div", { class: "order-quick" }, ...quick, always),
        h("div", { class: "order-days" }, field("From", this.#from), field("Until", this.#until)),
      ),
    );
    this.panel.setAttribute("aria-label", "Sort and dates");
    this.panel.addEventListener("beforetoggle", (event) => {
      if ((event as ToggleEvent).newState === "open") this.#place();
    });
    this.render(filter.query);
  }

  render({ sort, from, until, view }: Query): void {
    for (const input of this.#sorts) input.checked = input.value === sort;
    this.#from.value = from ?? "";
    this.#until.value = until ?? "";
    this.#legend.textContent =
      view === "trash" ? "Deleted" : sort === "created" ? "Created" : "Edited";
    this.button.classList.toggle("narrowed", Boolean(from ?? until));
    setAttribute(this.#until, "min", from);
    setAttribute(this.#from, "max", until);
  }

  #day(label: string, set: (day: string | undefined) => void): HTMLInputElement {
    const input = h("input", {
      type: "date",
      "aria-label": label,
      on: { change: () => set(input.value || undefined) },
    });
    return input;
  }

  #place(): void {
    const box = this.button.getBoundingClientRect();
    const width = 288; // px, as the style sheet has it
    const x = Math.max(8, Math.min(box.left, innerWidth - width - 8));
    this.panel.style.setProperty("--x", `${x}px`);
    this.panel.style.setProperty("--y", `${box.bottom + 4}px`);
  }
}

function field(label: string, input: HTMLInputElement): HTMLElement {
  return h("label", {}, h("span", { "aria-hidden": "true" }, label), input);
}
