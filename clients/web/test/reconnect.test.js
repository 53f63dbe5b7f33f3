import assert from "node:assert/strict";
import { test } from "node:test";

import { eventually, inTime, startNetwork, startRelay } from "../../../tests/js/harness.js";
import { becomes, connect, connected, hears } from "./clients.js";

/** Registers as the shipped script does, and closes with the code that it is told. */
const CLOSING = `
  function on.connect(client) client:send({ opcode = "ready", os = "Linux", uuid = client.issued_uuid }) end
  function opcodes.uuid(client, msg) client:register(msg.data.message) end
  function opcodes.bye(client, msg) client:close(msg.data.code, "as told") end`;

test("a relay that restarts finds its clients again, under their uuids", async (t) => {
  const relay = await startRelay(t);
  const pages = [
    await connected(t, relay.ws()),
    await connected(t, relay.ws("/"), { uuid: "named" }),
    await connected(t, relay.ws(), { register: "issued" }),
  ];
  const uuids = pages.map((page) => page.uuid);
  assert.equal(await relay.stop(), 0);
  for (const page of pages) {
    const { code, reason, retryInMs } = await becomes(page, "waiting");
    assert.deepEqual([code, reason], [1001, "the relay is stopping"]);
    assert.ok(retryInMs >= 0 && retryInMs <= 50, `${retryInMs} ms are within spreadMs`);
  }
  const ready = pages.map((page) => page.ready);
  await relay.start();
  assert.deepEqual(await inTime("all of them", Promise.all(ready)), uuids);
  for (const page of pages) {
    await relay.tell({ opcode: "feedback", uuid: page.uuid, n: 1 });
    assert.match(await hears(page), /"n":1/);
  }
});

test("what is sent meanwhile waits, and goes out in order before anything newer", async (t) => {
  const relay = await startRelay(t);
  const page = await connected(t, relay.ws());
  await relay.stop("SIGKILL");
  assert.equal((await becomes(page, "waiting")).code, 1006);
  const sent = [1, 2, 3].map((n) => page.echo({ n }));
  page.onStatus(({ status }) => status === "ready" && sent.push(page.echo({ n: 4 })));
  await relay.start();
  await inTime("acks", Promise.all(sent));
  // Who waits for registration hears itself: nothing was said before it.
  assert.ok((await Promise.all(sent)).every((ack) => ack.uuid === page.uuid));
  for (const n of [1, 2, 3, 4]) assert.equal(JSON.parse(await hears(page)).n, n);
});

test("what was sent and not acknowledged is lost, and never sent again", async (t) => {
  const relay = await startRelay(t);
  const network = await startNetwork(t, relay);
  const page = await connected(t, network.ws());
  const other = await connected(t, relay.ws());
  network.die();
  const lost = page.broadcast({ n: 1 });
  network.bury();
  await assert.rejects(inTime("an end", lost), { name: "RelayError", code: "lost" });
  await page.ready;
  await page.broadcast({ n: 2 });
  assert.equal(await hears(other), '{"opcode":"broadcast","n":2}');
});

test("the queue is bounded, and refuses what is newest", async (t) => {
  const relay = await startRelay(t);
  const page = await connected(t, relay.ws(), { queueMessagesMax: 3, queueBytesMax: 200 });
  await relay.stop();
  await becomes(page, "waiting");
  const sent = [1, 2, 3].map((n) => page.echo({ n }));
  await assert.rejects(page.echo({ n: 4 }), { code: "queue_full" });
  await relay.start();
  await Promise.all(sent);
  await relay.stop();
  await becomes(page, "waiting");
  const large = page.echo({ x: "é".repeat(60) });
  await assert.rejects(page.echo({ x: "é".repeat(60) }), { code: "queue_full" });
  const small = page.echo({ n: 5 });
  await relay.start();
  await large;
  await small;
  await page.echo({ x: "é".repeat(80) }, "there is room again");
  for (const n of [1, 2, 3, undefined, 5]) assert.equal(JSON.parse(await hears(page)).n, n);
});

