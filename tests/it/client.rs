//! Clients on all four transports. A client reads all the time, as a browser does, so that it
//! answers pings while a test is busy with another client; what it heard waits for the test in order.

mod door;
mod fault;
mod heard;
mod library;

use std::fmt;
use std::io;
use std::panic::Location;
use std::process::ChildStdout;

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};

pub use door::{Door, Hello, Stream, Transport};
pub use heard::{Expected, Heard, next, opcode, ready_uuid};
pub use library::Library;

use crate::harness::{DEADLINE, in_time};

/// A connected client.
pub struct Client {
    pub transport: Transport,
    /// The uuid of its `ready`, once that is heard.
    pub uuid: String,
    speaker: Speaker,
    heard: mpsc::Receiver<Heard>,
    reader: JoinHandle<()>,
    marks: u32,
}

enum Speaker {
    WebSocket(SplitSink<WebSocketStream<Stream>, Message>),
    Raw(WriteHalf<Stream>),
    Library(library::Adapter),
}

impl Client {
    fn websocket(transport: Transport, websocket: WebSocketStream<Stream>) -> Client {
        let (speaker, stream) = websocket.split();
        Client::new(transport, Speaker::WebSocket(speaker), |tell| read_websocket(stream, tell))
    }

    fn raw(transport: Transport, stream: Stream) -> Client {
        let (stream, speaker) = tokio::io::split(stream);
        Client::new(transport, Speaker::Raw(speaker), |tell| read_raw(stream, tell))
    }

    fn through(transport: Transport, adapter: library::Adapter, output: ChildStdout) -> Client {
        let speaker = Speaker::Library(adapter);
        Client::new(transport, speaker, |tell| async move {
            let read = move || library::read_adapter(output, transport.is_websocket(), tell);
            // It cannot fail, and ends with the adapter.
            drop(tokio::task::spawn_blocking(read).await);
        })
    }

    fn new<R>(transport: Transport, speaker: Speaker, read: impl FnOnce(Tell) -> R) -> Client
    where
        R: Future<Output = ()> + Send + 'static,
    {
        let (tell, heard) = mpsc::channel(4096);
        let reader = tokio::spawn(read(tell));
        Client { transport, uuid: String::new(), speaker, heard, reader, marks: 0 }
    }

    // Speaking.

    /// Sends a message.
    pub async fn send(&mut self, text: &str) {
        self.send_together(&[text]).await;
    }

    /// Sends messages in one write. A library makes of them what it does.
    pub async fn send_together(&mut self, texts: &[&str]) {
        match &mut self.speaker {
            Speaker::WebSocket(_) => {}
            Speaker::Raw(_) => return self.send_bytes(texts.concat().as_bytes()).await,
            Speaker::Library(adapter) => return texts.iter().for_each(|text| adapter.send(text)),
        }
        let messages = texts.iter().map(|text| Message::text(*text));
        self.send_frames(messages.collect()).await;
    }

    /// Sends WebSocket frames in one write.
    pub async fn send_frames(&mut self, messages: Vec<Message>) {
        let Speaker::WebSocket(speaker) = &mut self.speaker else { panic!("no WebSocket client") };
        let sending = async {
            for message in messages {
                speaker.feed(message).await?;
            }
            speaker.flush().await
        };
        in_time("room to send", sending).await.expect("a relay that listens");
    }

