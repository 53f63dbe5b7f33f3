import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";

import { inTime, startRelay } from "../../../tests/js/harness.js";

/** Runs a program in a Node of its own, until it ends by itself; returns what it wrote. */
async function run(t, program, url) {
  const flags = [...process.execArgv.filter((flag) => flag === "--experimental-websocket")];
  const module = JSON.stringify(new URL("../relay.js", import.meta.url).href);
  const source = `import { Relay } from ${module};\nconst url = process.argv[1];\n${program}`;
  const node = spawn(process.execPath, [...flags, "--input-type=module", "--eval", source, url]);
  t.after(() => node.kill("SIGKILL"));
  let out = "";
  let errors = "";
  node.stdout.on("data", (text) => (out += text));
  node.stderr.on("data", (text) => (errors += text));
  const [code] = await inTime("the end of the program", once(node, "close"));
  assert.equal(code, 0, errors);
  return out;
}

test("a program ends when it has quit", async (t) => {
  const relay = await startRelay(t);
  const out = await run(
    t,
    `const relay = new Relay(url);
    relay.on("echo", async () => { await relay.quit(); console.log("done"); });
    await relay.echo();`,
    relay.ws(),
  );
  assert.equal(out, "done\n");
});

test("a program may ignore what becomes of its messages", async (t) => {
  const relay = await startRelay(t);
  await relay.stop();
  const out = await run(
    t,
    `const relay = new Relay(url, { retryMinMs: 10 });
    relay.send({});
    relay.send("x".repeat(2_000_000));
    relay.onStatus(({ status }) => {
      console.log(status);
      relay.close();
    });`,
    relay.ws(),
  );
  assert.equal(out, "waiting\nclosed\n");
});

test("a Node without WebSocket is told so", async (t) => {
  const out = await run(
    t,
    `delete globalThis.WebSocket;
    try { new Relay(url); } catch (error) { console.log(error.message); }`,
    "ws://127.0.0.1:1/",
  );
  assert.match(out, /no WebSocket/);
});
