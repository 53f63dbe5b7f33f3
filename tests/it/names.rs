//! Names are secrets: the first claim wins, nobody takes a name from an owner that lives, and one
//! that is dead loses it to who claims it. And who may send to them can be limited.

use crate::client::{Client, Door, Transport};
use crate::harness::{Setup, relay_test};
use crate::wire::{CLOSE, Frame, PING, PONG, TEXT, Wire};

const CLAIM: &str = r#"{"opcode":"uuid","message":"page"}"#;
const ECHO: &str = r#"{"opcode":"echo"}"#;
const NEWS: &str = r#"{"opcode":"broadcast","message":"news"}"#;

/// Both transports of web clients.
const WEB: [Transport; 2] = [Transport::Ws, Transport::Wss];

/// A web client that answers no ping by itself.
async fn owner(door: &Door, transport: Transport) -> Wire {
    let mut owner = Wire::web(door, transport, "/").await;
    owner.registers("page").await;
    owner
}

/// It is asked whether it is alive; returns the answer.
async fn is_asked(owner: &mut Wire) -> Frame {
    let ping = owner.frame().await.expect("a ping");
    assert_eq!(ping.first, 0x80 | PING, "{ping:?}");
    assert!(!ping.payload.is_empty(), "expected another ping than those of silence");
    Frame::new(PONG, ping.payload)
}

async fn claims(door: &Door, transport: Transport) -> Client {
    let mut claimant = door.web(transport, "/").await;
    claimant.send(CLAIM).await;
    claimant
}

async fn is_refused(claimant: &mut Client) {
    claimant.acked("").await;
    assert_eq!(claimant.hears_error("uuid").await, "uuid_taken");
}

async fn closes(mut client: Client) {
    client.close(Some(1000)).await;
    client.expect_close(1000).await;
}

