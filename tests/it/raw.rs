//! Raw sockets: bare JSON without a delimiter, in any cut, and every way to end.

use std::io::Write;
use std::net::Shutdown;
use std::time::Duration;

use serde_json::json;
use tokio::io::AsyncWriteExt;

use crate::client::{Door, Transport};
use crate::harness::{Setup, eventually, in_time, relay_test};

const TRANSPORTS: [Transport; 2] = [Transport::Tcp, Transport::Ssl];

#[test]
fn a_200_kb_message_in_one_byte_writes_completes() {
    relay_test(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let text = json!({ "opcode": "broadcast", "x": "é\"{[".repeat(34_000) }).to_string();
        assert!(text.len() >= 200_000, "{}", text.len());
        // A thread, because the time of a writer that waits its turn is not what is tested.
        let (addr, bytes) = (relay.addr, text.clone());
        let writer = std::thread::spawn(move || {
            let mut socket = std::net::TcpStream::connect(addr).expect("a relay");
            socket.set_nodelay(true).expect("a TCP option");
            socket.write_all(b"php process\n\n").expect("a relay that listens");
            for byte in bytes.as_bytes() {
                socket.write_all(&[*byte]).expect("a relay that listens");
            }
            socket
        });
        eventually("200,000 writes", async || writer.is_finished()).await;
        page.hears(&text).await;
        drop(writer.join().expect("a writer"));
    });
}

#[test]
fn a_200_kb_message_in_one_byte_records_completes() {
    relay_test(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let text = json!({ "opcode": "broadcast", "x": "é\"{[".repeat(34_000) }).to_string();
        let mut stream = relay.dial(Transport::Ssl).await;
        let writing = async {
            stream.write_all(b"php process\n\n").await?;
            for byte in text.as_bytes() {
                stream.write_all(&[*byte]).await?;
            }
            stream.flush().await
        };
        in_time("200,000 records", writing).await.expect("a relay that listens");
        page.hears(&text).await;
    });
}

#[test]
fn a_stream_cut_anywhere_gives_the_same_messages() {
    Setup::new().set("workers=1").run(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let mut other = relay.backend(Transport::Tcp).await;
        let values = [
            r#"{"a":"}{\"\\"}"#,
            r#"{"é":"🐎","u":"\ud83d\udc0e\\"}"#,
            r#"[]"#,
            r#"{"x":[[],{"y":{}},"]"],"n":-1.5e+10}"#,
            r#"{}"#,
            r#"[{"opcode":"quit"},"[",[["\""]]]"#,
        ];
        let stream = format!(" {}\r\n\t", values.join(""));
        for transport in TRANSPORTS {
            let mut client = relay.backend(transport).await;
            for at in 1..stream.len() {
                client.send_bytes(&stream.as_bytes()[..at]).await;
                // With one worker this shows that the relay has seen the first part by itself.
                other.hears_nothing().await;
                client.send_bytes(&stream.as_bytes()[at..]).await;
                for value in values {
                    client.acked("").await;
                    page.hears(value).await;
                }
            }
            client.hears_nothing().await;
        }
    });
}

#[test]
fn whitespace_is_skipped_and_no_message() {
    relay_test(async |relay| {
        for transport in TRANSPORTS {
            let mut client = relay.backend(transport).await;
            client.send_bytes(b" \r\n\t ").await;
            client.hears_nothing().await;
            client.send_bytes(b"\n\n{\"opcode\":\"echo\"}\n\n[1]\n").await;
            client.acked("").await;
            client.hears(r#"{"opcode":"echo"}"#).await;
            client.acked("").await;
            client.hears_nothing().await;
        }
    });
}

#[test]
fn a_run_of_junk_is_acked_once_after_the_pause() {
    relay_test(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let uuid = page.uuid.clone();
        for transport in TRANSPORTS {
            let mut client = relay.backend(transport).await;
            for junk in ["x", "some words in one run", "pong\r\n", "}", "]]", "é", "null true 5"] {
                client.send(junk).await;
                client.acked("").await;
                client.hears_nothing().await;
            }
            // Bytes that are not UTF-8 are junk like any other.
            client.send_bytes(b"\xff\xfe\x00").await;
            client.acked("").await;
            client.hears_nothing().await;
            // A run in several writes without a pause is one run. The writes follow one another at
            // once, so a pause between them would be the machine's; a long run makes it no likelier.
            client.send(&"junk ".repeat(1000)).await;
            client.acked("").await;
            client.hears_nothing().await;
        }
        page.send("x").await;
        page.acked(&uuid).await;
    });
}

