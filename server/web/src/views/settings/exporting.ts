import { MemoError } from "@memory-app/client";
import type { Export } from "@memory-app/client";
import { size } from "../../bytes";
import { h } from "../../dom";
import { icon } from "../../icons";
import { randomId } from "../../library";
import { fullTime, shortTime } from "../../time";
import { actionButton, loaded, panel, type Context } from "./section";

const FRESH_MS = 30 * 60_000; // an address is good for an hour

/** Archives of all that the account has: made in the background, kept for a week. */
export function exportPanel(context: Context): HTMLElement {
  const { client, signal } = context;
  const list = h("ul", { class: "entries", "aria-label": "Archives" });
  const said = h("p", { class: "unseen", role: "status" });
  let shown = "";
  const refresh = async () => {
    const { exports } = await client.call("account.exports", {});
    const now = JSON.stringify(exports);
    if (now === shown) return; // a link being followed must stay
    shown = now;
    list.hidden = exports.length === 0;
    list.replaceChildren(...exports.map(row));
    said.textContent = exports[0] ? facts(exports[0]) : "";
  };
  const again = () => {
    refresh().catch((error: unknown) => {
      if (!(error instanceof MemoError)) throw error; // the next news ask again
    });
  };
  const timer = setInterval(again, FRESH_MS);
  const stops = [
    client.on("status", (status) => status === "online" && again()),
    client.on("event", ({ name }) => name === "exports.changed" && again()),
    () => clearInterval(timer),
  ];
  signal.addEventListener("abort", () => stops.forEach((stop) => stop()));
  const make = async () => {
    await client.call("account.export", { id: randomId() });
    await refresh();
  };
  return panel(
    "export-panel",
    "Take it along",
    h(
      "p",
      { class: "panel-lead" },
      "All that you have, as one ZIP file: memories as Markdown and as data, with their messages, " +
        "files and history. It is kept here for a week.",
    ),
    h("div", { class: "panel-actions" }, actionButton("Make an archive", make)),
    loaded(context, async () => {
      await refresh();
      return list;
    }),
    said,
  );
}

function facts({ status, size: bytes, expiresAt }: Export): string {
  if (status === "preparing") return "Being made. You can leave this page meanwhile.";
  if (status === "failed") return "It could not be made. Try again in a while.";
  return `${size(bytes ?? 0)} · kept until ${shortTime(expiresAt)}`;
}

function row(one: Export): HTMLElement {
  const { status, createdAt, url } = one;
  const name = `Archive of ${shortTime(createdAt)}`;
  return h(
    "li",
    { class: "entry", "data-state": status, title: fullTime(createdAt) },
    icon(status === "preparing" ? "spinner" : status === "failed" ? "alert" : "archive"),
    h("div", { class: "entry-text" }, h("strong", {}, name), h("span", {}, facts(one))),
    status === "ready" &&
      url &&
      h(
        "a",
        { class: "button", href: url, download: "", "aria-label": `Download ${name}` },
        icon("download"),
        "Download",
      ),
  );
}
