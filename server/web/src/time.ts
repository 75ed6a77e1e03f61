const clock = new Intl.DateTimeFormat(undefined, { hour: "numeric", minute: "2-digit" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const date = new Intl.DateTimeFormat(undefined, {
  day: "numeric",
  month: "short",
  year: "numeric",
});
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeStyle: "short" });

/** The shortest that places a moment: a time today, a day this year, else a date. */
export function shortTime(rfc3339: string, now = new Date()): string {
  const moment = new Date(rfc3339);
  if (moment.toDateString() === now.toDateString()) return clock.format(moment);
  const yesterday = new Date(now);
  yesterday.setDate(now.getDate() - 1);
  if (moment.toDateString() === yesterday.toDateString()) return "Yesterday";
  return (moment.getFullYear() === now.getFullYear() ? day : date).format(moment);
}

export function fullTime(rfc3339: string): string {
  return full.format(new Date(rfc3339));
}

/** A day of this device's calendar, given as `2026-05-31`. */
export function shortDay(text: string, now = new Date()): string {
  const [year, month, number] = text.split("-").map(Number) as [number, number, number];
  const moment = new Date(year, month - 1, number);
  return (year === now.getFullYear() ? day : date).format(moment);
}