#[test]
fn an_object_that_is_not_utf_8_is_acked_and_dropped() {
    relay_test(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let uuid = page.uuid.clone();
        for transport in TRANSPORTS {
            let mut client = relay.backend(transport).await;
            client.send_bytes(b"{\"opcode\":\"broadcast\",\"x\":\"\xff\"}").await;
            client.acked("").await;
            client.hears_nothing().await;
        }
        page.send("x").await;
        page.acked(&uuid).await;
    });
}

#[test]
fn a_client_that_ends_its_side_still_gets_its_acks() {
    relay_test(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        for transport in TRANSPORTS {
            // Greeting, messages and the end at once.
            let mut client = relay.open(transport, crate::client::Hello::bare()).await;
            client.send(r#"{"opcode":"broadcast","n":1}"#).await;
            client.send(r#"{"opcode":"echo","n":2}"#).await;
            client.close(None).await;
            client.hears_ready().await;
            client.acked("").await;
            client.acked("").await;
            client.hears(r#"{"opcode":"echo","n":2}"#).await;
            client.expect_end().await;
            page.hears(r#"{"opcode":"broadcast","n":1}"#).await;

            // The end also judges a run: it will not go on.
            let mut client = relay.backend(transport).await;
            client.send("pong").await;
            client.close(None).await;
            client.acked("").await;
            client.expect_end().await;
        }
    });
}

#[test]
fn an_object_that_is_not_finished_is_no_message() {
    relay_test(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let uuid = page.uuid.clone();
        for transport in TRANSPORTS {
            let mut client = relay.backend(transport).await;
            client.send(r#"{"opcode":"broadcast","n":1}{"opcode":"broadcast""#).await;
            client.close(None).await;
            client.acked("").await;
            page.hears(r#"{"opcode":"broadcast","n":1}"#).await;
            page.send("x").await;
            page.acked(&uuid).await;
        }
    });
}

/// How a client that never read goes away.
#[derive(Clone, Copy, Debug)]
enum Reset {
    /// By close with unread data, as the oldest PHP client does over ssl.
    Unread,
    /// By an abortive close.
    Abort,
}

/// A backend writes and resets the connection: everything received before is still delivered, and
/// the relay may not lose it over acks that it cannot write any more.
async fn everything_before_a_reset_is_delivered(door: &Door, transport: Transport, reset: Reset) {
    let mut page = door.web(Transport::Ws, "/web").await;
    let uuid = page.uuid.clone();
    for round in 0..8 {
        let tcp = door.dial_tcp().await;
        let ports = (tcp.local_addr().expect("connected").port(), door.addr.port());
        let socket = socket2::SockRef::from(&tcp).try_clone().expect("a descriptor");
        let mut stream = door.dial_over(tcp, transport).await.expect("a TLS handshake");
        stream.write_all(b"php process\n\n").await.expect("a relay that listens");
        stream.flush().await.expect("a relay that listens");
        // Its `ready` has come, and nobody reads it.
        eventually("something unread", async || {
            socket.peek(&mut [std::mem::MaybeUninit::uninit(); 64]).is_ok_and(|count| count > 0)
        })
        .await;
        let text =
            |n: u32| format!("{{\"round\":{round},\"n\":{n},\"x\":\"{}\"}}", "x".repeat(300));
        // More than one read of the relay's.
        let texts: Vec<String> = (0..1000).map(text).collect();
        stream.write_all(texts.concat().as_bytes()).await.expect("a relay that listens");
        stream.flush().await.expect("a relay that listens");
        // A reset throws away what the client's own system has not sent yet.
        eventually("that everything is received", async || unacknowledged(ports) == 0).await;
        if let Reset::Abort = reset {
            socket.set_linger(Some(Duration::ZERO)).expect("a socket option");
        }
        drop(socket);
        drop(stream);
        for text in &texts {
            page.hears(text).await;
        }
    }
    page.send("x").await;
    page.acked(&uuid).await;
}

/// How many bytes the socket between these ports has sent or queued that the other side's system
/// has not received, by the kernel's own table.
fn unacknowledged((local, remote): (u16, u16)) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let (local, remote) = (format!(":{local:04X}"), format!(":{remote:04X}"));
    let mut rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
    // Local ports alone do not tell: clients of two relays may have the same.
    let row = rows.find(|row| row[1].ends_with(&local) && row[2].ends_with(&remote));
    let row = row.expect("a socket of ours that is open");
    let (sent, _) = row[4].split_once(':').expect("two queues");
    usize::from_str_radix(sent, 16).expect("a hexadecimal number")
}

/// A relay that takes one message at a time from each client: it is still reading, and its acks
/// already fail, when the client has been gone for long.
fn slow_relay(body: impl AsyncFnOnce(&Door)) {
    let setup = Setup::new().set("limits.undecided_messages_max=1");
    setup.run(async |relay| body(relay).await);
}

#[test]
fn everything_before_a_reset_is_delivered_over_tcp() {
    slow_relay(async |relay| {
        everything_before_a_reset_is_delivered(relay, Transport::Tcp, Reset::Unread).await;
    });
}

#[test]
fn everything_before_a_reset_is_delivered_over_ssl() {
    slow_relay(async |relay| {
        everything_before_a_reset_is_delivered(relay, Transport::Ssl, Reset::Unread).await;
    });
}

#[test]
fn everything_before_an_abort_is_delivered_over_tcp() {
    slow_relay(async |relay| {
        everything_before_a_reset_is_delivered(relay, Transport::Tcp, Reset::Abort).await;
    });
}

#[test]
fn everything_before_an_abort_is_delivered_over_ssl() {
    slow_relay(async |relay| {
        everything_before_a_reset_is_delivered(relay, Transport::Ssl, Reset::Abort).await;
    });
}

#[test]
fn a_backend_that_never_reads_is_read_to_its_end() {
    // Its acks may be dropped; its messages may not. So many acks are more than the kernel keeps.
    let setup = Setup::new().set("limits.queue_messages_max=100");
    setup.run(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        for transport in TRANSPORTS {
            let mut stream = relay.dial(transport).await;
            let text = |n: u32| format!("{{\"n\":{n}}}");
            let mut bytes = b"php process\n\n".to_vec();
            bytes.extend((0..130_000).flat_map(|n| text(n).into_bytes()));
            let writing = async {
                for part in bytes.chunks(10_000) {
                    stream.write_all(part).await?;
                }
                stream.flush().await
            };
            let hearing = async {
                for n in 0..130_000 {
                    page.hears(&text(n)).await;
                }
            };
            // Each message has its own deadline, and what is not read is not heard either.
            let (written, ()) = tokio::join!(writing, hearing);
            written.expect("a relay that goes on reading");
        }
    });
}

#[test]
fn a_connection_shut_both_ways_is_over() {
    relay_test(async |relay| {
        let client = std::net::TcpStream::connect(relay.addr).expect("a relay");
        (&client).write_all(b"php process\n\n{\"opcode\":\"x\"}").expect("a relay that listens");
        client.shutdown(Shutdown::Both).expect("a socket");
        relay.backend(Transport::Tcp).await.hears_nothing().await;
    });
}
