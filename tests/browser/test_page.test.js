// The page that the relay serves for trying it, in a real browser.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer, request as ask } from "node:http";
import { connect } from "node:net";
import { dirname } from "node:path";
import { test } from "node:test";

import { DEADLINE_MS, eventually, shipped, startRelay as start } from "../js/harness.js";
import { newContext, openPage, useChromium } from "./chromium.js";

useChromium();

const RELAY_BIN = process.env.RELAY_BIN ?? shipped("target/debug/relay");

/**
 * A relay that gives its script more time: a machine that is busy with browsers may keep the script
 * from its core for longer than a call may take, and a greeting that is killed comes too late here.
 */
const startRelay = (t, set = {}) => start(t, { set: { "script.call_timeout_ms": 5_000, ...set } });

const http = (relay, host = "127.0.0.1") => `http://${host}:${relay.port}/`;
const https = (relay) => `https://localhost:${relay.port}/`;

/** Opens the test page and waits until it is connected. */
async function open(context, url) {
  const page = await openPage(context, url);
  await connected(page);
  return page;
}

/** Waits until the page is connected; returns its uuid. */
async function connected(page) {
  await page.locator("#state[data-status=ready]").waitFor();
  return page.locator("#uuid").textContent();
}

/** What is listed, the oldest first: the direction, the opcode, and the body without its layout. */
const listed = (page) =>
  page.locator("#log .entry").evaluateAll((entries) =>
    entries.reverse().map((entry) => ({
      direction: entry.classList.contains("in") ? "in" : "out",
      opcode: entry.querySelector("b").textContent,
      body: JSON.parse(entry.querySelector("pre").textContent),
    })),
  );

const received = async (page) =>
  (await listed(page)).filter(({ direction }) => direction === "in").map(({ body }) => body);

/** Waits until so many messages have come in; returns them. */
async function hears(page, count) {
  await eventually(`${count} messages in the page`, async () => {
    const messages = await page.locator("#log .entry.in").count();
    return messages >= count;
  });
  return received(page);
}

for (const [name, url] of [["http", http], ["https", https]]) {
  test(`over ${name} the page sends and receives, and asks nobody else`, async (t) => {
    const relay = await startRelay(t);
    const context = await newContext(t);
    const hosts = new Set();
    const complaints = [];
    context.on("request", (request) => hosts.add(new URL(request.url()).host));
    context.on("console", (message) => complaints.push(message.text()));
    context.on("weberror", (error) => complaints.push(String(error.error())));
    const one = await open(context, url(relay));
    const two = await open(context, url(relay));
    const [uuid, other] = [await connected(one), await connected(two)];
    assert.notEqual(uuid, other);
    const websocket = `${name.replace("http", "ws")}://${new URL(url(relay)).host}/web`;
    assert.equal(await one.locator("#address").textContent(), websocket);

    await one.getByLabel("Text").fill("hé <b>");
    await one.getByRole("button", { name: "Broadcast" }).click();
    const broadcast = { opcode: "broadcast", text: "hé <b>" };
    assert.deepEqual(await hears(two, 1), [broadcast]);
    await one.getByRole("button", { name: "Feedback to myself" }).click();
    const feedback = { opcode: "feedback", uuid, text: "hé <b>" };
    assert.deepEqual(await hears(one, 1), [feedback], "the broadcast did not come back");
    await one.getByRole("button", { name: "Echo" }).click();
    const echo = { opcode: "echo", text: "hé <b>" };
    assert.deepEqual(await hears(one, 2), [feedback, echo]);
    assert.ok(await one.getByRole("button", { name: "Feedback to it" }).isDisabled());
    await one.getByLabel("Another page’s uuid").fill(other);
    await one.getByRole("button", { name: "Feedback to it" }).click();
    assert.deepEqual((await hears(two, 2))[1], { ...feedback, uuid: other });
    await one.getByLabel("Any JSON").fill('{"opcode":"mine", "n":[1]}');
    await one.getByLabel("Any JSON").press("Control+Enter");
    assert.deepEqual((await hears(two, 3))[2], { opcode: "mine", n: [1] });

    // A backend's progress: in order, and in the page that it is for.
    const steps = [25, 50, 75, 100].map((percent) => ({ opcode: "feedback", uuid, percent }));
    await relay.tell(...steps);
    assert.deepEqual((await hears(one, 6)).slice(2), steps);
    assert.equal((await received(two)).length, 3);
    const sent = (await listed(one)).filter(({ direction }) => direction === "out");
    const opcodes = ["broadcast", "feedback", "echo", "feedback", "mine"];
    assert.deepEqual(sent.map(({ opcode }) => opcode), opcodes);
    assert.equal(await one.locator(".entry.out").getByText("taken", { exact: true }).count(), 5);

    assert.deepEqual([...hosts], [new URL(url(relay)).host]);
    assert.deepEqual(complaints, [], "nothing was refused, by the policy neither");
  });

  test(`lines copied from the page over ${name} reach it`, async (t) => {
    const relay = await startRelay(t);
    const context = await newContext(t);
    await context.grantPermissions(["clipboard-read", "clipboard-write"]);
    const page = await open(context, url(relay));
    const uuid = await connected(page);
    const texts = [];
    for (const tab of ["Shell", "PHP", "relay send"]) {
      await page.getByRole("tab", { name: tab }).click();
      for (const line of await page.locator(".line:visible").all()) {
        await line.getByRole("button").click();
        await line.getByText("Copied").waitFor();
        const copied = await page.evaluate(() => navigator.clipboard.readText());
        assert.equal(copied, await line.locator("pre").textContent());
        await run(tab === "PHP" ? "php" : "bash", copied, relay);
        const heard = await hears(page, texts.length + 1);
        assert.equal(heard.at(-1).uuid, uuid);
        texts.push(heard.at(-1).text);
      }
    }
    const shell = name === "http" ? ["netcat", "bash"] : ["openssl"];
    const expected = [...shell, "PHP", "the library", "relay send"];
    assert.deepEqual(texts, expected.map((it) => `hello from ${it}`));
  });
}

