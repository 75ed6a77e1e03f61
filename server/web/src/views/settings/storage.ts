import type { FileUsage } from "@memory-app/client";
import { size } from "../../bytes";
import { h } from "../../dom";
import { loaded, panel, type Context } from "./section";

/** How much room the account's files take. */
export function storageSection(context: Context): HTMLElement {
  return loaded(context, async () => usage(await context.client.call("files.usage", {})));
}

function usage({ bytes, quota, count }: FileUsage): HTMLElement {
  const share = quota > 0 ? bytes / quota : 1;
  const meter = h("meter", {
    class: "usage",
    "aria-labelledby": "usage-panel",
    min: 0,
    max: 1,
    high: 0.9,
    optimum: 0,
    value: Math.min(share, 1),
  });
  return panel(
    "usage-panel",
    "Files",
    h("p", { class: "fact" }, h("strong", {}, `${size(bytes)} of ${size(quota)}`), files(count)),
    meter,
    h(
      "p",
      { class: "panel-lead" },
      "Files that are in the trash with their memory count until it is deleted for good. Text " +
        "takes nothing of this.",
    ),
  );
}

function files(count: number): string {
  return count === 1 ? "in 1 file" : `in ${count.toLocaleString()} files`;
}
