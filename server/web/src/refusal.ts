import { MemoError } from "@memory-app/client";
import { size } from "./bytes";

/** What went wrong, as a sentence for a person. */
export function sentence(error: unknown): string {
  if (!(error instanceof MemoError)) return `Something went wrong: ${String(error)}`;
  if (error.code === "timeout" || error.code === "unavailable") {
    return "The server can't be reached. Check your connection and try again.";
  }
  const text = finished(error.message);
  if (error.code !== "rate_limited" || !error.retryAfter) return text;
  const why = /^too many/i.test(text) ? "Too many tries." : text;
  return `${why} Try again ${inTime(error.retryAfter)}.`;
}

/** What is wrong with a field, as the server puts it: "is taken" or a whole sentence. */
export function ofField(label: string, problem: string): string {
  return finished(/^[a-z]/.test(problem) ? `${label} ${problem}` : problem);
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

function finished(text: string): string {
  const begun = text.charAt(0).toLocaleUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

function inTime(seconds: number): string {
  if (seconds < 90) return `in ${seconds === 1 ? "a second" : `${Math.ceil(seconds)} seconds`}`;
  const at = new Date(Date.now() + seconds * 1000);
  const clock = at.toLocaleTimeString(undefined, { hour: "numeric", minute: "2-digit" });
  return `in ${Math.ceil(seconds / 60)} minutes, at ${clock}`;
}
