/** The page: what is shown is read from it, and laid out; a block's link is the page's address with its name. */

import { Index, isBad, isDead, Shown } from "./content";
import { ofArray, ofBlock } from "./details";
import { button, html } from "./elements";
import { Graph } from "./graph";
import { ofRun } from "./run";
import { Table } from "./table";
import { Tree } from "./tree";
import { bytes, counted } from "./words";

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
  const facts = [`${model.what}`, bytes(model.bytes), `${counted(model.count)} ${model.blocks.length ? "parameters" : "numbers"}`, `${counted(model.arrays.length)} arrays`,
    [...new Set(model.arrays.filter((each) => each.statistics).map((each) => each.dtype))].sort().join(", ")].filter(Boolean);
  const made = html("header", {}, html("h1", {}, shown.run ? `${shown.run.title} → ${model.title}` : shown.models.map((each) => each.title).join(" → ")), html("p", {}, facts.join(" · ")));
  for (const input of model.inputs) made.append(html("p", { class: "input" }, html("span", { class: "kind" }, "input "), input));
  const alarms = html("p", { class: "alarms" });
  for (const [found, what] of [[model.arrays.filter(isBad), "not finite"], [model.arrays.filter(isDead), "nothing but zeros"]] as const) {
    if (!found.length) continue;
    alarms.append(html("strong", { class: "bad" }, `${counted(found.length)} ${found.length > 1 ? "arrays" : "array"}: ${what}`), " ");
    for (const each of found.slice(0, 5)) alarms.append(button(each.name, () => chooseArray(each.name)), " ");
    if (found.length > 5) alarms.append(`and ${counted(found.length - 5)} more `);
  }
  if (alarms.childNodes.length) made.append(alarms);
  if (shown.changes) made.append(changes());
  if (shown.run) made.append(ofRun(shown.run));
  const more = html("details", {}, html("summary", {}, "about the file"));
  const list = html("dl");
  for (const [key, value] of [...model.facts, ...model.metadata]) list.append(html("dt", {}, key), html("dd", {}, value));
  if (model.reason) list.append(html("dt", {}, "architecture"), html("dd", {}, model.reason));
  for (const [where, what] of model.notes) list.append(html("dt", {}, where), html("dd", {}, what));
  more.append(list);
  made.append(more);
  return made;
}

function changes(): HTMLElement {
  const found = shown.changes!;
  const states = Object.values(found.arrays).map((each) => each.state);
  const said = (["changed", "replaced", "added", "removed"] as const)
    .map((state) => [state, states.filter((each) => each === state).length] as const).filter(([, count]) => count)
    .map(([state, count]) => `${counted(count)} ${state}`);
  const made = html("section", { class: "changes", "aria-label": "Changes" },
    html("p", {}, html("strong", {}, [...said, `${counted(found.equal)} arrays equal`].join(", "))));
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
  else if (model.arrays.length) details.replaceChildren(ofArray(index, model.arrays[0], chooseBlock));
}
addEventListener("hashchange", follow);
addEventListener("beforeprint", () => table.print());
addEventListener("afterprint", () => table.draw());
follow();
document.documentElement.dataset.ready = "yes";
