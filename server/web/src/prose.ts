const TABLE_RULES = /^[|:\s-]*-{3}[|:\s-]*$/gm;
const LINE_MARKS = /^\s*(?:(?:#+|>|[-*+]|\d+\.)\s+(?:\[[ xX]\]\s+)?|\|)/gm;
const INLINE_MARKS = /[*_`~]{1,3}|\|\s*$/gm;

/** The first `length` characters in one line, without Markdown's marks. */
export function plain(text: string, length: number): string {
  const words = [TABLE_RULES, LINE_MARKS, INLINE_MARKS].reduce(
    (rest, marks) => rest.replace(marks, ""),
    text.slice(0, length),
  );
  return words.replace(/\s*\|\s*|\s+/g, (gap) => (gap.includes("|") ? " · " : " ")).trim();
}
