import { encodeQR } from "qr";

const SVG = "http://www.w3.org/2000/svg";

/** `text` as a QR code. Always dark on white, which is what cameras are sure to read. */
export function qrCode(text: string, label: string): SVGSVGElement {
  const rows = encodeQR(text, "raw", { ecc: "medium", border: 3 });
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${rows.length} ${rows.length}`);
  svg.setAttribute("class", "qr");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", label);
  svg.setAttribute("shape-rendering", "crispEdges");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", rows.map(outline).join(""));
  svg.append(path);
  return svg;
}

/** The dark modules of one row, neighbours as one bar. */
function outline(row: boolean[], y: number): string {
  let bars = "";
  for (let x = 0; x < row.length; x += 1) {
    if (!row[x]) continue;
    const start = x;
    while (row[x + 1]) x += 1;
    bars += `M${start} ${y}h${x + 1 - start}v1H${start}z`;
  }
  return bars;
}
