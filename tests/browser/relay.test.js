// relay.js in a real browser, against a real relay.
import assert from "node:assert/strict";
import { test } from "node:test";

import { eventually, serveFiles, startNetwork, startRelay } from "../js/harness.js";
import { holds, newContext, openPage, useChromium } from "./chromium.js";

useChromium();

/** A client as a page makes it: `relay`, and the progress that it has `heard`. */
const CLIENT = `
  const options = JSON.parse(new URLSearchParams(location.search).get("options") ?? "{}");
  globalThis.relay = new Relay(new URLSearchParams(location.search).get("relay"), {
    retryMinMs: 50, retryMaxMs: 200, spreadMs: 200, ...options });
  globalThis.heard = [];
  globalThis.refused = 0;
  relay.on("progress", ({ n }) => heard.push(n));
  relay.on("error", () => (refused += 1));`;

const PAGES = {
  "/module.html": `<!doctype html><title>module</title><script type="module">
    import { Relay } from "/clients/web/relay.js";
    globalThis.Relay = Relay;
    ${CLIENT}</script>`,
  "/script.html": `<!doctype html><title>script</title>
    <script src="/clients/web/relay.global.js"></script><script>${CLIENT}</script>`,
  "/empty.html": "<!doctype html><title>empty</title>",
  "/module-worker.js": `import { Relay } from "/clients/web/relay.js"; ${CLIENT}
    relay.ready.then(postMessage); relay.on("progress", ({ n }) => postMessage(n));`,
  "/script-worker.js": `importScripts("/clients/web/relay.global.js"); ${CLIENT}
    relay.ready.then(postMessage); relay.on("progress", ({ n }) => postMessage(n));`,
};

const at = (page, url, options = {}) =>
  `/${page}?${new URLSearchParams({ relay: url, options: JSON.stringify(options) })}`;

/** The uuid of a page's client when it is registered. */
async function ready(page) {
  await holds(page, () => globalThis.relay?.status === "ready");
  return page.evaluate(() => globalThis.relay.uuid);
}

/** A backend tells all pages how far it is, and this one hears it. */
async function progress(relay, page, n) {
  await relay.tell({ opcode: "progress", n });
  await holds(page, (n) => globalThis.heard.at(-1) === n, n);
}

/** A backend's feedback reaches the page. */
async function reached(relay, page, uuid) {
  await page.evaluate(() => {
    globalThis.feedback = 0;
    globalThis.relay.on("feedback", () => (globalThis.feedback += 1));
  });
  await relay.tell({ opcode: "feedback", uuid });
  await holds(page, () => globalThis.feedback === 1);
}

test("a module and a plain script, over ws and wss", async (t) => {
  const relay = await startRelay(t);
  const files = await serveFiles(t, PAGES);
  const context = await newContext(t);
  const pages = [];
  for (const html of ["module.html", "script.html"]) {
    for (const url of [relay.ws(), relay.wss()]) {
      const page = await openPage(context, files.url(at(html, url)));
      await reached(relay, page, await ready(page));
      pages.push(page);
    }
  }
  const ack = await pages[0].evaluate(() => globalThis.relay.broadcast({ opcode: "progress", n: 7 }));
  assert.equal(ack.uuid, await ready(pages[0]));
  for (const page of pages.slice(1)) {
    await holds(page, () => globalThis.heard.join() === "7");
  }
  assert.deepEqual(await pages[0].evaluate(() => globalThis.heard), []);
});

test("in a dedicated worker, module or not, over ws and wss", async (t) => {
  const relay = await startRelay(t);
  const files = await serveFiles(t, PAGES);
  const page = await openPage(await newContext(t), files.url("/empty.html"));
  for (const [script, type] of [["module-worker.js", "module"], ["script-worker.js", "classic"]]) {
    for (const url of [relay.ws(), relay.wss()]) {
      const uuid = await page.evaluate(
        ([script, type]) => {
          globalThis.said = [];
          const worker = new Worker(script, { type });
          return new Promise((resolve) => {
            worker.onmessage = ({ data }) => (resolve(data), globalThis.said.push(data));
          });
        },
        [at(script, url), type],
      );
      await relay.tell({ opcode: "progress", n: 5 }, { opcode: "feedback", uuid });
      await holds(page, () => globalThis.said.at(-1) === 5);
    }
  }
});

