// What a recipe greets with is what its clients wait for.
import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";

import { shipped, startRelay } from "../../../tests/js/harness.js";
import { connected } from "./clients.js";

const DIRECTORY = shipped("docs/cookbook");
const SCRIPTS = (await readdir(DIRECTORY)).filter((name) => /^(?!.*_test).*\.lua$/.test(name));

for (const name of SCRIPTS) {
  test(`a client is ready under ${name}`, async (t) => {
    const relay = await startRelay(t, { script: await readFile(join(DIRECTORY, name), "utf8") });
    await connected(t, relay.ws());
  });
}
