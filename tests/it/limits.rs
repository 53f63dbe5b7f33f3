//! Each limit: what it refuses, how it says so, and that nobody else feels it.

use std::time::Duration;

use serde_json::json;

use crate::client::{Door, Hello, Transport};
use crate::harness::{Setup, in_time, relay_test};
use crate::wire::Wire;

const ALL: [Transport; 4] = [Transport::Ws, Transport::Wss, Transport::Tcp, Transport::Ssl];

over_each_transport! {
    async fn a_message_nested_too_deep_is_refused(relay, transport) {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let mut client = relay.client(transport).await;
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        client.send(&nested(127)).await;
        client.acked("").await;
        page.hears(&nested(127)).await;
        for depth in [128, 1000, 100_000] {
            client.send(&nested(depth)).await;
            client.acked("").await;
            let heard = client.hears_text().await;
            let error: serde_json::Value = serde_json::from_slice(&heard).unwrap_or_default();
            assert_eq!(error["opcode"], "error", "depth {depth}: expected an error: {error}");
            assert!(error["code"].is_string() && error["message"].is_string(), "{error}");
        }
        client.send(&format!("{{\"opcode\":\"echo\",\"x\":{}}}", nested(126))).await;
        client.acked("").await;
        client.hears_text().await;
        client.hears_nothing().await;
        let uuid = page.uuid.clone();
        page.send("x").await;
        page.acked(&uuid).await;
    }
}

over_each_transport! {
    async fn an_opcode_over_its_limit_is_refused(relay, transport) {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let mut client = relay.client(transport).await;
        let message = |bytes: usize| json!({ "opcode": "x".repeat(bytes) }).to_string();
        client.send(&message(128)).await;
        client.acked("").await;
        page.hears(&message(128)).await;
        client.send(&message(129)).await;
        client.acked("").await;
        let heard = client.hears_text().await;
        let error: serde_json::Value = serde_json::from_slice(&heard).unwrap_or_default();
        assert_eq!(error["opcode"], "error", "expected an error: {error}");
        client.hears_nothing().await;
    }
}

/// A name that is too long is nobody's: nothing sent to it arrives.
#[test]
fn an_ident_over_its_limit_is_not_taken() {
    relay_test(async |relay| {
        for transport in [Transport::Ws, Transport::Wss] {
            let named = |bytes: usize| Hello::php(Some("/")).header("Ident", &"i".repeat(bytes));
            let to = |bytes: usize| json!({ "opcode": "feedback", "ident": "i".repeat(bytes) });
            let mut sender = relay.backend(Transport::Tcp).await;
            for (bytes, is_taken) in [(128, true), (129, false)] {
                let mut backend = relay.open(transport, named(bytes)).await;
                backend.hears_ready().await;
                sender.send(&to(bytes).to_string()).await;
                sender.acked("").await;
                if is_taken {
                    backend.hears(&*to(bytes).to_string()).await;
                }
                backend.hears_nothing().await;
            }
        }
    });
}

over_each_transport! {
    async fn a_message_too_big_closes_its_sender_and_nobody_else(relay, transport) {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let mut client = relay.client(transport).await;
        let message = |bytes: usize| format!("{{\"x\":\"{}\"}}", "x".repeat(bytes - 8));
        client.send(&message(1024 * 1024)).await;
        client.acked("").await;
        page.hears(&message(1024 * 1024)).await;
        client.send(&message(1024 * 1024 + 1)).await;
        client.expect_refusal(1009).await;
        let uuid = page.uuid.clone();
        page.send("x").await;
        page.acked(&uuid).await;
    }
}

over_each_transport! {
    /// What bufferON holds is bounded as any message is.
    async fn a_buffered_message_too_big_closes_its_sender(relay, transport) {
        let mut client = relay.client(transport).await;
        client.send("bufferON").await;
        client.acked("").await;
        let piece = "x".repeat(400_000);
        for _ in 0..2 {
            client.send(&piece).await;
            client.acked("").await;
        }
        client.send(&piece).await;
        client.expect_refusal(1009).await;
    }
}

#[test]
fn a_raw_object_that_does_not_end_is_cut_at_the_limit() {
    Setup::new().set("limits.message_bytes_max=65536").run(async |relay| {
        for transport in [Transport::Tcp, Transport::Ssl] {
            let mut client = relay.backend(transport).await;
            client.send_bytes(b"{\"x\":\"").await;
            client.send_bytes(&[b'x'; 65_536]).await;
            client.expect_refusal(1009).await;
        }
    });
}

