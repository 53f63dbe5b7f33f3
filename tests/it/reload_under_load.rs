//! A hundred reloads, good ones and broken ones of every kind, under a thousand connections that never
//! stop talking: nobody notices, and every message is decided by exactly one good generation.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval_at};

use crate::client::{Client, Door, Heard, Transport, next};
use crate::harness::{TestCertificate, in_time, runtime};
use crate::process::Process;

const CONNECTIONS: usize = 1_000;
/// Each says something twice a second: 2,000 messages a second in all.
const PACE: Duration = Duration::from_millis(500);
const RELOADS: usize = 100;
/// Ten rounds of ten reloads; in each these three are broken, every kind five times in all.
const BROKEN: [usize; 3] = [2, 5, 8];

/// A script that answers each message with its own version and generation. The other opcodes are
/// those of the shipped one.
fn script(version: i64, more: &str) -> String {
    let shipped = include_str!("../../scripts/opcodes.lua");
    format!(
        "{shipped}
local generation
function on.load(info) generation = info.generation end
function opcodes.count(client, msg)
  client:send({{ version = {version}, generation = generation, n = msg.data.n }})
end
{more}"
    )
}

/// The test that each version has to pass before it takes over.
const TESTS: &str = "test('count', function(t)
  local page = t.web()
  page:says { opcode = 'count', n = 7 }
  t.equal(page:heard().n, 7)
end)";

/// A broken script of each kind, with what `relay reload` says of it. Whatever it would answer has a
/// version that no good one has.
fn broken(kind: usize) -> (&'static str, String) {
    let [half, _] = halves();
    match kind % 6 {
        0 => ("opcodes.lua:", script(-1, "function opcodes.x(client end")),
        1 => ("at load", script(-2, "error('at load')")),
        2 => ("script.load_timeout_ms", script(-3, "while true do end")),
        3 => ("test 'count' failed", script(-4, "function opcodes.count() end")),
        4 => ("opcodes.lua:", half),
        _ => ("on load", script(-6, "function on.load() error('on load') end")),
    }
}

/// A file that is still being written: its first half ends within a function.
fn halves() -> [String; 2] {
    let whole = script(-5, "function opcodes.long(client)\n  client:send('x')\nend\n");
    let (half, rest) = whole.split_at(whole.len() - 20);
    [half.to_owned(), rest.to_owned()]
}

/// What all clients have seen.
#[derive(Default)]
struct Seen {
    /// Which generation answered under which version.
    versions: RefCell<BTreeMap<i64, u64>>,
    messages: Cell<usize>,
    stopped: Cell<bool>,
}

#[test]
fn nothing_is_lost_and_generations_never_go_back() {
    let certificate = TestCertificate::new();
    let set = |key: &str, value: &Path| format!("tls.{key}={value:?}");
    let flags = [
        ["--listen", "any://127.0.0.1:0"],
        ["--script", "opcodes.lua"],
        ["--set", "script.test_before_reload=true"],
        ["--set", "script.load_timeout_ms=200"],
        // On a busy machine four times 50 ms by the clock may pass in a good handler.
        ["--set", "script.call_timeout_ms=1000"],
        ["--set", &set("certificate", &certificate.certificate_file())],
        ["--set", &set("key", &certificate.key_file())],
    ];
    let shipped = crate::harness::shipped("relay.toml").display().to_string();
    let config = [["--config", &shipped], ["--set", "control.socket=relay.sock"]];
    let files = [("opcodes.lua", &*script(1, "")), ("opcodes_test.lua", TESTS)];
    let mut relay = Process::start(&[config.concat(), flags.concat()].concat(), &files);
    let addr = relay.listening(1)[0].1;
    let door = Door::new(addr, Some(certificate.trusting(rustls::ALL_VERSIONS)));

    let seen = Rc::new(Seen::default());
    let took = runtime().block_on(LocalSet::new().run_until(async {
        let mut talking = Vec::new();
        for index in 0..CONNECTIONS {
            let client = connect(&door, index).await;
            talking.push(tokio::task::spawn_local(talk(client, index, Rc::clone(&seen))));
        }
        let town_crier = door.backend(Transport::Tcp).await;
        let crying = tokio::task::spawn_local(cry(town_crier, Rc::clone(&seen)));
        let relay = &relay;
        let since = Instant::now();
        let reloads = async move {
            let mut good = 1;
            for number in 0..RELOADS {
                good = reload(relay, number, good).await;
            }
            good
        };
        assert_eq!(reloads.await, 71, "expected 70 good versions after the first");
        let took = since.elapsed();
        seen.stopped.set(true);
        let cries = crying.await.expect("every cry is acked");
        for task in talking {
            let heard = task.await.expect("a client that nothing happened to");
            assert!(heard.is_none_or(|heard| heard == cries), "{heard:?} of {cries} broadcasts");
        }
        took
    }));
    let versions = seen.versions.borrow();
    assert!(versions.keys().all(|version| *version > 0), "a broken version answered: {versions:?}");
    assert!(versions.iter().all(|(version, generation)| *version as u64 == *generation));
    println!(
        "{} messages in {took:.1?}, answered by {} generations",
        seen.messages.get(),
        versions.len()
    );
    assert_eq!(relay.command(&["reload"]).1.split(" (").next(), Some("unchanged: generation 71"));
    relay.signal("TERM");
    assert_eq!(relay.exit_code(), Some(0));
}

