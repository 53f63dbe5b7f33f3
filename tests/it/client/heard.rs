//! What clients hear, and what tests expect them to.

use std::fmt;

use serde_json::{Value, json};

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
    pub(super) fn fits(&self, heard: &Heard) -> bool {
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
