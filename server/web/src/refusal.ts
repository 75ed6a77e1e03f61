import { MemoError } from "@memory-app/client";
import { size } from "./bytes";

/** What went wrong, as a sentence for a person. */
export function sentence(error: unknown): string {
  if (!(error instanceof MemoError)) return `Something went wrong: ${String(error)}`;
  if (error.code === "timeout" || error.code === "unavailable") {
    return "The server can't be reached. Check your connection and try again.";
  }
  const { message } = error;
  const first = message.charAt(0).toLocaleUpperCase() + message.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}

/** Why a file was not taken, and what to do about it. */
export function fileRefusal(error: MemoError): string {
  const { code, details } = error;
  if (code === "too_large") {
    const limit = /(\d+) bytes/.exec(`${String(details?.file)} ${error.message}`)?.[1];
    return limit
      ? `Too large: a file may have ${size(Number(limit))}.`
      : "Too large for the server.";
  }
  if (code === "quota_exceeded") {
    const { bytes, quota } = details ?? {};
    const room =
      typeof bytes === "number" && typeof quota === "number"
        ? ` You use ${size(bytes)} of ${size(quota)}.`
        : "";
    return `No room left.${room} Remove files that you no longer need.`;
  }
  if (code === "forbidden") return "You may not add files to this memory.";
  if (code === "not_found" || code === "gone") return "This memory is gone.";
  return sentence(error);
}
