//! Who gets in, who is told to come back, and that those who are here feel nothing of it.

use crate::client::{Door, Hello, Transport};
use crate::harness::{Setup, eventually, runtime};
use crate::process::Process;
use crate::wire::{Wire, request};

const ALL: [Transport; 4] = [Transport::Ws, Transport::Wss, Transport::Tcp, Transport::Ssl];
/// Goodbyes that are said at once (`relay::admission`).
const GOODBYES_MAX: usize = relay::admission::GOODBYES_MAX;

fn hello(transport: Transport) -> Hello {
    if transport.is_websocket() { Hello::web("/") } else { Hello::php(None) }
}

/// A client that is told to try again later, in the way of its transport.
async fn is_refused(door: &Door, transport: Transport) {
    door.open(transport, hello(transport)).await.expect_refusal(1013).await;
}

async fn gets_in(door: &Door) -> bool {
    let mut wire = Wire::dial(door, Transport::Tcp).await;
    let asked = wire.try_write(b"php process\n\n").await;
    let answer = wire.try_read().await.unwrap_or_default();
    asked && answer.starts_with(b"{\"opcode\":\"ready\"")
}

/// What a raw client hears that is refused.
async fn refusal_text(door: &Door) -> String {
    let mut wire = Wire::dial(door, Transport::Tcp).await;
    wire.write(b"php process\n\n").await;
    String::from_utf8(wire.read_to_end().await).expect("UTF-8")
}

#[test]
fn a_full_relay_says_so() {
    Setup::new().set("limits.connections_max=2").run(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let mut backend = relay.backend(Transport::Tcp).await;
        for transport in ALL {
            is_refused(relay, transport).await;
        }
        let mut php = relay.open(Transport::Ws, Hello::php(None)).await;
        php.expect_refusal(1013).await;
        let close = r#"{"opcode":"close","error":"the relay is full","code":1013}"#;
        assert_eq!(refusal_text(relay).await, close);
        let mut wire = Wire::dial(relay, Transport::Tcp).await;
        wire.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let answer = wire.refusal().await;
        assert_eq!(answer.status, 503, "{}", answer.head);
        assert!(answer.header("retry-after").is_some(), "{}", answer.head);
        // What is wrong with a request is told all the same.
        let mut wire = Wire::dial(relay, Transport::Tcp).await;
        wire.write(request("/", &[("Sec-WebSocket-Version", "12")]).as_bytes()).await;
        assert_eq!(wire.refusal().await.status, 426);
        page.hears_nothing().await;
        backend.hears_nothing().await;
        drop(backend);
        eventually("room for a newcomer", async || gets_in(relay).await).await;
        page.hears_nothing().await;
    });
}

#[test]
fn goodbyes_are_bounded_too() {
    let setup = Setup::new().set("limits.connections_max=1");
    setup.set("limits.handshake_timeout_ms=60000").run(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let mut silent = Vec::new();
        for _ in 0..GOODBYES_MAX {
            silent.push(Wire::dial(relay, Transport::Tcp).await);
        }
        for _ in 0..8 {
            assert!(Wire::dial(relay, Transport::Tcp).await.ends().await);
        }
        page.hears_nothing().await;
        // Each makes room for the next.
        drop(silent);
        eventually("a goodbye in words", async || {
            let mut wire = Wire::dial(relay, Transport::Tcp).await;
            wire.try_write(b"{}").await;
            wire.try_read().await.is_some_and(|read| read.starts_with(b"{\"opcode\":\"close\""))
        })
        .await;
    });
}

#[test]
fn an_address_has_its_share() {
    let setup = Setup::new().set("limits.connections_per_ip_max=4").set("limits.trusted=[]");
    setup.run(async |relay| {
        let (one, other) = (relay.from([127, 0, 0, 2]), relay.from([127, 0, 0, 3]));
        let mut clients = Vec::new();
        for transport in ALL {
            clients.push(one.client(transport).await);
        }
        for transport in ALL {
            is_refused(&one, transport).await;
        }
        let close =
            r#"{"opcode":"close","error":"too many connections from your address","code":1013}"#;
        assert_eq!(refusal_text(&one).await, close);
        other.web(Transport::Ws, "/").await.hears_nothing().await;
        for client in &mut clients {
            client.hears_nothing().await;
        }
        drop(clients.pop());
        eventually("room for one more", async || gets_in(&one).await).await;
    });
}

