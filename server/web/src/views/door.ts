import { h } from "../dom";
import type { Session } from "../session";
import { signIn } from "./door/signin";
import { story } from "./door/story";

/** One form of the door. */
export type Step = (door: Door) => HTMLElement;

/**
 * The way in: signing in and up, and what links and providers lead back to. Signing in leaves it by
 * the session's own `changed` event; `leave` is for a step that ends in another way.
 */
export class Door {
  readonly element = h("main", { class: "door" });
  readonly session: Session;
  readonly leave: () => void;
  /** As typed in one step, for the next. */
  email = "";
  #side = h("div", { class: "door-side" });

  constructor(session: Session, first: Step = signIn, leave: () => void = () => undefined) {
    this.session = session;
    this.leave = leave;
    this.element.append(story(), this.#side);
    this.go(first);
  }

  go(step: Step): void {
    this.#side.replaceChildren(step(this));
    this.#side.querySelector<HTMLElement>("input, button")?.focus();
  }
}
