//! The HTTP answer to a client that is not let in.

/// Why a client is not let in; [`Refusal::response`] tells it. Statuses other than those made here
/// are the caller's to use (408, 429, 503).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}: {text}")]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, in one line without its line feed.
    pub text: &'static str,
    /// The key of relay.toml with which the operator lets such a client in, where there is one.
    pub key: Option<&'static str>,
}

impl Refusal {
    pub const fn new(status: u16, text: &'static str) -> Refusal {
        Refusal { status, text, key: None }
    }

    /// 400: what cannot be understood.
    pub const fn bad_request(text: &'static str) -> Refusal {
        Refusal::new(400, text)
    }

    pub const fn mended_by(self, key: &'static str) -> Refusal {
        Refusal { key: Some(key), ..self }
    }

    /// What a raw client is told, which reads no HTTP: as its close at any other time (1002: not
    /// spoken here; 1008: against the rules here).
    pub fn raw_response(&self) -> Vec<u8> {
        let error = serde_json::Value::from(self.text);
        let code = if self.status == 400 { 1002 } else { 1008 };
        format!(r#"{{"opcode":"close","error":{error},"code":{code}}}"#).into_bytes()
    }

    /// The whole HTTP answer (RFC 9112), after which the connection is to be closed.
    pub fn response(&self) -> Vec<u8> {
        let Refusal { status, text, .. } = self;
        let (phrase, extra) = match status {
            400 => ("Bad Request", ""),
            403 => ("Forbidden", ""),
            404 => ("Not Found", ""),
            405 => ("Method Not Allowed", "Allow: GET\r\n"),
            408 => ("Request Timeout", ""),
            // RFC 9110, section 15.5.22, and RFC 6455, section 4.4.
            426 => ("Upgrade Required", "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
            429 => ("Too Many Requests", ""),
            431 => ("Request Header Fields Too Large", ""),
            // RFC 9110, section 10.2.3.
            503 => ("Service Unavailable", "Retry-After: 10\r\n"),
            _ => ("Refused", ""),
        };
        // The line feed that ends the body counts.
        let length = text.len() + 1;
        format!(
            "HTTP/1.1 {status} {phrase}\r\nConnection: close\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\n{extra}\r\n{text}\n"
        )
        .into_bytes()
    }
}
