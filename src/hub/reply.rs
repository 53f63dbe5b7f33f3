//! The relay's own messages to clients.

use serde::Serialize;

use super::Payload;

/// `{"opcode":"error",...}`: why something a client asked for did not happen.
#[derive(Serialize)]
pub struct ErrorReply<'a> {
    opcode: &'static str,
    code: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    /// The opcode it is about, or `connect`.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    reference: Option<&'a str>,
    /// The number under which the log has more.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

impl<'a> ErrorReply<'a> {
    pub fn new(code: &'a str) -> ErrorReply<'a> {
        ErrorReply { opcode: "error", code, message: None, reference: None, id: None }
    }

    pub fn message(self, message: Option<&'a str>) -> ErrorReply<'a> {
        ErrorReply { message, ..self }
    }

    pub fn reference(self, reference: Option<&'a str>) -> ErrorReply<'a> {
        ErrorReply { reference, ..self }
    }

    pub fn id(self, id: &'a str) -> ErrorReply<'a> {
        ErrorReply { id: Some(id), ..self }
    }

    pub fn payload(&self) -> Payload {
        // Strings under fixed keys always have a JSON form.
        Payload::from(serde_json::to_string(self).unwrap_or_default())
    }
}
