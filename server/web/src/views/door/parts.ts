import { h, type Child } from "../../dom";
import type { Door, Step } from "../door";

export const HEADING = "door-title";

/** What every form of the door begins with. */
export function heading(title: string, lead: string): Child[] {
  return [h("h1", { id: HEADING }, title), h("p", { class: "door-lead" }, lead)];
}

/** A line that leads to another form. */
export function switchTo(door: Door, question: string, label: string, step: Step): HTMLElement {
  const go = () => door.go(step);
  const button = h("button", { class: "link-button", type: "button", on: { click: go } }, label);
  return h("p", { class: "door-switch" }, question, button);
}

export const wide = "button button-primary button-wide";
