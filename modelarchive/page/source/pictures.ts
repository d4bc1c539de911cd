/** Histograms, matrices and kernels, drawn small. */

import { numbers } from "./content";
import { svg } from "./elements";

export function histogram(letters: string, width: number, height: number, label: string): SVGSVGElement {
  const heights = numbers(letters);
  const step = width / heights.length;
  const path = heights.map((each, at) => {
    const top = (each * height) / 63;
    return each > 0 ? `M${(at * step).toFixed(2)} ${height}v${(-Math.max(top, 1)).toFixed(2)}h${step.toFixed(2)}V${height}z` : "";
  });
  return svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, class: "histogram", role: "img", "aria-label": label },
    svg("path", { d: path.join("") }));
}

/** Blue below zero, orange above, the page's colour at zero; crosses where a value is not finite. */
export function thumbnail(picture: { width: number; shades: string }, cell: number, label: string): SVGSVGElement {
  const shades = numbers(picture.shades);
  const rows = shades.length / picture.width;
  const size = { width: picture.width * cell, height: rows * cell };
  const drawn = svg("svg", { ...size, viewBox: `0 0 ${size.width} ${size.height}`, class: "thumbnail", role: "img", "aria-label": label });
  shades.forEach((shade, at) => {
    const x = (at % picture.width) * cell;
    const y = Math.floor(at / picture.width) * cell;
    const place = { x, y, width: cell, height: cell };
    if (shade < 0) drawn.append(svg("rect", { ...place, class: "bad" }));
    else if (shade !== 31) {
      const strength = Math.abs(shade - 31) / 31;
      drawn.append(svg("rect", { ...place, class: shade < 31 ? "below" : "above", "fill-opacity": strength.toFixed(2) }));
    }
  });
  return drawn;
}
