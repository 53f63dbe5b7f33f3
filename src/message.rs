//! A parsed frame: the sender's bytes and the few fields of them that address a message. Everything
//! else in a message is the script's business and is not looked at here.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::config::Limits;

/// One message as its sender wrote it. The default stands where one is lent to somebody.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The sender's bytes, in UTF-8.
    pub raw: Bytes,
    /// Whether they are JSON. Other text (words, broken JSON) addresses nobody.
    pub is_json: bool,
    /// `opcode`, where it is a string.
    pub opcode: Option<Text>,
    /// `uuid`, where it is a string that is not empty.
    pub uuid: Option<Text>,
    /// `ident`, where it is a string that is not empty.
    pub ident: Option<Text>,
}

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMessage {
    /// Not UTF-8.
    NotText,
    /// Nested deeper than `limits.json_depth_max`.
    TooDeep,
    /// The opcode is longer than `limits.opcode_bytes_max`.
    OpcodeTooLong,
}

/// The limits a message is parsed under.
#[derive(Clone, Copy, Debug)]
pub struct MessageLimits {
    pub depth_max: usize,
    pub opcode_bytes_max: usize,
}

impl From<&Limits> for MessageLimits {
    fn from(limits: &Limits) -> MessageLimits {
        let (depth_max, opcode_bytes_max) = (limits.json_depth_max, limits.opcode_bytes_max);
        MessageLimits { depth_max, opcode_bytes_max }
    }
}

impl Message {
    /// Reads the addressing fields. Where a field occurs twice, the last one counts, as it does for
    /// PHP and JavaScript. JSON that is no object is a message without an opcode.
    pub fn parse(raw: Bytes, limits: MessageLimits) -> Result<Message, NoMessage> {
        // serde_json skips values without a depth limit, iteratively; so depth is counted here first.
        if depth_exceeds(&raw, limits.depth_max) {
            return Err(NoMessage::TooDeep);
        }
        let text = std::str::from_utf8(&raw).map_err(|_| NoMessage::NotText)?;
        let Ok(head) = Head::read(text) else {
            return Ok(Message { raw, is_json: false, opcode: None, uuid: None, ident: None });
        };
        let opcode = head.opcode.map(|field| Text::new(&raw, field));
        if opcode.as_ref().is_some_and(|o| o.as_str().len() > limits.opcode_bytes_max) {
            return Err(NoMessage::OpcodeTooLong);
        }
        let address = |field: Option<Cow<'_, str>>| {
            field.filter(|f| !f.is_empty()).map(|field| Text::new(&raw, field))
        };
        let (uuid, ident) = (address(head.uuid), address(head.ident));
        Ok(Message { is_json: true, opcode, uuid, ident, raw })
    }
}

/// A string field of a message; shares the message's bytes unless it was written with escapes.
#[derive(Clone, PartialEq, Eq)]
pub struct Text(Bytes);

impl Text {
    fn new(raw: &Bytes, field: Cow<'_, str>) -> Text {
        match field {
            Cow::Borrowed(part) => Text(raw.slice_ref(part.as_bytes())),
            Cow::Owned(text) => Text(Bytes::from(text)),
        }
    }

    pub fn as_str(&self) -> &str {
        // Both ways to make one start from a str.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

fn depth_exceeds(json: &[u8], max: usize) -> bool {
    if json.len() <= max {
        return false;
    }
    let (mut depth, mut at) = (0usize, 0);
    while let Some(&byte) = json.get(at) {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                if depth > max {
                    return true;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => match string_end(&json[at + 1..]) {
                Some(length) => at += length,
                None => return false,
            },
            _ => {}
        }
        at += 1;
    }
    false
}

/// How many bytes a string takes after its opening quote, the closing one included.
fn string_end(rest: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let found = at + memchr::memchr2(b'"', b'\\', rest.get(at..)?)?;
        if rest[found] == b'"' {
            return Some(found + 1);
        }
        at = found + 2;
    }
}

#[derive(Default)]
struct Head<'a> {
    opcode: Option<Cow<'a, str>>,
    uuid: Option<Cow<'a, str>>,
    ident: Option<Cow<'a, str>>,
}

