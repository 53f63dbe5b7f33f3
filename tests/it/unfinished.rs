//! Messages that begin and do not end: what they may take in all, and who pays for it.

use crate::client::{Client, Transport};
use crate::harness::{Setup, TestRelay};
use crate::wire::{CLOSE, Frame, PING, PONG, Wire};

/// What one message may take here, and all that are unfinished.
const MESSAGE: usize = 200_000;
const ALL: usize = 400_000;
/// How long the messages of the others are, and how many they are: with the largest they are too many.
const LENGTH: usize = 50_000;
const OTHERS: usize = 6;

fn text(bytes: usize) -> String {
    format!("{{\"x\":\"{}\"}}", "x".repeat(bytes - 8))
}

/// A client whose message lacks its last byte, and that byte.
async fn begins(relay: &TestRelay, bytes: usize) -> (Wire, u8) {
    let mut wire = Wire::web(relay, Transport::Ws, "/").await;
    let mut frame = Frame::text(text(bytes)).bytes();
    let last = frame.pop().expect("not empty");
    wire.write(&frame).await;
    (wire, last)
}

/// Lets others begin messages, until more is kept than may be, and then end them.
async fn others_end_theirs(relay: &TestRelay) {
    let mut others = Vec::new();
    for _ in 0..OTHERS {
        others.push(begins(relay, LENGTH).await);
    }
    for (wire, last) in &mut others {
        wire.write(&[*last]).await;
        wire.acked("").await;
    }
}

async fn is_told(wire: &mut Wire) {
    let close = wire.frame().await.expect("a Close frame before the end of the stream");
    assert_eq!(close.first, 0x80 | CLOSE, "{close:?}");
    assert_eq!(close.close_code(), Some(1013), "{close:?}");
    let why = String::from_utf8_lossy(&close.payload[2..]).into_owned();
    assert!(why.contains("limits.unfinished_bytes_max"), "{why}");
}

fn of_workers(workers: usize) -> Setup {
    let setup = Setup::new().set(&format!("workers={workers}"));
    let setup = setup.set(&format!("limits.message_bytes_max={MESSAGE}"));
    setup.set(&format!("limits.unfinished_bytes_max={ALL}"))
}

#[test]
fn who_sends_fragments_without_an_end_makes_room() {
    for workers in [1, 2] {
        of_workers(workers).run(async |relay| {
            let mut largest = Wire::web(relay, Transport::Ws, "/").await;
            largest.send(Frame::text("x".repeat(MESSAGE - 1000)).unfinished()).await;
            largest.send(Frame::new(PING, "")).await;
            let pong = largest.frame().await.expect("a pong");
            assert_eq!(pong.first, 0x80 | PONG, "the fragment has come");
            others_end_theirs(relay).await;
            is_told(&mut largest).await;
        });
    }
}

#[test]
fn who_holds_pieces_without_an_end_makes_room() {
    for transport in [Transport::Ws, Transport::Wss, Transport::Tcp, Transport::Ssl] {
        of_workers(1).run(async |relay| {
            let mut largest: Client = relay.client(transport).await;
            largest.send("bufferON").await;
            largest.acked("").await;
            largest.send(&format!("[\"{}", "x".repeat(MESSAGE - 1000))).await;
            largest.acked("").await;
            others_end_theirs(relay).await;
            largest.expect_refusal(1013).await;
        });
    }
}

/// What was freed counts no more, and what is whole never did.
#[test]
fn what_has_ended_is_not_counted() {
    of_workers(1).run(async |relay| {
        let mut client = relay.client(Transport::Ws).await;
        for _ in 0..5 {
            client.send(&text(MESSAGE)).await;
            client.acked("").await;
        }
        for _ in 0..2 * ALL / MESSAGE {
            // Gone in the midst of its message.
            drop(begins(relay, MESSAGE).await);
            let (mut wire, last) = begins(relay, LENGTH).await;
            wire.write(&[last]).await;
            wire.acked("").await;
        }
    });
}
