// The PHP demo as a person uses it: `php -S`, a real relay, a real browser.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { relative } from "node:path";
import { createInterface } from "node:readline";
import { test } from "node:test";

import { DEADLINE_MS, eventually, inTime, shipped, startRelay } from "../js/harness.js";
import { newContext, useChromium } from "./chromium.js";

useChromium();

/** How the backend and the page reach the relay: the URL of the one decides that of the other. */
const WAYS = {
  ws: (relay) => ({ RELAY_URL: `tcp://127.0.0.1:${relay.port}` }),
  // A path from where the server is started, as in the README.
  wss: (relay) => ({ RELAY_URL: `wss://localhost:${relay.port}`, RELAY_CAFILE: relative(STARTED_IN, relay.certificate) }),
};

const STARTED_IN = tmpdir();

/** Serves the demo as its README says, from a shell, but with less work to do; returns its URL. */
async function startDemo(t, environment, stepMs = 80) {
  const php = spawn("sh", ["-c", 'exec php -S 127.0.0.1:0 -t "$0"', shipped("clients/php/demo")], {
    stdio: ["ignore", "ignore", "pipe"],
    cwd: STARTED_IN,
    env: { ...process.env, PHP_CLI_SERVER_WORKERS: "4", DEMO_STEP_MS: String(stepMs), ...environment },
    // A group of its own: the workers do not end with their parent.
    detached: true,
  });
  t.after(async () => {
    const exit = once(php, "exit");
    process.kill(-php.pid, "SIGKILL");
    await exit;
  });
  const url = new Promise((resolve, reject) => {
    php.once("error", reject);
    php.once("exit", (code) => reject(new Error(`php ended: ${code}`)));
    createInterface(php.stderr).on("line", (line) => {
      const started = /Development Server \((http:\/\/127\.0\.0\.1:\d+)\) started/.exec(line);
      if (started) resolve(started[1]);
    });
  });
  return inTime("php -S", url);
}

/** A window of the demo, connected. It notes which uuids it claims, from the first on. */
async function openWindow(context, url) {
  const page = await context.newPage();
  page.claims = [];
  page.troubles = [];
  page.on("pageerror", (error) => page.troubles.push(error.message));
  // A relay that is away is an error in the console, and part of the plan.
  page.on("console", (message) => {
    const text = message.text();
    if (message.type() === "error" && !/WebSocket|net::/.test(text)) page.troubles.push(text);
  });
  page.on("websocket", (socket) => {
    page.sockets = (page.sockets ?? []).concat(socket.url());
    socket.on("framesent", ({ payload }) => {
      const [, uuid] = /^\{"opcode":"uuid","message":"([^"]+)"\}$/.exec(payload) ?? [];
      if (uuid) page.claims.push(uuid);
    });
  });
  await page.goto(url);
  await connected(page);
  return page;
}

const connected = (page) => page.waitForSelector('#status[data-status="ready"]');
const percent = (page) => page.$eval("#bar", (bar) => Number(bar.getAttribute("aria-valuenow")));

/** The texts of this kind in a window's log, oldest first. */
const logged = (page, kind) =>
  page.$$eval(`#log [data-kind=${kind}] .what`, (texts) => texts.map((text) => text.textContent).reverse());

const finished = (page) =>
  page.waitForFunction(() => document.querySelector("#bar").dataset.state === "done");
const reaches = (page, percent) =>
  page.waitForFunction((least) => Number(document.querySelector("#bar").getAttribute("aria-valuenow")) >= least, percent);

/** The work is done: its last words are in the window that started it, and its broadcast in both. */
async function heardToTheEnd(caller, other, before = 0) {
  await finished(caller);
  for (const page of [caller, other]) {
    await eventually("the broadcast", async () => (await logged(page, "broadcast")).length > before);
    assert.equal((await logged(page, "broadcast")).at(-1), "The yearly report is ready");
  }
  // The answer of work.php may overtake its last report.
  await eventually("the last report", async () => /^100 % The report is ready/.test((await logged(caller, "feedback")).at(-1)));
}

