//! How the relay ends: everybody is told, what was taken is delivered, and nobody can hold it up.

use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use crate::client::{Heard, Transport};
use crate::harness::{Setup, eventually, relay_test};
use crate::wire::Wire;

#[test]
fn every_client_is_told_1001() {
    relay_test(async |relay| {
        let mut clients = Vec::new();
        for transport in [Transport::Ws, Transport::Wss] {
            clients.push(relay.web(transport, "/").await);
            clients.push(relay.web(transport, "/web").await);
        }
        relay.ask_to_stop();
        for client in &mut clients {
            client.expect_close(1001).await;
        }
        eventually("that run() returns", async || relay.has_ended()).await;
    });
}

#[test]
fn backends_hear_the_end() {
    relay_test(async |relay| {
        let mut clients = Vec::new();
        for transport in [Transport::Tcp, Transport::Ssl] {
            clients.push(relay.backend(transport).await);
        }
        relay.ask_to_stop();
        for client in &mut clients {
            // A `close` message may say why.
            let mut heard = client.heard().await;
            if crate::client::opcode(&heard).as_deref() == Some("close") {
                heard = client.heard().await;
            }
            assert_eq!(heard, Heard::End, "over {}", client.transport);
        }
        eventually("that run() returns", async || relay.has_ended()).await;
    });
}

#[test]
fn a_relay_without_clients_ends_at_once() {
    relay_test(async |relay| {
        relay.backend(Transport::Tcp).await.hears_nothing().await;
        let since = Instant::now();
        relay.ask_to_stop();
        eventually("that run() returns", async || relay.has_ended()).await;
        assert!(since.elapsed() < Duration::from_secs(5), "expected no wait for nobody");
    });
}

#[test]
fn nobody_is_accepted_any_more() {
    relay_test(async |relay| {
        // It does not answer the Close, so that the drain goes on.
        let mut deaf = Wire::web(relay, Transport::Ws, "/").await;
        relay.ask_to_stop();
        assert_eq!(deaf.frame().await.expect("a Close frame").close_code(), Some(1001));
        let connected = TcpStream::connect(relay.addr).await;
        assert!(connected.is_err(), "expected nobody to listen while the relay drains");
        assert!(!relay.has_ended());
    });
}

#[test]
fn what_was_taken_is_delivered_before_the_close() {
    relay_test(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let mut secure = relay.web(Transport::Wss, "/web").await;
        let mut sender = relay.backend(Transport::Tcp).await;
        let text = |n: usize| format!("{{\"n\":{n},\"x\":\"{}\"}}", "x".repeat(10_000));
        for n in 0..200 {
            sender.send(&text(n)).await;
        }
        for _ in 0..200 {
            sender.acked("").await;
        }
        relay.ask_to_stop();
        for client in [&mut page, &mut secure] {
            for n in 0..200 {
                client.hears(&text(n)).await;
            }
            client.expect_close(1001).await;
        }
        eventually("that run() returns", async || relay.has_ended()).await;
    });
}

/// More waits for them than the kernel keeps, and they begin to read when the relay is to end.
#[test]
fn what_waits_for_slow_readers_is_delivered_before_the_close() {
    Setup::new().set("limits.queue_bytes_max=67108864").run(async |relay| {
        let mut slow = Vec::new();
        for transport in [Transport::Ws, Transport::Wss] {
            slow.push(Wire::narrow_web(relay, transport, &transport.to_string()).await);
        }
        let mut sender = relay.backend(Transport::Tcp).await;
        let text = |n: usize| format!("{{\"n\":{n},\"x\":\"{}\"}}", "x".repeat(64 * 1024));
        for n in 0..150 {
            sender.send(&text(n)).await;
            sender.acked("").await;
        }
        relay.ask_to_stop();
        for wire in &mut slow {
            for n in 0..150 {
                assert!(wire.text().await == text(n).into_bytes(), "expected message {n}");
            }
            assert_eq!(wire.frame().await.expect("a Close frame").close_code(), Some(1001));
        }
    });
}

/// Who waits for the limit on broadcasts waits no longer.
#[test]
fn what_was_put_off_is_delivered_before_the_close() {
    Setup::new().set("limits.broadcasts_per_second_max=1").run(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let mut sender = relay.backend(Transport::Tcp).await;
        let texts: Vec<String> = (0..40).map(|n| format!("{{\"n\":{n}}}")).collect();
        sender.send_together(&texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
        page.hears(&texts[0]).await;
        relay.ask_to_stop();
        for text in &texts[1..] {
            page.hears(text).await;
        }
        page.expect_close(1001).await;
    });
}

#[test]
fn a_peer_that_never_reads_holds_it_up_no_longer_than_the_deadline() {
    let deadline = Duration::from_secs(2);
    Setup::new().set("drain.timeout_ms=2000").run(async |relay| {
        let mut deaf = Vec::new();
        for transport in [Transport::Ws, Transport::Wss] {
            let tcp = relay.dial_tcp().await;
            socket2::SockRef::from(&tcp).set_recv_buffer_size(8 * 1024).expect("a socket option");
            let stream = relay.dial_over(tcp, transport).await.expect("a TLS handshake");
            let mut wire = Wire::new(stream);
            wire.upgrade("/web").await;
            deaf.push(wire);
        }
        // And some that never said what they are.
        for _ in 0..3 {
            deaf.push(Wire::dial(relay, Transport::Tcp).await);
        }
        let mut sender = relay.backend(Transport::Tcp).await;
        let text = format!("{{\"x\":\"{}\"}}", "x".repeat(64 * 1024));
        // More than the kernel keeps, less than the queue.
        for _ in 0..100 {
            sender.send(&text).await;
            sender.acked("").await;
        }
        let since = Instant::now();
        relay.ask_to_stop();
        eventually("that run() returns", async || relay.has_ended()).await;
        let took = since.elapsed();
        assert!(
            took < deadline + Duration::from_secs(3),
            "expected the end at the deadline: {took:?}"
        );
        drop(deaf);
    });
}

#[test]
fn peers_that_are_gone_do_not_hold_it_up() {
    relay_test(async |relay| {
        for transport in [Transport::Ws, Transport::Wss, Transport::Tcp, Transport::Ssl] {
            drop(relay.client(transport).await);
        }
        let mut page = relay.web(Transport::Ws, "/web").await;
        relay.ask_to_stop();
        page.expect_close(1001).await;
        eventually("that run() returns", async || relay.has_ended()).await;
    });
}