/// Saves the next version and asks for its load; returns the generation that then runs.
async fn reload(relay: &Process, number: usize, running: i64) -> i64 {
    let is_broken = BROKEN.contains(&(number % 10));
    let kind = number / 10 * BROKEN.len() + BROKEN.iter().filter(|at| **at < number % 10).count();
    let (said, text) = match is_broken {
        true => broken(kind),
        false => ("generation", script(running + 1, "")),
    };
    // As a careful editor saves, and as a plain one does.
    let file = relay.file("opcodes.lua");
    match number % 2 {
        0 => {
            std::fs::write(relay.file("opcodes.lua.new"), text).expect("written");
            std::fs::rename(relay.file("opcodes.lua.new"), file).expect("renamed");
        }
        _ => std::fs::write(file, text).expect("written"),
    }
    // The clients go on meanwhile. The watch may be first: then nothing is left to load.
    let (code, output, errors) = in_time("the outcome", relay.command_async("reload")).await;
    let expected = if is_broken { Some(65) } else { Some(0) };
    assert_eq!(code, expected, "reload {number}: {output}{errors}");
    let told = output + &errors;
    assert!(told.contains(said), "reload {number}: expected {said:?}: {told}");
    running + i64::from(!is_broken)
}

/// Nine of ten are pages, which hear all broadcasts; one of ten is a backend.
async fn connect(door: &Door, index: usize) -> Client {
    match index % 20 {
        0 => door.backend(Transport::Ssl).await,
        1 => door.backend(Transport::Tcp).await,
        2 | 3 => door.web(Transport::Wss, "/web").await,
        _ => door.web(Transport::Ws, "/web").await,
    }
}

/// Says numbers, one after the other, and hears each of them acked and answered once. Returns how
/// many broadcasts it heard, if it is a page.
async fn talk(mut client: Client, index: usize, seen: Rc<Seen>) -> Option<usize> {
    let is_page = client.transport.is_websocket();
    let uuid = if is_page { client.uuid.clone() } else { String::new() };
    let start = PACE * u32::try_from(index).expect("small") / CONNECTIONS as u32;
    let mut pace = interval_at(tokio::time::Instant::now() + start, PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut n, mut cries, mut last, mut over) = (0, 0, 0, false);
    while !seen.stopped.get() {
        pace.tick().await;
        client.send(&format!(r#"{{"opcode":"count","n":{n}}}"#)).await;
        let (mut acked, mut answered) = (false, false);
        while !acked || !answered {
            let message = hear(&mut client, index).await;
            if message == next(&uuid) {
                assert!(!acked, "client {index}: a second ack of {n}");
                acked = true;
            } else if message["opcode"] == "cry" {
                cries = expect_cry(&message, cries, index);
            } else if message["opcode"] == "over" {
                over = true;
            } else {
                assert!(acked && !answered, "client {index}: {message} for {n}");
                assert_eq!(message["n"], n, "client {index}");
                last = check_generation(&message, last, &seen);
                answered = true;
            }
        }
        n += 1;
        seen.messages.set(seen.messages.get() + 1);
    }
    while is_page && !over {
        let message = hear(&mut client, index).await;
        over = message["opcode"] == "over";
        if !over {
            cries = expect_cry(&message, cries, index);
        }
    }
    is_page.then_some(cries)
}

fn check_generation(message: &Value, last: u64, seen: &Seen) -> u64 {
    let generation = message["generation"].as_u64().expect("a generation");
    let version = message["version"].as_i64().expect("a version");
    assert!(generation >= last, "generation {generation} after {last}");
    let mut versions = seen.versions.borrow_mut();
    let first = *versions.entry(version).or_insert(generation);
    assert_eq!(first, generation, "version {version} under two generations");
    generation
}

fn expect_cry(message: &Value, heard: usize, index: usize) -> usize {
    assert_eq!(message["opcode"], "cry", "client {index}: {message}");
    assert_eq!(message["n"], heard, "client {index}: a broadcast lost, doubled or out of order");
    heard + 1
}

async fn hear(client: &mut Client, index: usize) -> Value {
    match client.heard().await {
        Heard::Text(text) => serde_json::from_slice(&text).expect("JSON"),
        heard => panic!("client {index}: expected to stay connected, heard {heard}"),
    }
}

/// Broadcasts numbers to all pages until the clients have stopped, and then that it is over.
async fn cry(mut crier: Client, seen: Rc<Seen>) -> usize {
    let mut pace = interval_at(tokio::time::Instant::now(), PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut n = 0;
    while !seen.stopped.get() {
        pace.tick().await;
        crier.send(&format!(r#"{{"opcode":"cry","n":{n}}}"#)).await;
        crier.acked("").await;
        n += 1;
    }
    crier.send(r#"{"opcode":"over"}"#).await;
    crier.acked("").await;
    n
}
