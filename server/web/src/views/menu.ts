import { h } from "../dom";
import { icon, type IconName } from "../icons";
import { tint } from "../palette";

export interface MenuItem {
  label: string;
  icon: IconName;
  /** Of a category. */
  color?: string | null;
  /** There in a menu to choose one from. */
  checked?: boolean;
  danger?: boolean;
  run: () => void;
}
export type MenuEntry = MenuItem | "line";

/** Where a menu opens: below an element, or at a point of the window. */
export type Anchor = Element | { x: number; y: number; within: Element };

const MARGIN = 8; // px between a menu and the window's edge

/** A menu at `anchor`, until something is chosen or the way is elsewhere. */
export function openMenu(anchor: Anchor, label: string, entries: readonly MenuEntry[]): void {
  const opener = document.activeElement;
  const menu = h("div", {
    class: "menu popup",
    popover: "auto",
    role: "menu",
    "aria-label": label,
    on: {
      keydown: (event) => move(menu, event),
      beforetoggle: (event) => {
        const closes = (event as ToggleEvent).newState === "closed";
        if (closes && menu.contains(document.activeElement)) (opener as HTMLElement).focus();
      },
      toggle: (event) => (event as ToggleEvent).newState === "closed" && menu.remove(),
    },
  });
  menu.append(h("p", { class: "menu-label", "aria-hidden": "true" }, label));
  for (const entry of entries) {
    if (entry === "line") menu.append(h("hr", { class: "menu-line" }));
    else menu.append(item(entry, () => menu.hidePopover()));
  }
  const place = anchor instanceof Element ? anchor : anchor.within;
  // It must not close what it is in, and belongs to that part of the page.
  (place.closest("[popover], main, .list") ?? document.body).append(menu);
  menu.showPopover();
  const box = anchor instanceof Element ? anchor.getBoundingClientRect() : undefined;
  const { x, y } = box ? { x: box.left, y: box.bottom + 4 } : (anchor as { x: number; y: number });
  const { offsetWidth, offsetHeight } = menu;
  const above = box && y + offsetHeight + MARGIN > innerHeight ? box.top - offsetHeight - 4 : y;
  const fit = (at: number, room: number) => Math.max(MARGIN, Math.min(at, room - MARGIN));
  menu.style.setProperty("--x", `${fit(x, innerWidth - offsetWidth)}px`);
  menu.style.setProperty("--y", `${fit(above, innerHeight - offsetHeight)}px`);
  const items = itemsOf(menu);
  (items.find((one) => one.getAttribute("aria-checked") === "true") ?? items[0])?.focus();
}

function item({ label, icon: name, color, checked, danger, run }: MenuItem, close: () => void) {
  const sign = h("span", { class: "menu-sign" }, icon(name));
  if (color) tint(sign, color);
  const button = h(
    "button",
    {
      class: danger ? "menu-item danger" : "menu-item",
      role: checked === undefined ? "menuitem" : "menuitemradio",
      tabindex: "-1",
      on: {
        click: () => {
          close();
          run();
        },
      },
    },
    sign,
    h("span", { class: "menu-text" }, label),
    checked === true && icon("check"),
  );
  if (checked !== undefined) button.setAttribute("aria-checked", String(checked));
  return button;
}

function itemsOf(menu: HTMLElement): HTMLElement[] {
  return [...menu.querySelectorAll<HTMLElement>(".menu-item")];
}

function move(menu: HTMLElement, event: KeyboardEvent): void {
  const items = itemsOf(menu);
  const at = items.indexOf(document.activeElement as HTMLElement);
  const moves: Record<string, number> = {
    ArrowDown: (at + 1) % items.length,
    ArrowUp: (at - 1 + items.length) % items.length,
    Home: 0,
    End: items.length - 1,
  };
  const next = moves[event.key];
  if (next !== undefined) items[next]?.focus();
  else if (event.key === "Tab") menu.hidePopover();
  else return;
  event.preventDefault();
  event.stopPropagation();
}
