// The JavaScript client of relay. README.md says what it promises, relay.d.ts what it offers.

const DEFAULTS = {
  uuid: undefined,
  register: "own",
  storageKey: "relay.uuid",
  reconnect: true,
  retryMinMs: 500,
  retryMaxMs: 30_000,
  spreadMs: 5_000,
  timeoutMs: 10_000,
  heartbeatMs: 30_000,
  messageBytesMax: 1_048_576,
  queueBytesMax: 4_194_304,
  queueMessagesMax: 4_096,
  WebSocket: undefined,
};

// Ends that a new connection would not mend: quit, policy, too big.
const FINAL = [1000, 1008, 1009];
// Ends that all hear at once: going away, restart, full.
const SPREAD = [1001, 1012, 1013];
// Refusals of a uuid that may be over soon.
const PASSING = /^(uuid_taken|closing|handler_)/;
// At the fifth failed claim on one connection the relay closes it with 1008.
const CLAIMS_MAX = 4;
// The relay may take 5 s to find out whether the owner of a uuid is alive.
const POLLS_MAX = 40;
const POLL_MS = 250;
// A connection that was good for so long ends the back-off.
const STABLE_MS = 5_000;
// No JSON: it is acknowledged, and no script sees it.
const PROBE = "ping";
const STATUS = Symbol("status");
const EVENTS = ["online", "offline", "pageshow", "pagehide", "visibilitychange"];

const utf8 = new TextEncoder();
const ignore = () => {};
const fields = (message) => (typeof message === "string" ? { message } : message);
const report = (error) => (globalThis.reportError ?? console.error)(error);

/** A version 4 uuid. Pages on plain http have no crypto.randomUUID. */
function newUuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

class RelayError extends Error {
  name = "RelayError";

  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

class Relay {
  status = "closed";
  uuid;
  issuedUuid;
  ready;

  #options = { ...DEFAULTS };
  #handlers = new Map();
  #socket = null;
  #greeted = false;
  #queue = []; // waits for the registration
  #unacked = []; // was sent on this connection; acks come in the same order
  #bytes = 0; // of both
  #names; // that acks carry, where that is known
  #refusal;
  #automatic; // the uuid is no choice of the program
  #held = false; // and was this object's already
  #over = false; // close() or quit() was called
  #attempt = 0;
  #since = Infinity; // when this connection became ready
  #timer;
  #listening;
  #resolve;
  #reject;

