import { MemoError } from "@memory-app/client";
import type { Import } from "@memory-app/client";
import { h } from "../../dom";
import { icon } from "../../icons";
import { sentence } from "../../refusal";
import { fullTime, shortTime } from "../../time";
import type { Upload } from "../../uploads";
import { uploadRow } from "../uploadrow";
import { loaded, panel, type Context } from "./section";

/** Archives of this or another server, and folders of Markdown, brought into the account. */
export function importPanel(context: Context): HTMLElement {
  const { signal, workspace } = context;
  const { imports, uploads } = workspace;
  const input = h("input", {
    type: "file",
    accept: ".zip,application/zip",
    "aria-label": "ZIP file to bring in",
    on: {
      change: () => {
        const [file] = input.files ?? [];
        if (file) imports.bring(file);
        input.value = "";
      },
    },
  });
  const choose = h("label", { class: "button picture-choose" }, "Choose a ZIP file", input);
  const sending = h("ul", { class: "upload-list", "aria-label": "Being sent" });
  const problem = h("p", { class: "form-error", role: "alert" });
  const list = h("ul", { class: "entries", "aria-label": "Brought in" });
  const said = h("p", { class: "unseen", role: "status" });
  let sent: { upload: Upload; stop: () => void } | undefined;
  let shown = "";
  const showSending = (upload: Upload | undefined) => {
    if (sent?.upload === upload) return;
    sent?.stop();
    sent = undefined;
    sending.hidden = upload === undefined;
    if (!upload) return sending.replaceChildren();
    const row = uploadRow(upload, uploads, () => undefined);
    sent = { upload, stop: row.stop };
    sending.replaceChildren(row.element);
  };
  const show = () => {
    showSending(imports.upload);
    const busy = imports.upload !== undefined || imports.running;
    input.disabled = busy;
    choose.classList.toggle("disabled", busy);
    const text = imports.problem ? sentence(imports.problem) : "";
    if (problem.textContent !== text) problem.textContent = text;
    const now = JSON.stringify(imports.list);
    if (now === shown) return; // what was unfolded must stay
    shown = now;
    list.hidden = imports.list.length === 0;
    list.replaceChildren(...imports.list.map(report));
    said.textContent = imports.list[0] ? titleOf(imports.list[0]) : "";
  };
  const stop = imports.on("changed", show);
  signal.addEventListener("abort", () => {
    stop();
    sent?.stop();
  });
  show();
  return panel(
    "import-panel",
    "Bring it in",
    h(
      "p",
      { class: "panel-lead" },
      "An archive that was made here or on another server, or a folder of Markdown notes as a ZIP " +
        "file, such as Obsidian's. What is here already stays as it is, so nothing is doubled.",
    ),
    h("div", { class: "panel-actions" }, choose),
    problem,
    sending,
    loaded(context, async () => {
      await imports.update();
      return list;
    }),
    said,
  );
}

function titleOf({ status, createdAt, finishedAt }: Import): string {
  if (status === "running") return "Being brought in…";
  if (status === "failed") return "Could not be brought in";
  return `Brought in ${shortTime(finishedAt ?? createdAt)}`;
}

function report(one: Import): HTMLElement {
  const { status, createdAt, error, skipped } = one;
  const why = error && sentence(new MemoError("invalid_request", error));
  return h(
    "li",
    { class: "entry", "data-state": status, title: fullTime(createdAt) },
    icon(status === "running" ? "spinner" : status === "failed" ? "alert" : "check"),
    h(
      "div",
      { class: "entry-text" },
      h("strong", {}, titleOf(one)),
      why && h("span", {}, why),
      (status !== "failed" || one.memories > 0) && h("span", {}, brought(one)),
    ),
    skipped.length > 0 && leftOut(one),
  );
}

/** What came of one, in short. */
export function brought({ status, memories, present, files, versions }: Import): string {
  const parts = [
    counted(memories, "memory", "memories"),
    files > 0 && counted(files, "file", "files"),
    versions > 0 && counted(versions, "version", "versions"),
    present > 0 && `${present.toLocaleString()} ${present === 1 ? "was" : "were"} there already`,
  ].filter(Boolean);
  const text = parts.join(" · ");
  return status === "running" ? `So far ${text}` : text;
}

/** What was not brought in, each with its reason. */
function leftOut({ skipped }: Import): HTMLElement {
  const items = skipped.map(({ path, reason }) =>
    h("li", {}, h("strong", {}, path), h("span", {}, reason)),
  );
  return h(
    "details",
    { class: "unfolding left-out" },
    h("summary", {}, `${counted(skipped.length, "entry was", "entries were")} left out`),
    h("ul", { tabindex: "0", "aria-label": "Left out" }, ...items),
  );
}

function counted(count: number, one: string, many: string): string {
  return `${count.toLocaleString()} ${count === 1 ? one : many}`;
}
