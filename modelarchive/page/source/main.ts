/** The page: what is shown is read from it, and laid out; a block's link is the page's address with its name. */

import { Change, Index, isBad, isDead, Model, Shown } from "./content";
import { ofArray, ofBlock } from "./details";
import { button, html } from "./elements";
import { Graph } from "./graph";
import { ofRun } from "./run";
import { Table } from "./table";
import { Tree } from "./tree";
import { bytes, counted } from "./words";

/** So many arrays are named above the graph. */
const FEW = 5;

const shown = JSON.parse(document.getElementById("content")!.textContent!) as Shown;
// Names in a file are none of JavaScript's: "constructor" is in a record only if the file has it.
const records = [shown.changes?.arrays, shown.run?.norms, shown.run?.moves, ...(shown.run?.checkpoints ?? []).map((each) => each.metrics)];
for (const each of records) if (each) Object.setPrototypeOf(each, null);
const model = shown.models[shown.models.length - 1];
const index = new Index(model, shown.changes, shown.run);
const page = document.getElementById("page")!;
const details = html("aside", { class: "details", "aria-label": "Selected", "aria-live": "polite", tabindex: 0 });

/** The page's address with a name; a frame, as notebooks put it into, may have none. */
function remember(name: string): void {
  try {
    history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  } catch {}
}
function remembered(): string {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

const chooseBlock = (at: number): void => {
  details.replaceChildren(ofBlock(index, at, chooseArray));
  tree.select(at);
  graph?.select(at);
  remember(model.blocks[at].path);
};
const chooseArray = (name: string): void => {
  const array = model.arrays.find((each) => each.name === name);
  if (!array) return;
  details.replaceChildren(ofArray(index, array, chooseBlock));
  table.select(name);
  const owner = index.owner(name);
  if (owner !== undefined && model.blocks.length) {
    tree.select(owner);
    graph?.select(owner);
  }
  remember(name);
};

const tree = new Tree(index, chooseBlock, chooseArray);
const graph = model.blocks.length ? new Graph(index, chooseBlock) : undefined;
const table = new Table(index, chooseArray);

function head(): HTMLElement {
  const count = model.arrays.filter((each) => !each.shares).length;
  const facts = [`${model.what}`, bytes(model.bytes), `${counted(model.count)} ${model.blocks.length ? "parameters" : "numbers"}`, `${counted(count)} ${count === 1 ? "array" : "arrays"}`,
    [...new Set(model.arrays.filter((each) => each.statistics).map((each) => each.dtype))].sort().join(", ")].filter(Boolean);
  const made = html("header", {}, html("h1", {}, shown.run ? `${shown.run.title} → ${model.title}` : shown.models.map((each) => each.title).join(" → ")), html("p", {}, facts.join(" · ")));
  for (const input of model.inputs) made.append(html("p", { class: "input" }, html("span", { class: "kind" }, "input "), input));
  for (const each of shown.models) if (each.damaged.length) made.append(damage(each));
  const alarms = html("p", { class: "alarms" });
  for (const [found, what] of [[model.arrays.filter(isBad), "not finite"], [model.arrays.filter(isDead), "nothing but zeros"]] as const) {
    if (!found.length) continue;
    alarms.append(html("strong", { class: "bad" }, `${counted(found.length)} ${found.length > 1 ? "arrays" : "array"}: ${what}`), " ", ...links(found.map((each) => each.name)));
  }
  if (alarms.childNodes.length) made.append(alarms);
  if (shown.changes) made.append(changes());
  if (shown.run) made.append(ofRun(shown.run));
  const more = html("details", {}, html("summary", {}, "about the file"));
  const list = html("dl");
  for (const [key, value] of [...model.facts, ...model.metadata]) list.append(html("dt", {}, key), html("dd", {}, value));
  if (model.reason) list.append(html("dt", {}, "architecture"), html("dd", {}, model.reason));
  for (const [where, what] of [...model.notes, ...model.damaged]) list.append(html("dt", {}, where), html("dd", {}, what));
  more.append(list);
  made.append(more);
  return made;
}

/** What of a file is not as it was written; its arrays can be chosen, if it is the one that is shown. */
function damage(of: Model): HTMLElement {
  const isArray = (name: string): boolean => of === model && model.arrays.some((each) => each.name === name);
  const names = of.damaged.map(([where]) => where);
  const others = names.filter((name) => name && !isArray(name)).slice(0, FEW);
  return html("p", { class: "alarms" }, html("strong", { class: "bad" }, `${of.title} is damaged: ${counted(names.length)} ${names.length > 1 ? "parts" : "part"}`), " ",
    ...links(names.filter(isArray)), others.join(" "));
}

/** The first of some arrays as buttons that choose them, and how many more there are. */
function links(names: string[]): (Node | string)[] {
  const made = names.slice(0, FEW).flatMap((name) => [button(name, () => chooseArray(name)), " "]);
  return names.length > FEW ? [...made, `and ${counted(names.length - FEW)} more `] : made;
}

function changes(): HTMLElement {
  const found = shown.changes!;
  const states = Object.values(found.arrays).map((each) => each.state);
  const said = (["changed", "replaced", "added", "removed"] as const)
    .map((state) => [state, states.filter((each) => each === state).length] as const).filter(([, count]) => count)
    .map(([state, count]) => `${counted(count)} ${state}`);
  const made = html("section", { class: "changes", "aria-label": "Changes" },
    html("p", {}, html("strong", {}, [...said, `${counted(found.equal)} arrays equal`].join(", "))));
  for (const state of ["changed", "replaced", "added"] as const) {
    const names = changed(state);
    if (names.length) made.append(html("p", { class: "alarms" }, `${state}: `, ...links(names)));
  }
  const removed = Object.entries(found.arrays).filter(([, each]) => each.state === "removed").map(([name]) => name);
  if (removed.length) made.append(html("p", { class: "removed" }, `removed: ${removed.slice(0, 20).join(", ")}${removed.length > 20 ? ` and ${counted(removed.length - 20)} more` : ""}`));
  for (const [title, rows] of [["architecture", found.architecture], ["metadata", found.metadata]] as const) {
    if (!rows.length) continue;
    const body = rows.slice(0, 200).map(([where, before, after]) => html("tr", {}, html("th", { scope: "row" }, where), html("td", {}, before), html("td", {}, after)));
    made.append(html("details", {}, html("summary", {}, `${counted(rows.length)} ${rows.length > 1 ? "changes" : "change"} of the ${title}`),
      html("table", {}, html("thead", {}, html("tr", {}, ...["where", "before", "after"].map((each) => html("th", { scope: "col" }, each)))), html("tbody", {}, ...body))));
  }
  return made;
}

/** The arrays of a state, those first that changed most. */
function changed(state: string): string[] {
  const most = (change: Change): number => (change.relative === "inf" ? Infinity : Number(change.relative ?? 0));
  return Object.entries(shown.changes?.arrays ?? {}).filter(([, each]) => each.state === state)
    .sort(([, one], [, other]) => most(other) - most(one) || 0).map(([name]) => name);
}

const middle = html("main", {}, tree.element, ...(graph ? [graph.element] : []), details);
if (!graph) middle.classList.add("bare");
page.append(head(), middle, table.element);
table.draw();
graph?.fit();

function follow(): void {
  const name = remembered();
  const at = index.places.get(name);
  if (at !== undefined && model.blocks.length && (name || !location.hash)) chooseBlock(at);
  else if (name) chooseArray(name);
  else if (model.arrays.length) {
    const first = model.arrays.find((each) => index.damaged.has(each.name) || isBad(each))?.name ?? changed("changed")[0];
    details.replaceChildren(ofArray(index, model.arrays.find((each) => each.name === first) ?? model.arrays[0], chooseBlock));
  }
}
addEventListener("hashchange", follow);
addEventListener("beforeprint", () => table.print());
addEventListener("afterprint", () => table.draw());
follow();
document.documentElement.dataset.ready = "yes";