  constructor(url = "/web", options = {}) {
    for (const [key, value] of Object.entries(options)) {
      if (!(key in DEFAULTS)) throw new TypeError(`relay has no option ${key}`);
      if (value !== undefined) this.#options[key] = value;
    }
    const { uuid, register, storageKey } = this.#options;
    this.#options.WebSocket ??= globalThis.WebSocket;
    if (!this.#options.WebSocket) throw new TypeError("no WebSocket here: pass one as an option");
    this.url = new URL(url, globalThis.location?.href).href.replace(/^http/, "ws");
    this.#automatic = register && uuid === undefined;
    this.uuid = uuid;
    if (this.#automatic) {
      try {
        if (globalThis.document) this.uuid = sessionStorage.getItem(storageKey) ?? undefined;
      } catch {} // The browser may forbid it.
      if (register === "own") this.uuid ??= newUuid();
    }
    this.connect();
  }

  connect() {
    if (this.status === "closing") this.#ended(1006, "");
    if (this.status === "closed") {
      this.#over = false;
      this.#attempt = 0;
      this.#open();
      const { signal } = (this.#listening = new AbortController());
      for (const type of EVENTS) {
        globalThis.addEventListener?.(type, (event) => this.#notice(event), { signal });
      }
      this.#keep(false);
    } else if (this.status === "waiting") {
      this.#open();
    }
    return this.ready;
  }

  on(opcode, handler) {
    const handlers = this.#handlers.get(opcode) ?? new Set();
    this.#handlers.set(opcode, handlers.add(handler));
    return () => void handlers.delete(handler);
  }

  onStatus(handler) {
    return this.on(STATUS, handler);
  }

  send(message) {
    const text = typeof message === "string" ? message : JSON.stringify(message);
    if (text === undefined) throw new TypeError("a message has to have a JSON form");
    const size = utf8.encode(text).length;
    const claims = this.#names && message.opcode === "uuid";
    const taken = claims ? this.register(message.message) : new Promise((resolve, reject) => {
      const problem = this.#problem(size);
      if (problem) return reject(problem);
      this.#bytes += size;
      const settle = (how) => (value) => {
        this.#bytes -= size;
        how(value);
      };
      const entry = { text, resolve: settle(resolve), reject: settle(reject) };
      if (this.status === "ready") this.#push(entry);
      else this.#queue.push(entry);
    });
    // An outcome that nobody looks at is not to end a Node process.
    taken.catch(ignore);
    return taken;
  }

  broadcast(message) {
    return this.send({ opcode: "broadcast", ...fields(message) });
  }

  feedback(to, message) {
    const address = typeof to === "string" ? { uuid: to } : { ident: to.ident };
    return this.send({ ...fields(message), opcode: "feedback", ...address });
  }

  echo(message) {
    return this.send({ ...fields(message), opcode: "echo" });
  }

  async register(uuid) {
    await this.ready;
    const refusal = await this.#claim(uuid);
    if (!refusal) {
      this.#options.register ||= "own";
      this.#automatic = false;
      this.uuid = uuid;
      this.#set(this.status);
    }
    if (this.#names) this.#names = [this.uuid];
    if (refusal) throw refusal;
    return uuid;
  }

  quit() {
    if (this.status !== "ready") return Promise.resolve(this.close());
    const taken = this.send({ opcode: "quit" });
    taken.catch(() => this.close());
    this.#over = true;
    return taken;
  }

  close(code, reason) {
    if (this.status === "waiting") {
      this.#finish(1000, "");
    } else if (this.#socket && this.status !== "closing") {
      this.#socket.close(code, reason);
      if (!this.#socket) return this.close(); // Node may end it at once.
      this.#over = true;
      this.#promise();
      this.#set("closing");
      this.#watch();
    }
  }

  // The life of a connection.

  #open() {
    clearTimeout(this.#timer);
    const socket = new this.#options.WebSocket(this.url);
    // One that was given up may still have something to say.
    const present = (act) => (event) => socket === this.#socket && act(event);
    socket.onmessage = present(({ data }) => this.#hear(data));
    socket.onclose = present(({ code, reason }) => this.#ended(code, reason));
    // `close` follows, but Node 20 forgets it where there was no connection yet.
    socket.onerror = present(() => this.#greeted || this.#ended(1006, ""));
    this.#socket = socket;
    this.#greeted = false;
    this.#promise();
    this.#set("connecting");
    this.#watch();
  }

  #hear(text) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {} // Handlers of everything get it as undefined.
    const { opcode, uuid, ref, code } = message ?? {};
    // Anybody can broadcast a `ready` or a `next`, but only who knows this client's uuid makes one
    // that counts.
    if (opcode === "ready" && !this.#greeted) {
      this.#greet(uuid).catch((error) => error instanceof RelayError || report(error));
    } else if (opcode === "next" && (!this.#names || this.#names.includes(uuid))) {
      if (!this.#names && uuid) this.uuid = uuid;
      this.#unacked.shift()?.resolve(message);
    } else if (opcode === "error" && ref === "uuid" && code !== "pending") {
      this.#refusal = new RelayError(code, message.message);
    }
    this.#watch();
    if (opcode !== "*") this.#emit(opcode, message, text);
    this.#emit("*", message, text);
  }

  async #greet(issued) {
    const { register } = this.#options;
    this.#greeted = true;
    this.issuedUuid = issued;
    this.uuid = register ? this.uuid ?? issued : issued;
    this.#names = register ? ["", issued] : undefined;
    for (let claims = 1; ; claims++) {
      const refusal = register && (await this.#claim(this.uuid));
      if (!refusal) return this.#enter();
      const { code } = refusal;
      if (!PASSING.test(code)) return this.#drop(code, refusal);
      if (claims === CLAIMS_MAX) {
        // A uuid out of the storage is another tab's. One that was this object's is held by its
        // own last connection, whose end the relay has not noticed yet.
        const foreign = this.#automatic && !this.#held && code === "uuid_taken";
        if (foreign) this.uuid = register === "own" ? newUuid() : undefined;
        return this.#drop(code);
      }
      await this.#pause(100 * 4 ** (claims - 1));
    }
  }

  /** Claims a uuid; resolves with the error if it is refused. */
  async #claim(uuid) {
    this.#names?.push(uuid);
    this.#refusal = undefined;
    this.#transmit(JSON.stringify({ opcode: "uuid", message: uuid })).catch(ignore);
    // No message says that it worked, but from then on acks carry the uuid.
    for (let polls = 0; polls < POLLS_MAX; polls++) {
      if ((await this.#transmit(PROBE)).uuid === uuid && uuid) return;
      if (this.#refusal) return this.#refusal;
      await this.#pause(POLL_MS);
    }
    return new RelayError("unregistered", "the relay does not register this uuid");
  }

  #enter() {
    if (this.status !== "connecting") return;
    if (this.#names) this.#names = [this.uuid];
    this.#held = true;
    this.#since = Date.now();
    this.#queue.splice(0).forEach((entry) => this.#push(entry));
    this.#resolve(this.uuid);
    this.#resolve = undefined;
    this.#set("ready");
  }

  #ended(code, reason, error) {
    const { reconnect, retryMinMs, retryMaxMs, spreadMs } = this.#options;
    clearTimeout(this.#timer);
    this.#socket = null;
    const lost = new RelayError("lost", "the connection broke before the relay took this");
    this.#unacked.splice(0).forEach((entry) => entry.reject(lost));
    if (Date.now() - this.#since > STABLE_MS) this.#attempt = 0;
    this.#since = Infinity;
    this.#promise();
    if (error || this.#over || !reconnect || FINAL.includes(code)) {
      return this.#finish(code, reason, error);
    }
    const most = Math.min(retryMaxMs, retryMinMs * 2 ** this.#attempt++);
    const retryInMs = SPREAD.includes(code)
      ? Math.random() * Math.max(most, spreadMs)
      : (most * (1 + Math.random())) / 2;
    this.#timer = setTimeout(() => this.#open(), retryInMs);
    this.#set("waiting", { code, reason, retryInMs });
  }

  #finish(code, reason, error) {
    error ??= new RelayError("closed", `closed: ${code} ${reason}`.trim());
    clearTimeout(this.#timer);
    this.#listening.abort();
    this.#keep(true);
    this.#queue.splice(0).forEach((entry) => entry.reject(error));
    this.#reject(error);
    this.#resolve = undefined;
    this.#set("closed", { code, reason });
  }

  /** Gives up a connection. A browser waits for minutes before it says that a network is dead. */
  #drop(reason, error) {
    const socket = this.#socket;
    this.#ended(1006, reason, error);
    socket.close();
  }

  // Liveness.

  /** While it owes an answer, the relay has to say something in time; else it is asked at times. */
  #watch() {
    clearTimeout(this.#timer);
    const { timeoutMs, heartbeatMs } = this.#options;
    const socket = this.#socket;
    if (!socket) return;
    const owed = !this.#greeted || this.#unacked.length > 0 || this.status === "closing";
    const unsent = socket.bufferedAmount;
    const act = () => {
      if (!owed) this.#probe();
      else if (socket.bufferedAmount < unsent) this.#watch(); // A slow network is not a dead one.
      else this.#drop("timeout");
    };
    const ms = owed ? timeoutMs : heartbeatMs;
    if (ms) this.#timer = setTimeout(act, ms);
  }

  #notice({ type }) {
    const away = type === "pagehide" || !!globalThis.document?.hidden;
    this.#keep(away);
    if (type === "offline") {
      if (this.#socket) this.#drop(type);
    } else if (type === "online" || !away) {
      if (this.status === "waiting") this.#open();
      else if (this.status === "ready") this.#probe();
    }
  }

  #probe() {
    this.#transmit(PROBE).catch(ignore);
  }

  // What things are made of.

  #transmit(text) {
    return new Promise((resolve, reject) => this.#push({ text, resolve, reject }));
  }

  #push(entry) {
    this.#socket.send(entry.text);
    if (this.#unacked.push(entry) === 1) this.#watch();
  }

  #problem(size) {
    const { messageBytesMax, queueBytesMax, queueMessagesMax } = this.#options;
    if (this.#over || this.status === "closed") return new RelayError("closed", "closed");
    if (size > messageBytesMax) {
      return new RelayError("too_big", `${size} bytes; the most is ${messageBytesMax}`);
    }
    const messages = this.#queue.length + this.#unacked.length;
    if (this.#bytes + size > queueBytesMax || messages >= queueMessagesMax) {
      return new RelayError("queue_full", `${messages} messages wait, ${this.#bytes} bytes`);
    }
  }

  /**
   * A page's uuid is in sessionStorage while the page is hidden or gone, for the one after a reload.
   * Not while it is in sight: a tab that is opened or duplicated from it gets a copy of the storage.
   */
  #keep(away) {
    const { storageKey } = this.#options;
    if (!this.#automatic || !globalThis.document || !storageKey) return;
    try {
      if (away && this.uuid) sessionStorage.setItem(storageKey, this.uuid);
      else sessionStorage.removeItem(storageKey);
    } catch {}
  }

  /** Makes a new `ready`, once the last one is settled. */
  #promise() {
    if (this.#resolve) return;
    this.ready = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    this.ready.catch(ignore);
  }

  /** Waits, and fails if the connection is another one then. */
  #pause(ms) {
    const socket = this.#socket;
    return new Promise((resolve, reject) => {
      const end = () => (socket === this.#socket ? resolve() : reject(new RelayError("lost")));
      setTimeout(end, ms);
    });
  }

  #set(status, detail) {
    this.status = status;
    this.#emit(STATUS, { status, uuid: this.uuid, ...detail });
  }

  #emit(key, ...values) {
    for (const handler of [...(this.#handlers.get(key) ?? [])]) {
      try {
        handler(...values);
      } catch (error) {
        report(error); // A mistake in one handler is no concern of the others.
      }
    }
  }
}

export { Relay, RelayError };
