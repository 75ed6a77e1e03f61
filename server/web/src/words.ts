import { plain } from "./prose";
import type { Row } from "./row";

/** What a search asks for: every one of `all` must occur, and none of `none`. Folded. */
export interface Words {
  all: string[];
  none: string[];
}

/** `[start, end)` in UTF-16 code units of `text`. */
export interface Excerpt {
  text: string;
  ranges: [start: number, end: number][];
}

const TERM = /(-?)"([^"]+)"?|(\S+)/gu;
const BEFORE = 30; // characters of context before the first word found
const SEARCHED = 20_000; // characters of a body that an excerpt is looked for in
const SHOWN = 240;

/** Words in double quotes must follow one another; what is behind a `-` must not be there. */
export function parse(search: string): Words {
  const words: Words = { all: [], none: [] };
  for (const [, minus, phrase, word] of search.matchAll(TERM)) {
    const negative = minus === "-" || (word !== undefined && /^-./u.test(word));
    const text = fold(phrase ?? (negative ? word!.slice(1) : word!)).replaceAll('"', "");
    if (text.trim()) words[negative ? "none" : "all"].push(text);
  }
  return words;
}

export function isEmpty({ all, none }: Words): boolean {
  return all.length + none.length === 0;
}

const haystacks = new WeakMap<Row, string>();

export function matches(row: Row, { all, none }: Words): boolean {
  let text = haystacks.get(row);
  if (text === undefined) {
    text = fold(`${row.title}\n${row.text}\n${row.tags.join("\n")}`);
    haystacks.set(row, text);
  }
  return all.every((word) => text.includes(word)) && !none.some((word) => text.includes(word));
}

/** Where the words occur in a short text. */
export function mark(text: string, { all }: Words): Excerpt {
  const folded = foldInPlace(text);
  const ranges: Excerpt["ranges"] = [];
  for (const word of all) {
    let at = folded.text.indexOf(word);
    for (; at >= 0; at = folded.text.indexOf(word, at + word.length)) {
      ranges.push([folded.places[at]!, folded.places[at + word.length]!]);
    }
  }
  return { text, ranges: merged(ranges) };
}

/** The piece of a longer text around the first word found; `undefined` where there is none. */
export function excerpt(text: string, words: Words): Excerpt | undefined {
  const searched = plain(text, SEARCHED);
  const folded = foldInPlace(searched);
  const found = words.all.map((word) => folded.text.indexOf(word)).filter((at) => at >= 0);
  if (found.length === 0) return undefined;
  const first = folded.places[Math.min(...found)]!;
  const gap = first > BEFORE ? searched.indexOf(" ", first - BEFORE) + 1 : 0;
  const start = gap > first ? first : gap;
  return mark((start > 0 ? "… " : "") + searched.slice(start, start + SHOWN), words);
}

/** Neither case nor accents count. */
function fold(text: string): string {
  return text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
}

/** The folded text, and for each place in it the place in `text` that it came from. */
function foldInPlace(text: string): { text: string; places: number[] } {
  let result = "";
  let at = 0;
  const places: number[] = [];
  for (const character of text) {
    const part = fold(character);
    for (let index = 0; index < part.length; index++) places.push(at);
    result += part;
    at += character.length;
  }
  places.push(at);
  return { text: result, places };
}

function merged(ranges: Excerpt["ranges"]): Excerpt["ranges"] {
  const result: Excerpt["ranges"] = [];
  for (const [start, end] of ranges.sort((a, b) => a[0] - b[0])) {
    const last = result.at(-1);
    if (last && start <= last[1]) last[1] = Math.max(last[1], end);
    else result.push([start, end]);
  }
  return result;
}
