const paths = {
  alert: "M12 8v5m0 3.5v.01M10.3 4.1 2.9 17a2 2 0 0 0 1.7 3h14.8a2 2 0 0 0 1.7-3L13.7 4.1a2 2 0 0 0-3.4 0Z",
  back: "m15 5-7 7 7 7",
  book: "M5 4h10a4 4 0 0 1 4 4v12H8a3 3 0 0 1-3-3Zm0 13a3 3 0 0 1 3-3h11",
  chat: "M4 5.5h16v11H11l-4.5 3.5v-3.5H4Z",
  check: "m5 12.5 4.5 4.5L19 7.5",
  clip: "m19 11.5-7.4 7.4a4.6 4.6 0 0 1-6.5-6.5l8-8a3.1 3.1 0 0 1 4.4 4.4l-8 8a1.6 1.6 0 0 1-2.2-2.2l7.4-7.4",
  close: "M6 6l12 12M18 6 6 18",
  cloud: "M7 18.5a4.5 4.5 0 0 1-.6-8.96 6 6 0 0 1 11.5 1.5A3.75 3.75 0 0 1 17.5 18.5Zm2.6-5 2 2 3.6-3.8",
  copy: "M9 9h10v10H9Zm-4 6V5h10",
  download: "M12 4v11m-4.5-4.5L12 15l4.5-4.5M5 19.5h14",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12Zm9.5 3a3 3 0 1 0 0-6 3 3 0 0 0 0 6Z",
  file: "M6.5 3.5H14l4 4v13H6.5ZM14 3.5v4h4",
  film: "M4 5h16v14H4Zm4 0v14m8-14v14M4 9.7h4m-4 4.6h4m8-4.6h4m-4 4.6h4",
  history: "M4.5 5v5h5M5 10a7.8 7.8 0 1 1-.8 4.5M12 8v4.5l3 2",
  image: "M4 5h16v14H4Zm0 11 5-5 4 4 2.5-2.5L20 17M15.5 9.5h.01",
  link: "M10 14a4 4 0 0 0 5.7 0l3.1-3.1a4 4 0 0 0-5.7-5.7L12 6.3M14 10a4 4 0 0 0-5.7 0l-3.1 3.1a4 4 0 0 0 5.7 5.7L12 17.7",
  moon: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5Z",
  music: "M9 17.5V6l10-2v11.5M9 17.5a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0Zm10-2a2.5 2.5 0 1 1-5 0 2.5 2.5 0 0 1 5 0Z",
  offline: "M3 3l18 18M9.5 5.9a6 6 0 0 1 8.4 5.1 3.8 3.8 0 0 1 2.3 5.6M16 18.5H7a4.5 4.5 0 0 1-.6-8.96",
  pencil: "m4 20 1-4.5L16.5 4 20 7.5 8.5 19Z",
  plus: "M12 5v14M5 12h14",
  reply: "M9.5 6 4.5 11l5 5M5 11h8.5a6 6 0 0 1 6 6v1",
  restore: "M4.5 5v5h5M5 10a7.8 7.8 0 1 1-.8 4.5",
  screen: "M4 5h16v11H4Zm5 15h6m-3-4v4",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14Zm5-2 4.5 4.5",
  send: "M12 19V5.5M6 11.5l6-6 6 6",
  signout: "M14 4h5v16h-5M10 8l-4 4 4 4m-4-4h9",
  spinner: "M12 4a8 8 0 1 1-8 8",
  star: "m12 3.8 2.5 5.2 5.7.8-4.1 4 1 5.7-5.1-2.7-5.1 2.7 1-5.7-4.1-4 5.7-.8Z",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8Zm0-13v2m0 14v2m9-9h-2M5 12H3m15.4-6.4L17 7M7 17l-1.4 1.4m12.8 0L17 17M7 7 5.6 5.6",
  tag: "M4 4h7.5l8.5 8.5-7.5 7.5L4 11.5Zm4 4h.01",
  trash: "M5 7h14M10 7V4.5h4V7m-7.5 0 .8 12.5h9.4L17.5 7M10 10.5v5.5m4-5.5v5.5",
  users: "M9 11.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7ZM2.5 19.5c.4-3.7 2.8-5.5 6.5-5.5s6.1 1.8 6.5 5.5M15.5 4.8a3.5 3.5 0 0 1 0 6.5m2.5 3c2.2.7 3.4 2.4 3.6 5.2",
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
