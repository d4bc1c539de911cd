/** The graph: blocks as boxes that open, laid out by dagre, level by level; stacks of blocks built alike are one. */

import dagre from "@dagrejs/dagre";
import { Block, Index, Step } from "./content";
import { button, html, svg } from "./elements";
import { fitted, short, telling } from "./words";

/** A level with more steps than this is not drawn. */
const MOST_STEPS = 600;
const LETTER = 6.7;
const ROW = 15;
const PADDING = 14;

interface Box {
  key: string;
  width: number;
  height: number;
  title: string;
  detail: string;
  role: string;
  block?: number;
  isOpen: boolean;
  canOpen: boolean;
  inside?: Level;
  /** How many blocks it stands for, and these. */
  count: number;
  blocks: number[];
}

interface Level {
  width: number;
  height: number;
  boxes: { box: Box; x: number; y: number }[];
  edges: { points: { x: number; y: number }[]; label: string; x: number; y: number }[];
}

export class Graph {
  readonly element: HTMLElement;
  private readonly canvas = html("div", { class: "canvas", tabindex: 0, role: "region", "aria-label": "Graph, scrollable" });
  private readonly open = new Set<string>();
  private scale = 1;
  private selected = -1;
  private boxes = new Map<number, SVGGElement>();
  private drawn?: SVGSVGElement;
  private level: Level = { width: 0, height: 0, boxes: [], edges: [] };

  constructor(private readonly index: Index, private readonly choose: (at: number) => void) {
    const tools = html("div", { class: "tools" },
      button("+", () => this.zoom(1.25), { "aria-label": "Larger" }),
      button("−", () => this.zoom(0.8), { "aria-label": "Smaller" }),
      button("fit", () => this.fit(), { "aria-label": "Fit the graph to its frame" }),
      button("close all", () => { this.open.clear(); this.open.add("0"); this.draw(); this.fit(); }));
    this.element = html("section", { class: "graph", "aria-label": "Graph" }, tools, this.canvas);
    this.open.add("0");
    this.draw();
  }

