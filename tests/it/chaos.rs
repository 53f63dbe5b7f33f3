//! Chaos at the socket: a network that carries one byte at a time, and one that breaks after any byte
//! of a session. Neither harms anybody else, nor leaves anything behind.

use std::io;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Client, Door, Heard, Hello, Stream, Transport};
use crate::harness::{TestCertificate, eventually, in_time, relay_test, runtime};
use crate::process::Process;
use crate::wire::{CONTINUATION, Frame, PING, request};

over_each_transport! {
    /// A whole session, of which the network carries a byte per millisecond at most.
    async fn a_session_byte_by_byte(relay, transport) {
        let slow = relay.dribbling_slowly(Duration::from_millis(1));
        let mut witness = relay.web_named(Transport::Ws, "witness").await;
        let mut client = slow.client(transport).await;
        client.send("{\"opcode\":\"any\",\"text\":\"\u{fc}\u{1f600}\"}").await;
        client.acked("").await;
        witness.hears("{\"opcode\":\"any\",\"text\":\"\u{fc}\u{1f600}\"}").await;
        client.send_together(&[r#"{"opcode":"echo"}"#, r#"{"opcode":"echo","n":2}"#]).await;
        for echo in [r#"{"opcode":"echo"}"#, r#"{"opcode":"echo","n":2}"#] {
            client.acked("").await;
            client.hears(echo).await;
        }
        client.send(r#"{"opcode":"quit"}"#).await;
        client.acked("").await;
        client.expect_close(1000).await;
        witness.hears_nothing().await;
    }
}

/// What it reads comes byte by byte as well, while others broadcast.
#[test]
fn a_slow_reader_hears_all_of_it() {
    relay_test(async |relay| {
        let slow = relay.dribbling();
        let mut reader = slow.web_named(Transport::Wss, "reader").await;
        let mut sender = relay.backend(Transport::Tcp).await;
        let texts = (0..50).map(|n| json!({ "opcode": "n", "n": n, "x": "x".repeat(500) }));
        let texts: Vec<String> = texts.map(|text| text.to_string()).collect();
        for text in &texts {
            sender.send(text).await;
            sender.acked("").await;
        }
        for text in &texts {
            reader.hears(text.as_str()).await;
        }
    });
}

/// A reset at every byte of a session, for one transport after the other.
mod reset_at_every_byte {
    use super::*;

    #[test]
    fn ws() {
        reset_at_every_byte(Transport::Ws);
    }

    #[test]
    fn wss() {
        reset_at_every_byte(Transport::Wss);
    }

    #[test]
    fn tcp() {
        reset_at_every_byte(Transport::Tcp);
    }

    #[test]
    fn ssl() {
        reset_at_every_byte(Transport::Ssl);
    }
}

/// Nothing leaks (descriptors, names), a witness hears exactly what was sent whole, and the relay
/// serves on. In a process of its own, whose descriptors are nobody else's.
fn reset_at_every_byte(transport: Transport) {
    let certificate = TestCertificate::new();
    let flags = [
        format!("tls.certificate={:?}", certificate.certificate_file()),
        format!("tls.key={:?}", certificate.key_file()),
        "log.level=\"warn\"".to_owned(),
    ];
    let flags: Vec<&str> = flags.iter().flat_map(|flag| ["--set", flag]).collect();
    let flags = [&["--listen", "any://127.0.0.1:0"], &flags[..]].concat();
    let mut process = Process::relay(&flags);
    let addr = process.listening(1)[0].1;
    let door = Door::new(addr, Some(certificate.trusting(rustls::ALL_VERSIONS)));
    runtime().block_on(async {
        let mut witness = door.web_named(Transport::Ws, "witness").await;
        let mut sent = Vec::new();
        // The first of a kind may open what stays open.
        converse(&door, transport, "first", &mut sent).await.expect("a network that holds");
        let count = async || process.descriptors();
        let mut base = count().await;
        eventually("the first session's end", async || {
            let before = std::mem::replace(&mut base, count().await);
            tokio::time::sleep(Duration::from_millis(50)).await;
            before == base
        })
        .await;

        let mut cuts = 0;
        while {
            let door = door.breaking_after(cuts);
            converse(&door, transport, &format!("name-{cuts}"), &mut sent).await.is_err()
        } {
            cuts += 1;
        }
        assert!(cuts > 200, "expected a session of more than {cuts} bytes");
        eventually("all descriptors back", async || count().await <= base).await;
        heard_exactly(&mut witness, sent).await;
        if transport.is_websocket() {
            all_free(&door, cuts).await;
        }
        let log = process.log();
        assert!(!log.contains("ERROR") && !log.contains("panic"), "{log}");
    });
}

/// One session, up to its end or to where the network breaks. What it sent whole and for all, and what
/// for the witness alone, is added to `sent`.
async fn converse(
    door: &Door,
    transport: Transport,
    name: &str,
    sent: &mut Vec<String>,
) -> io::Result<()> {
    let stream = door.dial_over(door.dial_tcp().await, transport).await?;
    let mut speaker = Speaker { stream, transport, heard: Vec::new() };
    let opening = match transport.is_websocket() {
        true => request("/", &[]),
        false => "php process\nGET / HTTP/1.1\nIdent: chaos\n\n".to_owned(),
    };
    speaker.say(opening.as_bytes()).await?;
    speaker.hear("\"ready\"", 1).await?;
    speaker.send(&json!({ "opcode": "uuid", "message": name }).to_string()).await?;
    speaker.hear("\"next\"", 1).await?;
    let all = json!({ "opcode": "any", "from": name }).to_string();
    speaker.send(&all).await?;
    sent.push(all);
    speaker.hear("\"next\"", 2).await?;
    if transport.is_websocket() {
        let frames = [
            Frame::text("{\"opcode\":\"echo\",").unfinished(),
            Frame::new(PING, "are you there?"),
            Frame::new(CONTINUATION, "\"n\":1}"),
        ];
        for frame in frames {
            speaker.say(&frame.bytes()).await?;
        }
        speaker.hear("are you there?", 1).await?;
    } else {
        speaker.say(b"pong {\"opcode\":\"echo\",\"n\":1}").await?;
    }
    speaker.hear("\"n\":1}", 1).await?;
    let one = json!({ "opcode": "feedback", "uuid": "witness", "from": name }).to_string();
    speaker.send(&one).await?;
    sent.push(one);
    speaker.send("{\"opcode\":\"quit\"}").await?;
    speaker.end().await
}

/// A client by the byte, for which a broken network is no surprise.
struct Speaker {
    stream: Stream,
    transport: Transport,
    heard: Vec<u8>,
}

impl Speaker {
    async fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        let writing = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        in_time("room to write", writing).await
    }

    async fn send(&mut self, text: &str) -> io::Result<()> {
        match self.transport.is_websocket() {
            true => self.say(&Frame::text(text).bytes()).await,
            false => self.say(text.as_bytes()).await,
        }
    }

    /// Reads until it has heard these words so many times.
    async fn hear(&mut self, words: &str, times: usize) -> io::Result<()> {
        let count = |heard: &[u8]| {
            heard.windows(words.len()).filter(|window| *window == words.as_bytes()).count()
        };
        while count(&self.heard) < times {
            if in_time(words, self.stream.read_buf(&mut self.heard)).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    async fn end(&mut self) -> io::Result<()> {
        while in_time("the end", self.stream.read_buf(&mut self.heard)).await? > 0 {}
        Ok(())
    }
}

/// The witness has heard all of it once, in whatever order, and nothing else.
async fn heard_exactly(witness: &mut Client, mut sent: Vec<String>) {
    let mut heard = Vec::new();
    for _ in &sent {
        match witness.heard().await {
            Heard::Text(text) => heard.push(String::from_utf8(text).expect("UTF-8")),
            other => panic!("expected {} messages; heard {} and {other}", sent.len(), heard.len()),
        }
    }
    witness.hears_nothing().await;
    heard.sort();
    sent.sort();
    assert_eq!(heard, sent);
}

/// Nobody holds a name of the broken sessions.
async fn all_free(door: &Door, cuts: usize) {
    let mut heir = door.open(Transport::Ws, Hello::web("/")).await;
    heir.hears_ready().await;
    let mut uuid = String::new();
    for cut in 0..=cuts {
        let name = format!("name-{cut}");
        heir.send(&json!({ "opcode": "uuid", "message": name }).to_string()).await;
        heir.acked(&uuid).await;
        uuid = name;
    }
    heir.hears_nothing().await;
}