    /// Sends bytes on a raw socket.
    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        let Speaker::Raw(speaker) = &mut self.speaker else { panic!("no raw client") };
        let sending = async {
            speaker.write_all(bytes).await?;
            speaker.flush().await
        };
        in_time("room to send", sending).await.expect("a relay that listens");
    }

    /// Ends the client's side: a Close frame, or the end of what it sends.
    pub async fn close(&mut self, code: Option<u16>) {
        let sending = async {
            match &mut self.speaker {
                Speaker::WebSocket(speaker) => {
                    let frame =
                        code.map(|code| CloseFrame { code: code.into(), reason: "".into() });
                    speaker.send(Message::Close(frame)).await.map_err(io::Error::other)
                }
                Speaker::Raw(speaker) => speaker.shutdown().await,
                Speaker::Library(adapter) => {
                    adapter.close(code);
                    Ok(())
                }
            }
        };
        in_time("room to send", sending).await.expect("a relay that listens");
    }

    // Hearing.

    /// The next thing it hears.
    pub async fn heard(&mut self) -> Heard {
        match tokio::time::timeout(DEADLINE, self.heard.recv()).await {
            Ok(heard) => heard.unwrap_or(Heard::End),
            Err(_) => Heard::Silence,
        }
    }

    /// The next thing it hears is a message; returns it.
    #[track_caller]
    pub fn hears_text(&mut self) -> impl Future<Output = Vec<u8>> {
        let at = Location::caller();
        async move {
            match self.heard().await {
                Heard::Text(bytes) => bytes,
                heard => self.fail(at, "a message", &heard),
            }
        }
    }

    /// The next thing it hears is this message.
    #[track_caller]
    pub fn hears(&mut self, expected: impl Into<Expected>) -> impl Future<Output = ()> {
        let (at, expected) = (Location::caller(), expected.into());
        async move {
            let heard = self.heard().await;
            if !expected.fits(&heard) {
                self.fail(at, &expected, &heard);
            }
        }
    }

    /// The next thing it hears is its `ready`, in the form that old clients need.
    #[track_caller]
    pub fn hears_ready(&mut self) -> impl Future<Output = ()> {
        let at = Location::caller();
        async move {
            let heard = self.heard().await;
            match ready_uuid(&heard) {
                Some(uuid) => self.uuid = uuid,
                None => self.fail(at, "a ready with an issued uuid, under 256 bytes", &heard),
            }
        }
    }

    /// The next thing it hears is the ack of a message, with this uuid.
    #[track_caller]
    pub fn acked(&mut self, uuid: &str) -> impl Future<Output = ()> {
        self.hears(next(uuid))
    }

    /// The next thing it hears is an error that refers to this opcode; returns its code.
    #[track_caller]
    pub fn hears_error(&mut self, opcode: &str) -> impl Future<Output = String> {
        let (at, opcode) = (Location::caller(), opcode.to_owned());
        async move {
            let heard = self.heard().await;
            let Heard::Text(bytes) = &heard else { self.fail(at, "an error", &heard) };
            let error: Value = serde_json::from_slice(bytes).unwrap_or_default();
            match (&error["opcode"], &error["code"], &error["message"], &error["ref"]) {
                (
                    Value::String(error),
                    Value::String(code),
                    Value::String(_),
                    Value::String(of),
                ) if error == "error" && !code.is_empty() && *of == opcode => code.clone(),
                _ => self.fail(at, format!("an error with ref {opcode:?}"), &heard),
            }
        }
    }

    /// It has not heard anything: an echo that it asks for now is the next thing it hears. The
    /// relay decides messages one after the other, so whatever was taken before this echo and
    /// concerns this client would have come before it.
    #[track_caller]
    pub fn hears_nothing(&mut self) -> impl Future<Output = ()> {
        let at = Location::caller();
        async move {
            self.marks += 1;
            let mark = json!({ "opcode": "echo", "mark": self.marks }).to_string();
            self.send(&mark).await;
            let heard = self.heard().await;
            if opcode(&heard).as_deref() != Some("next") {
                self.fail(at, "nothing but the ack of an echo", &heard);
            }
            let heard = self.heard().await;
            if heard != Heard::Text(mark.clone().into_bytes()) {
                self.fail(at, format!("nothing but the echo {mark}"), &heard);
            }
        }
    }

    /// The relay closes: a Close frame with this code where it is a WebSocket, then the end.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16) -> impl Future<Output = ()> {
        self.expect_close_at(Location::caller(), code)
    }

    async fn expect_close_at(&mut self, at: &Location<'_>, code: u16) {
        if self.transport.is_websocket() {
            let heard = self.heard().await;
            if heard != Heard::Close(Some(code)) {
                self.fail(at, format!("a Close frame with code {code}"), &heard);
            }
        }
        self.expect_end_at(at).await;
    }

    /// The relay refuses or ends a conversation and says why where there is a place for it: in a
    /// Close frame with this code, or in a `close` message to a raw client. Then the end.
    #[track_caller]
    pub fn expect_refusal(&mut self, code: u16) -> impl Future<Output = ()> {
        let at = Location::caller();
        async move {
            if self.transport.is_websocket() {
                return self.expect_close_at(at, code).await;
            }
            let heard = self.heard().await;
            let Heard::Text(bytes) = &heard else { self.fail(at, "a close message", &heard) };
            let close: Value = serde_json::from_slice(bytes).unwrap_or_default();
            let told = close["error"].as_str().is_some_and(|text| !text.is_empty());
            if close["opcode"] != "close" || close["code"] != code || !told {
                self.fail(at, "a close message with an error and this code", &heard);
            }
            self.expect_end_at(at).await;
        }
    }

    /// The next thing it hears is the end of the stream.
    #[track_caller]
    pub fn expect_end(&mut self) -> impl Future<Output = ()> {
        let at = Location::caller();
        self.expect_end_at(at)
    }

    async fn expect_end_at(&mut self, at: &Location<'_>) {
        let heard = self.heard().await;
        if heard != Heard::End {
            self.fail(at, Heard::End, &heard);
        }
    }

    fn fail(&self, at: &Location<'_>, expected: impl fmt::Display, heard: &Heard) -> ! {
        panic!("{at}: over {}: expected {expected}; heard {heard}", self.transport)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

type Tell = mpsc::Sender<Heard>;

async fn read_websocket(mut stream: SplitStream<WebSocketStream<Stream>>, tell: Tell) {
    while let Some(message) = stream.next().await {
        let heard = match message {
            Ok(Message::Text(text)) => Heard::Text(text.as_bytes().to_vec()),
            Ok(Message::Close(frame)) => Heard::Close(frame.map(|frame| frame.code.into())),
            Ok(Message::Ping(_) | Message::Pong(_)) => continue,
            Ok(other) => Heard::Broken(format!("no text frame: {other:?}")),
            Err(tungstenite::Error::ConnectionClosed) => Heard::End,
            Err(error) => Heard::Broken(error.to_string()),
        };
        let over = matches!(heard, Heard::End | Heard::Broken(_));
        if tell.send(heard).await.is_err() || over {
            return;
        }
    }
}

/// Reads bare JSON as a streaming parser sees it. No delimiter is allowed between two values.
async fn read_raw(mut stream: ReadHalf<Stream>, tell: Tell) {
    let mut buffer = Vec::new();
    loop {
        let mut values = serde_json::Deserializer::from_slice(&buffer).into_iter::<IgnoredAny>();
        let (mut heard, mut used) = (Vec::new(), 0);
        while let Some(value) = values.next() {
            match value {
                Ok(_) => {
                    let text = buffer[used..values.byte_offset()].to_vec();
                    used = values.byte_offset();
                    heard.push(match text[0] {
                        b'{' | b'[' => Heard::Text(text),
                        _ => Heard::Broken(format!("no bare JSON: {}", Heard::Text(text))),
                    });
                }
                Err(error) if error.is_eof() => break,
                Err(error) => {
                    let rest = Heard::Text(buffer[used..].to_vec());
                    heard.push(Heard::Broken(format!("no JSON: {error}: {rest}")));
                    break;
                }
            }
        }
        buffer.drain(..used);
        for heard in heard {
            if tell.send(heard).await.is_err() {
                return;
            }
        }
        let end = match stream.read_buf(&mut buffer).await {
            Ok(0) if buffer.is_empty() => Heard::End,
            Ok(0) => Heard::Broken(format!("the end after {}", Heard::Text(buffer.clone()))),
            Ok(_) => continue,
            Err(error) => Heard::Broken(error.to_string()),
        };
        // Whether the test still listens changes nothing.
        return drop(tell.send(end).await);
    }
}
