// A real Chromium for tests: one for a file of tests, a context of its own for each test.
import { before } from "node:test";

import { chromium } from "playwright-core";

import { DEADLINE_MS, eventually } from "../js/harness.js";

const EXECUTABLE = process.env.CHROMIUM_BIN ?? "/usr/bin/chromium";

const FLAGS = [
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-gpu",
  "--disable-quic",
  "--disable-sync",
  "--no-first-run",
  "--no-sandbox",
  // A host whose pages are no secure context, as those at 127.0.0.1 are.
  "--host-resolver-rules=MAP plain.test 127.0.0.1",
];

let browser;

/** To be called at the top of a file of tests. */
export function useChromium() {
  before(async (t) => {
    browser = await chromium.launch({ executablePath: EXECUTABLE, args: FLAGS });
    t.after(() => browser.close());
  });
}

/** A profile of its own, which takes the relay's development certificate. */
export async function newContext(t) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  context.setDefaultTimeout(DEADLINE_MS);
  t.after(() => context.close());
  return context;
}

/** A page at this URL. What goes wrong in it unseen is printed. */
export async function openPage(context, url) {
  const page = await context.newPage();
  page.on("pageerror", (error) => console.error(`in ${page.url()}: ${error.message}`));
  await page.goto(url);
  return page;
}

/**
 * Waits until the function, which is run in the page, returns something true. (Playwright's own
 * waitForFunction asks with each frame that is painted, and a busy machine may paint none.)
 */
export async function holds(page, condition, argument) {
  let error;
  try {
    await eventually(`${condition}`, async () => {
      try {
        return await page.evaluate(condition, argument);
      } catch (failure) {
        error = failure; // A page on its way elsewhere has nobody to ask.
        return false;
      }
    });
  } catch (late) {
    late.cause = error;
    throw late;
  }
}
