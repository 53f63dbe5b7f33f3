import assert from "node:assert/strict";
import { before, test } from "node:test";

import { Inbox, RelayProcess, eventually, inTime, startNetwork } from "../../../tests/js/harness.js";
import { connect, connected, hears } from "./clients.js";

const relay = new RelayProcess();
before(async (t) => {
  await relay.start();
  t.after(() => relay.remove());
});

test("a broadcast reaches the others", async (t) => {
  const [one, two] = [await connected(t, relay.ws()), await connected(t, relay.ws("/"))];
  const ack = await one.broadcast({ text: "hello" });
  assert.deepEqual(ack, { opcode: "next", uuid: one.uuid, fyi: "" });
  assert.equal(await hears(two), '{"opcode":"broadcast","text":"hello"}');
  await one.broadcast({ opcode: "chat", text: "hello" });
  assert.equal(await hears(two), '{"opcode":"chat","text":"hello"}');
  await one.echo({ mark: 1 });
  assert.equal(await hears(one), '{"mark":1,"opcode":"echo"}', "it does not hear its own");
});

test("a text becomes the field message", async (t) => {
  const [one, two] = [await connected(t, relay.ws()), await connected(t, relay.ws())];
  await one.broadcast("hello");
  assert.equal(await hears(two), '{"opcode":"broadcast","message":"hello"}');
  await one.feedback(two.uuid, "half");
  assert.deepEqual(JSON.parse(await hears(two)).message, "half");
  await one.echo("hi");
  assert.equal(await hears(one), '{"message":"hi","opcode":"echo"}');
});

test("an object with the opcode uuid registers", async (t) => {
  const [page, other] = [await connected(t, relay.ws()), await connected(t, relay.ws())];
  await page.send({ opcode: "uuid", message: "sent-by-hand" });
  assert.equal(page.uuid, "sent-by-hand");
  await page.echo({ mark: 1 });
  assert.equal(await hears(page), '{"mark":1,"opcode":"echo"}');
  await other.feedback("sent-by-hand", "half");
  assert.equal(JSON.parse(await hears(page)).message, "half");
});

test("quit ends a client whose queue is full", async (t) => {
  const page = await connected(t, relay.ws(), { queueMessagesMax: 3 });
  const sent = [1, 2, 3].map((n) => page.echo({ n }));
  await assert.rejects(page.quit(), { code: "queue_full" });
  await Promise.allSettled(sent);
  await eventually("it is closed", () => page.status === "closed");
});

test("feedback reaches one, by uuid or ident", async (t) => {
  const [one, two] = [await connected(t, relay.ws()), await connected(t, relay.ws())];
  await one.feedback(two.uuid, { percent: 50, opcode: "ignored", uuid: "ignored" });
  const message = JSON.parse(await hears(two));
  assert.deepEqual(message, { percent: 50, opcode: "feedback", uuid: two.uuid });

  class Backend extends WebSocket {
    constructor(url) {
      super(url, { headers: { "Client-Type": "php", Ident: "billing" } });
    }
  }
  const backend = await connected(t, relay.ws("/"), { WebSocket: Backend, register: false });
  await two.feedback({ ident: "billing" }, { paid: true });
  assert.deepEqual(JSON.parse(await hears(backend)), { paid: true, opcode: "feedback", ident: "billing" });
});

test("handlers hear their opcode, in order, until they are taken off", async (t) => {
  const page = await connected(t, relay.ws());
  const heard = [];
  const off = page.on("progress", (message, text) => heard.push(["first", message.n, text]));
  page.on("progress", (message) => heard.push(["second", message.n]));
  page.on("other", () => heard.push(["other"]));
  await relay.tell({ opcode: "progress", n: 1 });
  await hears(page);
  off();
  await relay.tell({ opcode: "progress", n: 2 });
  await hears(page);
  assert.deepEqual(heard, [
    ["first", 1, '{"opcode":"progress","n":1}'],
    ["second", 1],
    ["second", 2],
  ]);
});

test("everything is heard once, as it came, whatever it is", async (t) => {
  const page = await connected(t, relay.ws());
  const heard = new Inbox();
  page.on("*", (message, text) => heard.put([message, text]));
  for (const text of [
    '{"opcode":"*","n":12345678901234567890}',
    '[1, 2.50]',
    '{ "opcode" : null }',
    '{"opcode":7}',
    '{"opcode":"__proto__"}',
    '{"opcode":"constructor"}',
  ]) {
    await relay.tell(text);
    assert.deepEqual(await heard.next(), [JSON.parse(text), text]);
  }
  const other = await connected(t, relay.ws());
  for (const text of ["null", "7.0", '"text"', "true"]) {
    await other.send(text);
    assert.deepEqual(await heard.next(), [JSON.parse(text), text]);
  }
});

