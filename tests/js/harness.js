// Real relays for the tests of clients: in processes of their own, on free ports, with the shipped
// config and script. For node's test runner; needs nothing but node.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

/** A file of the repository. */
export const shipped = (name) => fileURLToPath(new URL(`../../${name}`, import.meta.url));

const RELAY_BIN = process.env.RELAY_BIN ?? shipped("target/debug/relay");

// A variable RELAY_... is a key of the relay's config, and none of ours is.
const ENVIRONMENT = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !name.startsWith("RELAY_")),
);

/** How long anything may take. It only ends a test that would otherwise hang. */
export const DEADLINE_MS = 15_000;

/** Limits a wait to the deadline. */
export async function inTime(what, promise, ms = DEADLINE_MS) {
  const waiting = new AbortController();
  const late = sleep(ms, undefined, { signal: waiting.signal }).then(() => {
    throw new assert.AssertionError({ message: `expected within ${ms} ms: ${what}` });
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    waiting.abort();
    late.catch(() => {});
  }
}

/** Waits until the condition holds, and returns what it returned. */
export async function eventually(what, condition, ms = DEADLINE_MS) {
  const end = Date.now() + ms;
  for (;;) {
    const value = await condition();
    if (value) return value;
    assert.ok(Date.now() < end, `expected within ${ms} ms: ${what}`);
    await sleep(5);
  }
}

/** What came, and a way to wait for what comes next. */
export class Inbox {
  #items = [];
  #waiting = [];

  put = (item) => {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(item);
    else this.#items.push(item);
  };

  next(what = "something in the inbox") {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    return inTime(what, new Promise((resolve) => this.#waiting.push(resolve)));
  }

  get size() {
    return this.#items.length;
  }
}

/** Starts a relay and has it end with the test. */
export async function startRelay(t, options) {
  const relay = new RelayProcess(options);
  await relay.start();
  t.after(() => relay.remove());
  return relay;
}

/** A relay that can end and come back at the same address, with the same certificate. */
export class RelayProcess {
  #set;
  #script;
  #directory;
  #process;
  log = "";
  port = 0;

  /** `set`: keys of relay.toml with their values; `script`: Lua in place of the shipped script. */
  constructor({ set = {}, script } = {}) {
    this.#set = set;
    this.#script = script;
  }

  async start() {
    assert.equal(this.#process, undefined, "the relay runs already");
    this.#directory ??= await mkdtemp(join(tmpdir(), "relay-test-"));
    const flags = ["--config", shipped("relay.toml"), "--listen", `any://127.0.0.1:${this.port}`];
    const keys = { "tls.directory": JSON.stringify(this.#directory), ...this.#set };
    for (const [key, value] of Object.entries(keys)) flags.push("--set", `${key}=${value}`);
    if (this.#script !== undefined) {
      await writeFile(join(this.#directory, "opcodes.lua"), this.#script);
      flags.push("--script", join(this.#directory, "opcodes.lua"));
    }
    const stdio = ["ignore", "pipe", "pipe"];
    const relay = spawn(RELAY_BIN, flags, { stdio, env: ENVIRONMENT });
    relay.stderr.setEncoding("utf8").on("data", (text) => (this.log += text));
    const address = new Promise((resolve, reject) => {
      relay.once("error", reject);
      relay.once("exit", (code) => reject(new Error(`the relay ended: ${code}\n${this.log}`)));
      createInterface(relay.stdout).once("line", resolve);
    });
    this.port = Number(/:(\d+)$/.exec(await inTime("a relay that listens", address))[1]);
    this.#process = relay;
  }

  /** Ends it, as an operator does; returns its exit code. */
  async stop(signal = "SIGTERM") {
    const relay = this.#process;
    this.#process = undefined;
    if (!relay) return undefined;
    const exit = once(relay, "exit");
    relay.kill(signal);
    return (await inTime("the end of the relay", exit))[0];
  }

  async restart() {
    await this.stop();
    await this.start();
  }

  async remove() {
    await this.stop("SIGKILL");
    if (this.#directory) await rm(this.#directory, { recursive: true });
  }

  ws(path = "/web") {
    return `ws://127.0.0.1:${this.port}${path}`;
  }

  wss(path = "/web") {
    return `wss://localhost:${this.port}${path}`;
  }

  get certificate() {
    return join(this.#directory, "dev-cert.pem");
  }

  /** Says messages as a backend does, and waits until they are taken. */
  async tell(...messages) {
    const socket = net.connect(this.port, "127.0.0.1").setEncoding("utf8");
    let heard = "";
    socket.on("data", (text) => (heard += text));
    await inTime("a connection", once(socket, "connect"));
    socket.write("php process\n\n");
    for (const message of messages) {
      socket.write(typeof message === "string" ? message : JSON.stringify(message));
    }
    const acks = () => heard.split('"opcode":"next"').length - 1;
    await eventually("the acks of a backend", () => acks() === messages.length);
    socket.destroy();
  }
}

/** A network between clients and a relay, which can go dead: nothing passes, and nobody is told. */
export async function startNetwork(t, relay) {
  const ends = new Set();
  const clients = new Set();
  let [dead, slow] = [false, false];
  const server = net.createServer((near) => {
    const far = net.connect(relay.port, "127.0.0.1");
    clients.add(near);
    for (const [from, to] of [[near, far], [far, near]]) {
      ends.add(from);
      from.on("error", () => {});
      from.on("close", () => {
        ends.delete(from);
        clients.delete(from);
        if (!from.lost) to.destroy();
      });
      from.on("data", (bytes) => {
        if (!from.lost) to.write(bytes);
        if (slow) from.pause();
        if (slow) setTimeout(() => from.resume(), 20);
      });
      from.lost = dead;
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    ends.forEach((end) => end.destroy());
    server.close();
  });
  return {
    ws: (path = "/web") => `ws://127.0.0.1:${server.address().port}${path}`,
    /** From now on the connections there are pass nothing on, their end neither. */
    die: () => ends.forEach((end) => (end.lost = true)),
    /** Whether new connections are dead as well. */
    set dead(value) {
      dead = value;
    },
    /** Keeps what clients say from the relay, and hands it over later. */
    hold: () => clients.forEach((client) => client.pause()),
    release: () => clients.forEach((client) => client.resume()),
    /** At most 64 KiB in 20 ms. */
    set slow(value) {
      slow = value;
    },
    /** What is left of the connections that died. */
    bury: () => ends.forEach((end) => end.lost && end.destroy()),
  };
}

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
};

/**
 * Serves files of the repository at http://127.0.0.1, and pages that a test makes up: text by path.
 */
export async function serveFiles(t, pages = {}) {
  const server = createHttpServer(async (request, response) => {
    const path = normalize(new URL(request.url, "http://localhost").pathname);
    try {
      const body = pages[path] ?? (await readFile(shipped(path)));
      const type = TYPES[extname(path)] ?? (path in pages ? TYPES[".html"] : "text/plain");
      response.writeHead(200, { "Content-Type": type, "Cache-Control": "no-store" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address();
  return { port, url: (path = "/", host = "127.0.0.1") => `http://${host}:${port}${path}` };
}