test("a page that is reloaded in the middle goes on under its uuid", async (t) => {
  const relay = await startRelay(t);
  const files = await serveFiles(t, PAGES);
  const context = await newContext(t);
  for (const [html, url, options] of [
    ["module.html", relay.ws(), {}],
    ["script.html", relay.wss(), {}],
    ["module.html", relay.ws("/"), { register: "issued" }],
  ]) {
    const page = await openPage(context, files.url(at(html, url, options)));
    const uuid = await ready(page);
    await progress(relay, page, 1);
    for (let reload = 2; reload <= 4; reload++) {
      await page.reload();
      assert.equal(await ready(page), uuid);
      await reached(relay, page, uuid);
      await progress(relay, page, reload);
    }
    await page.close();
  }
});

test("a page elsewhere in the same tab, and the way back, keep the uuid", async (t) => {
  const relay = await startRelay(t);
  const files = await serveFiles(t, PAGES);
  const page = await openPage(await newContext(t), files.url(at("module.html", relay.ws())));
  const uuid = await ready(page);
  await page.goto(files.url(at("script.html", relay.ws())));
  assert.equal(await ready(page), uuid);
  await page.goto(files.url("/empty.html"));
  await page.goBack();
  assert.equal(await ready(page), uuid);
  await page.goBack();
  assert.equal(await ready(page), uuid);
  await reached(relay, page, uuid);
});

test("a window that a page opens has a uuid of its own, at once", async (t) => {
  const relay = await startRelay(t);
  const files = await serveFiles(t, PAGES);
  const context = await newContext(t);
  const page = await openPage(context, files.url(at("module.html", relay.ws())));
  const uuid = await ready(page);
  await page.reload(); // so that the uuid was in the storage once
  await ready(page);
  const opening = context.waitForEvent("page");
  await page.evaluate(() => {
    sessionStorage.setItem("inherited", "yes");
    open(location.href);
  });
  const opened = await opening;
  const other = await ready(opened);
  assert.equal(await opened.evaluate(() => sessionStorage.getItem("inherited")), "yes");
  assert.notEqual(other, uuid);
  await reached(relay, page, uuid);
  await reached(relay, opened, other);
  assert.equal(await opened.evaluate(() => globalThis.refused), 0, "it did not claim the first one's");
  await opened.reload();
  assert.equal(await ready(opened), other);
});

test("a tab that inherited a uuid in use takes another one", async (t) => {
  const relay = await startRelay(t);
  const files = await serveFiles(t, PAGES);
  const context = await newContext(t);
  const page = await openPage(context, files.url(at("module.html", relay.ws())));
  const uuid = await ready(page);
  // As a tab is duplicated while another is in front of it.
  await page.evaluate(() => sessionStorage.setItem("relay.uuid", globalThis.relay.uuid));
  const opening = context.waitForEvent("page");
  await page.evaluate(() => void open(location.href));
  const opened = await opening;
  await holds(opened, () => globalThis.relay);
  assert.equal(await opened.evaluate(() => globalThis.relay.uuid), uuid);
  const other = await ready(opened);
  assert.notEqual(other, uuid);
  assert.ok((await opened.evaluate(() => globalThis.refused)) > 0);
  await reached(relay, page, uuid);
  await reached(relay, opened, other);
});

test("the relay restarts, and both pages come back under their uuids", async (t) => {
  const relay = await startRelay(t);
  const files = await serveFiles(t, PAGES);
  const context = await newContext(t);
  const one = await openPage(context, files.url(at("module.html", relay.ws())));
  const two = await openPage(context, files.url(at("script.html", relay.wss())));
  const uuids = [await ready(one), await ready(two)];
  assert.equal(await relay.stop(), 0);
  for (const page of [one, two]) {
    await holds(page, () => globalThis.relay.status === "waiting");
  }
  const sent = one.evaluate(() => globalThis.relay.broadcast({ opcode: "progress", n: 9 }));
  await relay.start();
  assert.deepEqual([await ready(one), await ready(two)], uuids);
  assert.equal((await sent).uuid, uuids[0]);
  await reached(relay, one, uuids[0]);
  await reached(relay, two, uuids[1]);
});

