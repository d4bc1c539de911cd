/** Histograms, matrices, kernels and curves, drawn small. */

import { numbers } from "./content";
import { svg } from "./elements";
import { counted, figure } from "./words";

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

/** Numbers over steps: a line with a gap where there is none, its least and greatest value and its ends in words. */
export function curve(steps: number[], values: (number | null)[], width: number, height: number, label: string): SVGSVGElement {
  const known = values.filter((each): each is number => each !== null);
  const [least, greatest] = [Math.min(...known), Math.max(...known)];
  const [first, last] = [steps[0], steps[steps.length - 1]];
  const [left, right, top, bottom] = [8, width - 8, 18, height - 20];
  const x = (step: number): number => (last > first ? left + ((step - first) / (last - first)) * (right - left) : (left + right) / 2);
  const y = (value: number): number => (greatest > least ? bottom - ((value - least) / (greatest - least)) * (bottom - top) : (top + bottom) / 2);
  let path = "";
  values.forEach((value, at) => {
    if (value !== null) path += `${at && values[at - 1] !== null ? "L" : "M"}${x(steps[at]).toFixed(1)} ${y(value).toFixed(1)}`;
  });
  const dots = values.flatMap((value, at) => (value === null ? [] : [svg("circle", { cx: x(steps[at]).toFixed(1), cy: y(value).toFixed(1), r: 2.5 }, svg("title", {}, `step ${counted(steps[at])}: ${figure(value)}`))]));
  const say = (text: string, at: number, line: number, anchor: string): SVGElement => svg("text", { x: at, y: line, "text-anchor": anchor }, text);
  return svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, class: "curve", role: "img", "aria-label": `${label}: from ${figure(known[0])} to ${figure(known[known.length - 1])}, least ${figure(least)}, greatest ${figure(greatest)}` },
    svg("path", { d: path }), ...dots,
    say(figure(greatest), left, 11, "start"), say(figure(least), left, height - 8, "start"),
    say(`step ${counted(first)} to ${counted(last)}`, right, height - 8, "end"));
}