for (const scheme of Object.keys(WAYS)) {
  test(`progress comes in order to the window that asked, the broadcast to both, over ${scheme}`, async (t) => {
    const relay = await startRelay(t);
    const url = await startDemo(t, WAYS[scheme](relay));
    const context = await newContext(t);
    const [caller, other] = [await openWindow(context, url), await openWindow(context, url)];
    assert.ok(caller.sockets.every((socket) => socket.startsWith(`${scheme}://`)), caller.sockets.join());

    await caller.click("#start");
    await heardToTheEnd(caller, other);
    const reports = await logged(caller, "feedback");
    assert.equal(reports.length, 61);
    const percents = reports.map((report) => Number.parseInt(report, 10));
    assert.deepEqual(percents, Array.from({ length: 61 }, (_, n) => Math.floor((100 * n) / 60)));
    await eventually("the answer of work.php", async () =>
      (await logged(caller, "status")).includes("work.php is done: the relay took 61 of its 61 reports"));

    assert.deepEqual(await logged(other, "feedback"), []);
    assert.equal(await percent(other), 0);

    // What a window says is heard by the other.
    await other.fill("#message", '<b>"hello"</b> & žluť');
    await other.press("#message", "Enter");
    await eventually("the words", async () => (await logged(caller, "broadcast")).at(-1) === '<b>"hello"</b> & žluť');
    // The ack that has it logged comes to another window than the words do: either may be first.
    await eventually("the ack", async () => (await logged(other, "sent")).length > 0);
    assert.deepEqual(await logged(other, "sent"), ['<b>"hello"</b> & žluť']);
    assert.deepEqual([...caller.troubles, ...other.troubles], []);
  });

  test(`a window that is reloaded in the middle goes on, over ${scheme}`, async (t) => {
    const relay = await startRelay(t);
    const url = await startDemo(t, WAYS[scheme](relay));
    const context = await newContext(t);
    const [caller, other] = [await openWindow(context, url), await openWindow(context, url)];
    await caller.click("#start");
    await reaches(caller, 10);
    await caller.reload();
    await connected(caller);
    const back = await eventually("a report", async () => (await logged(caller, "feedback"))[0]);
    assert.ok(Number.parseInt(back, 10) >= 10, `it began anew: ${back}`);
    await heardToTheEnd(caller, other);

    assert.equal(new Set(caller.claims).size, 1, "it came back under its uuid");
    assert.notEqual(caller.claims[0], other.claims[0]);
    const percents = (await logged(caller, "feedback")).map((report) => Number.parseInt(report, 10));
    assert.deepEqual(percents, percents.toSorted((a, b) => a - b));
    assert.deepEqual(await logged(other, "feedback"), []);
    assert.deepEqual([...caller.troubles, ...other.troubles], []);
  });

  test(`the relay restarts, and both windows come back under their uuids, over ${scheme}`, async (t) => {
    const relay = await startRelay(t);
    // As long as it takes for a person, nearly: the windows come back within it.
    const url = await startDemo(t, WAYS[scheme](relay), 250);
    const context = await newContext(t);
    const [caller, other] = [await openWindow(context, url), await openWindow(context, url)];
    await caller.click("#start");
    await reaches(caller, 10);
    const sockets = caller.sockets.length + other.sockets.length;
    await relay.restart();
    await eventually("two new connections", () => caller.sockets.length + other.sockets.length >= sockets + 2);
    await Promise.all([connected(caller), connected(other)]);
    for (const page of [caller, other]) {
      assert.ok(page.claims.length >= 2, "it registered again");
      assert.equal(new Set(page.claims).size, 1, "under its uuid");
    }
    // The script outlived its relay, and the bar goes on, with gaps, to its end.
    const heard = (await logged(caller, "feedback")).length;
    await eventually("more reports", async () => (await logged(caller, "feedback")).length > heard + 3);
    await heardToTheEnd(caller, other);
    assert.equal(await percent(caller), 100);
    assert.match(await caller.textContent("#text"), /^The report is ready/);
    const percents = (await logged(caller, "feedback")).map((report) => Number.parseInt(report, 10));
    assert.deepEqual(percents, percents.toSorted((a, b) => a - b));
    assert.ok(percents.length < 61, "what was said while it was away is lost");
    await eventually("the answer of work.php", async () =>
      (await logged(caller, "status")).some((text) => text.startsWith("work.php is done")));
    assert.deepEqual(await logged(other, "feedback"), []);
    assert.deepEqual([...caller.troubles, ...other.troubles], []);
  });
}

test("without a relay the work is done all the same, and the page says so", async (t) => {
  const relay = await startRelay(t);
  const url = await startDemo(t, WAYS.ws(relay), 300);
  const page = await openWindow(await newContext(t), url);
  await relay.stop("SIGKILL");
  await page.waitForSelector('#status:not([data-status="ready"])');
  await page.click("#start");
  // It says so after 15 s, which is how long anything else may take.
  const silent = () => document.querySelector("#text").textContent === "No news for a while.";
  await page.waitForFunction(silent, undefined, { timeout: 2 * DEADLINE_MS });
  assert.ok(!(await page.isEnabled("#start")), "it works still, and is not to be started twice");
  await eventually("the answer of work.php", async () =>
    (await logged(page, "status")).includes("work.php is done: the relay took 0 of its 61 reports"));
  // Nothing of it was heard, but the answer says that it is done.
  assert.equal(await percent(page), 100);
  assert.match(await page.textContent("#text"), /^The report is ready, after \d/);
  assert.equal((await logged(page, "status")).filter((text) => text === "the connection is lost").length, 1);
  assert.ok(await page.isEnabled("#start"));
  assert.deepEqual(page.troubles, []);
});

test("a relay in the query is the page's, and work.php takes none from there", async (t) => {
  const relay = await startRelay(t);
  const url = await startDemo(t, { RELAY_URL: "tcp://127.0.0.1:1" });
  const query = new URLSearchParams({ relay: relay.wss() });
  const page = await openWindow(await newContext(t), `${url}/?${query}`);
  assert.deepEqual(page.sockets, [relay.wss()]);
  await page.click("#start");
  await eventually("the answer of work.php", async () =>
    (await logged(page, "status")).includes("work.php is done: the relay took 0 of its 61 reports"));
  const odd = await fetch(`${url}/?relay=javascript:alert(1)`);
  assert.equal(odd.status, 400);
});

test("work.php wants a POST, a uuid and a name", async (t) => {
  const url = await startDemo(t, { RELAY_URL: "tcp://127.0.0.1:1" });
  const post = (fields) => fetch(`${url}/work.php`, { method: "POST", body: new URLSearchParams(fields) });
  assert.equal((await fetch(`${url}/work.php?uuid=u&name=n`)).status, 405);
  for (const fields of [{}, { uuid: "u" }, { uuid: "", name: "n" }, { uuid: 'u"', name: "n" }, { uuid: "u", name: "<b>" },
    { uuid: "u".repeat(129), name: "n" }, { "uuid[]": "u", name: "n" }]) {
    assert.equal((await post(fields)).status, 400, JSON.stringify(fields));
  }
  const page = await fetch(url);
  assert.match(page.headers.get("content-security-policy"), /default-src 'none'; script-src 'self'/);
  assert.doesNotMatch(await page.text(), /https?:\/\/(?!127\.0\.0\.1|www\.w3\.org)/, "no other host");
});
