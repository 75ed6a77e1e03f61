import { h } from "../dom";
import { icon } from "../icons";

const SHOWN_MS = 6_000;
const AT_MOST = 3;

/** Short notices at the foot of the page, read out as they come. */
export class Toasts {
  readonly element = h("div", { class: "toasts", role: "status", "aria-live": "polite" });

  show(text: string, kind: "notice" | "error" = "notice"): void {
    const close = h("button", { class: "icon-button", "aria-label": "Dismiss" }, icon("close"));
    const toast = h(
      "div",
      { class: `toast toast-${kind}` },
      icon(kind === "error" ? "alert" : "check"),
      h("span", {}, text),
      close,
    );
    const timer = setTimeout(() => toast.remove(), SHOWN_MS);
    close.addEventListener("click", () => {
      clearTimeout(timer);
      toast.remove();
    });
    this.element.append(toast);
    while (this.element.childElementCount > AT_MOST) this.element.firstElementChild?.remove();
  }
}
