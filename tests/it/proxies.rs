//! Proxies in front of the relay: which are believed, and about what. 127.0.0.2 is one of ours.

use crate::client::{Client, Door, Hello, Transport};
use crate::harness::{Setup, TempDir, TestRelay, shipped};
use crate::wire::{Wire, request};

const ALL: [Transport; 4] = [Transport::Ws, Transport::Wss, Transport::Tcp, Transport::Ssl];
const WEB: [Transport; 2] = [Transport::Ws, Transport::Wss];

const PROXY: [u8; 4] = [127, 0, 0, 2];
const STRANGER: [u8; 4] = [127, 0, 0, 3];

const SIGNATURE_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// For 192.0.2.7:4711, as all that a proxy tells here.
const CLIENT: &str = "192.0.2.7:4711";
const LINE: &[u8] = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n";

/// Version 2 with a TLV of no meaning behind the addresses.
fn block() -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 127, 0, 0, 1, 0x12, 0x67, 1, 187];
    [SIGNATURE_2, &[0x21, 0x11, 0, 17], &addresses, &[0xee, 0, 2, 1, 2]].concat()
}

/// A relay that tells a client its address, and believes 127.0.0.2.
fn with_proxy(body: impl AsyncFnOnce(&TestRelay)) {
    let shipped = std::fs::read_to_string(shipped("scripts/opcodes.lua")).expect("shipped");
    let who = "function opcodes.who(client) client:send({ addr = client.addr }) end";
    let directory = TempDir::new();
    let file = directory.write("opcodes.lua", &format!("{shipped}\n{who}\n"));
    Setup::new().script(&file).set("trusted_proxies=127.0.0.2").run(body);
}

