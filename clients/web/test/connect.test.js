import assert from "node:assert/strict";
import { before, test } from "node:test";

import { RelayProcess, inTime, startNetwork, startRelay } from "../../../tests/js/harness.js";
import { Relay, RelayError } from "../relay.js";
import { becomes, connect, connected, hears } from "./clients.js";

const V4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const ISSUED = /^[0-9a-f-]{36}\.[0-9a-f]+$/;

const relay = new RelayProcess();
before(async (t) => {
  await relay.start();
  t.after(() => relay.remove());
});

test("it has a uuid of its own from the start, and is reached by it", async (t) => {
  for (const path of ["/", "/web", "/any/other?x=1"]) {
    const page = connect(t, relay.ws(path));
    assert.match(page.uuid, V4);
    assert.equal(page.status, "connecting");
    assert.equal(await page.ready, page.uuid);
    assert.equal(page.status, "ready");
    assert.match(page.issuedUuid, ISSUED);
    await relay.tell({ opcode: "feedback", uuid: page.uuid, n: 1 });
    assert.equal(await hears(page), `{"opcode":"feedback","uuid":"${page.uuid}","n":1}`);
  }
});

test("two clients have two uuids", async (t) => {
  const [one, two] = [await connected(t, relay.ws()), await connected(t, relay.ws())];
  assert.notEqual(one.uuid, two.uuid);
});

test("it registers under a uuid that it is given", async (t) => {
  const page = connect(t, relay.ws(), { uuid: "page-1" });
  assert.equal(await page.ready, "page-1");
  await relay.tell({ opcode: "feedback", uuid: "page-1" });
  assert.equal(await hears(page), `{"opcode":"feedback","uuid":"page-1"}`);
});

test("it registers under the issued uuid if it is told to", async (t) => {
  for (const path of ["/", "/web"]) {
    const page = connect(t, relay.ws(path), { register: "issued" });
    assert.equal(page.uuid, undefined);
    assert.match(await page.ready, ISSUED);
    assert.equal(page.uuid, page.issuedUuid);
    await relay.tell({ opcode: "feedback", uuid: page.uuid });
    assert.equal(await hears(page), `{"opcode":"feedback","uuid":"${page.uuid}"}`);
  }
});

test("it registers nothing if it is told so", async (t) => {
  const page = await connected(t, relay.ws("/"), { register: false });
  assert.deepEqual(await page.echo(), { opcode: "next", uuid: "", fyi: "" });
  assert.match(await page.heard.next(), /"ready"/);
  assert.match(await page.heard.next(), /"next"/);
  assert.equal(await page.heard.next(), '{"opcode":"echo"}', "and has said nothing before");
});

test("what a script registers it under is its uuid then", async (t) => {
  const script = `
    function on.connect(client) client:send({ opcode = "ready", os = "Linux", uuid = client.issued_uuid }) end
    function opcodes.login(client, msg) client:register("user-" .. msg.data.name) end`;
  const scripted = await startRelay(t, { script });
  const page = await connected(t, scripted.ws("/"), { register: false });
  await page.send({ opcode: "login", name: "ann" });
  await page.send({ opcode: "x" });
  assert.equal(page.uuid, "user-ann");
});

test("it takes another uuid, and keeps it over a reconnection", async (t) => {
  const network = await startNetwork(t, relay);
  for (const register of ["own", "issued", false]) {
    const page = await connected(t, network.ws("/"), { register });
    const before = page.uuid;
    assert.equal(await page.register(`named-${register}`), `named-${register}`);
    assert.equal(page.uuid, `named-${register}`);
    assert.equal((await page.echo()).uuid, `named-${register}`);
    await relay.tell({ opcode: "feedback", uuid: before }, { opcode: "feedback", uuid: page.uuid });
    assert.equal(await hears(page), '{"opcode":"echo"}');
    if (!before.includes(".")) assert.match(await hears(page), /named/, "the old one is free");

    const again = becomes(page, "waiting");
    network.bury(network.die());
    await again;
    assert.equal(await page.ready, `named-${register}`);
    page.close();
  }
});

