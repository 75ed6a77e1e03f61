import { h } from "../../dom";
import { exportPanel } from "./exporting";
import { importPanel } from "./importing";
import { leavingPanel } from "./leaving";
import type { Context } from "./section";

/** What belongs to the account: to take along, to bring in, and to have deleted. */
export function dataSection(context: Context): HTMLElement {
  return h("div", {}, exportPanel(context), importPanel(context), leavingPanel(context));
}
