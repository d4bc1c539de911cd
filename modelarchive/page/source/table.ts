/** All arrays as a table that sorts; only the rows in sight are in the page. */

import { ArrayRecord, Change, Index, isBad, size } from "./content";
import { html } from "./elements";
import { histogram } from "./pictures";
import { bytes, counted, figure, shape, share } from "./words";

const ROW = 30;
const SPARE = 8;
/** Rows that are printed: some twenty pages. */
const MOST_PRINTED = 500;

interface Column {
  title: string;
  isNumber: boolean;
  cell: (array: ArrayRecord) => string | Node;
  order: (array: ArrayRecord) => number | string;
}

const number = (title: string, of: (array: ArrayRecord) => string | undefined): Column => ({
  title,
  isNumber: true,
  cell: (array) => of(array) ?? "",
  order: (array) => (of(array) === undefined ? -Infinity : Number(of(array))),
});

/** How many arrays there are, and names where some have several. */
function titled(rows: ArrayRecord[]): string {
  const own = rows.filter((each) => !each.shares).length;
  return `${counted(own)} arrays${own < rows.length ? `, ${counted(rows.length)} names` : ""}`;
}

export class Table {
  readonly element: HTMLElement;
  private readonly columns: Column[];
  private rows: ArrayRecord[];
  private sorted = -1;
  private isDown = false;
  private selected = "";
  private readonly frame = html("div", { class: "rows", tabindex: 0, role: "region", "aria-label": "Arrays, scrollable" });
  private readonly body = html("tbody");
  private readonly head = html("tr");
  private readonly above = html("div");
  private readonly below = html("div");
  private readonly rest = html("p", { hidden: true });
  private readonly table: HTMLTableElement;

  constructor(private readonly index: Index, private readonly choose: (name: string) => void) {
    this.rows = [...index.model.arrays];
    this.columns = [
      { title: "name", isNumber: false, cell: (array) => array.name, order: (array) => array.name },
      { title: "dtype", isNumber: false, cell: (array) => array.dtype, order: (array) => array.dtype },
      { title: "shape", isNumber: false, cell: (array) => array.value ?? shape(array.shape), order: size },
      { title: "size", isNumber: true, cell: (array) => (array.shares ? `= ${array.shares}` : bytes(array.bytes)), order: (array) => (array.shares ? 0 : array.bytes) },
      number("least", (array) => array.statistics?.least),
      number("greatest", (array) => array.statistics?.greatest),
      number("mean", (array) => array.statistics?.mean),
      number("deviation", (array) => array.statistics?.deviation),
      {
        title: "zeros", isNumber: true, order: (array) => (array.statistics ? array.statistics.zeros / Math.max(size(array), 1) : -1),
        cell: (array) => (array.statistics ? (array.statistics.zeros ? share(array.statistics.zeros / size(array)) : "0") : ""),
      },
      {
        title: "not finite", isNumber: true, order: (array) => (array.statistics ? array.statistics.nans + array.statistics.infinities : -1),
        cell: (array) => (isBad(array) ? html("strong", { class: "bad" }, counted(array.statistics!.nans + array.statistics!.infinities)) : ""),
      },
      {
        title: "histogram", isNumber: false, order: (array) => Number(array.statistics?.deviation ?? -1),
        cell: (array) => (array.statistics?.histogram ? histogram(array.statistics.histogram, 96, 20, `histogram of ${array.name}`) : ""),
      },
    ];
    if (index.changes) {
      const change = (array: ArrayRecord): Change | undefined => index.changes!.arrays[array.name];
      this.columns.splice(1, 0, {
        title: "change", isNumber: false, order: (array) => (change(array) ? Number(change(array)!.relative ?? Infinity) : -1),
        cell: (array) => { const found = change(array); return found ? (found.relative === "inf" ? "changed from 0" : found.relative ? `changed by ${found.relative}` : found.state) : "equal"; },
      });
    }
    if (index.run) {
      const moved = (array: ArrayRecord): number | null => (index.run!.moves[array.name] ?? []).reduce((last, each) => each ?? last, null);
      this.columns.splice(1, 0, { title: "moved", isNumber: true, order: (array) => moved(array) ?? -1, cell: (array) => figure(moved(array)) });
    }
    this.columns.forEach((column, at) => {
      const sort = html("button", { type: "button" }, column.title);
      sort.addEventListener("click", () => this.sort(at));
      this.head.append(html("th", { scope: "col", class: column.isNumber ? "number" : "", "aria-sort": "none" }, sort));
    });
    this.table = html("table", { "aria-rowcount": this.rows.length + 1 }, html("thead", {}, this.head), this.body);
    this.frame.append(this.above, this.table, this.below);
    this.frame.addEventListener("scroll", () => this.draw());
    this.element = html("section", { class: "arrays", "aria-label": "Arrays" }, html("h2", {}, titled(this.rows)), this.frame, this.rest);
  }

  select(name: string): void {
    this.selected = name;
    const at = this.rows.findIndex((each) => each.name === name);
    const top = at * ROW;
    if (at >= 0 && (top < this.frame.scrollTop || top > this.frame.scrollTop + this.frame.clientHeight - 3 * ROW)) {
      this.frame.scrollTop = Math.max(0, top - ROW);
    }
    this.draw();
  }

  /** On paper nothing scrolls: the first rows, and how many follow. */
  print(): void {
    this.above.style.height = this.below.style.height = "0";
    this.body.replaceChildren(...this.rows.slice(0, MOST_PRINTED).map((array, at) => this.row(array, at)));
    this.rest.textContent = `and ${counted(this.rows.length - MOST_PRINTED)} more, in the order of the table`;
    this.rest.hidden = this.rows.length <= MOST_PRINTED;
  }

  draw(): void {
    this.rest.hidden = true;
    const first = Math.max(0, Math.floor(this.frame.scrollTop / ROW) - SPARE);
    const last = Math.min(this.rows.length, first + Math.ceil((this.frame.clientHeight || 600) / ROW) + 2 * SPARE);
    this.above.style.height = `${first * ROW}px`;
    this.below.style.height = `${(this.rows.length - last) * ROW}px`;
    this.body.replaceChildren(...this.rows.slice(first, last).map((array, at) => this.row(array, first + at)));
  }

  private row(array: ArrayRecord, at: number): HTMLTableRowElement {
    const [name, ...cells] = this.columns.map((column) => column.cell(array));
    const link = html("button", { type: "button", title: array.name }, name as string);
    link.addEventListener("click", () => this.choose(array.name));
    const state = this.index.changes?.arrays[array.name]?.state ?? "";
    return html("tr", { "aria-rowindex": at + 2, class: [array.name === this.selected ? "selected" : "", state].join(" ") },
      html("th", { scope: "row" }, link),
      ...cells.map((cell, place) => html("td", { class: this.columns[place + 1].isNumber ? "number" : "" }, cell)));
  }

  private sort(at: number): void {
    this.isDown = this.sorted === at ? !this.isDown : this.columns[at].isNumber;
    this.sorted = at;
    const { order } = this.columns[at];
    const sign = this.isDown ? -1 : 1;
    const keyed = this.index.model.arrays.map((array) => ({ array, key: order(array) }));
    keyed.sort((one, two) => (one.key < two.key ? -sign : one.key > two.key ? sign : 0));
    this.rows = keyed.map(({ array }) => array);
    [...this.head.children].forEach((cell, place) => cell.setAttribute("aria-sort", place === at ? (this.isDown ? "descending" : "ascending") : "none"));
    this.frame.scrollTop = 0;
    this.draw();
  }
}