/** Runs a line as a person does who trusts the relay's own certificate. */
async function run(program, line, relay) {
  const path = `${dirname(RELAY_BIN)}:${process.env.PATH}`;
  const env = { ...process.env, PATH: path, SSL_CERT_FILE: relay.certificate };
  const php = ["-d", `openssl.cafile=${relay.certificate}`, "-r", line];
  const words = program === "php" ? php : ["-c", line];
  await new Promise((resolve, reject) => {
    const options = { env, cwd: shipped("."), timeout: DEADLINE_MS };
    execFile(program, words, options, (error) => (error ? reject(error) : resolve()));
  });
}

test("without a secure context lines can be copied too", async (t) => {
  const relay = await startRelay(t);
  const page = await open(await newContext(t), http(relay, "plain.test"));
  assert.equal(await page.evaluate(() => isSecureContext), false);
  const line = page.locator(".line:visible").first();
  await line.getByRole("button").click();
  await line.getByText("Copied").waitFor();
  await page.getByLabel("Any JSON").fill("");
  await page.getByLabel("Any JSON").press("Control+V");
  const pasted = await page.getByLabel("Any JSON").inputValue();
  assert.equal(pasted, await line.locator("pre").textContent());
});

test("a reload goes on under the same uuid, and so do both pages after a restart", async (t) => {
  const relay = await startRelay(t);
  const context = await newContext(t);
  const [one, two] = [await open(context, http(relay)), await open(context, https(relay))];
  const uuids = [await connected(one), await connected(two)];
  await one.reload();
  assert.equal(await connected(one), uuids[0]);
  await relay.stop();
  for (const page of [one, two]) {
    await page.getByText(/^Reconnecting in \d+ s$/).waitFor();
  }
  await relay.start();
  for (const page of [one, two]) {
    // By the button, if the page has not connected by itself in this moment.
    const button = page.getByRole("button", { name: "Connect now" });
    await Promise.race([button.click().catch(() => {}), connected(page)]);
  }
  assert.deepEqual([await connected(one), await connected(two)], uuids);
  await relay.tell(...uuids.map((uuid) => ({ opcode: "feedback", uuid })));
  for (const [index, page] of [one, two].entries()) {
    assert.deepEqual(await hears(page, 1), [{ opcode: "feedback", uuid: uuids[index] }]);
  }
});

test("JSON is judged while it is typed", async (t) => {
  const relay = await startRelay(t);
  const page = await open(await newContext(t), http(relay));
  const box = page.getByLabel("Any JSON");
  const button = page.getByRole("button", { name: "Send JSON" });
  for (const [text, verdict] of [
    ['{"opcode":"é"}', "opcode é, 15 bytes"],
    ['{"opcode":1}', "no opcode, 12 bytes"],
    ["[1]", "no opcode, 3 bytes"],
    ["null", "no opcode, 4 bytes"],
  ]) {
    await box.fill(text);
    assert.equal(await page.locator("#verdict").textContent(), verdict);
    assert.equal(await box.getAttribute("aria-invalid"), "false");
    assert.ok(await button.isEnabled());
  }
  for (const text of ["", "{", '{"a":1,}', "pong"]) {
    await box.fill(text);
    assert.notEqual(await page.locator("#verdict").textContent(), "");
    assert.equal(await box.getAttribute("aria-invalid"), "true");
    assert.ok(await button.isDisabled());
    await box.press("Control+Enter");
  }
  assert.deepEqual(await listed(page), []);
});

