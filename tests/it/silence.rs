//! Clients that say nothing: pinged, and ended when that lasts. Here what others notice of it; the times
//! themselves are looked at under a paused clock, in src/worker/tests.

use serde_json::json;

use crate::client::Transport;
use crate::harness::Setup;
use crate::wire::{CLOSE, Frame, PING, PONG, ServerFrame, TEXT, Wire};

/// More pings than any client here is sent.
const PINGS_MAX: usize = 10;

/// The first frame of this kind, and how many pings came before it. Acks are passed over.
async fn behind_pings(wire: &mut Wire, opcode: u8) -> (usize, ServerFrame) {
    let mut pings = 0;
    loop {
        let frame = wire.frame().await.expect("a frame");
        match frame.first & 0xf {
            found if found == opcode => return (pings, frame),
            PING => {
                pings += 1;
                assert!(pings <= PINGS_MAX, "expected a frame of the kind {opcode} before that");
            }
            found => assert_eq!(found, TEXT, "{frame:?}"),
        }
    }
}

#[test]
fn who_answers_pings_stays_and_who_does_not_frees_its_name() {
    let setup = Setup::new().set("limits.ping_interval_ms=1000").set("limits.pings_missed_max=1");
    setup.run(async |relay| {
        for transport in [Transport::Ws, Transport::Wss] {
            let mut gone = Wire::web(relay, transport, "/").await;
            gone.send(Frame::text(r#"{"opcode":"uuid","message":"page"}"#)).await;
            let mut alive = Wire::web(relay, transport, "/web").await;
            // For longer than the other one is waited for.
            for _ in 0..3 {
                let ping = alive.frame().await.expect("a ping");
                assert_eq!(ping.first, 0x80 | PING, "{ping:?}");
                alive.send(Frame::new(PONG, "")).await;
            }
            let (pings, close) = behind_pings(&mut gone, CLOSE).await;
            assert!(pings > 0);
            assert_eq!(close.close_code(), Some(1001), "{close:?}");
            let mut claimant = relay.web_named(transport, "page").await;
            claimant.hears_nothing().await;
            alive.send(Frame::text(r#"{"opcode":"echo"}"#)).await;
            behind_pings(&mut alive, TEXT).await;
            claimant.close(Some(1000)).await;
            claimant.expect_close(1000).await;
        }
    });
}

#[test]
fn a_backend_that_is_forgotten_is_closed_and_told_why() {
    Setup::new().set("limits.backend_idle_timeout_ms=1000").run(async |relay| {
        for transport in [Transport::Tcp, Transport::Ssl] {
            let mut page = relay.web(Transport::Ws, "/web").await;
            let mut backend = relay.backend(transport).await;
            let close = json!({"opcode": "close", "error": "idle for too long", "code": 1001});
            backend.hears(close).await;
            backend.expect_end().await;
            page.hears_nothing().await;
        }
    });
}