test("what waits is rejected when there will be no connection", async (t) => {
  const relay = await startRelay(t);
  const page = await connected(t, relay.ws());
  await relay.stop();
  await becomes(page, "waiting");
  const sent = page.echo();
  const { ready } = page;
  page.close();
  await assert.rejects(sent, { code: "closed" });
  await assert.rejects(ready, { code: "closed" });
  await assert.rejects(page.echo(), { code: "closed" });
  assert.equal(page.status, "closed");
});

test("a message that the relay would not take is refused here", async (t) => {
  const relay = await startRelay(t);
  const page = await connected(t, relay.ws());
  const around = '{"opcode":"echo","x":""}'.length;
  const most = "é".repeat((1_048_576 - around) / 2);
  await page.send(`{"opcode":"echo","x":"${most}"}`);
  await assert.rejects(page.send(`{"opcode":"echo","x":"${most}x"}`), { code: "too_big" });
  assert.equal((await page.echo()).uuid, page.uuid, "the connection is as good as before");
});

test("too big for the relay, and too many claims, are the end", async (t) => {
  const relay = await startRelay(t, { set: { "limits.message_bytes_max": 1000 } });
  const big = await connected(t, relay.ws());
  const lost = big.echo({ x: "x".repeat(1000) });
  assert.equal((await becomes(big, "closed")).code, 1009);
  await assert.rejects(lost, { code: "lost" });
  await assert.rejects(big.ready, { code: "closed" });

  await connected(t, relay.ws(), { uuid: "owner" });
  const claimant = await connected(t, relay.ws());
  for (let n = 0; n < 4; n++) {
    await assert.rejects(claimant.register("owner"), { code: "uuid_taken" });
  }
  claimant.send({ opcode: "uuid", message: "owner" });
  assert.equal((await becomes(claimant, "closed")).code, 1008);
});

test("each close code has its consequence", async (t) => {
  const relay = await startRelay(t, { script: CLOSING });
  const ended = async (code) => {
    const page = await connected(t, relay.ws(), { retryMinMs: 4000, retryMaxMs: 4000, spreadMs: 1 });
    page.send({ opcode: "bye", code });
    await becomes(page, "ready");
    const change = await page.changes.next();
    assert.deepEqual([change.code, change.reason], [code, "as told"]);
    page.close();
    return change;
  };
  for (const code of [1000, 1008, 1009]) {
    assert.equal((await ended(code)).status, "closed", `${code}`);
  }
  let random;
  t.mock.method(Math, "random", () => random);
  for (random of [0.01, 0.99]) {
    for (const code of [1011, 3000, 4999]) {
      const { status, retryInMs } = await ended(code);
      assert.equal(status, "waiting", `${code}`);
      assert.equal(Math.round(retryInMs), random < 0.5 ? 2020 : 3980, `${code}: the second half`);
    }
    for (const code of [1001, 1012, 1013]) {
      const { status, retryInMs } = await ended(code);
      assert.equal(status, "waiting", `${code}`);
      assert.equal(Math.round(retryInMs), random < 0.5 ? 40 : 3960, `${code}: the whole time`);
    }
  }
});

test("the waits grow, up to a limit, and are not the same for all", async (t) => {
  const relay = await startRelay(t);
  const options = { retryMinMs: 8, retryMaxMs: 64 };
  const pages = [await connected(t, relay.ws(), options), await connected(t, relay.ws(), options)];
  await relay.stop("SIGKILL");
  const waits = await Promise.all(
    pages.map(async (page) => {
      const waits = [];
      while (waits.length < 7) waits.push((await becomes(page, "waiting")).retryInMs);
      return waits;
    }),
  );
  for (const [n, most] of [8, 16, 32, 64, 64, 64, 64].entries()) {
    for (const wait of [waits[0][n], waits[1][n]]) {
      assert.ok(wait >= most / 2 && wait <= most, `${wait} ms is within half of ${most} ms`);
    }
  }
  assert.notDeepEqual(waits[0], waits[1]);
});

