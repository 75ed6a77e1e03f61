import { setAttribute } from "../dom";

const MOUSE_PX = 5; // further than a click moves
const FINGER_PX = 10; // further than a finger that rests
const REST_MS = 350; // a finger that rests this long lifts what is below it

/** How a press ended: the item is elsewhere, was lifted and put back, or was never lifted. */
export type Dragged = "moved" | "put back" | "pressed";

/**
 * An item of a list, moved by a mouse, a pen or a finger. Its neighbours make room as it goes. A
 * finger that moves at once scrolls: it has to rest first.
 */
export class Drag {
  #item: HTMLElement;
  #pointer: number;
  #touch: boolean;
  #startY: number;
  #state: Dragged = "pressed";
  #rest: ReturnType<typeof setTimeout> | undefined;
  #end = new AbortController();
  #done: (dragged: Dragged) => void;

  constructor(item: HTMLElement, event: PointerEvent, done: (dragged: Dragged) => void) {
    this.#item = item;
    this.#pointer = event.pointerId;
    this.#touch = event.pointerType === "touch";
    this.#startY = event.clientY;
    this.#done = done;
    const { signal } = this.#end;
    const mine = (act: (event: PointerEvent) => void) => (event: PointerEvent) => {
      if (event.pointerId === this.#pointer) act(event);
    };
    addEventListener("pointermove", mine((event) => this.#move(event)), { signal });
    addEventListener("pointerup", mine(() => this.stop()), { signal });
    addEventListener("pointercancel", mine(() => this.#cancel()), { signal });
    if (this.#touch) this.#rest = setTimeout(() => this.#lift(), REST_MS);
  }

  /** Whether the item is off the list, so that a finger does not scroll. */
  get lifted(): boolean {
    return this.#state !== "pressed";
  }

  stop(): void {
    clearTimeout(this.#rest);
    this.#end.abort();
    this.#item.classList.remove("dragged");
    setAttribute(this.#item, "style", undefined);
    if (this.lifted) {
      // The click that ends a drag chooses nothing.
      const swallow = (event: Event) => event.stopPropagation();
      addEventListener("click", swallow, { capture: true, once: true });
      setTimeout(() => removeEventListener("click", swallow, { capture: true }));
    }
    this.#done(this.#state);
  }

  /** The browser makes something else of the touch. */
  #cancel(): void {
    if (this.#state === "put back") this.#state = "pressed";
    this.stop();
  }

  #lift(): void {
    this.#state = "put back";
    this.#item.classList.add("dragged");
    if (this.#touch) navigator.vibrate?.(10);
  }

  #move(event: PointerEvent): void {
    const distance = event.clientY - this.#startY;
    if (!this.lifted) {
      if (Math.abs(distance) < (this.#touch ? FINGER_PX : MOUSE_PX)) return;
      if (this.#touch) return this.stop();
      this.#lift();
    }
    const { offsetHeight: height, previousElementSibling: above } = this.#item;
    const { nextElementSibling: below } = this.#item;
    let moved = distance;
    if (distance > height / 2 && below) {
      below.after(this.#item);
      moved -= height;
    } else if (distance < -height / 2 && above) {
      above.before(this.#item);
      moved += height;
    }
    if (moved !== distance) this.#state = "moved";
    this.#startY = event.clientY - moved;
    this.#item.style.translate = `0 ${moved}px`;
  }
}
