import type { Provider } from "./api";

const paths = {
  alert: "M12 8v5m0 3.5v.01M10.3 4.1 2.9 17a2 2 0 0 0 1.7 3h14.8a2 2 0 0 0 1.7-3L13.7 4.1a2 2 0 0 0-3.4 0Z",
  archive: "M4 5h16v4H4Zm1.5 4v10h13V9M10 13h4",
  back: "m15 5-7 7 7 7",
  book: "M5 4h10a4 4 0 0 1 4 4v12H8a3 3 0 0 1-3-3Zm0 13a3 3 0 0 1 3-3h11",
  bookmark: "M7 4h10v16l-5-4-5 4Z",
  briefcase: "M4 8h16v11H4Zm5 0V5h6v3M4 13h16m-8-1v2",
  bulb: "M9.5 18h5M10 21h4M8.6 14.8a6 6 0 1 1 6.8 0c-.6.5-.9 1.2-.9 2h-5c0-.8-.3-1.5-.9-2Z",
  calendar: "M4 6h16v14H4Zm0 4.5h16M8 3.5V8m8-4.5V8",
  camera: "M4 8h4l1.5-2.5h5L16 8h4v11H4Zm8 8.5a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4Z",
  cart: "M3 4.5h2.5L8 15h9.5L20 8H6.3M9 19.5h.01m7.49 0h.01",
  chat: "M4 5.5h16v11H11l-4.5 3.5v-3.5H4Z",
  check: "m5 12.5 4.5 4.5L19 7.5",
  clip: "m19 11.5-7.4 7.4a4.6 4.6 0 0 1-6.5-6.5l8-8a3.1 3.1 0 0 1 4.4 4.4l-8 8a1.6 1.6 0 0 1-2.2-2.2l7.4-7.4",
  close: "M6 6l12 12M18 6 6 18",
  cloud: "M7 18.5a4.5 4.5 0 0 1-.6-8.96 6 6 0 0 1 11.5 1.5A3.75 3.75 0 0 1 17.5 18.5Zm2.6-5 2 2 3.6-3.8",
  coffee: "M5 9h11v6a4 4 0 0 1-4 4H9a4 4 0 0 1-4-4Zm11 1.5h1.5a2.5 2.5 0 0 1 0 5H16M8.5 3.5V6m4-2.5V6",
  copy: "M9 9h10v10H9Zm-4 6V5h10",
  dashed: "M8 5H5v3m0 3v2m0 3v3h3m3 0h2m3 0h3v-3m0-3v-2m0-3V5h-3m-3 0h-2",
  down: "m6 9.5 6 6 6-6",
  download: "M12 4v11m-4.5-4.5L12 15l4.5-4.5M5 19.5h14",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12Zm9.5 3a3 3 0 1 0 0-6 3 3 0 0 0 0 6Z",
  file: "M6.5 3.5H14l4 4v13H6.5ZM14 3.5v4h4",
  film: "M4 5h16v14H4Zm4 0v14m8-14v14M4 9.7h4m-4 4.6h4m8-4.6h4m-4 4.6h4",
  filter: "M4 7h16M7 12h10m-7 5h4",
  flag: "M6 21V4.5c4-2 7.5 2 12 0v9c-4.5 2-8-2-12 0",
  folder: "M3.5 6h6l2 2.5h9V19h-17Z",
  gift: "M4 9h16v4H4Zm1.5 4v7h13v-7M12 9v11m0-11C9 9 7.3 7.8 7.8 6s3.5-1.5 4.2 3c.7-4.5 3.7-4.8 4.2-3S15 9 12 9Z",
  globe: "M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17Zm-8.5-8.5h17M12 3.5c5 5 5 12 0 17-5-5-5-12 0-17Z",
  heart: "M12 19.5S4 15 4 9.3A4.3 4.3 0 0 1 12 7a4.3 4.3 0 0 1 8 2.3C20 15 12 19.5 12 19.5Z",
  history: "M4.5 5v5h5M5 10a7.8 7.8 0 1 1-.8 4.5M12 8v4.5l3 2",
  home: "m4 11.5 8-7 8 7M6 10v9.5h4.5V14h3v5.5H18V10",
  image: "M4 5h16v14H4Zm0 11 5-5 4 4 2.5-2.5L20 17M15.5 9.5h.01",
  inbox: "M4 13.5 6.5 5h11l2.5 8.5V19H4Zm0 0h5a3 3 0 0 0 6 0h5",
  leaf: "M5 19C4 10 9 5 19.5 4.5 20 14 15.5 19.5 8 17.5M5 20c1.5-4.5 4.5-7.5 9-9.5",
  link: "M10 14a4 4 0 0 0 5.7 0l3.1-3.1a4 4 0 0 0-5.7-5.7L12 6.3M14 10a4 4 0 0 0-5.7 0l-3.1 3.1a4 4 0 0 0 5.7 5.7L12 17.7",
  menu: "M4 7h16M4 12h16M4 17h16",
  mail: "M3.5 6h17v12h-17Zm.5.5 8 6.5 8-6.5",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5Z",
  more: "M6 12h.01M12 12h.01M18 12h.01",
  music: "M9 17.5V6l10-2v11.5M9 17.5a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0Zm10-2a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0Z",
  offline: "M3 3l18 18M9.5 5.9a6 6 0 0 1 8.4 5.1 3.8 3.8 0 0 1 2.3 5.6M16 18.5H7a4.5 4.5 0 0 1-.6-8.96",
  "open-book": "M12 7c-2-1.5-4.5-2-8-2v13c3.5 0 6 .5 8 2 2-1.5 4.5-2 8-2V5c-3.5 0-6 .5-8 2Zm0 0v13",
  palette: "M12 20.5a8.5 8.5 0 1 1 8.5-8.5c0 2.5-1.7 3.3-3.5 3.3h-1.8c-2 0-2.2 1.4-1.7 2.6.6 1.4 0 2.6-1.5 2.6ZM8 12h.01M10 8.2h.01m4.5.1h.01",
  pencil: "m4 20 1-4.5L16.5 4 20 7.5 8.5 19Z",
  plane: "M21 4 3 10.5l6 3.2L12.5 20Zm-12 9.7L21 4",
  plus: "M12 5v14M5 12h14",
  reply: "M9.5 6 4.5 11l5 5M5 11h8.5a6 6 0 0 1 6 6v1",
  restore: "M4.5 5v5h5M5 10a7.8 7.8 0 1 1-.8 4.5",
  screen: "M4 5h16v11H4Zm5 15h6m-3-4v4",
  settings: "M4 7h9m6 0h1M4 17h3m6 0h7M16 9.5a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5Zm-6 10a2.5 2.5 0 1 0 0-5 2.5 2.5 0 0 0 0 5Z",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14Zm5-2 4.5 4.5",
  select: "M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17Zm-3.8-8.3 2.7 2.7 5-5.3",
  send: "M12 19V5.5M6 11.5l6-6 6 6",
  shield: "M12 3.5 5 6v5.5c0 4.2 2.8 7.3 7 9 4.2-1.7 7-4.8 7-9V6Zm-3 8.2 2.2 2.2 4-4.2",
  signout: "M14 4h5v16h-5M10 8l-4 4 4 4m-4-4h9",
  spinner: "M12 4a8 8 0 1 1-8 8",
  star: "m12 3.8 2.5 5.2 5.7.8-4.1 4 1 5.7-5.1-2.7-5.1 2.7 1-5.7-4.1-4 5.7-.8Z",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8Zm0-13v2m0 14v2m9-9h-2M5 12H3m15.4-6.4L17 7M7 17l-1.4 1.4m12.8 0L17 17M7 7 5.6 5.6",
  tag: "M4 4h7.5l8.5 8.5-7.5 7.5L4 11.5Zm4 4h.01",
  trash: "M5 7h14M10 7V4.5h4V7m-7.5 0 .8 12.5h9.4L17.5 7M10 10.5v5.5m4-5.5v5.5",
  unarchive: "M4 5h16v4H4Zm1.5 4v10h13V9M12 17v-5m-2.2 2 2.2-2.2 2.2 2.2",
  up: "m6 14.5 6-6 6 6",
  user: "M12 11.5a3.8 3.8 0 1 0 0-7.5 3.8 3.8 0 0 0 0 7.5ZM4.5 20c.5-4 3.5-6 7.5-6s7 2 7.5 6",
  users: "M9 11.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM2.5 19.5c.4-3.7 2.8-5.5 6.5-5.5s6.1 1.8 6.5 5.5M15.5 4.8a3.5 3.5 0 0 1 0 6.5m2.5 3c2.2.7 3.4 2.4 3.6 5.2",
  wallet: "M18 8V5H5.5a2 2 0 0 0 0 4H20v10H5.5a2 2 0 0 1-2-2V7M16.5 14h.01",
} as const;

