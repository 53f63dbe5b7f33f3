//! A panic ends the client for whom something was done, and nobody else.

use super::*;
use crate::panics::Whom;
use crate::panics::faults::befall;

/// Two pages that receive broadcasts.
async fn pages(stage: &mut Stage) -> (Peer, Peer) {
    let (struck, other) = (stage.web().await, stage.web().await);
    for page in [&struck, &other] {
        stage.register(page);
    }
    stage.settle().await;
    (struck, other)
}

fn session(peer: &Peer) -> Whom {
    Whom::Session(peer.id().serial)
}

/// The hub is told that the one is gone, which frees its name; its place and its queue are free, it is
/// counted, and the other is served.
async fn only_one_ends(stage: &mut Stage, struck: &Peer, other: &mut Peer) {
    stage.until(|stage| stage.end_of(struck) == Some(CloseReason::Internal)).await;
    // One that is closing has its moment to go.
    stage.pass(3 * SECOND).await;
    stage.until(|_| struck.is_over()).await;
    assert_eq!((stage.pulse.panics(), stage.pulse.clients()), (1, 1));
    assert_eq!(stage.waiting.queues.in_all(), 0);
    other.say(frame(TEXT, "{}"));
    stage.until(|_| other.has_heard(br#"{"opcode":"next""#)).await;
    assert_eq!(stage.end_of(other), None);
}

#[test]
fn while_it_is_read() {
    staged(
        |_| {},
        async |stage| {
            let (mut struck, mut other) = pages(stage).await;
            befall(session(&struck));
            struck.say(frame(TEXT, "{}"));
            only_one_ends(stage, &struck, &mut other).await;
        },
    );
}

#[test]
fn while_it_is_written_to() {
    let roomy = |config: &mut Config| config.limits.queue_bytes_max = 1 << 30;
    staged(roomy, async |stage| {
        let (struck, mut other) = pages(stage).await;
        stage.flood(&struck).await;
        assert!(stage.waiting.queues.in_all() > 0);
        befall(session(&struck));
        let text = Payload::from(r#"{"n":1}"#.to_owned());
        stage.deliver(Delivery::Broadcast { text, except: None });
        stage.until(|_| other.has_heard(br#"{"n":1}"#)).await;
        only_one_ends(stage, &struck, &mut other).await;
    });
}

#[test]
fn while_it_is_looked_after() {
    staged(
        |_| {},
        async |stage| {
            let (struck, mut other) = pages(stage).await;
            befall(session(&struck));
            stage.pass(SECOND).await;
            only_one_ends(stage, &struck, &mut other).await;
        },
    );
}

#[test]
fn while_it_shakes_hands() {
    staged(
        |_| {},
        async |stage| {
            let mut struck = stage.peer().await;
            befall(Whom::Peer(struck.addr()));
            struck.say(upgrade(""));
            stage.until(|_| struck.is_over() && struck.is_through()).await;
            assert_eq!(stage.newest(), None);
            let mut other = stage.web().await;
            stage.pass(SECOND).await;
            assert_eq!((stage.pulse.panics(), stage.pulse.clients()), (1, 1));
            other.say(frame(TEXT, "{}"));
            stage.until(|_| other.has_heard(br#"{"opcode":"next""#)).await;
        },
    );
}
