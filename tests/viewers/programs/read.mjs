// Prints what a JavaScript package reads: node read.mjs PACKAGE FOLDER FILE PLACE ..., a line of JSON each.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [name, folder, ...rest] = process.argv.slice(2);
const require = createRequire(pathToFileURL(`${folder}/`));
const entry = { h5wasm: "h5wasm/dist/node/hdf5_hl.js", jsfive: "jsfive/dist/cjs/index.js" }[name];
const found = await import(pathToFileURL(`${folder}/node_modules/${entry}`));
const library = found.default?.File ? found.default : found;
if (library.ready) await library.ready;

function read(file, place) {
  if (name === "h5wasm") return new library.File(file, "r").get(place).to_array();
  const bytes = readFileSync(file);
  return new library.File(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)).get(place).value;
}

function plain(value) {
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return [...value].flatMap(plain);
  if (typeof value === "boolean") return [value ? "1" : "0"];
  return [typeof value === "number" ? (Object.is(value, -0) ? "-0" : String(value)) : String(value)];
}

console.log(JSON.stringify({ version: require(`${folder}/node_modules/${name}/package.json`).version }));
for (let at = 0; at < rest.length; at += 2) {
  try {
    console.log(JSON.stringify({ value: plain(read(rest[at], rest[at + 1])) }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error.message ?? error) }));
  }
}
