/** A run: its metrics and norms over steps, and its checkpoints. */

import { Run } from "./content";
import { html } from "./elements";
import { curve } from "./pictures";
import { bytes, counted, figure } from "./words";

const LEAST = 2;

/** So many damaged checkpoints are named above the curves. */
const MOST = 5;

/** A curve with its title; nothing where fewer than two checkpoints have a number. */
export function chart(run: Run, title: string, values: (number | null)[]): HTMLElement[] {
  if (values.filter((each) => each !== null).length < LEAST) return [];
  const steps = run.checkpoints.map((each) => each.step);
  return [html("figure", {}, html("figcaption", {}, title), curve(steps, values, 288, 96, `${title} over steps`))];
}

export function ofRun(run: Run): HTMLElement {
  const found = run.checkpoints;
  const names = [...new Set(found.flatMap((each) => Object.keys(each.metrics)))];
  const metric = (name: string): (number | null)[] => found.map((each) => (typeof each.metrics[name] === "number" ? (each.metrics[name] as number) : null));
  const charts = [...names.flatMap((name) => chart(run, name, metric(name))), ...chart(run, "norm of all parameters", run.norm), ...chart(run, "moved since the checkpoint before (share of the norm)", run.move)];
  const head = ["step", "state", "size", ...names, "norm", "moved"].map((each) => html("th", { scope: "col", class: each === "state" ? "" : "number" }, each));
  const rows = found.map((each, at) => html("tr", {},
    html("th", { scope: "row", class: "number" }, counted(each.step)),
    html("td", {}, each.problem ? html("strong", { class: "bad" }, each.problem) : "whole"),
    ...[bytes(each.bytes), ...names.map((name) => figure(each.metrics[name])), figure(run.norm[at]), figure(run.move[at])].map((cell) => html("td", { class: "number" }, cell))));
  const steps = found.length > 1 ? `${counted(found.length)} checkpoints, steps ${counted(found[0].step)} to ${counted(found[found.length - 1].step)}` : `the checkpoint of step ${counted(found[0].step)}`;
  const bad = found.filter((each) => each.problem).map((each) => counted(each.step));
  const more = bad.length > MOST ? ` and ${counted(bad.length - MOST)} more` : "";
  const alarm = bad.length ? [" ", html("strong", { class: "bad" }, `not whole: step ${bad.slice(0, MOST).join("; ")}${more}`)] : [];
  return html("section", { class: "run", "aria-label": "Run" },
    html("p", {}, html("strong", {}, steps), ...alarm),
    html("div", { class: "charts" }, ...charts),
    html("div", { class: "rows", tabindex: 0, role: "region", "aria-label": "Checkpoints, scrollable" }, html("table", {}, html("thead", {}, html("tr", {}, ...head)), html("tbody", {}, ...rows))));
}