test("a uuid that is taken is refused, and the present one stays", async (t) => {
  await connected(t, relay.ws(), { uuid: "owner" });
  const page = await connected(t, relay.ws(), { uuid: "other" });
  await assert.rejects(page.register("owner"), (error) => {
    assert.ok(error instanceof RelayError);
    return error.code === "uuid_taken" && error.name === "RelayError";
  });
  assert.equal(page.uuid, "other");
  assert.equal((await page.echo()).uuid, "other");
});

test("a uuid that can not be is an end with a reason", async (t) => {
  const uuids = ["", "x".repeat(129), 7];
  for (const [path, uuid] of uuids.flatMap((uuid) => [["/", uuid], ["/web", uuid]])) {
    const page = connect(t, relay.ws(path), { uuid });
    const sent = page.send({ opcode: "x" });
    await assert.rejects(inTime("a refusal", page.ready), { code: "uuid_invalid" });
    await assert.rejects(sent, { code: "uuid_invalid" });
    assert.equal(page.status, "closed");
    assert.deepEqual((await becomes(page, "closed")).reason, "uuid_invalid");
  }
});

test("a script that does not register is an end with a reason", async (t) => {
  const script = `
    function on.connect(client) client:send({ opcode = "ready", os = "Linux", uuid = client.issued_uuid }) end
    function opcodes.uuid(client, msg) client:error("forbidden", "log in first") end`;
  const scripted = await startRelay(t, { script });
  const page = connect(t, scripted.ws());
  await assert.rejects(inTime("a refusal", page.ready), { code: "forbidden", message: "log in first" });
});

test("a claim that the relay takes its time with succeeds", async (t) => {
  // As it does when it has to find out first whether the present owner is still alive.
  const script = `
    function on.connect(client) client:send({ opcode = "ready", os = "Linux", uuid = client.issued_uuid }) end
    function opcodes.uuid(client, msg)
      local uuid = msg.data.message
      client:error("pending")
      relay.after(0.4, function() client:register(uuid) end)
    end`;
  const scripted = await startRelay(t, { script });
  const page = connect(t, scripted.ws(), { uuid: "slow" });
  assert.equal(await inTime("a registration", page.ready), "slow");
  assert.equal((await page.send({ opcode: "x" })).uuid, "slow");
});

test("URLs", async (t) => {
  const { port } = relay;
  for (const [given, url] of [
    [`http://127.0.0.1:${port}/web`, `ws://127.0.0.1:${port}/web`],
    [new URL(`ws://127.0.0.1:${port}`), `ws://127.0.0.1:${port}/`],
  ]) {
    const page = await connected(t, given);
    assert.equal(page.url, url);
  }
  const secure = connect(t, `https://127.0.0.1:${port}/web`, { reconnect: false });
  assert.equal(secure.url, `wss://127.0.0.1:${port}/web`);
  await assert.rejects(secure.ready, { code: "closed" }, "nobody vouches for the certificate");
  assert.throws(() => new Relay(), TypeError, "there is no page whose host it could be");
  assert.throws(() => new Relay("/web"), TypeError);
});

test("an option that does not exist is a mistake, one that is undefined is none", async (t) => {
  assert.throws(() => new Relay(relay.ws(), { retryMinMS: 5 }), /retryMinMS/);
  const page = await connected(t, relay.ws(), { timeoutMs: undefined, uuid: undefined });
  assert.match(page.uuid, V4);
});

test("a WebSocket of one's own", async (t) => {
  const urls = [];
  class Own extends WebSocket {
    constructor(url) {
      urls.push(url);
      super(url);
    }
  }
  await connected(t, relay.ws(), { WebSocket: Own });
  assert.deepEqual(urls, [relay.ws()]);
});
