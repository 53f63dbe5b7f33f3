//! `relay tail`: the real binary against a real relay.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::json;

use crate::cli_send::{end_of, run, stranger};
use crate::client::{Door, Transport};
use crate::harness::{Setup, relay_test, runtime};
use crate::process::Process;
use crate::wire::{Frame, PING, PONG, Wire};

/// Starts it, and waits until it is registered; returns its uuid too.
async fn tail(door: &Door, words: &[&str]) -> (Process, String) {
    let url = format!("ws://{}", door.addr);
    let process = Process::start(&[&["tail", &url], words].concat(), &[]);
    let uuid = listening(&process, 0).await;
    (process, uuid)
}

/// The uuid under which it says that it listens.
async fn listening(process: &Process, from: usize) -> String {
    let log = process.log_until(from, "listening as ").await;
    let (_, uuid) = log.split_once("listening as ").expect("waited for");
    uuid.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn messages_are_printed_in_order_byte_for_byte() {
    relay_test(async |relay| {
        let (process, uuid) = tail(relay, &["--count", "202"]).await;
        let mut sender = relay.backend(Transport::Tcp).await;
        let mut expected = Vec::new();
        for n in 0..200 {
            let text = format!(r#"{{"opcode":"x","n":{n}, "big":12345678901234567890123}}"#);
            sender.send(&text).await;
            expected.push(text);
        }
        let feedback = json!({ "opcode": "feedback", "uuid": uuid, "t": "a\nb" }).to_string();
        sender.send(&feedback).await;
        // A line feed between tokens would make two lines of it.
        sender.send("{\n \"opcode\":\r\n\"x\"}").await;
        expected.extend([feedback, "{  \"opcode\":  \"x\"}".to_owned()]);
        // More than is wanted.
        sender.send("{}").await;
        let (code, stdout, stderr) = process.output();
        assert_eq!(code, Some(0), "{stderr}");
        assert_eq!(stdout.lines().collect::<Vec<_>>(), expected);
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    });
}

#[test]
fn opcodes_are_filtered() {
    relay_test(async |relay| {
        let (process, _) = tail(relay, &["--opcode", "a", "--opcode", "b", "--count", "3"]).await;
        let mut sender = relay.backend(Transport::Tcp).await;
        for opcode in ["a", "c", "b", "next", "A", "b"] {
            sender.send(&json!({ "opcode": opcode }).to_string()).await;
        }
        sender.send("[1]").await;
        let (code, stdout, _) = process.output();
        assert_eq!(code, Some(0));
        assert_eq!(stdout, "{\"opcode\":\"a\"}\n{\"opcode\":\"b\"}\n{\"opcode\":\"b\"}");
    });
}

/// Only what the relay itself says to it is left out.
#[test]
fn what_others_call_next_is_a_message() {
    relay_test(async |relay| {
        let (process, _) = tail(relay, &["--count", "4"]).await;
        let mut sender = relay.backend(Transport::Tcp).await;
        let spoofed = [
            r#"{"opcode":"next","uuid":"x"}"#,
            r#"{"opcode":"ready","uuid":"x"}"#,
            r#"{"opcode":"error","ref":"uuid","code":"uuid_taken"}"#,
            r#"{"opcode":"close","error":"x"}"#,
        ];
        for text in spoofed {
            sender.send(text).await;
        }
        let (code, stdout, _) = process.output();
        assert_eq!((code, stdout.lines().collect::<Vec<_>>()), (Some(0), spoofed.to_vec()));
    });
}

#[test]
fn a_uuid_of_ones_own_and_one_that_is_taken() {
    relay_test(async |relay| {
        let (process, uuid) = tail(relay, &["--uuid", "mine"]).await;
        assert_eq!(uuid, "mine");
        let url = format!("ws://{}/web", relay.addr);
        let ended = run(&["tail", &url, "--uuid", "mine"], "").await;
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("not registered: uuid_taken"), "{ended:?}");
        let feedback = r#"{"opcode":"feedback","uuid":"mine"}"#;
        relay.backend(Transport::Tcp).await.send(feedback).await;
        assert_eq!(process.printed(1).await, [feedback]);
    });
}

#[test]
fn signals_end_it_well() {
    relay_test(async |relay| {
        for signal in ["INT", "TERM"] {
            let (process, _) = tail(relay, &[]).await;
            process.signal(signal);
            let (code, stdout, _) = process.output();
            assert_eq!((code, &*stdout), (Some(0), ""), "{signal}");
        }
    });
}

#[test]
fn a_reader_that_has_gone_ends_it_well() {
    relay_test(async |relay| {
        let url = format!("ws://{}/web", relay.addr);
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
        command.args(["tail", &url]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the relay's binary");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        log.read_line(&mut line).expect("text");
        assert!(line.contains("listening as "), "{line}");
        drop(child.stdout.take());
        relay.backend(Transport::Tcp).await.send("{}").await;
        assert_eq!(end_of(child).await.status.code(), Some(0));
    });
}

#[test]
fn over_tls_with_the_relays_certificate() {
    relay_test(async |relay| {
        let url = format!("wss://localhost:{}", relay.addr.port());
        let file = relay.certificate_file().display().to_string();
        let process = Process::start(&["tail", &url, "--cafile", &file], &[]);
        listening(&process, 0).await;
        let mut sender = relay.backend(Transport::Ssl).await;
        let long = json!({ "t": "x".repeat(1 << 19) }).to_string();
        sender.send(&long).await;
        assert_eq!(process.printed(1).await, [long]);
        let ended = run(&["tail", &url], "").await;
        assert_eq!(ended.code, Some(77), "{ended:?}");
    });
}

#[test]
fn it_waits_for_a_place_at_a_relay_that_is_full() {
    Setup::new().set("limits.connections_max=1").run(async |relay| {
        let page = relay.web(Transport::Ws, "/").await;
        let process = Process::start(&["tail", &format!("ws://{}", relay.addr)], &[]);
        process.log_until(0, "the relay is full; trying again").await;
        drop(page);
        listening(&process, 0).await;
    });
}

/// It comes back under the same uuid, the issued one too, or ends where it is told to.
#[test]
fn a_restart_of_the_relay_is_survived_unless_once() {
    let relay = Setup::new().start();
    let addr = relay.addr;
    runtime().block_on(async {
        let (staying, uuid) = tail(&relay, &[]).await;
        let (ending, _) = tail(&relay, &["--once"]).await;
        let from = staying.log_lines();
        tokio::task::spawn_blocking(move || relay.stop()).await.expect("stopped");
        let (code, _, stderr) = ending.output();
        assert_eq!(code, Some(75), "{stderr}");
        assert!(stderr.contains("the relay closed: 1001"), "{stderr}");
        staying.log_until(from, "connecting again").await;
        let relay = Setup::new().listen(&format!("any://{addr}")).start();
        assert_eq!(listening(&staying, from).await, uuid);
        let feedback = json!({ "opcode": "feedback", "uuid": uuid }).to_string();
        relay.backend(Transport::Tcp).await.send(&feedback).await;
        assert_eq!(staying.printed(1).await, [feedback]);
        tokio::task::spawn_blocking(move || relay.stop()).await.expect("stopped");
    });
}

/// As if its machine were gone: nothing closes, nothing is said.
#[test]
fn a_relay_that_hangs_is_noticed() {
    let mut relay = Process::relay(&["--listen", "ws://127.0.0.1:0"]);
    let door = Door::new(relay.listening(1)[0].1, None);
    runtime().block_on(async {
        let (ending, _) = tail(&door, &["--once", "--timeout", "2"]).await;
        relay.signal("STOP");
        let (code, _, stderr) = ending.output();
        assert_eq!(code, Some(75), "{stderr}");
        assert!(stderr.contains("the connection is lost: no answer to a ping"), "{stderr}");
    });
    relay.signal("CONT");
}

/// Silence alone is no reason: it answers pings.
#[test]
fn a_relay_that_has_nothing_to_say_is_not_given_up() {
    Setup::new().set("limits.ping_interval_ms=1000").run(async |relay| {
        let flags = ["--once", "--timeout", "1.5", "--count", "1"];
        let (process, _) = tail(relay, &flags).await;
        let mut clock = Wire::web(relay, Transport::Ws, "/").await;
        // For longer than one that does not answer is waited for.
        for _ in 0..4 {
            let ping = clock.frame().await.expect("a ping, once a second");
            assert_eq!(ping.first, 0x80 | PING, "{ping:?}");
            clock.send(Frame::new(PONG, "")).await;
        }
        relay.backend(Transport::Tcp).await.send("{}").await;
        let (code, stdout, stderr) = process.output();
        assert_eq!((code, &*stdout), (Some(0), "{}"), "{stderr}");
    });
}

#[test]
fn what_cannot_be_followed_is_said_at_once() {
    relay_test(async |relay| {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let silent = format!("ws://{}", silent.local_addr().expect("bound"));
        let raw = format!("tcp://{}", relay.addr);
        let mute = stranger("", true).replace("tcp", "ws");
        for (words, code, complaint) in [
            (&["tail", &*raw][..], 64, "receives no broadcasts"),
            (&["tail", "ws://127.0.0.1:1"], 69, "cannot connect"),
            (&["tail", "ws://127.0.0.1:1", "--count", "0"], 64, "--count"),
            (&["tail", &*silent, "--timeout", "0.3"], 69, ""),
            (&["tail", &*mute], 69, "closes without a word: it is no relay, or it is full"),
        ] {
            let ended = run(words, "").await;
            assert_eq!(ended.code, Some(code), "{words:?}: {ended:?}");
            assert!(ended.stderr.contains(complaint), "{words:?}: {ended:?}");
        }
    });
}

#[test]
fn a_script_that_does_not_register_is_no_use() {
    let directory = crate::harness::TempDir::new();
    let script = "function on.default() end function on.connect(client)\n\
                  client:send({ opcode = 'ready', uuid = client.issued_uuid }) end";
    let script = directory.write("script.lua", script);
    Setup::new().script(&script).run(async |relay| {
        let url = format!("ws://{}", relay.addr);
        let ended = run(&["tail", &url, "--timeout", "0.5"], "").await;
        assert_eq!(ended.code, Some(69), "{ended:?}");
    });
}