#[test]
fn an_owner_that_answers_keeps_its_name_and_is_asked_once_for_all_claims() {
    relay_test(async |relay| {
        for transport in WEB {
            let mut owner = owner(relay, transport).await;
            let mut one = claims(relay, transport).await;
            let pong = is_asked(&mut owner).await;
            let mut two = claims(relay, transport).await;
            // Until the answer is there both wait, though their other messages are acknowledged, and
            // another pong is no answer.
            owner.send(Frame::new(PONG, "")).await;
            owner.send(Frame::text(ECHO)).await;
            owner.acked("page").await;
            assert_eq!(owner.text().await, ECHO.as_bytes());
            one.hears_nothing().await;
            two.hears_nothing().await;
            owner.send(pong).await;
            is_refused(&mut one).await;
            is_refused(&mut two).await;
            owner.send(Frame::text(r#"{"opcode":"feedback","uuid":"page"}"#)).await;
            owner.acked("page").await;
            assert_eq!(owner.text().await, br#"{"opcode":"feedback","uuid":"page"}"#);
            one.send(CLAIM).await;
            is_asked(&mut owner).await;
            closes(one).await;
            closes(two).await;
            owner.send(Frame::close(1000, "")).await;
            assert_eq!(owner.frame().await.expect("a Close").first, 0x80 | CLOSE);
        }
    });
}

/// As the oldest page comes back: it sends its uuid and its first message at once, and goes on with an
/// ack that carries its uuid. Its network was gone, and its former connection is there still.
#[test]
fn a_page_gets_its_name_back_from_its_dead_connection() {
    let setup = Setup::new().set("limits.claim_timeout_ms=1000").set("limits.ping_interval_ms=0");
    setup.run(async |relay| {
        for transport in WEB {
            let mut dead = owner(relay, transport).await;
            let mut other = relay.web(transport, "/web").await;
            let mut page = relay.web(transport, "/").await;
            page.send_together(&[CLAIM, NEWS]).await;
            // The ack of its first message; the other one waits.
            page.acked("").await;
            other.hears(NEWS).await;
            let mut late = claims(relay, transport).await;
            page.acked("page").await;
            is_refused(&mut late).await;
            page.send(NEWS).await;
            page.acked("page").await;
            other.hears(NEWS).await;
            other.send(r#"{"opcode":"feedback","uuid":"page"}"#).await;
            other.acked(&other.uuid.clone()).await;
            page.hears(r#"{"opcode":"feedback","uuid":"page"}"#).await;
            // What the dead one would read.
            is_asked(&mut dead).await;
            assert_eq!(dead.text().await, NEWS.as_bytes());
            assert_eq!(dead.frame().await.expect("a Close").close_code(), Some(1001));
            for client in [other, page, late] {
                closes(client).await;
            }
        }
    });
}

#[test]
fn the_first_claim_gets_a_name_that_its_owner_gives_up() {
    relay_test(async |relay| {
        for transport in WEB {
            let mut owner = owner(relay, transport).await;
            let mut one = claims(relay, transport).await;
            is_asked(&mut owner).await;
            // A claimant that leaves is not in the way of the next.
            let mut two = claims(relay, transport).await;
            two.hears_nothing().await;
            closes(one).await;
            owner.send(Frame::text(r#"{"opcode":"uuid","message":"another"}"#)).await;
            owner.acked("page").await;
            two.acked("page").await;
            one = claims(relay, transport).await;
            is_refused(&mut one).await;
            closes(one).await;
            closes(two).await;
        }
    });
}

/// What the relay itself puts off is no silence of the owner: not what stands before the ping.
#[test]
fn an_owner_that_reads_slowly_keeps_its_name() {
    let setup =
        Setup::new().set("limits.claim_timeout_ms=1000").set("limits.ping_interval_ms=1000");
    setup.set("limits.queue_bytes_max=67108864").run(async |relay| {
        for transport in WEB {
            let mut owner = Wire::narrow_web(relay, transport, "page").await;
            let mut sender = relay.backend(Transport::Tcp).await;
            // More than the kernel keeps between the two, by far.
            let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(64 * 1024));
            for _ in 0..200 {
                sender.send(&large).await;
                sender.acked("").await;
            }
            let mut thief = claims(relay, transport).await;
            // Longer than an owner is waited for, by the pings of seconds.
            let mut clock = Wire::web(relay, transport, "/web").await;
            for _ in 0..4 {
                assert_eq!(clock.frame().await.expect("a ping").first, 0x80 | PING);
                clock.send(Frame::new(PONG, "")).await;
            }
            thief.hears_nothing().await;
            for _ in 0..200 {
                assert_eq!(owner.frame().await.expect("a broadcast").first, 0x80 | TEXT);
            }
            let pong = is_asked(&mut owner).await;
            owner.send(pong).await;
            is_refused(&mut thief).await;
            closes(thief).await;
        }
    });
}

const FEEDBACK: &str = r#"{"opcode":"feedback","uuid":"page"}"#;

#[test]
fn feedback_from_where_it_is_not_allowed_is_refused_and_counts_for_nothing() {
    let setup = Setup::new().set(r#"feedback.from=["192.0.2.0/24","2001:db8::1"]"#);
    let setup = setup.set("feedback.allow_web=false").set("limits.failed_claims_max=1");
    setup.run(async |relay| {
        let mut page = relay.web_named(Transport::Ws, "page").await;
        for transport in [Transport::Ws, Transport::Wss, Transport::Tcp, Transport::Ssl] {
            let mut backend = relay.backend(transport).await;
            for _ in 0..2 {
                backend.send(FEEDBACK).await;
                backend.acked("").await;
                assert_eq!(backend.hears_error("feedback").await, "forbidden");
            }
            // The rest of what it may say.
            backend.send(NEWS).await;
            backend.acked("").await;
            page.hears(NEWS).await;
        }
        for transport in WEB {
            let mut other = relay.web(transport, "/").await;
            other.send(FEEDBACK).await;
            other.acked("").await;
            assert_eq!(other.hears_error("feedback").await, "forbidden");
        }
        page.hears_nothing().await;
    });
}

#[test]
fn feedback_from_the_networks_of_backends_is_allowed() {
    Setup::new().set(r#"feedback.from=["127.0.0.0/8"]"#).run(async |relay| {
        let mut page = relay.web_named(Transport::Ws, "page").await;
        for transport in [Transport::Ws, Transport::Wss, Transport::Tcp, Transport::Ssl] {
            let mut backend = relay.backend(transport).await;
            backend.send(FEEDBACK).await;
            backend.acked("").await;
            page.hears(FEEDBACK).await;
        }
        let mut other = relay.web(Transport::Ws, "/").await;
        other.send(FEEDBACK).await;
        other.acked("").await;
        page.hears(FEEDBACK).await;
    });
}
