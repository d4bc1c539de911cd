/** What is shown: the JSON that modelarchive.page.describing makes, and what follows from it. */

export interface Statistics {
  zeros: number;
  nans: number;
  infinities: number;
  least?: string;
  greatest?: string;
  mean?: string;
  deviation?: string;
  histogram?: string;
  sample?: boolean;
}

export interface ArrayRecord {
  name: string;
  dtype: string;
  shape: number[];
  bytes: number;
  compressed?: number;
  digest?: string;
  shares?: string;
  value?: string;
  statistics?: Statistics;
  thumbnail?: { width: number; shades: string };
}

export interface Step {
  label: string;
  role: "input" | "output" | "block" | "call" | "op" | "parameter";
  block?: number;
  fields?: Record<string, unknown>;
}

export interface Block {
  path: string;
  kind: string;
  alike: number;
  fields?: Record<string, unknown>;
  children?: number[];
  output?: string;
  nodes?: Step[];
  edges?: [number, number, string][];
}

export interface Model {
  title: string;
  what: string;
  format: string;
  bytes: number;
  count: number;
  facts: [string, string][];
  metadata: [string, string][];
  inputs: string[];
  reason: string;
  notes: [string, string][];
  damaged: [string, string][];
  blocks: Block[];
  arrays: ArrayRecord[];
}

export interface Change {
  state: "changed" | "replaced" | "added" | "removed";
  said?: string;
  relative?: string;
  least?: string;
  greatest?: string;
  histogram?: string;
}

export interface Changes {
  equal: number;
  arrays: Record<string, Change>;
  architecture: string[][];
  metadata: string[][];
}

export interface Checkpoint {
  step: number;
  name: string;
  bytes: number;
  metrics: Record<string, number | string>;
  problem: string;
}

/** What is known of each checkpoint, in their order; null where it is not. */
export interface Run {
  title: string;
  checkpoints: Checkpoint[];
  norm: (number | null)[];
  move: (number | null)[];
  norms: Record<string, (number | null)[]>;
  moves: Record<string, (number | null)[]>;
}

export interface Shown {
  models: Model[];
  changes?: Changes;
  run?: Run;
}

const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** The numbers 0 to 63 that letters stand for; -1 for what is not finite. */
export const numbers = (letters: string): number[] => [...letters].map((each) => LETTERS.indexOf(each));

export const isBad = (array: ArrayRecord): boolean =>
  !!array.statistics && array.statistics.nans + array.statistics.infinities > 0;

/** All zeros: a layer that was never trained, or died. Biases are zeros by right. */
export const isDead = (array: ArrayRecord): boolean =>
  !!array.statistics && array.shape.length > 1 && size(array) > 1 && array.statistics.zeros === size(array);

export const size = (array: ArrayRecord): number => array.shape.reduce((product, each) => product * each, 1);

/** The blocks and the arrays of one model, by the names that refer to them. */
export class Index {
  readonly places = new Map<string, number>();
  readonly owners = new Map<number, ArrayRecord[]>();
  readonly parents = new Map<number, number>();
  /** Block -> the block whose steps call it: where the graph draws it. */
  readonly callers = new Map<number, number>();
  readonly totals: number[];
  readonly troubled: boolean[];
  /** Name of an array -> how it differs from what was written. */
  readonly damaged: Map<string, string>;

  constructor(readonly model: Model, readonly changes?: Changes, readonly run?: Run) {
    model.blocks.forEach((block, at) => {
      this.places.set(block.path, at);
      for (const child of block.children ?? []) this.parents.set(child, at);
      for (const step of block.nodes ?? []) if (step.role === "block") this.callers.set(step.block!, at);
    });
    this.damaged = new Map(model.damaged);
    this.totals = model.blocks.map(() => 0);
    this.troubled = model.blocks.map(() => false);
    for (const array of model.arrays) {
      const owner = this.owner(array.name);
      if (owner === undefined) continue;
      const found = this.owners.get(owner) ?? [];
      found.push(array);
      this.owners.set(owner, found);
      const isTroubled = isBad(array) || isDead(array) || this.damaged.has(array.shares ?? array.name);
      for (let at: number | undefined = owner; at !== undefined; at = this.parents.get(at)) {
        if (!array.shares) this.totals[at] += size(array);
        if (isTroubled) this.troubled[at] = true;
      }
    }
  }

  /** The block whose parameter an array is. */
  owner(name: string): number | undefined {
    for (let end = name.lastIndexOf("."); ; end = name.lastIndexOf(".", end - 1)) {
      const at = this.places.get(end < 0 ? "" : name.slice(0, end));
      if (at !== undefined || end <= 0) return at;
    }
  }

  /** The block whose parameters a block has as its own; undefined: all are its own. */
  sharedWith(at: number): string | undefined {
    const shares = this.owners.get(at)?.find((array) => array.shares)?.shares;
    const owner = shares === undefined ? undefined : this.owner(shares);
    return owner === undefined || owner === at ? undefined : this.model.blocks[owner].path;
  }

  /** What happened to a block: the state of the first of its arrays to which something did. */
  change(at: number): string | undefined {
    if (!this.changes) return undefined;
    const path = this.model.blocks[at].path;
    const prefix = path ? `${path}.` : "";
    for (const name in this.changes.arrays) if (name.startsWith(prefix)) return this.changes.arrays[name].state;
    return undefined;
  }
}
