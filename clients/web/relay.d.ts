/** A message as it comes from other clients: whatever JSON they sent. */
export type Message = Record<string, any>;

/** `{"opcode":"next",...}`: the relay has taken a message. */
export interface Ack {
  opcode: "next";
  /** The uuid this client is registered under, or "". */
  uuid: string;
  fyi: string;
}

/** `{"opcode":"error",...}`: why something did not happen. */
export interface ErrorMessage {
  opcode: "error";
  code: string;
  message?: string;
  /** The opcode it is about. */
  ref?: string;
  /** The number under which the relay's log has more. */
  id?: string;
}

/** What the relay itself says. `Messages` of {@link Relay} adds the opcodes of a program. */
export interface RelayMessages {
  ready: { opcode: "ready"; os: string; uuid: string };
  next: Ack;
  error: ErrorMessage;
  close: { opcode: "close"; error?: string };
}

/**
 * - `connecting`: on the way to the relay, or to its uuid
 * - `ready`: connected and registered
 * - `waiting`: for the next attempt
 * - `closing`: `close()` was called
 * - `closed`: for good, or until `connect()`
 */
export type Status = "connecting" | "ready" | "waiting" | "closing" | "closed";

export interface StatusChange {
  status: Status;
  uuid: string | undefined;
  /** `waiting`, `closed`: the close code; 1006 where there was none. */
  code?: number;
  /** `waiting`, `closed`: the text of the Close frame, or `timeout`, `offline`, or a refusal's code. */
  reason?: string;
  /** `waiting`: how long. */
  retryInMs?: number;
}

export interface Options {
  /** The uuid to register under, 1 to 128 bytes. Without it the client has an automatic one. */
  uuid?: string;
  /**
   * Where an automatic uuid comes from: made here (`"own"`, the default) or the one that the relay
   * issued at first (`"issued"`). `false`: registers nothing by itself.
   */
  register?: "own" | "issued" | false;
  /** Where sessionStorage keeps an automatic uuid over a reload; "" keeps it nowhere. */
  storageKey?: string;
  /** Whether a lost connection is made again. Default: true. */
  reconnect?: boolean;
  /** The first wait before a new attempt. It doubles with each. Default: 500. */
  retryMinMs?: number;
  /** The longest wait. Default: 30000. */
  retryMaxMs?: number;
  /** Over how long clients spread that lost their relay all at once. Default: 5000. */
  spreadMs?: number;
  /** How long the relay may be silent while it owes an answer; 0: for ever. Default: 10000. */
  timeoutMs?: number;
  /** After how much silence the relay is asked whether it is there; 0: never. Default: 30000. */
  heartbeatMs?: number;
  /** The longest message; the relay's `limits.message_bytes_max`. Default: 1048576. */
  messageBytesMax?: number;
  /** How many bytes may wait for the relay to take them. Default: 4194304. */
  queueBytesMax?: number;
  /** How many messages may. Default: 4096. */
  queueMessagesMax?: number;
  /** In place of the global one. */
  WebSocket?: new (url: string) => any;
}

/** Something did not happen; `code` says what for. */
export class RelayError extends Error {
  constructor(code: string, message?: string);
  readonly name: "RelayError";
  /**
   * - `lost`: the connection broke before the ack; whether the relay took it is unknown
   * - `closed`: there is no connection any more, and none will be made
   * - `queue_full`: too much waits already; nothing of this message was sent
   * - `too_big`: longer than `messageBytesMax`; nothing of it was sent
   * - `unregistered`: the relay does not register the uuid, and does not say why
   * - a code of the relay: `uuid_taken`, `uuid_invalid`, ...
   */
  readonly code:
    | "lost"
    | "closed"
    | "queue_full"
    | "too_big"
    | "unregistered"
    | "uuid_taken"
    | "uuid_invalid"
    | (string & {});
}

/** Forgets a handler. */
export type Off = () => void;

/**
 * A client that stays connected to a relay.
 *
 * `Messages` may say what the opcodes of a program carry: `new Relay<{ progress: { percent: number } }>()`.
 */
export class Relay<Messages extends object = Record<string, Message>> {
  /**
   * Connects at once.
   * @param url Where the relay is. `http` means `ws`, `https` means `wss`; in a page or worker it may
   * be relative. Default: `/web`.
   */
  constructor(url?: string | URL, options?: Options);

  /** Where it connects. */
  readonly url: string;
  readonly status: Status;
  /** The uuid that others reach this client by, once it is `ready`. */
  readonly uuid: string | undefined;
  /** The uuid that the relay issued to the present connection. */
  readonly issuedUuid: string | undefined;
  /** Resolves with the uuid when the client is registered. A new one for each connection. */
  readonly ready: Promise<string>;

  /** Connects a closed client again. One that waits for its next attempt stops waiting. */
  connect(): Promise<string>;

  /**
   * Has the handler called with each message of this opcode: the decoded JSON, and the text as it
   * came. `"*"` stands for everything that comes, acks too.
   */
  on<Opcode extends keyof (Messages & RelayMessages)>(
    opcode: Opcode,
    handler: (message: (Messages & RelayMessages)[Opcode], text: string) => void,
  ): Off;
  on(opcode: "*", handler: (message: any, text: string) => void): Off;

  /** Has the handler called with each change of `status`, and of the uuid while it is ready. */
  onStatus(handler: (change: StatusChange) => void): Off;

  /**
   * Sends a message, or a text as it is. Resolves when the relay has taken it, rejects with a
   * {@link RelayError} when it did not, or may not have. Waits in a bounded queue for a connection.
   */
  send(message: object | string): Promise<Ack>;

  /** To all other registered web clients. The opcode is `broadcast`, or one that is acted on by nobody. */
  broadcast(message: object | string): Promise<Ack>;

  /** To the web client of this uuid, or the backend of this ident. */
  feedback(to: string | { ident: string }, message: object | string): Promise<Ack>;

  /** Comes back, as a message of the opcode `echo`. */
  echo(message?: object | string): Promise<Ack>;

  /**
   * Registers under this uuid from now on, as soon as the client is ready. If the relay refuses, it
   * rejects, and nothing changes.
   */
  register(uuid: string): Promise<string>;

  /** Has the relay close, behind everything that was sent. Where there is no connection: `close()`. */
  quit(): Promise<Ack | void>;

  /** Closes, with a code of 1000 or 3000 to 4999, or none. What waits in the queue is rejected. */
  close(code?: number, reason?: string): void;
}
