//! Why a client of a relay ends, in words and as an exit code.

use serde_json::Value;
use tokio_tungstenite::tungstenite::http::Response;

use super::RemoteUrl;
use crate::cli::{EXIT_LOST, EXIT_NO_RELAY, EXIT_UNAVAILABLE, EXIT_UNTRUSTED};

/// How much of the body of a refusal is shown.
const BODY_BYTES_MAX: usize = 400;

/// Why a command ends, for a person and, by its code, for a script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Failure {
    pub code: u8,
    text: String,
}

impl Failure {
    pub fn new(code: u8, text: impl Into<String>) -> Failure {
        Failure { code, text: text.into() }
    }
}

/// A close code of WebSocket, which a raw client is told too (0: it was not), with its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    pub code: u16,
    pub text: String,
}

/// What a refusal says in its body, as far as that is words and has come with its head.
pub fn body(response: &Response<Option<Vec<u8>>>) -> String {
    let plain = response.headers().get("content-type").and_then(|it| it.to_str().ok());
    let plain = plain.is_some_and(|it| it.starts_with("text/plain"));
    let body = response.body().as_deref().filter(|_| plain).unwrap_or_default();
    let body = String::from_utf8_lossy(&body[..body.len().min(BODY_BYTES_MAX)]);
    match body.trim() {
        "" => String::new(),
        text => format!(": {}", text.escape_debug()),
    }
}

/// The reason in a `close` message.
pub fn farewell(message: &[u8]) -> Option<Reason> {
    let message: Value = serde_json::from_slice(message).ok()?;
    let text = message["error"].as_str()?.to_owned();
    let code = message["code"].as_u64().and_then(|code| code.try_into().ok()).unwrap_or_default();
    (message["opcode"] == "close").then_some(Reason { code, text })
}

/// What a close means that comes in place of the `ready`.
pub fn turned_away(url: &RemoteUrl, reason: &Reason) -> Failure {
    let (code, refuses) = match reason.code {
        // It is full, stops, or its script has failed: another time it may be otherwise.
        1001 | 1011..=1014 => (EXIT_LOST, "refuses for now"),
        // It is the wrong port of a relay's.
        1002 => (EXIT_NO_RELAY, "refuses"),
        // The script may close with nearly any code.
        _ => (EXIT_UNTRUSTED, "refuses"),
    };
    let why = match &*reason.text {
        "" => format!("close code {}", reason.code),
        text => text.escape_debug().to_string(),
    };
    Failure::new(code, format!("{url} {refuses}: {why}"))
}

/// A relay that is full closes those without a word for whom it has not even that; so does much else.
pub fn silent(url: &RemoteUrl) -> Failure {
    let text = format!("{url} closes without a word: it is no relay, or it is full");
    Failure::new(EXIT_UNAVAILABLE, text)
}

pub fn lost(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(EXIT_LOST, format!("the connection is lost: {error}"))
}

pub fn no_relay(url: &RemoteUrl, why: &str) -> Failure {
    Failure::new(EXIT_NO_RELAY, format!("{url} is no relay: {why}"))
}
