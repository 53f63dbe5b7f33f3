// Clients for tests: as programs make them, but quick to try again, and closed with the test.
import { Inbox, inTime } from "../../../tests/js/harness.js";
import { Relay } from "../relay.js";

export const QUICK = { retryMinMs: 20, retryMaxMs: 100, spreadMs: 50 };

/** A client with `heard`, the inbox of all texts, and `changes`, that of its status. */
export function connect(t, url, options) {
  const relay = new Relay(url, { ...QUICK, ...options });
  relay.heard = new Inbox();
  relay.changes = new Inbox();
  relay.on("*", (_, text) => relay.heard.put(text));
  relay.onStatus(relay.changes.put);
  t.after(() => relay.close());
  return relay;
}

export async function connected(t, url, options) {
  const relay = connect(t, url, options);
  await inTime("a registration", relay.ready);
  return relay;
}

/** Waits for a change to this status, and returns it. */
export async function becomes(relay, status) {
  for (;;) {
    const change = await relay.changes.next(`status ${status}, which is ${relay.status}`);
    if (change.status === status) return change;
  }
}

/** The next message that is no ack. */
export async function hears(relay) {
  for (;;) {
    const text = await relay.heard.next("a message");
    if (!/^\{"opcode":"(ready|next)"/.test(text)) return text;
  }
}
