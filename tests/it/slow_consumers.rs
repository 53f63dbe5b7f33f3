//! Clients that do not read what they are sent: when they are cut, and what they find then.

use std::time::Duration;

use serde_json::json;

use crate::client::{Client, Door, Transport};
use crate::harness::{Setup, eventually, relay_test};
use crate::wire::{CLOSE, Frame, PING, Wire};

fn large(n: usize) -> String {
    format!("{{\"n\":{n},\"x\":\"{}\"}}", "x".repeat(64 * 1024))
}

/// Waits until the owner of this name is gone, and the claimant has it.
async fn name_is_free(claimant: &mut Client, name: &str) {
    claims(claimant, name).await;
    eventually("that the slow consumer is gone", async || has(claimant, name).await).await;
}

/// Claims a name; what comes of it, and the ack, may have to wait for its owner.
async fn claims(claimant: &mut Client, name: &str) {
    claimant.send(&json!({ "opcode": "uuid", "message": name }).to_string()).await;
}

/// Whether it is registered under the name by now.
async fn has(claimant: &mut Client, name: &str) -> bool {
    let echo = r#"{"opcode":"echo"}"#;
    claimant.send(echo).await;
    let mut ack = Vec::new();
    loop {
        match claimant.hears_text().await {
            heard if heard == echo.as_bytes() => break,
            heard => ack = heard,
        }
    }
    serde_json::from_slice::<serde_json::Value>(&ack).expect("an ack")["uuid"] == name
}

/// What a slow consumer finds when it reads at last: a part of the whole without a gap, then Close
/// 1008 and the end.
async fn expect_prefix_and_1008(mut deaf: Wire, text: impl Fn(usize) -> String, most: usize) {
    let mut n = 0;
    loop {
        let frame = deaf.frame().await.expect("a Close frame before the end of the stream");
        if frame.first == 0x80 | PING {
            continue; // Its name is claimed.
        }
        if frame.first == 0x80 | CLOSE {
            assert_eq!(
                frame.close_code(),
                Some(1008),
                "expected 1008 after {n} messages: {frame:?}"
            );
            break;
        }
        assert_eq!(frame.payload.len(), text(n).len(), "expected message {n} of the whole");
        assert!(frame.payload == text(n).into_bytes(), "expected message {n}, unaltered");
        n += 1;
    }
    assert!(n < most, "expected a slow consumer to be cut before the end");
    deaf.try_write(&Frame::close(1008, "").bytes()).await;
    assert_eq!(deaf.frame().await, None, "expected the end after the Close");
}

/// A client that reads nothing is cut, whatever else goes on.
async fn slow_consumer(relay: &Door, transport: Transport, broadcasts: usize) {
    let deaf = Wire::narrow_web(relay, transport, "deaf").await;
    let mut page = relay.web(Transport::Ws, "/web").await;
    let mut sender = relay.backend(Transport::Tcp).await;
    for n in 0..broadcasts {
        sender.send(&large(n)).await;
        sender.acked("").await;
        page.hears(&large(n)).await;
    }
    name_is_free(&mut page, "deaf").await;
    expect_prefix_and_1008(deaf, large, broadcasts).await;
    page.close(Some(1000)).await;
    page.expect_close(1000).await;
    sender.hears_nothing().await;
}

/// More than the kernel keeps between the two, by far: 4 MiB and what the receiver has.
const FLOOD: usize = 200;

/// All other bounds are far away, so that the one a test sets is the one that cuts; and who is cut has
/// time to read how.
fn cut_by_nothing_else() -> Setup {
    let setup = Setup::new().set("limits.queue_bytes_max=67108864");
    let setup = setup.set("limits.write_stall_timeout_ms=60000");
    setup.set("limits.linger_timeout_ms=10000").set("limits.failed_claims_max=100000")
}

#[test]
fn a_slow_consumer_is_cut_at_so_many_messages() {
    cut_by_nothing_else().set("limits.queue_messages_max=16").run(async |relay| {
        slow_consumer(relay, Transport::Ws, FLOOD).await;
        slow_consumer(relay, Transport::Wss, FLOOD).await;
    });
}