#[test]
fn failed_claims_close_the_claimant_at_the_fifth() {
    relay_test(async |relay| {
        for transport in [Transport::Ws, Transport::Wss] {
            let mut owner = relay.web_named(transport, "owner").await;
            let mut thief = relay.web(transport, "/").await;
            for claim in 1..=5 {
                thief.send(r#"{"opcode":"uuid","message":"owner"}"#).await;
                // The owner answers by itself. Until then the claim waits, and so does its ack.
                thief.acked("").await;
                assert_eq!(thief.hears_error("uuid").await, "uuid_taken", "claim {claim}");
                if claim < 5 {
                    thief.hears_nothing().await;
                }
            }
            thief.expect_close(1008).await;
            owner.send(r#"{"opcode":"feedback","uuid":"owner"}"#).await;
            owner.acked("owner").await;
            owner.hears(r#"{"opcode":"feedback","uuid":"owner"}"#).await;
            owner.close(Some(1000)).await;
            owner.expect_close(1000).await;
        }
    });
}

/// Unfinished handshakes of every kind, each on a connection of its own.
async fn unfinished(door: &Door) -> Vec<Wire> {
    let name = "localhost".try_into().expect("a name");
    let mut tls = rustls::ClientConnection::new(door.tls(), name).expect("a client");
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).expect("memory");
    let beginnings = [
        &b""[..],
        b"p",
        b"php process\nGET / HTTP/1.1\n",
        b"GET / HTTP/1.1\r\nHost: ",
        &hello[..20],
        &hello,
    ];
    let mut wires = Vec::new();
    for beginning in beginnings {
        let mut wire = Wire::dial(door, Transport::Tcp).await;
        wire.write(beginning).await;
        wires.push(wire);
    }
    for beginning in [&b""[..], b"php process\n"] {
        let mut wire = Wire::dial(door, Transport::Ssl).await;
        wire.write(beginning).await;
        wires.push(wire);
    }
    wires
}

#[test]
fn a_handshake_is_over_at_its_deadline() {
    Setup::new().set("limits.handshake_timeout_ms=500").run(async |relay| {
        let mut clients = Vec::new();
        for transport in ALL {
            clients.push(relay.client(transport).await);
        }
        for mut wire in unfinished(relay).await {
            assert!(wire.ends().await, "expected the end of an unfinished handshake");
        }
        // The deadline is that of the handshake, not of those who are through it.
        for client in &mut clients {
            client.hears_nothing().await;
        }
    });
}

#[test]
fn activity_does_not_extend_the_handshake() {
    Setup::new().set("limits.handshake_timeout_ms=300").run(async |relay| {
        for transport in [Transport::Tcp, Transport::Ssl] {
            let mut wire = Wire::dial(relay, transport).await;
            wire.write(b"GET /").await;
            let dripping = async {
                // A head that does not end and is far from too large.
                while wire.try_write(b"x").await {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            in_time("an end in spite of activity", dripping).await;
        }
    });
}

#[test]
fn a_greeting_over_the_header_limit_is_refused() {
    relay_test(async |relay| {
        for transport in [Transport::Tcp, Transport::Ssl] {
            let mut wire = Wire::dial(relay, transport).await;
            wire.write(format!("php process\nGET /{}", "x".repeat(9000)).as_bytes()).await;
            let answer = String::from_utf8_lossy(&wire.read_to_end().await).into_owned();
            assert!(
                answer.starts_with("HTTP/1.1 4"),
                "over {transport}: expected a refusal: {answer:?}"
            );
        }
    });
}

/// The limit is on the clients of all listeners together.
#[test]
fn listeners_share_the_limit_on_connections() {
    let setup = Setup::new().set("limits.connections_max=1");
    let mut config = setup.config();
    config.listen = vec![config.listen[0].clone(), config.listen[0].clone()];
    crate::harness::runtime().block_on(async {
        let server = relay::server::Server::bind(config).await.expect("a relay");
        let addresses: Vec<_> = server.listeners().iter().map(|listening| listening.addr).collect();
        assert_eq!(addresses.len(), 2);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let run = server.run(async { drop(stopped.await) });
        let talk = async move {
            let mut first = Door::new(addresses[0], None).backend(Transport::Tcp).await;
            for addr in addresses {
                let mut second = Door::new(addr, None).open(Transport::Tcp, Hello::php(None)).await;
                second.expect_refusal(1013).await;
            }
            first.send(r#"{"opcode":"echo"}"#).await;
            first.acked("").await;
            drop(stop);
        };
        tokio::join!(run, talk).0.expect("a graceful end");
    });
}
