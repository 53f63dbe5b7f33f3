//! What the operator's log and a person at the command line are told of clients that are refused in
//! their handshake.

use crate::cli_send::run;
use crate::client::{Door, Transport};
use crate::harness::{Setup, runtime};
use crate::process::Process;
use crate::wire::{Wire, request};

const LISTEN: [&str; 2] = ["--listen", "any://127.0.0.1:0"];

async fn status(door: &Door, request: &str) -> u16 {
    let mut wire = Wire::dial(door, Transport::Ws).await;
    wire.write(request.as_bytes()).await;
    wire.refusal().await.status
}

/// Which page, at which listener, and which key lets it in; however many they are, one line.
#[test]
fn an_origin_that_is_refused_is_in_the_log_with_its_cure() {
    let allowed = ["--set", r#"web.allowed_origins=["https://example.org"]"#];
    let mut relay = Process::relay(&[&LISTEN[..], &allowed].concat());
    let addr = relay.listening(1)[0].1;
    let door = Door::new(addr, None);
    let strange = request("/", &[("Origin", "https://else.example\u{9b}31m")]);
    let long = format!("https://{}", "x".repeat(5_000));
    runtime().block_on(async {
        for _ in 0..20 {
            assert_eq!(status(&door, &strange).await, 403);
        }
        let line = relay.log_until(0, "web.allowed_origins").await;
        for part in [&*format!("listener=any://{addr}"), "https://else.example", "WARN"] {
            assert!(line.contains(part), "expected {part}: {line}");
        }
        // So is each other page that is refused.
        let page = request("/", &[("Origin", "https://page.example")]);
        assert_eq!(status(&door, &page).await, 403);
        relay.log_until(0, "https://page.example").await;
        // Of other kinds, each is told by itself: this one has no origin, so no page, the next no upgrade.
        assert_eq!(status(&door, &request("/", &[])).await, 403);
        let log = relay.log_until(0, "there is no Origin header").await;
        let line = log.lines().find(|line| line.contains("no Origin header")).expect("waited for");
        assert!(line.contains("INFO") && !line.contains("key="), "expected no cure: {line}");
        let other = request("/x", &[("Upgrade", "other"), ("Origin", &long)]);
        assert_eq!(status(&door, &other).await, 426);
        relay.log_until(0, "status=426").await;
    });
    relay.signal("TERM");
    let (_, _, log) = relay.output();
    assert_eq!(log.matches("else.example").count(), 1, "expected one line of many: {log}");
    assert!(!log.contains('\u{9b}'), "expected no control characters of a peer: {log}");
    assert!(log.contains("xxx") && !log.contains(&"x".repeat(200)), "expected a cut: {log}");
}

/// Why pages do not connect over TLS is known to them alone, and they say it in an alert.
#[test]
fn who_does_not_trust_the_certificate_is_in_the_log() {
    let mut relay = Process::relay(&LISTEN);
    let url = format!("wss://localhost:{}", relay.listening(1)[0].1.port());
    runtime().block_on(async {
        assert_eq!(run(&["send", &url, "{}"], "").await.code, Some(77));
        relay.log_until(0, "handshakes fail").await;
    });
}

/// A port for TLS, or for none, says so to whoever comes as to the other, and the log has it too.
#[test]
fn who_comes_to_the_wrong_port_is_told_which_it_is() {
    let mut relay =
        Process::relay(&["--listen", "wss://127.0.0.1:0", "--listen", "ws://127.0.0.1:0"]);
    let ports = relay.listening(2);
    let (tls, plain) = (ports[0].1, ports[1].1);
    runtime().block_on(async {
        let mut wire = Wire::dial(&Door::new(tls, None), Transport::Tcp).await;
        wire.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let answer = String::from_utf8(wire.read_to_end().await).expect("text");
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("speaks TLS"), "{answer}");
        let speaks_tls = "this port speaks TLS: connect with wss:// or ssl://";
        for (url, said) in [
            (format!("ws://{tls}"), speaks_tls.to_owned()),
            (format!("tcp://{tls}"), speaks_tls.to_owned()),
            (
                format!("wss://{plain}/a"),
                format!("no TLS is spoken there; without it that is ws://{plain}/a"),
            ),
            (
                format!("ssl://{plain}"),
                format!("no TLS is spoken there; without it that is tcp://{plain}"),
            ),
        ] {
            let ended = run(&["send", &url, "--insecure", "{}"], "").await;
            assert_eq!(ended.code, Some(76), "{ended:?}");
            assert!(ended.stderr.contains(&said), "expected {said}: {ended:?}");
        }
        let log = relay.log_until(0, "this port speaks no TLS").await;
        assert!(log.contains("this port speaks TLS"), "{log}");
    });
}

#[test]
fn the_command_line_says_why_it_is_refused() {
    Setup::new().set(r#"web.allowed_origins=["https://example.org"]"#).run(async |relay| {
        let url = format!("ws://{}", relay.addr);
        for command in ["send", "tail"] {
            let ended = run(&[command, &url, "--origin", "https://else.example"], "{}").await;
            assert_eq!(ended.code, Some(77), "{ended:?}");
            let said = "refuses: 403 Forbidden: this origin is not allowed\n";
            assert!(ended.stderr.ends_with(said), "{ended:?}");
        }
    });
}
