//! What PHP clients depend on: they read once after each write, take what comes for one JSON, and
//! throw away what arrives together with the 101.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::client::{Door, Hello, Transport, next};
use crate::harness::{DEADLINE, Setup, in_time, relay_test};
use crate::wire::{Frame, Wire, request};

/// The oldest PHP clients read at most so much.
const READ_BYTES: usize = 256;

const ALL: [Transport; 4] = [Transport::Tcp, Transport::Ssl, Transport::Ws, Transport::Wss];

#[test]
fn ready_never_comes_in_the_same_read_as_the_101() {
    relay_test(async |relay| {
        for transport in [Transport::Ws, Transport::Wss] {
            let (mut fast, since) = (0, Instant::now());
            while fast < 10 {
                assert!(
                    since.elapsed() < DEADLINE,
                    "expected 10 handshakes in less than 10 ms each"
                );
                let mut wire = Wire::dial(relay, transport).await;
                let asked = Instant::now();
                wire.write(request("/", &[("Client-Type", "php")]).as_bytes()).await;
                let read = String::from_utf8_lossy(&wire.read().await).into_owned();
                // `ready` is due 10 ms after the 101 or later. A reader that was slower than that
                // itself proves nothing.
                if asked.elapsed() >= Duration::from_millis(10) {
                    continue;
                }
                fast += 1;
                assert!(read.starts_with("HTTP/1.1 101 "), "over {transport}: {read:?}");
                assert!(
                    read.ends_with("\r\n\r\n"),
                    "over {transport}: expected the 101 alone: {read:?}"
                );
                let ready = String::from_utf8(wire.text().await).expect("text");
                assert!(ready.contains("\"ready\""), "expected ready: {ready}");
            }
        }
    });
}