#[test]
fn a_slow_consumer_is_cut_at_so_many_bytes() {
    cut_by_nothing_else().set("limits.queue_bytes_max=1048576").run(async |relay| {
        slow_consumer(relay, Transport::Ws, FLOOD).await;
        slow_consumer(relay, Transport::Wss, FLOOD).await;
    });
}

#[test]
fn a_consumer_that_stalls_is_cut_after_a_while() {
    cut_by_nothing_else().set("limits.write_stall_timeout_ms=500").run(async |relay| {
        slow_consumer(relay, Transport::Ws, FLOOD).await;
        slow_consumer(relay, Transport::Wss, FLOOD).await;
    });
}

#[test]
fn a_slow_consumer_that_reads_in_time_loses_nothing() {
    relay_test(async |relay| {
        let mut slow = Wire::narrow_web(relay, Transport::Ws, "slow").await;
        let mut sender = relay.backend(Transport::Tcp).await;
        // More than the kernel keeps, less than the queue.
        for n in 0..100 {
            sender.send(&large(n)).await;
            sender.acked("").await;
        }
        for n in 0..100 {
            assert!(slow.text().await == large(n).into_bytes(), "expected message {n}");
        }
        slow.send(Frame::text("x")).await;
        slow.acked("slow").await;
    });
}

/// It always makes progress, so it is no matter of time.
#[test]
fn a_consumer_that_reads_a_byte_now_and_then_is_judged_by_what_waits() {
    cut_by_nothing_else().set("limits.queue_bytes_max=1048576").run(async |relay| {
        for transport in [Transport::Ws, Transport::Wss] {
            let mut slow = Wire::narrow_web(relay, transport, "deaf").await;
            let mut page = relay.web(Transport::Ws, "/web").await;
            let mut sender = relay.backend(Transport::Tcp).await;
            let (tell_over, mut over) = tokio::sync::oneshot::channel::<()>();
            let dripping = tokio::spawn(async move {
                let mut read = Vec::new();
                while over.try_recv().is_err() {
                    read.extend(slow.read_at_most(1).await);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                slow.put_back(read);
                slow
            });
            for n in 0..FLOOD {
                sender.send(&large(n)).await;
                sender.acked("").await;
                page.hears(&large(n)).await;
            }
            name_is_free(&mut page, "deaf").await;
            tell_over.send(()).expect("it drips");
            expect_prefix_and_1008(dripping.await.expect("a wire"), large, FLOOD).await;
        }
    });
}

/// Each is far within its own bound.
#[test]
fn the_largest_queue_is_cut_when_all_together_are_too_long() {
    for workers in [1, 2] {
        let setup = cut_by_nothing_else().set(&format!("workers={workers}"));
        let setup = setup.set("limits.queues_bytes_max=2097152");
        setup.set("limits.claim_timeout_ms=60000").run(async |relay| {
            let large = Wire::narrow_web(relay, Transport::Ws, "large").await;
            let mut small = Wire::narrow_web(relay, Transport::Ws, "small").await;
            let mut page = relay.web(Transport::Ws, "/web").await;
            let mut sender = relay.backend(Transport::Tcp).await;
            let text = |name: &str, n: usize| {
                let padding = "x".repeat(64 * 1024);
                json!({ "opcode": "feedback", "uuid": name, "n": n, "x": padding }).to_string()
            };
            let (mut rounds, head_start) = (0, 12);
            for n in 0..head_start {
                sender.send(&text("large", n)).await;
                sender.acked("").await;
            }
            claims(&mut page, "large").await;
            while !has(&mut page, "large").await {
                assert!(rounds < FLOOD, "expected the larger one to be cut");
                for text in [text("small", rounds), text("large", rounds + head_start)] {
                    sender.send(&text).await;
                    sender.acked("").await;
                }
                rounds += 1;
            }
            expect_prefix_and_1008(large, |n| text("large", n), rounds + head_start).await;
            for n in 0..rounds {
                assert!(small.text().await == text("small", n).into_bytes(), "message {n}");
            }
            small.send(Frame::text("x")).await;
            small.acked("small").await;
        });
    }
}
