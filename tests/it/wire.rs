//! The wire byte for byte: for clients that break rules, and for tests of what exactly arrives.

use std::collections::VecDeque;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::client::{Door, Heard, Stream, Transport, ready_uuid};
use crate::harness::in_time;

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;

/// A client's frame, right unless it is made wrong.
#[derive(Clone, Debug)]
pub struct Frame {
    first: u8,
    mask: Option<[u8; 4]>,
    payload: Vec<u8>,
}

impl Frame {
    pub fn new(opcode: u8, payload: impl AsRef<[u8]>) -> Frame {
        let mask = Some([0x8f, 0x00, 0x5a, 0xff]);
        Frame { first: 0x80 | opcode, mask, payload: payload.as_ref().to_vec() }
    }

    pub fn text(payload: impl AsRef<[u8]>) -> Frame {
        Frame::new(TEXT, payload)
    }

    pub fn close(code: u16, reason: impl AsRef<[u8]>) -> Frame {
        Frame::new(CLOSE, [&code.to_be_bytes(), reason.as_ref()].concat())
    }

    /// More of this message is to come.
    pub fn unfinished(mut self) -> Frame {
        self.first &= 0x7f;
        self
    }

    pub fn with_bits(mut self, bits: u8) -> Frame {
        self.first |= bits;
        self
    }

    pub fn unmasked(mut self) -> Frame {
        self.mask = None;
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Frame::head(self.first, self.mask.is_some(), self.payload.len() as u64);
        match self.mask {
            None => bytes.extend(&self.payload),
            Some(mask) => {
                bytes.extend(mask);
                bytes.extend(self.payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
            }
        }
        bytes
    }

    /// The first bytes of a frame that announces so many bytes, up to its mask.
    pub fn head(first: u8, masked: bool, length: u64) -> Vec<u8> {
        let mut bytes = vec![first];
        match length {
            0..=125 => bytes.push(length as u8),
            126..=0xffff => {
                bytes.push(126);
                bytes.extend((length as u16).to_be_bytes());
            }
            _ => {
                bytes.push(127);
                bytes.extend(length.to_be_bytes());
            }
        }
        if masked {
            bytes[1] |= 0x80;
        }
        bytes
    }
}

/// A frame of the relay's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFrame {
    pub first: u8,
    /// How many bytes its header takes.
    pub head_bytes: usize,
    pub payload: Vec<u8>,
}

impl ServerFrame {
    /// The frame at the start of the bytes, if it is all there.
    fn parse(bytes: &[u8]) -> Option<ServerFrame> {
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        assert_eq!(second & 0x80, 0, "expected frames of a server to be unmasked");
        let (head_bytes, length) = match second {
            126 => (4, u16::from_be_bytes(bytes.get(2..4)?.try_into().expect("two")) as usize),
            127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().expect("eight")) as usize),
            length => (2, usize::from(length)),
        };
        let payload = bytes.get(head_bytes..head_bytes + length)?.to_vec();
        Some(ServerFrame { first, head_bytes, payload })
    }

    fn bytes(&self) -> usize {
        self.head_bytes + self.payload.len()
    }

    /// The code of a Close frame.
    pub fn close_code(&self) -> Option<u16> {
        let code = self.payload.get(..2)?;
        (self.first == 0x80 | CLOSE).then(|| u16::from_be_bytes(code.try_into().expect("two")))
    }
}

/// An answer of HTTP.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The head as it came.
    pub head: String,
}

impl Response {
    fn parse(head: &[u8]) -> Response {
        let head = std::str::from_utf8(head).expect("a head in ASCII").to_owned();
        assert!(!head.replace("\r\n", "").contains(['\r', '\n']), "expected CRLF only: {head:?}");
        let mut lines = head.split("\r\n");
        let status_line = lines.next().expect("split returns one at least");
        let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("expected a status line: {status_line:?}"));
        let headers = lines.take_while(|line| !line.is_empty()).map(|line| {
            let (name, value) = line.split_once(':').expect("a header");
            (name.to_ascii_lowercase(), value.trim().to_owned())
        });
        Response { status, headers: headers.collect(), head: head.clone() }
    }

    /// The value of a header that must not come twice.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n == name).map(|(_, value)| value);
        let value = values.next();
        assert!(values.next().is_none(), "expected one {name} at most: {}", self.head);
        value.map(String::as_str)
    }
}

/// A client that is a byte stream.
pub struct Wire {
    stream: Stream,
    /// What was read and is not used yet, read by read.
    reads: VecDeque<Vec<u8>>,
}

impl Wire {
    pub fn new(stream: Stream) -> Wire {
        Wire { stream, reads: VecDeque::new() }
    }

    pub async fn dial(door: &Door, transport: Transport) -> Wire {
        Wire::new(door.dial(transport).await)
    }

    /// A web client that has heard its `ready`.
    pub async fn web(door: &Door, transport: Transport, path: &str) -> Wire {
        let mut wire = Wire::dial(door, transport).await;
        wire.upgrade(path).await;
        wire
    }

    /// A web client that took this name, over a connection that holds little before its peer has to
    /// wait.
    pub async fn narrow_web(door: &Door, transport: Transport, name: &str) -> Wire {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(8 * 1024).expect("a socket option");
        let tcp = in_time("a connection", socket.connect(door.addr)).await;
        let tcp = tcp.expect("a relay that accepts");
        let mut wire = Wire::new(door.dial_over(tcp, transport).await.expect("a TLS handshake"));
        wire.upgrade("/").await;
        wire.registers(name).await;
        wire
    }

