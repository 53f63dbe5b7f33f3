//! TERM in the middle of everything: the real binary under load, with peers that hold it up in every
//! way they can.

use crate::client::{Client, Door, Heard, Transport};
use crate::harness::{eventually, runtime, shipped};
use crate::process::Process;
use crate::wire::{Frame, Wire};

const LIVE: usize = 300;
const DEAF: usize = 5;

/// Broadcasts numbered messages, each when the one before is acked, until the relay ends it.
async fn publish(mut wire: Wire) {
    for n in 0_u64.. {
        let message = format!("{{\"opcode\":\"news\",\"n\":{n}}}");
        let sent = wire.try_write(message.as_bytes()).await;
        let heard = if sent { wire.try_read().await } else { None };
        let heard = String::from_utf8(heard.unwrap_or_default()).expect("text");
        if heard.is_empty() || heard.contains(r#""opcode":"close""#) {
            break;
        }
    }
}

/// Keeps the script at work until the relay ends it.
async fn burn(mut wire: Wire) {
    while wire.try_write(br#"{"opcode":"burn"}"#).await {
        if wire.try_read().await.is_none_or(|read| read.is_empty()) {
            break;
        }
    }
}

/// A page that never reads, with more on its way than its socket takes.
async fn deaf(door: &Door, name: &str, backend: &mut Client) -> Wire {
    let mut wire = Wire::web(door, Transport::Ws, "/").await;
    wire.send(Frame::text(format!(r#"{{"opcode":"uuid","message":"{name}"}}"#))).await;
    wire.acked("").await;
    let (opcode, x) = ("feedback", "x".repeat(1_000_000));
    for _ in 0..12 {
        backend.send(&format!(r#"{{"opcode":"{opcode}","uuid":"{name}","x":"{x}"}}"#)).await;
        backend.acked("").await;
    }
    wire
}

/// The number of a piece of news.
fn number(text: &[u8]) -> Option<u64> {
    let message: serde_json::Value = serde_json::from_slice(text).ok()?;
    message["n"].as_u64()
}

/// Every piece of news from the first it hears, then the Close, and nothing else.
async fn hears_all_and_the_close(page: &mut Client) {
    let mut last = None;
    loop {
        match page.heard().await {
            Heard::Text(text) => {
                let n = number(&text).expect("news");
                assert!(last.is_none_or(|last| n == last + 1), "{n} behind {last:?}");
                last = Some(n);
            }
            heard => return assert_eq!(heard, Heard::Close(Some(1001)), "behind {last:?}"),
        }
    }
}

/// A number of the verdict.
fn told(verdict: &str, field: &str) -> usize {
    let (_, behind) = verdict.split_once(&format!("{field}=")).expect(field);
    let number = behind.split(|next: char| !next.is_ascii_digit()).next().expect("a value");
    number.parse().expect("a number")
}

#[test]
fn every_live_client_is_told_and_stuck_ones_are_cut_at_the_deadline() {
    let script = std::fs::read_to_string(shipped("scripts/opcodes.lua")).expect("the shipped one");
    let burn_for = "\nfunction opcodes.burn() for i = 1, 2e5 do local s = tostring(i) end end\n";
    let settings = ["drain.timeout_ms=8000", "limits.queue_bytes_max=67108864", "workers=2"];
    let flags = settings.iter().flat_map(|setting| ["--set", setting]);
    let flags: Vec<&str> =
        ["--listen", "any://127.0.0.1:0", "--script", "my.lua"].into_iter().chain(flags).collect();
    let mut relay = Process::start(&flags, &[("my.lua", &format!("{script}{burn_for}"))]);
    let door = Door::new(relay.listening(1)[0].1, None);
    runtime().block_on(async {
        let mut pages = Vec::new();
        for _ in 0..LIVE {
            pages.push(door.web(Transport::Ws, "/web").await);
        }
        let mut backend = door.backend(Transport::Tcp).await;
        let mut stuck = Vec::new();
        for n in 0..DEAF {
            stuck.push(deaf(&door, &format!("deaf {n}"), &mut backend).await);
        }
        for begun in ["", "GET /web HTT", "php proc", "\x16\x03\x01\x02"] {
            let mut wire = Wire::dial(&door, Transport::Tcp).await;
            wire.write(begun.as_bytes()).await;
            stuck.push(wire);
        }
        let publisher = tokio::spawn(publish(Wire::dial(&door, Transport::Tcp).await));
        let burner = tokio::spawn(burn(Wire::dial(&door, Transport::Tcp).await));
        let mut heard = 0;
        eventually("that the load is on", async || {
            heard += usize::from(matches!(pages[0].heard().await, Heard::Text(_)));
            heard >= 20
        })
        .await;
        relay.signal("TERM");
        for page in &mut pages {
            hears_all_and_the_close(page).await;
        }
        publisher.await.expect("no panic");
        burner.await.expect("no panic");
        assert_eq!(relay.exit_code(), Some(0));
        drop(stuck);
    });
    let (_, _, log) = relay.output();
    let verdict = log.lines().find(|line| line.contains("drained")).expect("a verdict");
    assert_eq!(told(verdict, "cut"), DEAF, "{verdict}");
    // With the three backends, which may have left by themselves.
    let (closed, left) = (told(verdict, "closed"), told(verdict, "left"));
    assert!(closed >= LIVE && closed + left == LIVE + 3, "{verdict}");
    // The promise itself: the test would wait for longer.
    assert!(told(verdict, "took_ms") < 8_000, "{verdict}");
    assert!(!log.contains("left behind"), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}
