import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";

import { globalScript } from "../build.js";
import { Relay, RelayError } from "../relay.js";

const run = promisify(execFile);
const file = (name) => fileURLToPath(new URL(`../${name}`, import.meta.url));
const text = (name) => readFile(file(name), "utf8");

test("the client is below 5 KB compressed, as it is", async () => {
  for (const name of ["relay.js", "relay.global.js"]) {
    const size = gzipSync(await text(name), { level: 9 }).length;
    assert.ok(size < 5000, `${name} has ${size} bytes`);
  }
});

test("the plain script is the module's", async () => {
  assert.equal(await text("relay.global.js"), await globalScript(), "to be made anew: npm run build");
});

test("the plain script makes its classes global, and nothing else", async () => {
  const { createContext, runInContext } = await import("node:vm");
  const page = createContext({ TextEncoder });
  runInContext(await text("relay.global.js"), page);
  assert.deepEqual(Object.keys(page), ["TextEncoder", "Relay", "RelayError"]);
});

test("the package is what it says, and depends on nothing", async () => {
  const packed = await run("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: file("") });
  const [{ files }] = [JSON.parse(packed.stdout)].flat();
  assert.deepEqual(
    files.map(({ path }) => path).sort(),
    ["LICENSE", "README.md", "package.json", "relay.d.ts", "relay.global.js", "relay.js"],
  );
  const { dependencies, exports } = JSON.parse(await text("package.json"));
  assert.equal(dependencies, undefined);
  const require = createRequire(import.meta.url);
  assert.equal(import.meta.resolve("relay-web"), new URL("../relay.js", import.meta.url).href);
  assert.equal(require.resolve("relay-web/relay.global.js"), file("relay.global.js"));
  assert.ok(Object.keys(exports).length > 0);
  assert.doesNotMatch(await text("relay.js"), /^\s*import\b/m);
});

test("the types fit what programs write, and nothing else", async () => {
  const tsc = file("node_modules/typescript/bin/tsc");
  const flags = ["--noEmit", "--strict", "--exactOptionalPropertyTypes", "--target", "es2022"];
  const modules = ["--module", "nodenext", "--lib", "es2022,dom"];
  try {
    await run(process.execPath, [tsc, ...flags, ...modules, file("test/usage.ts")]);
  } catch (error) {
    assert.fail(error.stdout);
  }
});

test("the types declare what there is", async () => {
  const { default: ts } = await import("typescript");
  const source = ts.createSourceFile("d.ts", await text("relay.d.ts"), ts.ScriptTarget.Latest);
  const members = (name) => {
    const found = source.statements.find((statement) => statement.name?.text === name);
    const names = found.members.map((member) => member.name?.text).filter(Boolean);
    return [...new Set(names)].sort();
  };
  const own = (object) => Object.getOwnPropertyNames(object).filter((name) => name !== "constructor");

  const relay = new Relay("ws://127.0.0.1:1/", { reconnect: false });
  relay.close();
  const there = [...own(relay), ...own(Relay.prototype)];
  assert.deepEqual(members("Relay"), there.sort());

  const error = new RelayError("code", "message");
  const beyond = own(error).filter((name) => name !== "stack" && name !== "message");
  assert.deepEqual(members("RelayError"), beyond.sort());

  const defaults = /const DEFAULTS = \{(.*?)\};/s.exec(await text("relay.js"))[1];
  const options = [...defaults.matchAll(/^  (\w+):/gm)].map(([, name]) => name);
  assert.deepEqual(members("Options"), options.sort());
});

test("what the documents say of options is what they are", async () => {
  const [source, types, readme] = await Promise.all(["relay.js", "relay.d.ts", "README.md"].map(text));
  const defaults = [...source.matchAll(/^  (\w+(?:Ms|Max)): ([\d_]+),/gm)];
  assert.equal(defaults.length, 8);
  for (const [, name, digits] of defaults) {
    const value = digits.replaceAll("_", "");
    assert.match(types, new RegExp(`Default: ${value}\\. \\*/\\n  ${name}\\?`), `${name} in relay.d.ts`);
    const table = new RegExp(`\\| \`${name}\` \\| ${Number(value).toLocaleString("en")} \\|`);
    assert.match(readme, table, `${name} in README.md`);
  }
});
