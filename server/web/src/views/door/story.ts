import { h } from "../../dom";
import { mark } from "../../icons";

const points: [string, string][] = [
  ["Always yours", "Write offline. Everything is on your device and catches up by itself."],
  ["Everywhere at once", "Every keystroke reaches your other devices while you type."],
  ["Saved means saved", "“Saved” shows once your words are on the server's disk, not before."],
];

/** What this is, beside the form. */
export function story(): HTMLElement {
  return h(
    "section",
    { class: "door-story", "aria-label": "About" },
    h("div", { class: "brand" }, mark(), h("span", {}, "Memory")),
    h("p", { class: "door-line" }, "Keep what matters."),
    h(
      "ul",
      { class: "door-points" },
      ...points.map(([title, text]) => h("li", {}, h("strong", {}, title), h("span", {}, text))),
    ),
  );
}
