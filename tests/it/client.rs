//! Clients on all four transports. A client reads all the time, as a browser does, so that it
//! answers pings while a test is busy with another client; what it heard waits for the test in order.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{self, Message};

use crate::harness::{DEADLINE, in_time};

/// How a client reaches the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Ws,
    Wss,
    Tcp,
    Ssl,
}

impl Transport {
    pub fn is_tls(self) -> bool {
        matches!(self, Transport::Wss | Transport::Ssl)
    }

    pub fn is_websocket(self) -> bool {
        matches!(self, Transport::Ws | Transport::Wss)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Ws => "ws",
            Transport::Wss => "wss",
            Transport::Tcp => "tcp",
            Transport::Ssl => "ssl",
        })
    }
}

/// A byte stream, plain or TLS.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

pub type Stream = Box<dyn ByteStream>;

/// How a client introduces itself.
#[derive(Clone, Debug)]
pub struct Hello {
    kind: Kind,
    path: Option<String>,
    headers: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Web,
    Php,
    /// A raw backend that does not greet: its first message opens the conversation.
    Bare,
}

impl Hello {
    pub fn web(path: &str) -> Hello {
        Hello { kind: Kind::Web, path: Some(path.to_owned()), headers: Vec::new() }
    }

    /// A raw greeting, or a WebSocket with `Client-Type: php`.
    pub fn php(path: Option<&str>) -> Hello {
        Hello { kind: Kind::Php, path: path.map(str::to_owned), headers: Vec::new() }
    }

    pub fn bare() -> Hello {
        Hello { kind: Kind::Bare, path: None, headers: Vec::new() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Hello {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What the client says first on a raw socket.
    fn greeting(&self) -> String {
        assert!(self.headers.is_empty(), "a raw greeting has no headers");
        match (self.kind, &self.path) {
            (Kind::Web, _) => panic!("a web client on a raw socket"),
            (Kind::Php, None) => "php process\n\n".to_owned(),
            (Kind::Php, Some(path)) => format!("php process\nGET {path} HTTP/1.1\n\n"),
            (Kind::Bare, _) => String::new(),
        }
    }
}

/// Where a relay is, and how clients reach it.
#[derive(Clone)]
pub struct Door {
    pub addr: SocketAddr,
    tls: Option<Arc<rustls::ClientConfig>>,
    dribbles: bool,
}

impl Door {
    pub fn new(addr: SocketAddr, tls: Option<Arc<rustls::ClientConfig>>) -> Door {
        Door { addr, tls, dribbles: false }
    }

    /// The same door for clients that write one byte at a time, TLS records included.
    pub fn dribbling(&self) -> Door {
        Door { dribbles: true, ..self.clone() }
    }

    /// The same door for clients with another idea of TLS.
    pub fn with_tls(&self, tls: Arc<rustls::ClientConfig>) -> Door {
        Door { tls: Some(tls), ..self.clone() }
    }

    pub fn tls(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(self.tls.as_ref().expect("a relay with TLS"))
    }

    pub async fn dial_tcp(&self) -> TcpStream {
        let tcp = in_time("a TCP connection", TcpStream::connect(self.addr)).await;
        let tcp = tcp.expect("a relay that accepts");
        tcp.set_nodelay(true).expect("a TCP option");
        tcp
    }

    pub async fn dial(&self, transport: Transport) -> Stream {
        self.dial_over(self.dial_tcp().await, transport).await.expect("a TLS handshake")
    }

    /// Makes the transport out of a TCP connection.
    pub async fn dial_over(&self, tcp: TcpStream, transport: Transport) -> io::Result<Stream> {
        let bytes: Stream = match self.dribbles {
            true => Box::new(Dribble(tcp)),
            false => Box::new(tcp),
        };
        if !transport.is_tls() {
            return Ok(bytes);
        }
        let name = "localhost".try_into().expect("a name");
        let connecting = TlsConnector::from(self.tls()).connect(name, bytes);
        Ok(Box::new(in_time("a TLS handshake", connecting).await?))
    }

    /// Connects, and leaves `ready` to be heard.
    pub async fn open(&self, transport: Transport, hello: Hello) -> Client {
        self.open_over(self.dial_tcp().await, transport, hello).await
    }

    /// As [`Door::open`] over a TCP connection with options of its own.
    pub async fn open_over(&self, tcp: TcpStream, transport: Transport, hello: Hello) -> Client {
        let stream = self.dial_over(tcp, transport).await.expect("a TLS handshake");
        if transport.is_websocket() {
            let upgrade = upgrade(stream, &hello);
            let websocket = in_time("an upgrade", upgrade).await.expect("an upgrade");
            return Client::websocket(transport, websocket);
        }
        let mut client = Client::raw(transport, stream);
        client.send_bytes(hello.greeting().as_bytes()).await;
        client
    }

    /// A web client that has heard its `ready`.
    pub async fn web(&self, transport: Transport, path: &str) -> Client {
        let mut client = self.open(transport, Hello::web(path)).await;
        client.hears_ready().await;
        client
    }

    /// A web client that is registered under a name of its choice.
    pub async fn web_named(&self, transport: Transport, name: &str) -> Client {
        let mut client = self.web(transport, "/").await;
        client.send(&json!({ "opcode": "uuid", "message": name }).to_string()).await;
        client.acked("").await;
        client
    }

    /// A backend that has heard its `ready`.
    pub async fn backend(&self, transport: Transport) -> Client {
        let mut client = self.open(transport, Hello::php(None)).await;
        client.hears_ready().await;
        client
    }

    /// A web client at `/`, or a backend, as the transport has it; with its `ready` heard.
    pub async fn client(&self, transport: Transport) -> Client {
        match transport.is_websocket() {
            true => self.web(transport, "/").await,
            false => self.backend(transport).await,
        }
    }
}

async fn upgrade(stream: Stream, hello: &Hello) -> tungstenite::Result<WebSocketStream<Stream>> {
    let path = hello.path.as_deref().unwrap_or("/");
    let uri = format!("ws://localhost{path}").parse().expect("a path that makes a URI");
    let mut request = ClientRequestBuilder::new(uri);
    if hello.kind == Kind::Php {
        request = request.with_header("Client-Type", "php");
    }
    for (name, value) in &hello.headers {
        request = request.with_header(name, value);
    }
    let (websocket, _) = tokio_tungstenite::client_async(request, stream).await?;
    Ok(websocket)
}

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
}

/// What a client hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message: a text frame, or a JSON value on a raw socket.
    Text(Vec<u8>),
    /// A Close frame with its code.
    Close(Option<u16>),
    /// The end of the stream, as it should be: FIN, behind close_notify where it is TLS.
    End,
    /// What no relay should ever do.
    Broken(String),
    /// Nothing, within the deadline.
    Silence,
}

impl fmt::Display for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Heard::Text(bytes) => {
                let cut = &bytes[..bytes.len().min(400)];
                write!(f, "{} ({} bytes)", String::from_utf8_lossy(cut), bytes.len())
            }
            Heard::Close(code) => write!(f, "a Close frame with code {code:?}"),
            Heard::End => f.write_str("the end of the stream"),
            Heard::Broken(how) => write!(f, "something broken: {how}"),
            Heard::Silence => f.write_str("nothing within the deadline"),
        }
    }
}