    /// Registers under a name that is free.
    pub async fn registers(&mut self, name: &str) {
        self.send(Frame::text(json!({ "opcode": "uuid", "message": name }).to_string())).await;
        self.acked("").await;
    }

    /// Upgrades, and hears the `ready`.
    pub async fn upgrade(&mut self, path: &str) {
        self.write(request(path, &[]).as_bytes()).await;
        let response = self.response().await;
        assert_eq!(response.status, 101, "{}", response.head);
        let ready = self.text().await;
        assert!(ready_uuid(&Heard::Text(ready.clone())).is_some(), "expected a ready: {ready:?}");
    }

    pub async fn write(&mut self, bytes: &[u8]) {
        let writing = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        in_time("room to write", writing).await.expect("a relay that listens");
    }

    /// Writes where the relay may have closed meanwhile.
    pub async fn try_write(&mut self, bytes: &[u8]) -> bool {
        let writing = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        in_time("room to write, or an error", writing).await.is_ok()
    }

    pub async fn send(&mut self, frame: Frame) {
        self.write(&frame.bytes()).await;
    }

    /// Ends what this client sends.
    pub async fn finish(&mut self) {
        in_time("room to write", self.stream.shutdown()).await.expect("a relay that listens");
    }

    /// What one read returns; empty at the end of the stream.
    pub async fn read(&mut self) -> Vec<u8> {
        self.read_at_most(64 * 1024).await
    }

    /// What one read into a buffer of this size returns.
    pub async fn read_at_most(&mut self, bytes: usize) -> Vec<u8> {
        match self.reads.pop_front() {
            Some(read) => read,
            None => {
                let mut buffer = vec![0; bytes];
                let count = in_time("something to read", self.stream.read(&mut buffer)).await;
                buffer.truncate(count.expect("a stream that ends with FIN, not with an error"));
                buffer
            }
        }
    }

    /// What one read returns, where it may fail instead.
    pub async fn try_read(&mut self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 64 * 1024];
        let count = in_time("something to read", self.stream.read(&mut buffer)).await.ok()?;
        buffer.truncate(count);
        Some(buffer)
    }

    /// Everything up to the end of the stream.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        loop {
            match self.read().await {
                read if read.is_empty() => return bytes,
                read => bytes.extend(read),
            }
        }
    }

    /// Whether the stream ends, by FIN or by reset, with whatever comes before.
    pub async fn ends(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = in_time("the end of the stream", self.stream.read(&mut buffer)).await;
            if count.is_ok_and(|count| count > 0) {
                continue;
            }
            return true;
        }
    }

    /// The head of an answer.
    pub async fn response(&mut self) -> Response {
        let mut bytes = Vec::new();
        loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let rest = bytes.split_off(at + 4);
                self.put_back(rest);
                return Response::parse(&bytes);
            }
            let read = self.read().await;
            let heard = String::from_utf8_lossy(&bytes);
            assert!(!read.is_empty(), "expected an HTTP answer; the stream ended after {heard:?}");
            bytes.extend(read);
        }
    }

    /// An answer that refuses: well formed, and the last that comes.
    pub async fn refusal(&mut self) -> Response {
        let response = self.response().await;
        let head = &response.head;
        assert!(response.status >= 400, "expected a refusal: {head}");
        assert_eq!(response.header("connection"), Some("close"), "{head}");
        let length = response.header("content-length").and_then(|length| length.parse().ok());
        let body = self.read_to_end().await;
        assert_eq!(length, Some(body.len()), "expected Content-Length to be right: {head}");
        response
    }

    /// The next frame, or `None` at the end of the stream.
    pub async fn frame(&mut self) -> Option<ServerFrame> {
        let mut bytes = Vec::new();
        loop {
            if let Some(frame) = ServerFrame::parse(&bytes) {
                let rest = bytes.split_off(frame.bytes());
                self.put_back(rest);
                return Some(frame);
            }
            let read = self.read().await;
            if read.is_empty() {
                assert!(bytes.is_empty(), "expected no end within a frame: {bytes:?}");
                return None;
            }
            bytes.extend(read);
        }
    }

    /// The payload of the next frame, which is one whole text message.
    pub async fn text(&mut self) -> Vec<u8> {
        let frame = self.frame().await.expect("a text frame, not the end of the stream");
        assert_eq!(frame.first, 0x80 | TEXT, "expected one FIN text frame: {frame:?}");
        frame.payload
    }

    /// The next frame is the ack of a message.
    pub async fn acked(&mut self, uuid: &str) {
        let text = self.text().await;
        let heard: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
        assert_eq!(heard, crate::client::next(uuid), "expected the ack of a message");
    }

    /// What was read is read again.
    pub fn put_back(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.reads.push_front(bytes);
        }
    }
}

/// The key of the example in RFC 6455, and the answer it must get.
pub const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
pub const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A good request for an upgrade, with headers added, replaced, or (with an empty value) left out.
pub fn request(path: &str, changes: &[(&str, &str)]) -> String {
    let good = [
        ("Host", "localhost"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", KEY),
        ("Sec-WebSocket-Version", "13"),
    ];
    let changed = |name: &str| changes.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
    let kept = good.iter().filter(|(name, _)| !changed(name));
    let added = changes.iter().filter(|(_, value)| !value.is_empty());
    let headers: String = kept.chain(added).map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\n{headers}\r\n")
}
