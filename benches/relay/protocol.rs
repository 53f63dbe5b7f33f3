//! What goes over the wire in the benchmark, made once before anything is measured. Every message
//! of a run has one length, so that clients count bytes where they would have to parse.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// What the senders of a run ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// A web client's message to all receivers.
    Broadcast,
    /// A backend's message to one receiver, another one each time.
    Feedback,
    /// A web client's message to itself.
    Echo,
}

/// The ack of a client that has no name.
pub const ACK: &str = r#"{"opcode":"next","uuid":"","fyi":""}"#;

/// What a raw backend begins with.
pub const GREETING: &[u8] = b"php process\n\n";

const FEEDBACK: &str = r#"{"opcode":"feedback","uuid":""#;

impl Work {
    /// The JSON of one message, `bytes` long.
    pub fn message(self, bytes: usize) -> String {
        let head = match self {
            Work::Broadcast => r#"{"opcode":"broadcast","message":""#.to_owned(),
            Work::Feedback => format!(r#"{FEEDBACK}{}","text":""#, name(0)),
            Work::Echo => r#"{"opcode":"echo","message":""#.to_owned(),
        };
        let padding = bytes.saturating_sub(head.len() + 2);
        format!("{head}{}\"}}", "x".repeat(padding))
    }

    /// What a sender receives for one message of that length.
    pub fn answer_bytes(self, bytes: usize) -> usize {
        match self {
            Work::Broadcast => frame_bytes(ACK.len()),
            Work::Feedback => ACK.len(),
            Work::Echo => frame_bytes(ACK.len()) + frame_bytes(bytes),
        }
    }
}

/// The name of the receiver of that number; all are of one length.
pub fn name(receiver: usize) -> String {
    format!("page-{receiver:06}")
}

/// Where the name stands in a message of [`Work::Feedback`].
pub fn name_range() -> std::ops::Range<usize> {
    FEEDBACK.len()..FEEDBACK.len() + name(0).len()
}

/// The message by which a receiver takes its name.
pub fn claim(receiver: usize) -> String {
    format!(r#"{{"opcode":"uuid","message":"{}"}}"#, name(receiver))
}

/// A WebSocket upgrade. At `/web` the shipped script registers the client for broadcasts.
pub fn upgrade(path: &str) -> String {
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n");
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    write!(
        request,
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    .expect("text");
    request
}

/// The length of a server's frame around that many bytes of text.
pub fn frame_bytes(text: usize) -> usize {
    text + match text {
        0..126 => 2,
        126..65536 => 4,
        _ => 10,
    }
}

/// A server's text frame.
pub fn frame(text: &[u8]) -> Vec<u8> {
    let mut frame = header(text.len(), 0);
    frame.extend_from_slice(text);
    frame
}

/// A client's text frame, masked.
pub fn masked_frame(text: &[u8]) -> Vec<u8> {
    let mask = [0x5a, 0xc3, 0x17, 0x99];
    let mut frame = header(text.len(), 0x80);
    frame.extend_from_slice(&mask);
    frame.extend(text.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

fn header(length: usize, masked: u8) -> Vec<u8> {
    let mut header = vec![0x81];
    match length {
        0..126 => header.push(masked | length as u8),
        126..65536 => {
            header.push(masked | 126);
            header.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            header.push(masked | 127);
            header.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    header
}

/// The length of the text and of the whole frame that these bytes begin with, once its header is
/// there.
pub fn measure(bytes: &[u8]) -> Option<(usize, usize)> {
    let second = *bytes.get(1)?;
    let mask = if second & 0x80 != 0 { 4 } else { 0 };
    let (text, header) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?) as usize, 10),
        length => (usize::from(length), 2),
    };
    Some((text, header + mask + text))
}
