//! Sessions of every kind that come and go: pages and backends that behave, and those that do not.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::door::{Door, Stream};

/// Between two sessions of a churner, so that the machine is not what is measured.
const PAUSE: Duration = Duration::from_millis(10);
/// No session takes longer, whatever becomes of it.
const LONGEST: Duration = Duration::from_secs(20);
/// How long one listens that does not read, and one that does not finish its handshake.
const IDLE: Duration = Duration::from_secs(4);

/// What happened how often.
#[derive(Default)]
pub struct Tally(RefCell<BTreeMap<(&'static str, bool), u64>>);

impl Tally {
    fn count(&self, kind: &'static str, went_well: bool) {
        *self.0.borrow_mut().entry((kind, went_well)).or_default() += 1;
    }

    pub fn sessions(&self) -> u64 {
        self.0.borrow().values().sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sessions", self.sessions())?;
        for ((kind, went_well), count) in &*self.0.borrow() {
            let how = if *went_well { "" } else { " cut off" };
            write!(f, ", {count} {kind}{how}")?;
        }
        Ok(())
    }
}

/// Numbers that look like chance, the same ones in each run (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn is(&mut self, one_in: u64) -> bool {
        self.below(one_in) == 0
    }
}

/// One session after the other until it is over.
pub async fn churn(door: Door, seed: u64, tally: Rc<Tally>, over: Rc<Cell<bool>>) {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15 ^ (seed + 1));
    while !over.get() {
        let (kind, session) = match chance.below(20) {
            0..8 => ("pages", timeout(LONGEST, page(&door, &mut chance)).await),
            8..15 => ("backends", timeout(LONGEST, backend(&door, &mut chance)).await),
            15..18 => ("of garbage", timeout(LONGEST, garbage(&door, &mut chance)).await),
            18 => ("slow readers", timeout(LONGEST, slow_reader(&door, &mut chance)).await),
            _ => ("stalled handshakes", timeout(LONGEST, stalled(&door, &mut chance)).await),
        };
        tally.count(kind, matches!(session, Ok(Ok(()))));
        sleep(PAUSE).await;
    }
}

/// Registers, sends to all and to one, takes another name, and goes in one of four ways.
async fn page(door: &Door, chance: &mut Chance) -> io::Result<()> {
    let resets = chance.is(4);
    let path = if chance.is(2) { "/" } else { "/web" };
    let mut page = door.web(path, chance.is(3), resets).await?;
    let mut texts = vec![format!(r#"{{"opcode":"uuid","message":"page-{}"}}"#, chance.below(64))];
    for _ in 0..chance.below(6) {
        let text = "x".repeat(chance.below(2000) as usize);
        texts.push(match chance.below(4) {
            0 => format!(r#"{{"opcode":"any","text":"{text}"}}"#),
            1 => format!(
                r#"{{"opcode":"feedback","uuid":"resident-{}","text":"{text}"}}"#,
                chance.below(64)
            ),
            2 => format!(r#"{{"opcode":"echo","text":"{text}"}}"#),
            _ => "pong".to_owned(),
        });
    }
    texts.push(format!(r#"{{"opcode":"uuid","message":"page-{}"}}"#, chance.below(64)));
    for text in texts {
        say(&mut page, Message::text(text)).await?;
        while !hear(&mut page).await?.starts_with("{\"opcode\":\"next\"") {}
    }
    match chance.below(3) {
        0 => say(&mut page, Message::text(r#"{"opcode":"quit"}"#)).await,
        1 => page.close(None).await.map_err(io::Error::other),
        _ => Ok(()),
    }
}

/// Greets or not, sends JSON in parts and noise, and goes.
async fn backend(door: &Door, chance: &mut Chance) -> io::Result<()> {
    let resets = chance.is(4);
    let mut stream = door.dial(chance.is(3), resets).await?;
    if !chance.is(4) {
        let ident = chance.below(16);
        let greeting = format!("php process\nGET / HTTP/1.1\nIdent: backend-{ident}\n\n");
        stream.write_all(greeting.as_bytes()).await?;
    }
    for _ in 0..1 + chance.below(8) {
        let text = match chance.below(4) {
            0 => r#"{"opcode":"any","from":"backend"}"#.to_owned(),
            1 => format!(r#"{{"opcode":"feedback","uuid":"resident-{}","n":1}}"#, chance.below(64)),
            2 => "some words ".to_owned(),
            _ => format!(r#"{{"opcode":"echo","list":[{}1]}}"#, "1,".repeat(500)),
        };
        let (front, back) = text.as_bytes().split_at(chance.below(text.len() as u64) as usize);
        stream.write_all(front).await?;
        stream.flush().await?;
        stream.write_all(back).await?;
        stream.flush().await?;
        // Its answer, or the half of it.
        if stream.read(&mut [0; 256]).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if chance.is(2) {
        stream.write_all(b"{\"opcode\":\"quit\"}").await?;
        while stream.read(&mut [0; 4096]).await? > 0 {}
    }
    Ok(())
}

/// Bytes that mean nothing, in plain or behind a good beginning.
async fn garbage(door: &Door, chance: &mut Chance) -> io::Result<()> {
    let mut tcp = door.tcp(chance.is(2)).await?;
    let front: &[u8] = match chance.below(5) {
        0 => b"",
        1 => b"GET / HTTP/1.1\r\n",
        2 => b"php process\n\n",
        3 => b"\x16\x03\x01",
        _ => b"{\"opcode\":[",
    };
    let mut bytes = front.to_vec();
    bytes.extend((0..chance.below(3000)).map(|_| chance.below(256) as u8));
    tcp.write_all(&bytes).await?;
    if chance.is(2) {
        tcp.shutdown().await?;
        while tcp.read(&mut [0; 4096]).await? > 0 {}
    }
    Ok(())
}

/// Registers, makes itself a lot of mail, and reads none of it.
async fn slow_reader(door: &Door, chance: &mut Chance) -> io::Result<()> {
    let mut page = door.web("/web", chance.is(2), true).await?;
    let text = format!(r#"{{"opcode":"echo","text":"{}"}}"#, "x".repeat(60_000));
    for _ in 0..30 {
        say(&mut page, Message::text(text.as_str())).await?;
    }
    sleep(IDLE).await;
    Ok(())
}

/// Begins to introduce itself, and does not go on.
async fn stalled(door: &Door, chance: &mut Chance) -> io::Result<()> {
    let mut tcp = door.tcp(false).await?;
    let begun: &[u8] = if chance.is(2) { b"GET /web HT" } else { b"\x16\x03\x01\x02\x00" };
    tcp.write_all(begun).await?;
    // The relay ends it.
    while tcp.read(&mut [0; 256]).await? > 0 {}
    Ok(())
}

async fn say(page: &mut WebSocketStream<Stream>, message: Message) -> io::Result<()> {
    page.send(message).await.map_err(io::Error::other)
}

async fn hear(page: &mut WebSocketStream<Stream>) -> io::Result<String> {
    match page.next().await {
        Some(Ok(Message::Text(text))) => Ok(text.to_string()),
        Some(Ok(_)) => Ok(String::new()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}