test("offline is noticed at once, and online ends the wait", async (t) => {
  const relay = await startRelay(t);
  const files = await serveFiles(t, PAGES);
  const context = await newContext(t);
  const never = { retryMinMs: 3_600_000, retryMaxMs: 3_600_000 };
  const page = await openPage(context, files.url(at("module.html", relay.ws(), never)));
  const uuid = await ready(page);
  await page.evaluate(() => globalThis.relay.onStatus((change) => (globalThis.change = change)));
  await context.setOffline(true);
  await holds(page, () => globalThis.relay.status === "waiting");
  assert.equal(await page.evaluate(() => globalThis.change.reason), "offline");
  const sent = page.evaluate(() => globalThis.relay.echo());
  await context.setOffline(false);
  assert.equal(await ready(page), uuid);
  assert.equal((await sent).uuid, uuid);
});

test("a network that is slow with a long message is not taken for dead", async (t) => {
  const bytes = 32 << 20;
  const set = { "limits.message_bytes_max": 2 * bytes, "limits.queue_bytes_max": 2 * bytes };
  const relay = await startRelay(t, { set });
  const network = await startNetwork(t, relay);
  const files = await serveFiles(t, PAGES);
  const timeoutMs = 2000;
  const options = { timeoutMs, messageBytesMax: 2 * bytes, queueBytesMax: 2 * bytes };
  const url = files.url(at("module.html", network.ws(), options));
  const page = await openPage(await newContext(t), url);
  const uuid = await ready(page);
  network.slow = true;
  const start = Date.now();
  const sent = page.evaluate((n) => globalThis.relay.broadcast({ x: "x".repeat(n) }), bytes);
  // The relay can not acknowledge it for so long.
  await eventually("time", () => Date.now() - start > 2 * timeoutMs);
  network.slow = false;
  assert.equal((await sent).uuid, uuid);
});

test("a page on plain http has a uuid", async (t) => {
  const relay = await startRelay(t);
  const files = await serveFiles(t, PAGES);
  const url = files.url(at("module.html", relay.ws()), "plain.test");
  const page = await openPage(await newContext(t), url);
  assert.equal(await page.evaluate(() => globalThis.isSecureContext), false);
  await reached(relay, page, await ready(page));
});

test("a frame that has no storage has a uuid", async (t) => {
  const relay = await startRelay(t);
  const files = await serveFiles(t, PAGES);
  const page = await openPage(await newContext(t), files.url("/empty.html"));
  await page.evaluate((src) => {
    const frame = document.createElement("iframe");
    frame.sandbox = "allow-scripts";
    frame.src = src;
    document.body.append(frame);
  }, at("script.html", relay.ws()));
  const frame = await eventually("a frame", () => page.frames()[1]);
  await reached(relay, frame, await ready(frame));
});

test("without a URL a page asks its own host", async (t) => {
  const files = await serveFiles(t, PAGES);
  const page = await openPage(await newContext(t), files.url("/empty.html"));
  const urls = await page.evaluate(async () => {
    const { Relay } = await import("/clients/web/relay.js");
    const urls = ["/web", "other", "https://example.invalid/x"];
    return [new Relay(), ...urls.map((url) => new Relay(url))].map((relay) => {
      relay.close();
      return relay.url;
    });
  });
  const host = `ws://127.0.0.1:${files.port}`;
  const expected = [`${host}/web`, `${host}/web`, `${host}/other`, "wss://example.invalid/x"];
  assert.deepEqual(urls, expected);
});

test("a handler that fails is reported as other errors of the page are", async (t) => {
  const relay = await startRelay(t);
  const files = await serveFiles(t, PAGES);
  const page = await openPage(await newContext(t), files.url(at("module.html", relay.ws())));
  await ready(page);
  page.removeAllListeners("pageerror");
  const failing = page.waitForEvent("pageerror");
  await page.evaluate(() => {
    globalThis.relay.on("progress", () => {
      throw new Error("a mistake");
    });
  });
  await progress(relay, page, 1);
  assert.match((await failing).message, /a mistake/);
  await reached(relay, page, await ready(page));
});