test("the list shows what came, bounded, held while it is paused", async (t) => {
  const relay = await startRelay(t);
  const page = await open(await newContext(t), http(relay));
  const html = { opcode: "<img src=x onerror=alert(1)>", html: "</pre><script>alert(1)</script>" };
  await relay.tell(html);
  assert.deepEqual(await hears(page, 1), [html], "text, not HTML");
  // To parse and write it again would change it.
  await relay.tell('{"opcode":"x","n":12345678901234567890, "n":1.0,"e":[{},[]]}');
  await hears(page, 2);
  const shown = [
    "{",
    '  "opcode": "x",',
    '  "n": 12345678901234567890,',
    '  "n": 1.0,',
    '  "e": [',
    "    {},",
    "    []",
    "  ]",
    "}",
  ];
  const [newest] = await page.locator("#log pre").allTextContents();
  assert.deepEqual(newest.split("\n"), shown);
  await page.getByRole("button", { name: "Pause" }).click();
  await relay.tell({ n: 1 }, { n: 2 });
  await page.getByRole("button", { name: "Go on (2)" }).click();
  assert.deepEqual((await hears(page, 4)).slice(2), [{ n: 1 }, { n: 2 }]);
  await page.getByLabel("ready and next").check();
  await page.getByRole("button", { name: "Echo" }).click();
  await page.locator(".entry.ack").getByText("next", { exact: true }).waitFor();
  await page.getByRole("button", { name: "Clear" }).click();
  assert.equal(await page.locator("#log .entry").count(), 0);
  await relay.tell(JSON.stringify({ long: "x".repeat(500_000) }));
  await page.getByText("(500011 bytes in all)").waitFor();
  assert.ok((await page.locator("#log pre").first().textContent()).length < 5_000);
  await relay.tell(...Array.from({ length: 510 }, (_, n) => ({ n })));
  await page.locator("#log pre").first().getByText("509").waitFor();
  assert.equal(await page.locator("#log .entry").count(), 500);
});

test("a refused origin is explained", async (t) => {
  const relay = await startRelay(t, { "web.allowed_origins": '["https://example.org"]' });
  const page = await openPage(await newContext(t), http(relay));
  const origin = `http://127.0.0.1:${relay.port}`;
  await page.getByText(`web.allowed_origins is set, ${origin} has to be in it`).waitFor();
});

test("on a narrow screen nothing sticks out, and tabs take the arrow keys", async (t) => {
  const relay = await startRelay(t);
  const context = await newContext(t);
  const page = await open(context, http(relay));
  await page.getByRole("button", { name: "Echo" }).click();
  await hears(page, 1);
  for (const width of [320, 360, 390, 768, 1280]) {
    await page.setViewportSize({ width, height: 740 });
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${wide} at ${width}`);
  }
  await page.getByRole("tab", { name: "Shell" }).focus();
  await page.keyboard.press("ArrowLeft");
  assert.equal(await page.getByRole("tab", { selected: true }).textContent(), "relay send");
  assert.ok(await page.getByText("relay send ws://").isVisible());
});

/** Passes on what is under a path: nginx's `location /relay/ { proxy_pass http://relay/; }`. */
async function startProxy(t, relay) {
  const local = (url) => url.replace(/^\/relay/, "");
  const server = createServer(({ url, method, headers }, response) => {
    const options = { port: relay.port, path: local(url), method, headers };
    const asked = ask(options, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
    });
    asked.end();
  });
  server.on("upgrade", ({ url, rawHeaders }, near, head) => {
    const far = connect(relay.port, "127.0.0.1");
    const lines = rawHeaders.map((text, index) => text + (index % 2 ? "\r\n" : ": "));
    far.write(`GET ${local(url)} HTTP/1.1\r\n${lines.join("")}\r\n`);
    far.write(head);
    near.pipe(far).pipe(near);
    for (const end of [near, far]) end.on("error", () => {});
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}/relay/`;
}

test("behind a proxy with a path the page finds its relay", async (t) => {
  const relay = await startRelay(t);
  const url = await startProxy(t, relay);
  const page = await open(await newContext(t), url);
  assert.equal(await page.locator("#address").textContent(), `${url.replace("http", "ws")}web`);
  await page.getByRole("tab", { name: "relay send" }).click();
  await run("bash", await page.locator(".line:visible pre").textContent(), relay);
  assert.equal((await hears(page, 1))[0].text, "hello from relay send");
});
