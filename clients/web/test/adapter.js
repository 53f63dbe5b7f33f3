// Plays a web client for tests in another language, through relay.js. It is told on standard input
// and tells on standard output, one JSON on each line:
//
//   {"do":"connect","url":"ws://127.0.0.1:8083/web"}    {"event":"open"}
//   {"do":"send","text":"{\"opcode\":\"echo\"}"}        {"event":"message","text":"..."}
//   {"do":"close","code":1000} or without a code        {"event":"closed","code":1000}
//
// Nothing is said that was not asked for: no registration, no heartbeat, no second connection. It
// ends with its input. What cannot be done is {"event":"failed","message":"..."}.
import { createInterface } from "node:readline";

import { Relay } from "../relay.js";

const OPTIONS = { register: false, reconnect: false, heartbeatMs: 0, messageBytesMax: Infinity };

const tell = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);

let relay;

const actions = {
  connect({ url }) {
    relay = new Relay(url, OPTIONS);
    let open = false;
    relay.on("*", (_, text) => {
      // The first message shows that there is a connection.
      if (!open) tell({ event: "open" });
      open = true;
      tell({ event: "message", text });
    });
    relay.onStatus(({ status, code }) => status === "closed" && tell({ event: "closed", code }));
  },
  send({ text }) {
    relay.send(text);
  },
  close({ code }) {
    relay.close(code);
  },
};

createInterface(process.stdin)
  .on("line", (line) => {
    const told = JSON.parse(line);
    try {
      actions[told.do](told);
    } catch (error) {
      tell({ event: "failed", message: error.message });
    }
  })
  .on("close", () => process.exit());