#[test]
fn trusted_addresses_are_not_counted() {
    let setup = Setup::new().set("limits.connections_per_ip_max=1").set("limits.trusted=127.0.0.2");
    setup.run(async |relay| {
        let (one, other) = (relay.from([127, 0, 0, 2]), relay.from([127, 0, 0, 3]));
        let mut clients = Vec::new();
        for transport in ALL {
            clients.push(one.client(transport).await);
        }
        clients.push(other.web(Transport::Ws, "/").await);
        is_refused(&other, Transport::Ws).await;
        for client in &mut clients {
            client.hears_nothing().await;
        }
    });
}

#[test]
fn behind_a_proxy_the_clients_are_counted() {
    let setup = Setup::new().set("limits.connections_per_ip_max=1").set("limits.trusted=[]");
    setup.set("trusted_proxies=127.0.0.2").run(async |relay| {
        let proxy = relay.from([127, 0, 0, 2]);
        let v4 = |ip: &str| proxy.behind(format!("PROXY TCP4 {ip} 127.0.0.1 1 2\r\n"));
        let v6 = |ip: &str| proxy.behind(format!("PROXY TCP6 {ip} ::1 1 2\r\n"));
        let mut clients = vec![v4("192.0.2.7").client(Transport::Ssl).await];
        for transport in ALL {
            is_refused(&v4("192.0.2.7"), transport).await;
        }
        clients.push(v4("192.0.2.8").client(Transport::Ws).await);
        // Of IPv6, a network counts as one address.
        clients.push(v6("2001:db8::1").client(Transport::Wss).await);
        is_refused(&v6("2001:db8::2"), Transport::Ws).await;
        clients.push(v6("2001:db8:0:1::1").client(Transport::Tcp).await);
        let told = |ip: &str| Hello::web("/").header("X-Forwarded-For", ip);
        let mut refused = proxy.open(Transport::Ws, told("192.0.2.7")).await;
        refused.expect_refusal(1013).await;
        clients.push(proxy.open(Transport::Wss, told("192.0.2.9")).await);
        clients[4].hears_ready().await;
        // The proxy stands for many that it does not tell.
        clients.push(proxy.client(Transport::Tcp).await);
        clients.push(proxy.client(Transport::Tcp).await);
        for client in &mut clients {
            client.hears_nothing().await;
        }
    });
}

/// More silent sockets than there may be handshakes, all of one address: the others get in.
#[test]
fn silent_sockets_keep_nobody_out() {
    Setup::new().set("limits.handshake_timeout_ms=60000").run(async |relay| {
        let (silent, other) = (relay.from([127, 0, 0, 2]), relay.from([127, 0, 0, 3]));
        let mut page = other.web(Transport::Ws, "/web").await;
        let mut slow = Wire::dial(&other, Transport::Tcp).await;
        slow.write(b"php proc").await;
        let mut sockets = Vec::new();
        for _ in 0..1100 {
            sockets.push(Wire::dial(&silent, Transport::Tcp).await);
        }
        for transport in ALL {
            other.client(transport).await.hears_nothing().await;
        }
        // The oldest of those who have most under way make room, and nobody else.
        assert!(sockets[0].ends().await && sockets[100].ends().await);
        slow.write(b"ess\n\n").await;
        assert!(slow.read().await.starts_with(b"{\"opcode\":\"ready\""));
        let last = sockets.last_mut().expect("many");
        last.write(b"php process\n\n").await;
        assert!(last.read().await.starts_with(b"{\"opcode\":\"ready\""));
        page.hears_nothing().await;
    });
}

#[test]
fn the_log_tells_of_refusals_at_their_begin_and_end() {
    let mut relay =
        Process::relay(&["--listen", "tcp://127.0.0.1:0", "--set", "limits.connections_max=1"]);
    let door = Door::new(relay.listening(1)[0].1, None);
    runtime().block_on(async {
        let mut client = door.backend(Transport::Tcp).await;
        let from = relay.log_lines();
        for _ in 0..50 {
            is_refused(&door, Transport::Tcp).await;
        }
        let log = relay.log_until(from, "over: limits.connections_max is reached").await;
        assert!(log.contains("count=50"), "{log}");
        assert!(log.contains("first=\"127.0.0.1\""), "{log}");
        let told = log.lines().filter(|line| line.contains("limits.connections_max"));
        assert_eq!(told.count(), 2, "{log}");
        client.hears_nothing().await;
    });
}