export type IconName = keyof typeof paths;

const SVG = "http://www.w3.org/2000/svg";

/** A 20 px line icon, for the eye only: what it means is said by its button's label. */
export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", paths[name]);
  svg.append(path);
  return svg;
}

/** The product's mark: two leaves of one book, as the favicon draws it. */
export function mark(): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 32 32");
  svg.setAttribute("class", "mark");
  svg.setAttribute("aria-hidden", "true");
  const plate = document.createElementNS(SVG, "rect");
  plate.setAttribute("width", "32");
  plate.setAttribute("height", "32");
  plate.setAttribute("rx", "9");
  const leaves = document.createElementNS(SVG, "path");
  leaves.setAttribute("d", "M8 22.5V12.6a4 4 0 0 1 8 0v9.9m0-9.9a4 4 0 0 1 8 0v9.9");
  svg.append(plate, leaves);
  return svg;
}

const providerMarks: Record<Provider, string> = {
  apple:
    "M16.4 12.7c0-2.3 1.9-3.4 2-3.5-1.1-1.6-2.8-1.8-3.4-1.8-1.4-.2-2.8.8-3.5.8s-1.8-.8-3-.8c-1.5 0-3 .9-3.8 2.3-1.6 2.8-.4 7 1.2 9.3.8 1.1 1.7 2.4 2.9 2.3 1.2 0 1.6-.7 3-.7s1.8.7 3 .7 2-1.1 2.8-2.2c.9-1.3 1.2-2.5 1.3-2.6-.1 0-2.5-.9-2.5-3.8ZM14.2 5.8c.6-.8 1.1-1.9 1-3-.9 0-2.1.6-2.7 1.4-.6.7-1.1 1.8-1 2.9 1 .1 2.1-.5 2.7-1.3Z",
  google:
    "M12 10.6v3.1h4.4c-.2 1.1-1.4 3.3-4.4 3.3a5 5 0 0 1 0-10c1.5 0 2.5.6 3.1 1.2l2.1-2.1A7.8 7.8 0 0 0 12 4a8 8 0 1 0 0 16c4.6 0 7.7-3.2 7.7-7.8 0-.5-.1-1-.1-1.6Z",
};

/** A provider's mark, in the colour of the text beside it. */
export function providerMark(name: Provider): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon icon-filled");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", providerMarks[name]);
  svg.append(path);
  return svg;
}