impl<'a> Head<'a> {
    fn read(json: &'a str) -> serde_json::Result<Head<'a>> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let head = if json.trim_ascii_start().starts_with('{') {
            reader.deserialize_map(HeadVisitor)?
        } else {
            IgnoredAny::deserialize(&mut reader)?;
            Head::default()
        };
        reader.end()?;
        Ok(head)
    }
}

struct HeadVisitor;

impl<'de> Visitor<'de> for HeadVisitor {
    type Value = Head<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Head<'de>, A::Error> {
        let mut head = Head::default();
        while let Some(Borrowed(key)) = map.next_key()? {
            let field = match &*key {
                "opcode" => &mut head.opcode,
                "uuid" => &mut head.uuid,
                "ident" => &mut head.ident,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            // The raw text first: a value of another type counts as absent, not as an error.
            let value: &RawValue = map.next_value()?;
            *field = serde_json::from_str(value.get()).ok().map(|Borrowed(text)| text);
        }
        Ok(head)
    }
}

/// A JSON string; borrowed unless it was written with escapes.
#[derive(Deserialize)]
struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: MessageLimits = MessageLimits { depth_max: 127, opcode_bytes_max: 128 };

    fn parse(json: &str) -> Result<Message, NoMessage> {
        Message::parse(Bytes::copy_from_slice(json.as_bytes()), LIMITS)
    }

    #[test]
    fn reads_only_the_addressing_fields() {
        #[rustfmt::skip]
        let cases = [
            (r#"{"opcode":"feedback","uuid":"u-1","x":{"opcode":"no"}}"#, Some("feedback"), Some("u-1"), None),
            (r#"{"opcode":"a","opcode":"b","ident":"billing"}"#, Some("b"), None, Some("billing")),
            (r#" {"\u006fpcode":"\u00fc\n"} "#, Some("ü\n"), None, None),
            (r#"{"opcode":7,"uuid":["u"],"ident":""}"#, None, None, None),
            (r#"{"opcode":"a","opcode":null}"#, None, None, None),
            (r#"{"opcode":""}"#, Some(""), None, None),
            ("[1,2]", None, None, None),
            ("\"opcode\"", None, None, None),
            ("1.0e5", None, None, None),
        ];
        for (json, opcode, uuid, ident) in cases {
            let message = parse(json).unwrap_or_else(|why| panic!("{json}: {why:?}"));
            assert_eq!(message.opcode.as_ref().map(Text::as_str), opcode, "{json}");
            assert_eq!(message.uuid.as_ref().map(Text::as_str), uuid, "{json}");
            assert_eq!(message.ident.as_ref().map(Text::as_str), ident, "{json}");
            assert!(message.is_json, "{json}");
            assert_eq!(message.raw, json.as_bytes());
        }
    }

    #[test]
    fn what_is_no_json_is_told_apart() {
        for junk in ["", "pong", "{", "{\"a\":}", "{} {}", "{'a':1}", "[1,]", "nul", "{\"a\":1"] {
            let message = parse(junk).unwrap_or_else(|why| panic!("{junk}: {why:?}"));
            assert!(!message.is_json, "{junk}");
            assert_eq!(message.raw, junk.as_bytes());
        }
        let latin1 = Bytes::from_static(b"{\"a\":\"\xfc\"}");
        assert_eq!(Message::parse(latin1, LIMITS).err(), Some(NoMessage::NotText));
        let long = format!(r#"{{"opcode":"{}"}}"#, "o".repeat(129));
        assert_eq!(parse(&long).err(), Some(NoMessage::OpcodeTooLong));
    }

    #[test]
    fn depth_is_limited_and_brackets_in_strings_do_not_count() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(127)).is_ok());
        assert_eq!(parse(&nested(128)).err(), Some(NoMessage::TooDeep));
        assert_eq!(parse(&nested(100_000)).err(), Some(NoMessage::TooDeep));
        let quoted = format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(200), "[".repeat(200));
        assert!(parse(&quoted).is_ok());
    }
}
