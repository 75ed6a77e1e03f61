import type { Comparison, FieldDiff } from "@memory-app/client";
import { h } from "../dom";

const names: Record<FieldDiff["field"], string> = {
  title: "Title",
  description: "Description",
  text: "Body",
  tags: "Tags",
  data: "Other content",
  metadata: "Metadata",
  message: "Message",
};

/** How a memory changed from a version to now: what went is struck, what came is marked. */
export function difference({ fields, truncated }: Comparison): HTMLElement {
  const element = h("div", { class: "difference" });
  if (fields.length === 0) {
    element.append(h("p", { class: "section-none" }, "Nothing has changed since this version."));
  }
  for (const field of fields) {
    const text = h("div", { class: "difference-text", dir: "auto" });
    for (const part of field.parts) {
      const tag = part.op === "insert" ? "ins" : part.op === "delete" ? "del" : "span";
      if (part.text) text.append(h(tag, {}, part.text));
      if (part.skipped) {
        const left = `… ${part.skipped.toLocaleString()} characters that are the same …`;
        text.append(h("span", { class: "difference-skipped" }, left));
      }
    }
    element.append(h("section", {}, h("h3", {}, names[field.field]), text));
  }
  if (truncated) {
    element.append(h("p", { class: "section-none" }, "There is more than is shown here."));
  }
  return element;
}
