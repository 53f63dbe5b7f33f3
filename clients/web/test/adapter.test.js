import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { test } from "node:test";

import { Inbox, startRelay } from "../../../tests/js/harness.js";

test("the adapter says what it is told and tells what it hears, over ws and wss", async (t) => {
  const relay = await startRelay(t);
  for (const url of [relay.ws("/"), relay.wss("/")]) {
    const flags = process.execArgv.filter((flag) => flag === "--experimental-websocket");
    const file = new URL("adapter.js", import.meta.url).pathname;
    const adapter = spawn(process.execPath, [...flags, file], {
      env: { ...process.env, NODE_EXTRA_CA_CERTS: relay.certificate },
      stdio: ["pipe", "pipe", "ignore"],
    });
    t.after(() => adapter.kill());
    const heard = new Inbox();
    createInterface(adapter.stdout).on("line", (line) => heard.put(JSON.parse(line)));
    const say = (what) => adapter.stdin.write(`${JSON.stringify(what)}\n`);
    const message = async () => {
      const { event, text } = await heard.next();
      assert.equal(event, "message");
      return text;
    };

    say({ do: "connect", url });
    assert.deepEqual(await heard.next("a connection"), { event: "open" });
    assert.match(await message(), /^\{"opcode":"ready"/);
    const text = ' {"opcode" : "echo", "é": 1.0}\n';
    say({ do: "send", text });
    assert.equal(await message(), '{"opcode":"next","uuid":"","fyi":""}');
    assert.equal(await message(), text);
    say({ do: "close", code: 1001 });
    assert.equal((await heard.next()).event, "failed");
    say({ do: "close", code: 1000 });
    assert.deepEqual(await heard.next(), { event: "closed", code: 1000 });
    assert.equal(heard.size, 0);
  }
});
