import { size } from "../bytes";
import { h } from "../dom";
import { icon } from "../icons";
import { fileRefusal } from "../refusal";
import type { Upload, Uploads } from "../uploads";

/** One file on its way: its name, how far it is, and what can be done about it. */
export function uploadRow(
  upload: Upload,
  uploads: Uploads,
  gone: () => void,
): { element: HTMLElement; stop: () => void } {
  const { name, size: bytes } = upload.file;
  const bar = h("progress", { max: Math.max(1, bytes), value: 0, "aria-label": `Upload of ${name}` });
  const text = h("span", { class: "upload-text", role: "status" });
  const retry = h(
    "button",
    { class: "button upload-retry", on: { click: () => uploads.retry(upload) } },
    "Try again",
  );
  const cancel = h(
    "button",
    {
      class: "icon-button",
      title: "Remove",
      "aria-label": `Cancel upload of ${name}`,
      on: {
        click: () => {
          uploads.cancel(upload);
          gone();
        },
      },
    },
    icon("close"),
  );
  const element = h(
    "li",
    { class: "upload" },
    icon("file"),
    h("div", { class: "upload-main" }, h("strong", {}, name || "File"), bar, text),
    retry,
    cancel,
  );
  const show = () => {
    element.dataset.state = upload.state;
    bar.value = upload.sent;
    bar.hidden = upload.ended;
    retry.hidden = upload.state !== "failed";
    const words = told(upload);
    if (text.textContent !== words) text.textContent = words;
  };
  show();
  return { element, stop: upload.on("changed", show) };
}

function told(upload: Upload): string {
  const { state, sent, file, error } = upload;
  if (state === "failed") return error ? fileRefusal(error) : "It failed.";
  if (state === "waiting") return "Waiting for the connection…";
  if (state === "queued") return "Waiting for its turn…";
  if (state === "done") return size(file.size);
  if (sent >= file.size) return "Almost there…";
  return `${Math.floor((100 * sent) / Math.max(1, file.size))} % of ${size(file.size)}`;
}
