// Checked by tsc, never run: what programs write has to fit relay.d.ts, and mistakes must not.
import { Relay, RelayError, type Ack, type Options, type Status, type StatusChange } from "../relay.js";

const options: Options = { uuid: "page", register: "issued", storageKey: "", retryMinMs: 1, WebSocket };
const relay = new Relay("wss://relay.example.org/web", options);
new Relay();
new Relay(new URL("ws://localhost"), { register: false });

const uuid: string = await relay.ready;
const maybe: string | undefined = relay.uuid;
const status: Status = relay.status;
const ack: Ack = await relay.send({ opcode: "chat", text: "hello" });
await relay.send('{"opcode":"chat"}');
await relay.broadcast({ text: "hello" });
await relay.feedback(uuid, { percent: 50 });
await relay.feedback({ ident: "billing" }, {});
await relay.echo();
const registered: string = await relay.register("name");
const off: () => void = relay.on("chat", (message, text: string) => message.text + text);
relay.on("*", (message, text) => message?.opcode + text);
relay.on("error", ({ code, ref }) => code + (ref ?? ""));
relay.onStatus(({ status, code, reason, retryInMs }: StatusChange) => [status, code, reason, retryInMs]);
await relay.quit();
relay.close();
relay.close(3000, "enough");
await relay.connect();

try {
  await relay.send({});
} catch (error) {
  if (error instanceof RelayError && error.code === "queue_full") off();
}

interface Chat {
  chat: { opcode: "chat"; text: string };
}
const typed = new Relay<Chat>("/web");
typed.on("chat", ({ text }) => text.toUpperCase());
typed.on("next", ({ uuid }) => uuid.length);

// @ts-expect-error: no such opcode
typed.on("chatt", () => {});
// @ts-expect-error: no such field
typed.on("chat", ({ txt }) => txt);
// @ts-expect-error: no such option
new Relay("/web", { retry: 5 });
// @ts-expect-error: not one of the ways
new Relay("/web", { register: "mine" });
// @ts-expect-error: a number is no message
relay.send(5);
// @ts-expect-error: addressed to nobody
relay.feedback({}, {});
// @ts-expect-error: there is no uuid before `ready`
const sure: string = relay.uuid;
// @ts-expect-error: the uuid is changed by register()
relay.uuid = "other";
// @ts-expect-error: no such status
const wrong: Status = "open";
// @ts-expect-error: no such method
relay.emit("chat");

export { ack, maybe, registered, status, sure, wrong };