test("connect() ends a wait", async (t) => {
  const relay = await startRelay(t);
  const page = await connected(t, relay.ws(), { retryMinMs: 3_600_000, retryMaxMs: 3_600_000 });
  await relay.stop("SIGKILL");
  await becomes(page, "waiting");
  await relay.start();
  assert.equal(await inTime("a connection", page.connect()), page.uuid);
});

test("without reconnection an end is the end", async (t) => {
  const relay = await startRelay(t);
  const page = await connected(t, relay.ws(), { reconnect: false });
  await relay.stop();
  assert.equal((await becomes(page, "closed")).code, 1001);
});

test("a network that dies is noticed by an ack that does not come", async (t) => {
  const relay = await startRelay(t);
  const network = await startNetwork(t, relay);
  const page = await connected(t, network.ws(), { timeoutMs: 100, heartbeatMs: 0 });
  network.die();
  await assert.rejects(inTime("an end", page.echo()), { code: "lost" });
  assert.equal((await becomes(page, "waiting")).reason, "timeout");
  network.bury();
  assert.equal(await page.ready, page.uuid);
});

test("a network that dies is noticed by one that only listens", async (t) => {
  const relay = await startRelay(t);
  const network = await startNetwork(t, relay);
  const page = await connected(t, network.ws(), { timeoutMs: 100, heartbeatMs: 100 });
  network.die();
  assert.equal((await becomes(page, "waiting")).reason, "timeout");
  network.bury();
  await page.ready;
});

test("a relay that does not greet is given up", async (t) => {
  const relay = await startRelay(t);
  const network = await startNetwork(t, relay);
  network.dead = true;
  const page = connect(t, network.ws(), { timeoutMs: 50 });
  assert.equal((await becomes(page, "waiting")).reason, "timeout");
  network.dead = false;
  assert.equal(await inTime("a registration", page.ready), page.uuid);
});

test("a quiet connection stays, and its heartbeats disturb nobody", async (t) => {
  const relay = await startRelay(t);
  const page = await connected(t, relay.ws(), { timeoutMs: 1000, heartbeatMs: 10 });
  const other = await connected(t, relay.ws());
  await eventually("some heartbeats", () => page.heard.size > 10);
  assert.equal(page.status, "ready");
  await other.echo();
  assert.equal(await hears(other), '{"opcode":"echo"}');
});

test("its own dead connection keeps a client from its uuid only for a while", async (t) => {
  const relay = await startRelay(t, { set: { "limits.claim_timeout_ms": 1000 } });
  // In one claim, or in several where the client has no such patience.
  for (const timeoutMs of [4000, 200]) {
    const network = await startNetwork(t, relay);
    const page = await connected(t, network.ws(), { timeoutMs });
    const { uuid } = page;
    page.on("error", ({ code }) => assert.fail(code));
    network.die();
    await assert.rejects(page.echo(), { code: "lost" });
    const queued = page.echo({ mark: 1 });
    assert.equal(await inTime("a registration", page.ready), uuid);
    await queued;
  }
});

test("a chosen uuid is claimed until it is free", async (t) => {
  const relay = await startRelay(t);
  const owner = await connected(t, relay.ws(), { uuid: "one" });
  const page = connect(t, relay.ws(), { uuid: "one" });
  const change = await becomes(page, "waiting");
  assert.deepEqual([change.code, change.reason], [1006, "uuid_taken"]);
  owner.quit();
  assert.equal(await inTime("a registration", page.ready), "one");
});

test("a handler that fails now and then does not keep a client away", async (t) => {
  const script = `
    function on.connect(client) client:send({ opcode = "ready", os = "Linux", uuid = client.issued_uuid }) end
    function opcodes.uuid(client, msg)
      if relay.now() < tonumber(relay.store.get("until") or 0) then error("not now") end
      client:register(msg.data.message)
    end
    function opcodes.fail(client, msg) relay.store.set("until", relay.now() + 0.3) end`;
  const relay = await startRelay(t, { script });
  const owner = await connected(t, relay.ws());
  await owner.send({ opcode: "fail" });
  const page = connect(t, relay.ws());
  assert.match(await hears(page), /handler_failed/);
  assert.equal(await inTime("a registration", page.ready), page.uuid);
});