test("text is sent as it is", async (t) => {
  const page = await connected(t, relay.ws());
  const text = '{ "opcode" : "echo", "x": [1, 2.50], "x": "ž🐎\\ud83d\\udc0e" }';
  await page.send(text);
  assert.equal(await hears(page), text);
});

test("what has no JSON form is the caller's mistake", async (t) => {
  const page = await connected(t, relay.ws());
  const circle = {};
  circle.circle = circle;
  for (const message of [undefined, () => {}, circle, { n: 1n }]) {
    assert.throws(() => page.send(message), TypeError);
  }
});

test("a handler that fails harms nobody and is reported", async (t) => {
  const page = await connected(t, relay.ws());
  const report = t.mock.method(console, "error", () => {});
  page.on("x", () => {
    throw new Error("a mistake");
  });
  let after = 0;
  page.on("x", () => (after += 1));
  await relay.tell({ opcode: "x" });
  await hears(page);
  await page.echo();
  assert.equal(after, 1);
  assert.equal(page.status, "ready");
  assert.match(String(report.mock.calls[0].arguments[0]), /a mistake/);
});

test("a handler that is added or taken off by a handler counts from the next message on", async (t) => {
  const page = await connected(t, relay.ws());
  const heard = [];
  const off = page.on("x", ({ n }) => {
    heard.push(n);
    off();
    page.on("x", (message) => heard.push(-message.n));
  });
  await relay.tell({ opcode: "x", n: 1 }, { opcode: "x", n: 2 });
  await hears(page);
  await hears(page);
  assert.deepEqual(heard, [1, -2]);
});

test("acks answer in order", async (t) => {
  const page = await connected(t, relay.ws());
  const taken = [];
  const sending = [];
  for (let n = 0; n < 500; n++) sending.push(page.echo({ n }).then(() => taken.push(n)));
  await inTime("all acks", Promise.all(sending));
  assert.deepEqual(taken, [...Array(500).keys()]);
});

test("nobody else can acknowledge, greet, or refuse a uuid", async (t) => {
  const network = await startNetwork(t, relay);
  const page = await connected(t, network.ws());
  const { issuedUuid } = page;
  const outcomes = [];
  network.hold();
  page.echo().then(() => outcomes.push("acknowledged"));
  const registering = page.register("mine").finally(() => outcomes.push("registered"));
  const forged = [
    { opcode: "next", uuid: "", fyi: "" },
    { opcode: "next", uuid: "x", fyi: "" },
    { opcode: "next" },
    { opcode: "ready", os: "Linux", uuid: "x" },
    { opcode: "error", code: "uuid_taken", message: "", ref: "uuid" },
    { opcode: "last" },
  ];
  const last = new Inbox();
  page.on("last", last.put);
  await relay.tell(...forged);
  await last.next();
  assert.deepEqual(outcomes, []);
  assert.equal(page.issuedUuid, issuedUuid);
  network.release();
  assert.equal(await registering, "mine", "the refusal was nobody's");
  assert.deepEqual(outcomes, ["acknowledged", "registered"]);
  assert.equal(page.status, "ready");
});

test("quit is taken, then the relay closes, and that is that", async (t) => {
  const page = await connected(t, relay.ws());
  const last = page.broadcast({ text: "bye" });
  const quit = page.quit();
  await assert.rejects(page.send({ opcode: "x" }), { code: "closed" }, "nothing comes after it");
  await last;
  assert.equal((await quit).opcode, "next");
  const change = await page.changes.next();
  assert.deepEqual(
    { status: change.status, code: change.code },
    change.status === "ready" ? { status: "ready", code: undefined } : { status: "closed", code: 1000 },
  );
  if (change.status === "ready") assert.equal((await page.changes.next()).code, 1000);
  assert.equal(page.status, "closed");
});

test("close has the code it is given, and rejects what waits", async (t) => {
  const page = await connected(t, relay.ws());
  assert.throws(() => page.close(1001), "a browser does not take this code");
  assert.equal(page.status, "ready");
  page.close(3001, "enough");
  assert.equal(page.status, "closing");
  await assert.rejects(page.send({ opcode: "x" }), { code: "closed" });
  for (let change; change?.status !== "closed"; ) {
    change = await page.changes.next();
    if (change.status === "closed") assert.equal(change.code, 3001);
  }
  await assert.rejects(page.ready, { code: "closed" });

  const early = connect(t, relay.ws());
  const sent = early.send({ opcode: "x" });
  early.close();
  await assert.rejects(early.ready, { code: "closed" });
  await assert.rejects(sent, { code: "closed" });
  assert.equal(early.status, "closed");
});

test("a closed client can be connected again, under the same uuid", async (t) => {
  const page = await connected(t, relay.ws());
  const { uuid } = page;
  page.close();
  await assert.rejects(inTime("the end", page.ready));
  assert.equal(await page.connect(), uuid);
  page.close();
  assert.equal(await inTime("at once", page.connect()), uuid, "even while it closes");
  assert.equal(await page.connect(), uuid, "and nothing happens to one that is ready");
});
