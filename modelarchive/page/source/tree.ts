/** The tree of blocks beside the graph, and the search; both by keyboard. */

import { Index } from "./content";
import { html } from "./elements";
import { short, shape } from "./words";

const MOST_FOUND = 200;

export class Tree {
  readonly element: HTMLElement;
  private readonly list = html("ul", { role: "tree", "aria-label": "Blocks" });
  private readonly found = html("ul", { class: "found", "aria-label": "Found", hidden: true });
  private readonly said = html("p", { class: "said", role: "status" });
  private readonly search = html("input", {
    type: "search", placeholder: "name, kind, shape, dtype", "aria-label": "Search blocks and arrays", autocomplete: "off",
  });
  private readonly items = new Map<number, HTMLElement>();
  private selected = -1;

  constructor(private readonly index: Index, private readonly choose: (at: number) => void, private readonly chooseArray: (name: string) => void) {
    this.element = html("nav", { class: "tree", "aria-label": "Blocks and search" }, this.search, this.said, this.found, this.list);
    if (index.model.blocks.length) {
      this.list.append(this.item(0, 1));
      this.expand(0, true);
      this.items.get(0)!.tabIndex = 0;
    }
    this.search.addEventListener("input", () => this.look(this.search.value));
    this.list.addEventListener("keydown", (event) => this.move(event));
  }

  select(at: number): void {
    const chain: number[] = [];
    for (let each = this.index.parents.get(at); each !== undefined; each = this.index.parents.get(each)) chain.push(each);
    for (const each of chain.reverse()) this.expand(each, true);
    const before = this.items.get(this.selected);
    before?.setAttribute("aria-selected", "false");
    if (before) before.tabIndex = -1;
    this.selected = at;
    const item = this.items.get(at);
    for (const each of this.items.values()) if (each.tabIndex === 0 && each !== item) each.tabIndex = -1;
    item?.setAttribute("aria-selected", "true");
    if (item) item.tabIndex = 0;
    item?.scrollIntoView({ block: "nearest" });
  }

  private item(at: number, level: number): HTMLLIElement {
    const block = this.index.model.blocks[at];
    const name = block.path.slice(block.path.lastIndexOf(".") + 1) || this.index.model.title;
    const change = this.index.change(at);
    const other = this.index.sharedWith(at);
    const label = html("span", {
      class: ["label", this.index.troubled[at] ? "troubled" : "", change ?? ""].join(" "),
      role: "treeitem", "aria-level": level, "aria-selected": "false", "aria-expanded": block.children ? "false" : undefined, tabindex: -1,
    },
      html("span", { class: "sign", "aria-hidden": "true" }, block.children ? "▸" : " "),
      html("b", {}, name), " ", html("span", { class: "kind" }, block.kind),
      html("span", { class: "number" }, this.index.totals[at] ? ` ${short(this.index.totals[at])}` : other ? ` = ${other}` : ""));
    label.addEventListener("click", (event) => {
      if ((event.target as Element).classList.contains("sign")) this.expand(at, label.getAttribute("aria-expanded") !== "true");
      else this.choose(at);
    });
    this.items.set(at, label);
    return html("li", { role: "none" }, label);
  }

  private expand(at: number, isOpen: boolean): void {
    const item = this.items.get(at);
    const block = this.index.model.blocks[at];
    if (!item || !block.children) return;
    item.setAttribute("aria-expanded", String(isOpen));
    item.querySelector(".sign")!.textContent = isOpen ? "▾" : "▸";
    const inside = item.nextElementSibling;
    if (inside) inside.toggleAttribute("hidden", !isOpen);
    else if (isOpen) {
      const level = Number(item.getAttribute("aria-level")) + 1;
      item.after(html("ul", { role: "group" }, ...block.children.map((child) => this.item(child, level))));
    }
  }

  private move(event: KeyboardEvent): void {
    const item = (event.target as Element).closest<HTMLElement>("[role=treeitem]");
    const at = [...this.items].find(([, each]) => each === item)?.[0];
    if (!item || at === undefined) return;
    const seen = [...this.list.querySelectorAll<HTMLElement>("[role=treeitem]")].filter((each) => each.offsetParent !== null);
    const place = seen.indexOf(item);
    const isOpen = item.getAttribute("aria-expanded");
    const go = (to: HTMLElement | null | undefined): void => {
      if (!to) return;
      item.tabIndex = -1;
      to.tabIndex = 0;
      to.focus();
    };
    const keys: Record<string, () => void> = {
      ArrowDown: () => go(seen[place + 1]),
      ArrowUp: () => go(seen[place - 1]),
      Home: () => go(seen[0]),
      End: () => go(seen[seen.length - 1]),
      ArrowRight: () => (isOpen === "false" ? this.expand(at, true) : go(seen[place + 1])),
      ArrowLeft: () => (isOpen === "true" ? this.expand(at, false) : go(item.closest("ul")?.previousElementSibling as HTMLElement | null)),
      Enter: () => this.choose(at),
      " ": () => this.choose(at),
    };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  }

  private look(text: string): void {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    this.found.toggleAttribute("hidden", !words.length);
    this.list.toggleAttribute("hidden", !!words.length);
    this.found.replaceChildren();
    this.said.textContent = "";
    if (!words.length) return;
    const hits: { name: string; what: string; act: () => void }[] = [];
    this.index.model.blocks.forEach((block, at) => {
      hits.push({ name: block.path || this.index.model.title, what: `${block.kind} ${block.output ?? ""}`, act: () => this.choose(at) });
    });
    for (const array of this.index.model.arrays) {
      hits.push({ name: array.name, what: `${array.dtype} ${shape(array.shape)}`, act: () => this.chooseArray(array.name) });
    }
    const matching = hits.filter(({ name, what }) => words.every((word) => `${name} ${what}`.toLowerCase().includes(word)));
    this.said.textContent = `${matching.length} found${matching.length > MOST_FOUND ? `, the first ${MOST_FOUND} shown` : ""}`;
    for (const { name, what, act } of matching.slice(0, MOST_FOUND)) {
      const made = html("button", { type: "button" }, html("b", {}, name), " ", html("span", { class: "kind" }, what));
      made.addEventListener("click", act);
      this.found.append(html("li", {}, made));
    }
  }
}
