import { h } from "../dom";
import { icon } from "../icons";

const SHOWN_MS = 6_000;
const AT_MOST = 3;

/** Something to do about a notice while it is shown. */
export interface ToastAction {
  label: string;
  run: () => void;
}

/** Short notices at the foot of the page, read out as they come. */
export class Toasts {
  readonly element = h("div", { class: "toasts", role: "status", "aria-live": "polite" });

  show(text: string, kind: "notice" | "error" | ToastAction = "notice"): void {
    const close = h("button", { class: "icon-button", "aria-label": "Dismiss" }, icon("close"));
    const toast = h(
      "div",
      { class: kind === "error" ? "toast toast-error" : "toast toast-notice" },
      icon(kind === "error" ? "alert" : "check"),
      h("span", {}, text),
    );
    const timer = setTimeout(() => toast.remove(), SHOWN_MS);
    const away = () => {
      clearTimeout(timer);
      toast.remove();
    };
    close.addEventListener("click", away);
    if (typeof kind === "object") {
      const act = () => {
        away();
        kind.run();
      };
      toast.append(h("button", { class: "toast-action", on: { click: act } }, kind.label));
    }
    toast.append(close);
    this.element.append(toast);
    while (this.element.childElementCount > AT_MOST) this.element.firstElementChild?.remove();
  }
}
