// Makes relay.global.js, for pages that load the client with a plain <script>, out of relay.js.
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const source = new URL("relay.js", import.meta.url);
const target = new URL("relay.global.js", import.meta.url);

/** The module as a classic script: what it exports becomes global. */
export async function globalScript() {
  const [body, names] = (await readFile(source, "utf8")).split(/^export (.*);\n/m);
  return `(() => {\n"use strict";\n${body}Object.assign(globalThis, ${names});\n})();\n`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await writeFile(target, await globalScript());
}