/// What a test expects to hear: JSON, compared as such, or bytes.
#[derive(Clone, Debug)]
pub enum Expected {
    Json(Value),
    Bytes(Vec<u8>),
}

impl From<Value> for Expected {
    fn from(value: Value) -> Expected {
        Expected::Json(value)
    }
}

impl From<&str> for Expected {
    fn from(text: &str) -> Expected {
        Expected::Bytes(text.into())
    }
}

impl From<&String> for Expected {
    fn from(text: &String) -> Expected {
        Expected::Bytes(text.as_str().into())
    }
}

impl Expected {
    fn fits(&self, heard: &Heard) -> bool {
        match (self, heard) {
            (Expected::Json(value), Heard::Text(bytes)) => {
                serde_json::from_slice::<Value>(bytes).is_ok_and(|heard| heard == *value)
            }
            (Expected::Bytes(expected), Heard::Text(bytes)) => expected == bytes,
            _ => false,
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Json(value) => write!(f, "{value}"),
            Expected::Bytes(bytes) => Heard::Text(bytes.clone()).fmt(f),
        }
    }
}

/// The ack of a message.
pub fn next(uuid: &str) -> Value {
    json!({ "opcode": "next", "uuid": uuid, "fyi": "" })
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

    /// Sends messages in one write.
    pub async fn send_together(&mut self, texts: &[&str]) {
        if let Speaker::Raw(_) = self.speaker {
            return self.send_bytes(texts.concat().as_bytes()).await;
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
            if close["opcode"] != "close" || close["error"].as_str().is_none_or(str::is_empty) {
                self.fail(at, "a close message with an error", &heard);
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

/// The opcode of a message.
pub fn opcode(heard: &Heard) -> Option<String> {
    let Heard::Text(bytes) = heard else { return None };
    let message: Value = serde_json::from_slice(bytes).ok()?;
    message["opcode"].as_str().map(str::to_owned)
}

/// The uuid that a `ready` issues, if it is a `ready` as it should be.
pub fn ready_uuid(heard: &Heard) -> Option<String> {
    let Heard::Text(bytes) = heard else { return None };
    let message: Value = serde_json::from_slice(bytes).ok()?;
    let uuid = message["uuid"].as_str()?;
    let right = json!({ "opcode": "ready", "os": "Linux", "uuid": uuid });
    (bytes.len() < 256 && message == right && is_issued(uuid)).then(|| uuid.to_owned())
}

/// A version 4 uuid, a dot, and a MAC in hex.
fn is_issued(text: &str) -> bool {
    let Some((uuid, mac)) = text.split_once('.') else { return false };
    let groups: Vec<usize> = uuid.split('-').map(str::len).collect();
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    groups == [8, 4, 4, 4, 12]
        && hex(&uuid.replace('-', ""))
        && uuid.as_bytes()[14] == b'4'
        && matches!(uuid.as_bytes()[19], b'8' | b'9' | b'a' | b'b')
        && mac.len() >= 16
        && hex(mac)
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

/// Writes one byte at a time.
struct Dribble(TcpStream);

impl AsyncWrite for Dribble {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let one = bytes.len().min(1);
        Pin::new(&mut self.0).poll_write(cx, &bytes[..one])
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl AsyncRead for Dribble {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}
