import { Relay } from "./relay.js.php";

const $ = (id) => document.getElementById(id);
const LOG_MAX = 200;
// The longest pause between two reports of a script that lives, a restart of the relay included.
const SILENCE_MS = 15_000;

// A uuid is known to one relay alone, so each has a place of its own in the storage.
const url = document.documentElement.dataset.relay;
const relay = new Relay(url, { storageKey: `relay.demo ${url}` });
let name = "";
let silence;
// Whether work.php has not answered yet: then it works, whatever is heard of it.
let asked = false;
let lost = false;

// What the relay says.

relay.onStatus(({ status, uuid, retryInMs }) => {
  const texts = {
    connecting: "connecting",
    ready: "connected",
    waiting: `relay is away, next try in ${Math.max(1, Math.round((retryInMs ?? 0) / 1000))} s`,
    closing: "closing",
    closed: "closed",
  };
  $("status").dataset.status = status;
  $("status-text").textContent = texts[status];
  if (status === "ready") {
    const known = name;
    lost = false;
    name = nameOf(uuid);
    $("name").textContent = name;
    document.title = `${name} · relay demo`;
    log("status", known ? `connected again, still ${name}` : `connected, and called ${name}`);
  } else if (status === "waiting" && !lost) {
    lost = true;
    light([]);
    log("status", "the connection is lost");
  }
});

relay.on("feedback", ({ percent, text, step, steps }) => {
  if (typeof percent !== "number") return;
  show(percent, String(text ?? ""));
  light(percent < 100 ? ["node-work", "node-relay", "node-back"] : []);
  log("feedback", `${Math.floor(percent)} % ${text ?? ""}`, step === steps ? "" : `${step} of ${steps}`);
});

relay.on("broadcast", ({ message, from }) => {
  log("broadcast", String(message ?? ""), String(from ?? ""));
  $("heard-text").textContent = String(message ?? "");
  $("heard-from").textContent = String(from ?? "");
  $("heard").hidden = false;
});

// What the person does.

$("start").addEventListener("click", async () => {
  show(0, "Starting ...");
  light(["node-page", "node-work"]);
  asked = true;
  try {
    // A page that has never been connected has a uuid too; its script works, unheard.
    const body = new URLSearchParams({ uuid: relay.uuid, name: name || "Nobody" });
    const response = await fetch("work.php", { method: "POST", body });
    if (!response.ok) throw new Error(`work.php says ${response.status}`);
    const { reports, taken, seconds } = await response.json();
    log("status", `work.php is done: the relay took ${taken} of its ${reports} reports`);
    // Its last report may be on its way still, or lost: the answer says the same.
    if ($("bar").dataset.state !== "done") show(100, `The report is ready, after ${seconds} s`);
    light([]);
  } catch (error) {
    // Leaving the page ends the request, but not the work.
    if (!leaving) {
      log("status", `work.php cannot be reached: ${error.message}`);
      finish("Nothing is running.");
    }
  } finally {
    asked = false;
  }
});

let leaving = false;
addEventListener("pagehide", () => (leaving = true));
addEventListener("pageshow", () => (leaving = false));

$("second").addEventListener("click", () => open(location.href, "_blank", "noopener,width=1000,height=760"));

$("say").addEventListener("submit", async (event) => {
  event.preventDefault();
  const message = $("message").value.trim();
  if (!message) return;
  $("message").value = "";
  try {
    await relay.broadcast({ message, from: name });
    log("sent", message, "to all others");
  } catch (error) {
    log("status", `not sent: ${error.message}`);
  }
});

$("clear").addEventListener("click", () => $("log").replaceChildren());

// What the page shows.

function show(percent, text) {
  const running = percent < 100;
  // Rounded down, 100 % is said of what is done alone.
  const whole = String(Math.floor(percent));
  $("bar").setAttribute("aria-valuenow", whole);
  $("bar").dataset.state = running ? "running" : "done";
  $("fill").style.transform = `scaleX(${percent / 100})`;
  $("percent").firstChild.data = whole;
  $("text").textContent = text;
  $("start").disabled = running;
  $("start").textContent = running ? "Working ..." : "Start again";
  clearTimeout(silence);
  if (running) {
    silence = setTimeout(() => {
      const news = "No news for a while.";
      if (asked) $("text").textContent = news;
      else finish(news);
    }, SILENCE_MS);
  }
}

/** Nothing more will come: the button may be pressed again. If the bar is not at its end, says why. */
function finish(why) {
  clearTimeout(silence);
  if ($("bar").dataset.state === "running") {
    $("bar").dataset.state = "stopped";
    $("text").textContent = why;
  }
  $("start").disabled = false;
  $("start").textContent = "Start again";
  light([]);
}

/** Shows where the messages are just now. */
function light(ids) {
  for (const node of document.querySelectorAll(".way li")) node.classList.toggle("lit", ids.includes(node.id));
}

function log(kind, text, note = "") {
  const list = $("log");
  list.querySelector(".empty")?.remove();
  const entry = document.createElement("li");
  entry.dataset.kind = kind;
  const part = (tag, className, content) => {
    const element = document.createElement(tag);
    element.className = className;
    element.textContent = content;
    return element;
  };
  entry.append(
    part("time", "", new Date().toLocaleTimeString([], { hour12: false })),
    part("span", "kind", kind),
    part("span", "what", text),
    part("span", "note", note),
  );
  list.prepend(entry);
  while (list.children.length > LOG_MAX) list.lastChild.remove();
}

/** A name for people, the same for the same uuid, that does not give the uuid away. */
function nameOf(uuid) {
  const colours = ["Amber", "Azure", "Coral", "Crimson", "Golden", "Ivory", "Jade", "Lilac", "Olive", "Rosy", "Silver", "Violet"];
  const animals = ["Badger", "Crane", "Dolphin", "Falcon", "Fox", "Heron", "Lynx", "Marten", "Otter", "Owl", "Panda", "Swift"];
  let hash = 2166136261;
  for (const char of uuid) hash = Math.imul(hash ^ char.codePointAt(0), 16777619) >>> 0;
  return `${colours[hash % 12]} ${animals[Math.floor(hash / 12) % 12]}`;
}
