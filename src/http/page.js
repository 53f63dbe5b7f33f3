
// The test page. The client library stands above in the same module, hence the block.
{
  const ENTRIES_MAX = 500;
  // A longer message is cut on the screen: laying out a megabyte of text takes seconds.
  const SHOWN_MAX = 4_096;

  const $ = (id) => document.getElementById(id);
  const relay = new Relay("web"); // Relative: a proxy may have put the page under a prefix.
  const tls = location.protocol === "https:";
  const port = location.port || (tls ? "443" : "80");
  // A URL has an IPv6 address in brackets, a command line has not.
  const host = location.hostname.replace(/^\[|\]$/g, "");
  const authority = `${location.hostname}:${port}`;

  const element = (name, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };

  // The state of the connection.

  let countdown;
  let wasReady = false;

  function showStatus({ status, code, reason, retryInMs }) {
    clearInterval(countdown);
    const until = Date.now() + (retryInMs ?? 0);
    const why = [code, reason].filter(Boolean).join(" ");
    const texts = {
      connecting: () => "Connecting",
      ready: () => "Connected",
      waiting: () => `Reconnecting in ${Math.ceil(Math.max(0, until - Date.now()) / 1000)} s`,
      closing: () => "Closing",
      closed: () => (why ? `Closed (${why})` : "Closed"),
    };
    const show = () => {
      $("state-text").textContent = texts[status]();
    };
    show();
    if (status === "waiting") countdown = setInterval(show, 250);
    $("state").dataset.status = status;
    $("state").title = why;
    $("connect").hidden = status !== "waiting" && status !== "closed";
    wasReady ||= status === "ready";
    const refused = !wasReady && (status === "waiting" || status === "closed");
    $("notice").hidden = !refused;
    $("notice").textContent = refused
      ? `No WebSocket to ${relay.url}. ` +
        `If web.allowed_origins is set, ${location.origin} has to be in it.`
      : "";
    showUuid();
  }

  let shown;

  function showUuid() {
    const { uuid } = relay;
    if (!uuid || uuid === shown) return;
    shown = uuid;
    $("uuid").textContent = uuid;
    document.querySelector("[data-copy]").disabled = false;
    document.title = `relay · ${uuid.slice(0, 8)}`;
    for (const [tab, made] of Object.entries(lines(uuid))) {
      $(`panel-${tab}`).replaceChildren(...made.map(line));
    }
  }

  $("address").textContent = relay.url;
  $("connect").addEventListener("click", () => relay.connect().catch(() => {}));
  relay.onStatus(showStatus);
  showStatus({ status: relay.status });

  // Lines to copy.

  function lines(uuid) {
    const message = (from) =>
      JSON.stringify({ opcode: "feedback", uuid, text: `hello from ${from}` });
    const quit = '{"opcode":"quit"}';
    const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    const php = (text) => `'${text.replace(/['\\]/g, "\\$&")}'`;
    const url = `${tls ? "wss" : "ws"}://${authority}${new URL(".", location.href).pathname}`;
    const development = "With the certificate that relay made itself, add";
    return {
      shell: tls
        ? [
            [
              "With openssl",
              `printf '%s' ${shell(message("openssl") + quit)} | ` +
                `openssl s_client -quiet -connect ${authority}`,
            ],
          ]
        : [
            ["With netcat", `printf '%s' ${shell(message("netcat"))} | nc -N ${host} ${port}`],
            ["With bash alone", `printf '%s' ${shell(message("bash"))} > /dev/tcp/${host}/${port}`],
          ],
      php: [
        [
          "Without a library",
          `$relay = stream_socket_client('${tls ? "ssl" : "tcp"}://${authority}');\n` +
            `fwrite($relay, ${php(message("PHP") + quit)});\n` +
            "echo stream_get_contents($relay);",
        ],
        [
          "With the library in clients/php",
          `require 'clients/php/autoload.php';\n` +
            `$relay = Relay\\Client::quiet(${php(url)});\n` +
            `$relay->feedback(${php(uuid)}, ['text' => 'hello from the library']);`,
          tls && `${development} -d openssl.cafile=certs/dev-cert.pem to php.`,
        ],
      ],
      send: [
        [
          "The command line of relay",
          `relay send ${url} --uuid ${shell(uuid)} text='hello from relay send'`,
          tls && `${development} --cafile certs/dev-cert.pem.`,
        ],
      ],
    };
  }

  function line([title, code, note]) {
    const pre = element("pre", { textContent: code });
    const button = element("button", { type: "button", className: "copy", textContent: "Copy" });
    button.setAttribute("aria-label", `Copy: ${title}`);
    button.addEventListener("click", () => copy(pre, button));
    const made = element("div", { className: "line" });
    made.append(element("p", { className: "hint", textContent: title }), button, pre);
    if (note) made.append(element("p", { className: "hint", textContent: note }));
    return made;
  }

  async function copy(source, button) {
    let copied = true;
    try {
      await navigator.clipboard.writeText(source.textContent);
    } catch {
      // No secure context, or no permission: what is selected can be copied all the same.
      getSelection().selectAllChildren(source);
      copied = document.execCommand("copy");
    }
    button.textContent = copied ? "Copied" : "Press Ctrl+C";
    setTimeout(() => (button.textContent = "Copy"), 1_500);
  }

  const copyUuid = document.querySelector("[data-copy]");
  copyUuid.addEventListener("click", () => copy($("uuid"), copyUuid));

  const tabs = [...document.querySelectorAll("[role=tab]")];
  function choose(chosen) {
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", tab === chosen);
      tab.tabIndex = tab === chosen ? 0 : -1;
      $(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
    }
  }
  for (const [index, tab] of tabs.entries()) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", ({ key }) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
      const next = step && tabs[(index + step + tabs.length) % tabs.length];
      if (!next) return;
      choose(next);
      next.focus();
    });
  }

  // What is sent.

  function send(text) {
    const entry = list("out", text);
    const { opcode, message } = JSON.parse(text) ?? {};
    // So that the page knows its new name, too.
    const taken = opcode === "uuid" ? relay.register(message) : relay.send(text);
    taken.then(
      () => entry.tell("taken"),
      (error) => entry.tell(error.message, true),
    );
  }

  $("quick").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = $("text").value;
    const messages = {
      broadcast: { opcode: "broadcast", text },
      self: { opcode: "feedback", uuid: relay.uuid, text },
      echo: { opcode: "echo", text },
    };
    // The enter key submits without a button, or with the first one.
    send(JSON.stringify(messages[event.submitter?.value ?? "broadcast"]));
  });

  $("target").addEventListener("input", () => {
    $("other").querySelector("button").disabled = !$("target").value.trim();
  });
  $("other").addEventListener("submit", (event) => {
    event.preventDefault();
    const uuid = $("target").value.trim();
    if (uuid) send(JSON.stringify({ opcode: "feedback", uuid, text: $("text").value }));
  });

  function judge() {
    const text = $("json").value;
    let verdict;
    let wrong = false;
    try {
      const { opcode } = Object(JSON.parse(text));
      verdict = typeof opcode === "string" ? `opcode ${opcode}` : "no opcode";
      verdict += `, ${new Blob([text]).size} bytes`;
    } catch (error) {
      wrong = true;
      verdict = error.message.replace(/^JSON\.parse: /, "");
    }
    $("json").setAttribute("aria-invalid", wrong);
    $("verdict").textContent = verdict;
    $("any").querySelector("button").disabled = wrong;
    return !wrong;
  }

  $("json").addEventListener("input", judge);
  $("json").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) $("any").requestSubmit();
  });
  $("any").addEventListener("submit", (event) => {
    event.preventDefault();
    if (judge()) send($("json").value);
  });
  judge();

  // What is listed.

  let held; // while the list is paused
  const isAck = (opcode) => opcode === "ready" || opcode === "next";

  /**
   * Lays JSON out and colours it, token by token: to parse it and write it again would round large
   * numbers and drop double keys.
   */
  function laidOut(text) {
    const nodes = [];
    const tokens = text.match(/"(?:\\.|[^"\\])*"|[{}[\],:]|[^\s{}[\],:"]+/g) ?? [];
    const opens = (token) => token === "{" || token === "[";
    const closes = (token) => token === "}" || token === "]";
    let depth = 0;
    const newLine = () => nodes.push(`\n${"  ".repeat(depth)}`);
    tokens.forEach((token, index) => {
      if (closes(token) && !opens(tokens[index - 1])) {
        depth -= 1;
        newLine();
      }
      if (/^[{}[\],:]$/.test(token)) {
        nodes.push(token === ":" ? ": " : token);
      } else {
        const isKey = tokens[index + 1] === ":";
        const className = isKey ? "key" : token.startsWith('"') ? "string" : "other";
        nodes.push(element("span", { className, textContent: token }));
      }
      if (opens(token) && !closes(tokens[index + 1])) {
        depth += 1;
        newLine();
      } else if (token === ",") {
        newLine();
      }
    });
    return nodes;
  }

  function shownBody(text) {
    if (text.length > SHOWN_MAX) {
      return [`${text.slice(0, SHOWN_MAX)}…\n(${new Blob([text]).size} bytes in all)`];
    }
    try {
      JSON.parse(text);
    } catch {
      return [text];
    }
    return laidOut(text);
  }

  function list(direction, text, opcode) {
    const now = new Date();
    const millis = String(now.getMilliseconds()).padStart(3, "0");
    const time = `${now.toLocaleTimeString([], { hour12: false })}.${millis}`;
    if (direction === "out") {
      try {
        ({ opcode } = Object(JSON.parse(text)));
      } catch {} // Shown without one.
    }
    const named = typeof opcode === "string" ? opcode.slice(0, 128) : "no opcode";
    const told = element("span");
    const title = element(
      "div",
      { className: "title" },
      element("span", { textContent: direction === "in" ? "↓ in" : "↑ out" }),
      element("b", { textContent: named }),
      told,
      element("time", { dateTime: now.toISOString(), textContent: time }),
    );
    const body = element("pre", {}, ...shownBody(text));
    const entry = element("li", { className: `entry new ${direction}` }, title, body);
    entry.classList.toggle("ack", direction === "in" && isAck(opcode));
    if (held) held.push(entry);
    else insert(entry);
    if (held?.length > ENTRIES_MAX) held.shift();
    showHeld();
    return {
      tell(what, failed = false) {
        told.textContent = what;
        entry.classList.toggle("failed", failed);
      },
    };
  }

  function insert(...entries) {
    const log = $("log");
    log.prepend(...entries.reverse());
    while (log.childElementCount > ENTRIES_MAX) log.lastElementChild.remove();
    $("empty").hidden = true;
  }

  function showHeld() {
    $("pause").textContent = held ? `Go on${held.length ? ` (${held.length})` : ""}` : "Pause";
    $("pause").setAttribute("aria-pressed", Boolean(held));
  }

  $("pause").addEventListener("click", () => {
    if (held) insert(...held);
    held = held ? undefined : [];
    showHeld();
  });
  $("clear").addEventListener("click", () => {
    $("log").replaceChildren();
    if (held) held = [];
    $("empty").hidden = false;
    showHeld();
  });
  relay.on("*", (message, text) => {
    const { opcode } = Object(message);
    if ($("acks").checked || !isAck(opcode)) list("in", text, opcode);
  });
}