/// What the relay takes for the address of this client.
async fn addr(client: &mut Client) -> String {
    client.send(r#"{"opcode":"who"}"#).await;
    client.acked("").await;
    let heard = client.hears_text().await;
    let who: serde_json::Value = serde_json::from_slice(&heard).expect("JSON");
    who["addr"].as_str().expect("an address").to_owned()
}

async fn addr_over(door: &Door, transport: Transport) -> String {
    addr(&mut door.client(transport).await).await
}

async fn addr_with(door: &Door, transport: Transport, headers: &[(&str, &str)]) -> String {
    let hello =
        headers.iter().fold(Hello::web("/"), |hello, (name, value)| hello.header(name, value));
    let mut client = door.open(transport, hello).await;
    client.hears_ready().await;
    addr(&mut client).await
}

#[test]
fn a_proxy_tells_the_client_in_front_of_everything() {
    with_proxy(async |relay| {
        let proxy = relay.from(PROXY);
        for transport in ALL {
            assert_eq!(addr_over(&proxy.behind(LINE), transport).await, CLIENT, "{transport}");
            assert_eq!(addr_over(&proxy.behind(block()), transport).await, CLIENT, "{transport}");
        }
        // However it is cut.
        let dribbling = proxy.dribbling();
        assert_eq!(addr_over(&dribbling.behind(LINE), Transport::Ws).await, CLIENT);
        assert_eq!(addr_over(&dribbling.behind(block()), Transport::Tcp).await, CLIENT);
        let v6 = proxy.behind("PROXY TCP6 2001:db8::7 ::1 4711 443\r\n");
        assert_eq!(addr_over(&v6, Transport::Tcp).await, "[2001:db8::7]:4711");
        let mapped = proxy.behind("PROXY TCP6 ::ffff:192.0.2.7 ::1 4711 443\r\n");
        assert_eq!(addr_over(&mapped, Transport::Tcp).await, CLIENT);
    });
}

#[test]
fn a_proxy_may_speak_for_itself() {
    with_proxy(async |relay| {
        let local = [SIGNATURE_2, &[0x20, 0x11, 0, 3], b"any"].concat();
        let unspecified = [SIGNATURE_2, &[0x21, 0, 0, 0]].concat();
        for preface in [&b""[..], b"PROXY UNKNOWN\r\n", &local, &unspecified] {
            for transport in ALL {
                let addr = addr_over(&relay.from(PROXY).behind(preface), transport).await;
                assert!(addr.starts_with("127.0.0.2:"), "{transport}: {addr}");
            }
        }
    });
}

#[test]
fn a_proxy_tells_the_client_in_headers() {
    with_proxy(async |relay| {
        let proxy = relay.from(PROXY);
        for transport in WEB {
            for (headers, client) in [
                (&[("X-Forwarded-For", "1.1.1.1, 192.0.2.7")][..], "192.0.2.7:0"),
                (&[("X-Forwarded-For", "192.0.2.7:4711, 127.0.0.2")], CLIENT),
                (&[("Forwarded", "for=1.1.1.1, for=\"192.0.2.7:4711\";proto=http")], CLIENT),
                (
                    &[("Forwarded", "for=192.0.2.7"), ("X-Forwarded-For", "192.0.2.7")],
                    "192.0.2.7:0",
                ),
            ] {
                assert_eq!(
                    addr_with(&proxy, transport, headers).await,
                    client,
                    "{transport} {headers:?}"
                );
            }
        }
        // A proxy in front of a proxy: the first is told by the second.
        let chain = proxy.behind("PROXY TCP4 127.0.0.2 127.0.0.1 99 443\r\n");
        let told = [("X-Forwarded-For", "192.0.2.7")];
        assert_eq!(addr_with(&chain, Transport::Ws, &told).await, "192.0.2.7:0");
        // What passes bytes on passes on what the client has written.
        assert_eq!(addr_with(&proxy.behind(LINE), Transport::Ws, &told).await, CLIENT);
        let mut wire = Wire::dial(&proxy, Transport::Tcp).await;
        wire.write(b"php process\nX-Forwarded-For: 192.0.2.7\n\n{\"opcode\":\"who\"}").await;
        let mut heard = String::new();
        while !heard.contains("\"addr\"") {
            heard.push_str(&String::from_utf8_lossy(&wire.read().await));
        }
        assert!(heard.contains("\"addr\":\"127.0.0.2:"), "{heard}");
    });
}

#[test]
fn nobody_else_is_believed() {
    with_proxy(async |relay| {
        let stranger = relay.from(STRANGER);
        for transport in WEB {
            for header in [("X-Forwarded-For", "192.0.2.7"), ("Forwarded", "for=192.0.2.7")] {
                let addr = addr_with(&stranger, transport, &[header]).await;
                assert!(addr.starts_with("127.0.0.3:"), "{transport}: {addr}");
            }
        }
        // A known protocol begins otherwise.
        for preface in [LINE, &block()] {
            let mut wire = Wire::dial(&stranger.behind(preface), Transport::Tcp).await;
            wire.write(b"php process\n\n").await;
            assert_eq!(wire.refusal().await.status, 400);
        }
        // Nor is a proxy within TLS: who speaks there is the client.
        let mut wire = Wire::dial(&relay.from(PROXY), Transport::Ssl).await;
        wire.write(&block()).await;
        assert_eq!(wire.refusal().await.status, 400);
    });
}

#[test]
fn what_a_proxy_must_not_say_is_refused() {
    with_proxy(async |relay| {
        let proxy = relay.from(PROXY);
        let huge = [SIGNATURE_2, &[0x21, 0x11, 0xff, 0xff]].concat();
        for preface in [
            &b"PROXY TCP4 nonsense\r\n"[..],
            &[b'P'; 1],
            &[SIGNATURE_2, &[0x11; 4]].concat(),
            &huge,
        ] {
            let mut wire = Wire::dial(&proxy.behind(preface), Transport::Tcp).await;
            if preface.len() == 1 {
                // The line that never ends.
                wire.write(b"ROXY TCP4 ").await;
                wire.try_write(&[b'1'; 200]).await;
            }
            assert_eq!(
                wire.try_read().await.unwrap_or_default(),
                b"",
                "{}",
                preface.escape_ascii()
            );
        }
        for headers in [
            &[("Forwarded", "for=\"192.0.2.7")][..],
            &[("Forwarded", "for=192.0.2.7"), ("X-Forwarded-For", "192.0.2.8")],
        ] {
            let mut wire = Wire::dial(&proxy, Transport::Ws).await;
            wire.write(request("/", headers).as_bytes()).await;
            assert_eq!(wire.refusal().await.status, 400, "{headers:?}");
        }
    });
}

#[test]
fn a_proxy_has_the_time_of_a_handshake() {
    let setup = Setup::new().set("trusted_proxies=127.0.0.2");
    setup.set("limits.handshake_timeout_ms=300").run(async |relay| {
        for beginning in [&LINE[..20], &block()[..20], LINE, b""] {
            let mut wire = Wire::dial(&relay.from(PROXY).behind(beginning), Transport::Tcp).await;
            assert!(wire.ends().await);
        }
    });
}