  /** Show a block: the boxes around it are opened. */
  select(at: number): void {
    this.selected = at;
    const before = this.open.size;
    for (let each = at, caller = this.index.callers.get(each); caller !== undefined; each = caller, caller = this.index.callers.get(each)) {
      this.open.add(String(caller));
      this.unfold(caller, each);
    }
    if (this.open.size !== before || !this.boxes.has(at)) this.draw();
    for (const [block, box] of this.boxes) box.classList.toggle("selected", block === at);
    this.boxes.get(at)?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  fit(): void {
    const width = this.canvas.clientWidth - 8;
    this.scale = Math.max(0.15, Math.min(1, width / Math.max(this.level.width, 1)));
    this.resize();
  }

  /** Open the stack that a block is drawn in. */
  private unfold(parent: number, child: number): void {
    for (const [start, end] of stacks(this.index.model.blocks, parent)) {
      const steps = this.index.model.blocks[parent].nodes!;
      if (steps.slice(start, end).some((step) => step.block === child)) this.open.add(`${parent}:${start}`);
    }
  }

  private zoom(factor: number): void {
    this.scale = Math.max(0.1, Math.min(3, this.scale * factor));
    this.resize();
  }

  private resize(): void {
    this.drawn?.setAttribute("width", String(this.level.width * this.scale));
    this.drawn?.setAttribute("height", String(this.level.height * this.scale));
  }

  private draw(): void {
    this.boxes.clear();
    const root = this.box(String(0), { label: this.index.model.title, role: "block", block: 0 }, 1);
    this.level = { width: root.width + 2, height: root.height + 2, boxes: [{ box: root, x: 1, y: 1 }], edges: [] };
    const { width, height } = this.level;
    const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": "The network as boxes" });
    this.drawLevel(this.level, picture, 0, 0);
    this.drawn?.remove();
    this.drawn = picture;
    this.canvas.append(picture);
    this.resize();
    this.boxes.get(this.selected)?.classList.add("selected");
  }

  private box(key: string, step: Step, count: number): Box {
    const block = step.block === undefined ? undefined : this.index.model.blocks[step.block];
    const canOpen = count > 1 || (step.role === "block" && !!block?.nodes);
    const isOpen = canOpen && this.open.has(key);
    const kind = block ? block.kind : "";
    const title = step.role === "block" && block ? (count > 1 ? `${count} x ${kind}` : step.label === "" ? kind : `${step.label}: ${kind}`) : step.label;
    const total = step.block === undefined || step.role === "call" ? 0 : this.index.totals[step.block] * count;
    const other = step.block === undefined || count > 1 ? undefined : this.index.sharedWith(step.block);
    const more = [telling(block && !canOpen ? block.fields : step.fields), total ? `${short(total)} parameters` : "", other ? `= ${other}` : ""].filter(Boolean);
    const detail = step.role === "call" ? "called again" : more.join(" · ");
    const box: Box = { key, width: 0, height: 0, title: fitted(title, 42), detail: fitted(detail, 46), role: step.role, block: step.block, isOpen, canOpen, count, blocks: step.block === undefined ? [] : [step.block] };
    const label = Math.max(box.title.length + (canOpen ? 3 : 0), box.detail.length * 0.9) * LETTER + 2 * PADDING;
    box.width = Math.max(48, label);
    box.height = (box.detail ? 2 : 1) * ROW + 12;
    if (isOpen && block) {
      box.inside = this.lay(step.block!, count > 1 ? Number(key.split(":")[1]) : undefined);
      box.width = Math.max(box.width, box.inside.width + 2 * PADDING);
      box.height += box.inside.height + PADDING;
    }
    return box;
  }

  /** The inside of a block; `stack` is where the stack of its parent begins that is drawn. */
  private lay(at: number, stack?: number): Level {
    const owner = stack === undefined ? at : this.index.callers.get(at)!;
    const block = this.index.model.blocks[owner];
    const steps = block.nodes ?? [];
    const runs = stacks(this.index.model.blocks, owner);
    const within = stack === undefined ? undefined : runs.find(([start]) => start === stack);
    const shown: { place: number; box: Box }[] = [];
    const standsFor = new Map<number, number>();
    if (!within && steps.length > MOST_STEPS) {
      const text = `${steps.length} steps: too many to draw, the tree lists its blocks`;
      const note: Box = { key: "", width: text.length * LETTER, height: ROW + 12, title: text, detail: "", role: "note", isOpen: false, canOpen: false, count: 1, blocks: [] };
      return { width: note.width, height: note.height, boxes: [{ box: note, x: 0, y: 0 }], edges: [] };
    }
    for (let place = within ? within[0] : 0; place < (within ? within[1] : steps.length); place++) {
      const run = within ? undefined : runs.find(([start]) => start === place);
      const key = run ? `${owner}:${place}` : steps[place].block === undefined || steps[place].role !== "block" ? `${owner}.${place}` : String(steps[place].block);
      const count = run ? run[1] - run[0] : 1;
      const box = this.box(key, steps[place], count);
      if (run) box.blocks = steps.slice(...run).map((step) => step.block!);
      shown.push({ place, box });
      for (let each = place; each < place + count; each++) standsFor.set(each, place);
      place += count - 1;
    }
    const graph = new dagre.graphlib.Graph({ multigraph: true });
    graph.setGraph({ rankdir: "TB", nodesep: 18, ranksep: 22, edgesep: 8, marginx: 2, marginy: 2 });
    for (const { place, box } of shown) graph.setNode(String(place), { width: box.width, height: box.height });
    const seen = new Set<string>();
    for (const [from, to, label] of block.edges ?? []) {
      const [start, end] = [standsFor.get(from), standsFor.get(to)];
      if (start === undefined || end === undefined || start === end) continue;
      const name = `${start}>${end}>${label}`;
      if (seen.has(name)) continue;
      seen.add(name);
      const text = fitted(label, 26);
      graph.setEdge(String(start), String(end), { label: text, width: text.length * 5.6, height: text ? 12 : 0, labelpos: "c" }, name);
    }
    dagre.layout(graph);
    const size = graph.graph() as { width?: number; height?: number };
    return {
      width: size.width ?? 0,
      height: size.height ?? 0,
      boxes: shown.map(({ place, box }) => {
        const { x, y } = graph.node(String(place)) as { x: number; y: number };
        return { box, x: x - box.width / 2, y: y - box.height / 2 };
      }),
      edges: graph.edges().map((edge) => {
        const found = graph.edge(edge) as { points: { x: number; y: number }[]; label?: string; x?: number; y?: number };
        return { points: found.points, label: found.label ?? "", x: found.x ?? 0, y: found.y ?? 0 };
      }),
    };
  }

  private drawLevel(level: Level, into: SVGElement, left: number, top: number): void {
    for (const edge of level.edges) {
      const path = edge.points.map(({ x, y }, at) => `${at ? "L" : "M"}${(x + left).toFixed(1)} ${(y + top).toFixed(1)}`).join("");
      const last = edge.points[edge.points.length - 1];
      const before = edge.points[edge.points.length - 2] ?? last;
      const angle = (Math.atan2(last.y - before.y, last.x - before.x) * 180) / Math.PI;
      into.append(svg("path", { d: path, class: "edge" }),
        svg("path", { d: "M0 0L-7 -3.5V3.5z", class: "head", transform: `translate(${last.x + left} ${last.y + top}) rotate(${angle})` }));
      if (edge.label) into.append(svg("rect", { x: edge.x + left - edge.label.length * 2.7, y: edge.y + top - 6, width: edge.label.length * 5.4, height: 12, class: "ground" }), svg("text", { x: edge.x + left, y: edge.y + top + 4, class: "shape" }, edge.label));
    }
    for (const { box, x, y } of level.boxes) this.drawBox(box, into, x + left, y + top);
  }

  private drawBox(box: Box, into: SVGElement, x: number, y: number): void {
    const isTroubled = box.blocks.some((each) => this.index.troubled[each]);
    const change = box.blocks.map((each) => this.index.change(each)).find(Boolean);
    const label = [box.title, box.detail, isTroubled ? "holds values that are not finite, or only zeros" : "", change ?? ""].filter(Boolean).join(", ");
    const group = svg("g", {
      class: ["box", box.role, box.isOpen ? "open" : "", box.count > 1 ? "stack" : "", isTroubled ? "troubled" : "", change ?? ""].filter(Boolean).join(" "),
      tabindex: box.block === undefined ? undefined : 0,
      role: box.block === undefined ? "img" : "button",
      "aria-label": box.block === undefined ? label : undefined,
      "aria-expanded": box.canOpen ? String(box.isOpen) : undefined,
    }, svg("title", {}, label));
    if (box.count > 1 && !box.isOpen) group.append(svg("rect", { x: x + 4, y: y + 4, width: box.width, height: box.height, rx: 5, class: "behind" }));
    group.append(svg("rect", { x, y, width: box.width, height: box.height, rx: 5 }));
    const middle = box.isOpen ? x + PADDING + 2 : x + box.width / 2;
    const anchor = box.isOpen ? "start" : "middle";
    group.append(svg("text", { x: middle, y: y + ROW + 2, class: "title", "text-anchor": anchor }, box.title));
    if (box.canOpen) group.append(svg("text", { x: x + 4, y: y + (box.isOpen ? ROW + 2 : 12), class: "sign", "aria-hidden": "true" }, box.isOpen ? "−" : "+"));
    if (box.detail) group.append(svg("text", { x: middle, y: y + 2 * ROW + 1, class: "detail", "text-anchor": anchor }, box.detail));
    into.append(group);
    if (box.block !== undefined) {
      const block = box.block;
      if (box.count === 1 && box.role === "block") this.boxes.set(block, group);
      const act = (toggles: boolean): void => {
        if (toggles && box.canOpen) {
          if (!this.open.delete(box.key)) this.open.add(box.key);
          this.draw();
          (this.canvas.querySelector(`[data-key="${box.key}"]`) as SVGElement | null)?.focus();
        }
        if (box.count === 1) this.choose(block);
      };
      group.setAttribute("data-key", box.key);
      group.addEventListener("click", (event) => { event.stopPropagation(); act(true); });
      group.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        act(true);
      });
    }
    if (box.inside) {
      const shift = (box.width - box.inside.width) / 2;
      this.drawLevel(box.inside, into, x + shift, y + (box.detail ? 2 : 1) * ROW + 12);
    }
  }
}

/** Where blocks built alike follow one another, each taking what the one before it gives: [first step, behind the last]. */
export function stacks(blocks: Block[], at: number): [number, number][] {
  const steps = blocks[at].nodes ?? [];
  const given = new Map<number, Set<number>>();
  const taken = new Map<number, Set<number>>();
  for (const [from, to] of blocks[at].edges ?? []) {
    (given.get(to) ?? given.set(to, new Set()).get(to)!).add(from);
    (taken.get(from) ?? taken.set(from, new Set()).get(from)!).add(to);
  }
  const alike = (step: Step | undefined): number | undefined =>
    step?.role === "block" && step.block !== undefined && blocks[step.block].nodes ? blocks[step.block].alike : undefined;
  const found: [number, number][] = [];
  for (let start = 0; start < steps.length; start++) {
    const kind = alike(steps[start]);
    let end = start + 1;
    while (kind !== undefined && alike(steps[end]) === kind && given.get(end)?.has(end - 1) && taken.get(end - 1)?.size === 1) end++;
    if (end - start > 2) found.push([start, end]);
    start = end - 1;
  }
  return found;
}