#[test]
fn what_a_php_client_sends_with_its_request_is_answered_after_ready() {
    relay_test(async |relay| {
        let mut wire = Wire::dial(relay, Transport::Ws).await;
        let echo = Frame::text(r#"{"opcode":"echo"}"#).bytes();
        wire.write(&[request("/", &[("Client-Type", "php")]).as_bytes(), &echo].concat()).await;
        assert_eq!(wire.response().await.status, 101);
        assert!(wire.text().await.starts_with(b"{\"opcode\":\"ready\""), "expected ready first");
        wire.acked("").await;
        assert_eq!(wire.text().await, br#"{"opcode":"echo"}"#);
    });
}

/// What one read returned, without the frame around it.
fn unframed(transport: Transport, read: &[u8]) -> &[u8] {
    match transport.is_websocket() {
        true => {
            assert_eq!(read.first(), Some(&0x81), "expected one text frame: {read:?}");
            let length = usize::from(*read.get(1).expect("a length"));
            assert_eq!(read.len(), 2 + length, "expected one frame in one read: {read:?}");
            &read[2..]
        }
        false => read,
    }
}

fn is_next(transport: Transport, read: &[u8]) -> bool {
    let json = unframed(transport, read);
    serde_json::from_slice::<Value>(json).is_ok_and(|json| json == next(""))
}

/// A PHP client that has done what comes before its first write: greeting or upgrade, and the read
/// that gets it its `ready`.
async fn php(door: &Door, transport: Transport) -> Wire {
    let mut wire = Wire::dial(door, transport).await;
    if transport.is_websocket() {
        wire.write(request("/", &[("Client-Type", "php")]).as_bytes()).await;
        assert_eq!(wire.response().await.status, 101);
    } else {
        wire.write(b"php process\n\n").await;
    }
    let read = wire.read_at_most(READ_BYTES).await;
    let ready: Value = serde_json::from_slice(unframed(transport, &read)).expect("one JSON");
    assert_eq!(ready["opcode"], "ready", "over {transport}");
    wire
}

fn message(transport: Transport, text: &str) -> Vec<u8> {
    match transport.is_websocket() {
        true => Frame::text(text).bytes(),
        false => text.as_bytes().to_vec(),
    }
}

#[test]
fn one_read_after_each_write_gets_one_ack() {
    relay_test(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let uuid = page.uuid.clone();
        let busy = AtomicBool::new(true);
        let talking = async {
            for transport in ALL {
                let mut wire = php(relay, transport).await;
                for n in 0..100 {
                    let text = format!(r#"{{"opcode":"feedback","uuid":"nobody","n":{n}}}"#);
                    wire.write(&message(transport, &text)).await;
                    let read = wire.read_at_most(READ_BYTES).await;
                    assert!(is_next(transport, &read), "over {transport}, message {n}: {read:?}");
                }
            }
            busy.store(false, Ordering::Relaxed);
        };
        // Meanwhile a page broadcasts without a pause, and takes what it is sent.
        let broadcasting = async {
            while busy.load(Ordering::Relaxed) {
                page.send(r#"{"opcode":"broadcast","message":"not for php"}"#).await;
                page.acked(&uuid).await;
            }
        };
        tokio::join!(talking, broadcasting);
    });
}

#[test]
fn quit_gets_its_ack_in_a_read_of_its_own() {
    relay_test(async |relay| {
        for transport in [Transport::Tcp, Transport::Ssl] {
            for _ in 0..20 {
                let mut wire = php(relay, transport).await;
                wire.write(&message(transport, r#"{"opcode":"quit"}"#)).await;
                let read = wire.read_at_most(READ_BYTES).await;
                assert!(is_next(transport, &read), "over {transport}: {read:?}");
                assert_eq!(wire.read().await, b"", "over {transport}: expected the end");
            }
        }
    });
}

#[test]
fn a_pause_between_pieces_is_not_needed() {
    // The 2019 client sends a piece, reads once, sends the next: nothing but acks in between.
    relay_test(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        for transport in ALL {
            let mut wire = php(relay, transport).await;
            let long = "x".repeat(8192);
            for piece in ["bufferON", r#"{"x":""#, &long, r#""}"#, "bufferOFF"] {
                wire.write(&message(transport, piece)).await;
                let read = wire.read_at_most(READ_BYTES).await;
                assert!(is_next(transport, &read), "over {transport}, {piece:.10}: {read:?}");
            }
            page.hears(&format!(r#"{{"x":"{long}"}}"#)).await;
        }
    });
}

/// A TLS client that sees records one by one, as OpenSSL shows them to PHP: one read, one record.
struct Records {
    tls: rustls::ClientConnection,
    socket: TcpStream,
}

impl Records {
    fn connect(door: &Door) -> Records {
        let name = "localhost".try_into().expect("a name");
        let tls = rustls::ClientConnection::new(door.tls(), name).expect("a client");
        let socket = TcpStream::connect(door.addr).expect("a relay");
        socket.set_read_timeout(Some(DEADLINE)).expect("a socket option");
        let mut records = Records { tls, socket };
        while records.tls.is_handshaking() {
            records.flush();
            if records.tls.is_handshaking() {
                records.take_record();
            }
        }
        records.flush();
        records
    }

    fn flush(&mut self) {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket).expect("a relay that listens");
        }
    }

    /// Reads one record off the socket; what plaintext it holds.
    fn take_record(&mut self) -> Vec<u8> {
        let mut record = vec![0; 5];
        self.socket.read_exact(&mut record).expect("a record in time");
        let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
        record.resize(5 + length, 0);
        self.socket.read_exact(&mut record[5..]).expect("a whole record");
        self.tls.read_tls(&mut record.as_slice()).expect("memory");
        self.tls.process_new_packets().expect("a good record");
        let mut plaintext = Vec::new();
        // An error says that there is nothing more now, which is right.
        let _ = self.tls.reader().read_to_end(&mut plaintext);
        plaintext
    }

    /// The plaintext of the next record that holds any: session tickets come first.
    fn read(&mut self) -> Vec<u8> {
        loop {
            match self.take_record() {
                plaintext if plaintext.is_empty() => {}
                plaintext => return plaintext,
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.tls.writer().write_all(bytes).expect("memory");
        self.flush();
    }
}

/// Two messages in one segment get two acks, and each ack is a record of its own.
fn each_json_is_a_record_of_its_own(version: &'static rustls::SupportedProtocolVersion) {
    let relay = Setup::new().start();
    let door = relay.speaking(&[version]);
    for transport in [Transport::Ssl, Transport::Wss] {
        let mut client = Records::connect(&door);
        if transport.is_websocket() {
            client.write(request("/", &[("Client-Type", "php")]).as_bytes());
            let head = client.read();
            assert!(head.ends_with(b"\r\n\r\n"), "expected the 101 alone: {head:?}");
        } else {
            client.write(b"php process\n\n");
        }
        let ready = client.read();
        let ready: Value = serde_json::from_slice(unframed(transport, &ready)).expect("one JSON");
        assert_eq!(ready["opcode"], "ready");
        let echo = r#"{"opcode":"echo"}"#;
        client.write(&message(transport, echo).repeat(10));
        for n in 0..10 {
            let ack = client.read();
            assert!(is_next(transport, &ack), "{transport}, ack {n}: {ack:?}");
            let echoed = client.read();
            assert_eq!(unframed(transport, &echoed), echo.as_bytes(), "{transport}, echo {n}");
        }
    }
    relay.stop();
}

#[test]
fn each_json_is_a_record_of_its_own_in_tls_1_2() {
    each_json_is_a_record_of_its_own(&rustls::version::TLS12);
}

#[test]
fn each_json_is_a_record_of_its_own_in_tls_1_3() {
    each_json_is_a_record_of_its_own(&rustls::version::TLS13);
}

#[test]
fn the_oldest_client_over_ssl_never_reads() {
    relay_test(async |relay| {
        let mut page = relay.web(Transport::Wss, "/web").await;
        // It greets, writes, quits and closes, all without a read.
        for n in 0..20 {
            let mut client = relay.open(Transport::Ssl, Hello::php(None)).await;
            let text = format!(r#"{{"opcode":"broadcast","n":{n}}}"#);
            client.send(&text).await;
            client.send(r#"{"opcode":"quit"}"#).await;
            drop(client);
            page.hears(&text).await;
        }
        let uuid = page.uuid.clone();
        page.send("x").await;
        in_time("an ack", page.acked(&uuid)).await;
    });
}
