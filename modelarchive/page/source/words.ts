/** Numbers, shapes and fields in words. */

export const counted = (count: number): string => count.toLocaleString("en-US");

export function bytes(count: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  while (count >= 1024 && at < units.length - 1) {
    count /= 1024;
    at += 1;
  }
  return `${at && count < 100 ? count.toFixed(1) : Math.round(count)} ${units[at]}`;
}

export function short(count: number): string {
  for (const [unit, letter] of [[1e9, "G"], [1e6, "M"], [1e3, "K"]] as const) {
    if (count >= unit) return `${(count / unit).toPrecision(3)} ${letter}`;
  }
  return String(count);
}

/** A share in percent: all and none only where it is so. */
export const share = (part: number): string =>
  part === 1 ? "100 %" : part > 0.99 ? "> 99 %" : part < 0.01 ? "< 1 %" : `${Math.round(100 * part)} %`;

/** A number of a metric or a norm. */
export const figure = (value: number | string | null | undefined): string =>
  typeof value === "number" ? String(Number(value.toPrecision(5))) : (value ?? "");

export const shape = (lengths: number[]): string => (lengths.length ? lengths.join(" x ") : "()");

export const field = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));

/** The two fields that tell most of a block. */
export const telling = (fields: Record<string, unknown> | undefined): string =>
  Object.entries(fields ?? {}).filter(([, value]) => value !== null).slice(0, 2)
    .map(([key, value]) => `${key}=${field(value)}`).join(" ");

/** So much of a text as a width allows, its middle left out. */
export function fitted(text: string, longest: number): string {
  if (text.length <= longest) return text;
  const end = Math.ceil((longest - 1) / 2);
  return `${text.slice(0, end)}…${text.slice(text.length - (longest - 1 - end))}`;
}
