//! What load balancers are told, on the address that is theirs, up to the end of the process.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Door, Transport};
use crate::harness::{eventually, in_time, runtime};
use crate::process::Process;
use crate::wire::{Response, Wire};

const FLAGS: [&str; 4] =
    ["--listen", "tcp://127.0.0.1:0", "--set", "health.listen=\"127.0.0.1:0\""];

/// Where a relay with these flags besides listens, and where it is asked.
async fn started(flags: &[&str]) -> (Process, Door, String) {
    let relay = Process::relay(&[&FLAGS[..], flags].concat());
    let lines = relay.printed(2).await;
    let door = lines[0].strip_prefix("listening on tcp://").expect("its address");
    let health = lines[1].strip_prefix("health on http://").expect("the one to ask").to_owned();
    (relay, Door::new(door.parse().expect("an address"), None), health)
}

async fn wire(addr: &str) -> Wire {
    let tcp = in_time("a connection", TcpStream::connect(addr)).await;
    Wire::new(Box::new(tcp.expect("somebody who answers")))
}

/// What is asked, and what comes back up to the end of the connection.
async fn asked(addr: &str, question: &str) -> (Response, String) {
    let mut wire = wire(addr).await;
    wire.write(question.as_bytes()).await;
    let response = wire.response().await;
    let body = String::from_utf8(wire.read_to_end().await).expect("text");
    (response, body)
}

async fn got(addr: &str, path: &str) -> (u16, String) {
    let (response, body) = asked(addr, &format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).await;
    let length = response.header("content-length").and_then(|length| length.parse().ok());
    assert_eq!(length, Some(body.len()), "{}", response.head);
    (response.status, body)
}

#[test]
fn it_tells_what_runs_and_whether_to_send_clients() {
    runtime().block_on(async {
        let (relay, door, addr) = started(&[]).await;
        assert_eq!(got(&addr, "/ready").await, (200, "ready\n".to_owned()));
        let page = door.web(Transport::Ws, "/web").await;
        let health = async || {
            let (status, body) = got(&addr, "/health").await;
            assert_eq!(status, 200, "{body}");
            serde_json::from_str::<Value>(&body).expect("JSON")
        };
        eventually("that the page is counted", async || health().await["connections"] == 1).await;
        let told = health().await;
        assert_eq!(told["generation"], 1);
        assert_eq!((&told["draining"], &told["rejected"]), (&false.into(), &Value::Null));
        assert_eq!(told["panics"], 0);
        assert!(told["uptime_s"].is_u64());
        drop(page);
        relay.signal("TERM");
        assert_eq!(relay.output().0, Some(0));
    });
}

#[test]
fn it_says_no_while_the_relay_drains() {
    runtime().block_on(async {
        let linger = ["--set", "limits.linger_timeout_ms=60000"];
        let deadline = ["--set", "drain.timeout_ms=60000"];
        let (mut relay, door, addr) = started(&[&linger[..], &deadline].concat()).await;
        // A client that does not answer the Close keeps the relay.
        let mut deaf = Wire::web(&door, Transport::Ws, "/").await;
        relay.signal("TERM");
        let close = deaf.frame().await.expect("a Close frame");
        assert_eq!(close.close_code(), Some(1001));
        assert_eq!(got(&addr, "/ready").await, (503, "draining\n".to_owned()));
        let (status, body) = got(&addr, "/health").await;
        assert!(status == 200 && body.contains("\"draining\":true"), "{body}");
        relay.signal("TERM");
        relay.exit_code();
    });
}

#[test]
fn what_is_no_such_question_is_refused() {
    runtime().block_on(async {
        let (_relay, _door, addr) = started(&[]).await;
        for (question, status) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 404),
            ("GET /readyness HTTP/1.0\r\n\r\n", 404),
            ("POST /ready HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi", 405),
            ("ready?\r\n\r\n", 400),
        ] {
            assert_eq!(asked(&addr, question).await.0.status, status, "{question}");
        }
        let long = format!("GET /ready HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(5_000));
        assert_eq!(asked(&addr, &long).await.0.status, 431);
        let (response, body) = asked(&addr, "HEAD /ready HTTP/1.0\r\n\r\n").await;
        assert_eq!((response.status, &*body), (200, ""));
        assert_eq!(response.header("content-length"), Some("6"));
    });
}

/// More than may ask at once, and say nothing: their time is short.
#[test]
fn the_silent_do_not_keep_others_from_asking() {
    runtime().block_on(async {
        let (_relay, _door, addr) = started(&[]).await;
        let mut silent = Vec::new();
        for _ in 0..40 {
            let mut tcp = TcpStream::connect(&addr).await.expect("room");
            tcp.write_all(b"GET /re").await.expect("room");
            silent.push(tcp);
        }
        assert_eq!(got(&addr, "/ready").await.0, 200);
        let mut first = silent.swap_remove(0);
        let end = in_time("the end of the first", first.read(&mut [0])).await;
        assert!(end.is_ok_and(|count| count == 0));
    });
}
