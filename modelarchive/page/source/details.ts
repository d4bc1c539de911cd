/** What is said of the block or the array that is selected. */

import { ArrayRecord, Index, isBad, isDead, size } from "./content";
import { button, html } from "./elements";
import { chart } from "./run";
import { histogram, thumbnail } from "./pictures";
import { bytes, counted, field, shape } from "./words";

const pairs = (rows: [string, string | Node][]): HTMLElement =>
  html("dl", {}, ...rows.flatMap(([key, value]) => [html("dt", {}, key), html("dd", {}, value)]));

export function ofBlock(index: Index, at: number, chooseArray: (name: string) => void): HTMLElement {
  const block = index.model.blocks[at];
  const rows: [string, string | Node][] = [["kind", block.kind]];
  if (block.output) rows.push(["gives", block.output]);
  if (index.totals[at]) rows.push(["parameters", counted(index.totals[at])]);
  for (const [key, value] of Object.entries(block.fields ?? {})) rows.push([key, field(value)]);
  const arrays = (index.owners.get(at) ?? []).map((array) =>
    html("li", {}, button(array.name.slice(block.path ? block.path.length + 1 : 0), () => chooseArray(array.name)), ` ${array.dtype} ${shape(array.shape)}${array.shares ? `, the same as ${array.shares}` : ""}`));
  return html("div", {}, html("h2", {}, block.path || index.model.title), pairs(rows), ...(arrays.length ? [html("h3", {}, "its arrays"), html("ul", {}, ...arrays)] : []));
}

export function ofArray(index: Index, array: ArrayRecord, choose: (at: number) => void): HTMLElement {
  const rows: [string, string | Node][] = [["dtype", array.dtype], ["shape", array.value ?? shape(array.shape)], ["bytes", `${counted(array.bytes)} (${bytes(array.bytes)})`]];
  if (array.compressed !== undefined) rows.push(["compressed", bytes(array.compressed)]);
  if (array.shares) rows.push(["shares", array.shares]);
  const found = array.statistics;
  if (found) {
    for (const key of ["least", "greatest", "mean", "deviation"] as const) if (found[key] !== undefined) rows.push([key, found[key]!]);
    rows.push(["zeros", `${counted(found.zeros)} of ${counted(size(array))}`]);
    if (isBad(array)) rows.push(["not finite", html("strong", { class: "bad" }, `${counted(found.nans)} NaN, ${counted(found.infinities)} infinite`)]);
    if (isDead(array)) rows.push(["dead", html("strong", { class: "bad" }, "nothing but zeros")]);
  }
  const change = index.changes?.arrays[array.name];
  if (change) rows.push(["change", change.said ?? [change.state, change.relative === "inf" ? "from 0" : change.relative ? `by ${change.relative} of its norm` : "", change.least ? `from ${change.least} to ${change.greatest}` : ""].filter(Boolean).join(" ")]);
  const damage = index.damaged.get(array.shares ?? array.name);
  if (damage) rows.push(["damaged", html("strong", { class: "bad" }, damage)]);
  if (array.digest) rows.push(["BLAKE3", html("code", {}, array.digest)]);
  const made = html("div", {}, html("h2", {}, array.name), pairs(rows));
  if (found?.histogram) made.append(html("h3", {}, found.sample ? "histogram, of a sample" : "histogram"), histogram(found.histogram, 288, 80, `histogram of ${array.name}, from ${found.least} to ${found.greatest}`));
  if (change?.histogram) made.append(html("h3", {}, "histogram of the difference"), histogram(change.histogram, 288, 80, `histogram of the change of ${array.name}`));
  const run = index.run;
  if (run) made.append(...chart(run, "norm over steps", run.norms[array.name] ?? []), ...chart(run, "moved since the checkpoint before", run.moves[array.name] ?? []));
  if (array.thumbnail) made.append(html("h3", {}, array.shape.length === 4 ? "kernels" : "values, thinned out"), thumbnail(array.thumbnail, Math.max(5, Math.min(14, Math.floor(288 / array.thumbnail.width))), `values of ${array.name}`));
  const owner = index.owner(array.name);
  if (owner !== undefined) made.append(html("p", {}, button("its block", () => choose(owner))));
  return made;
}
