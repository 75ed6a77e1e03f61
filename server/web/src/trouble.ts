import { MemoError } from "@memory-app/client";

/** What went wrong, in words for a person: how long to wait, if waiting helps. */
export function inWords(error: MemoError): string {
  if (error.code === "rate_limited" && error.retryAfter) {
    const why = /^too many/i.test(error.message) ? "Too many tries." : sentence(error.message);
    return `${why} Try again ${inTime(error.retryAfter)}.`;
  }
  if (error.code === "timeout" || error.code === "unavailable") {
    return "The server can't be reached. Check your connection and try again.";
  }
  return sentence(error.message);
}

/** What is wrong with a field, as the server puts it: "is taken" or a whole sentence. */
export function ofField(label: string, problem: string): string {
  return sentence(/^[a-z]/.test(problem) ? `${label} ${problem}` : problem);
}

function sentence(text: string): string {
  const begun = text.charAt(0).toLocaleUpperCase() + text.slice(1);
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}

function inTime(seconds: number): string {
  if (seconds < 90) return `in ${seconds === 1 ? "a second" : `${Math.ceil(seconds)} seconds`}`;
  const at = new Date(Date.now() + seconds * 1000);
  const clock = at.toLocaleTimeString(undefined, { hour: "numeric", minute: "2-digit" });
  return `in ${Math.ceil(seconds / 60)} minutes, at ${clock}`;
}
