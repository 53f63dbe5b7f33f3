//! Why a connection ends. The connection alone decides it, once; everything said about the end
//! (WebSocket close code, text, metric label, log level) follows from it.

use tracing::Level;

/// The reason a connection ends, decided once by the connection itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The client said `quit`.
    Quit,
    /// The client closed the WebSocket with this code (`None`: a Close frame without one).
    ClosedByPeer(Option<u16>),
    /// The stream ended without a goodbye; for a raw client this is the usual end.
    EndOfStream,
    /// The network or the peer's system broke the connection.
    Broken,
    /// The relay is stopping.
    GoingAway,
    /// The peer broke the WebSocket protocol (RFC 6455, close code 1002).
    Protocol(&'static str),
    /// The peer sent text that is not UTF-8 (close code 1007).
    NotUtf8,
    /// A message is larger than `limits.message_bytes_max` (close code 1009).
    TooBig { bytes_max: usize },
    /// The client does not read: its outbound queue is full, or a write made no progress.
    SlowConsumer,
    /// Too much has come of unfinished messages in all, and most of it from this client.
    NoRoom,
    /// The client answers no pings: its network is gone, or its machine asleep.
    Unresponsive,
    /// A backend said nothing for too long.
    Idle,
    /// A web client neither registered nor said anything for too long.
    Unregistered,
    /// The client claimed names of others too often.
    TooManyClaims,
    /// Of what waits for a turn of its own, which is too much in all, the most is this client's.
    TooMuchWaiting,
    /// There is no place for the client, for this reason (close code 1013).
    Refused(&'static str),
    /// The script closed the connection.
    Script { code: u16, text: String },
    /// The script failed to greet the client (close code 1011).
    HandlerFailed,
    /// A bug in relay, confined to this connection.
    Internal,
}

impl CloseReason {
    /// The WebSocket close code (RFC 6455, section 7.4).
    pub fn code(&self) -> u16 {
        match self {
            CloseReason::Quit | CloseReason::EndOfStream | CloseReason::Broken => 1000,
            CloseReason::ClosedByPeer(code) => code.unwrap_or(1000),
            // A client that is there after all comes back on 1001, and does not on 1008.
            CloseReason::GoingAway | CloseReason::Unresponsive | CloseReason::Idle => 1001,
            CloseReason::Protocol(_) => 1002,
            CloseReason::NotUtf8 => 1007,
            CloseReason::SlowConsumer
            | CloseReason::TooManyClaims
            | CloseReason::TooMuchWaiting
            | CloseReason::Unregistered => 1008,
            CloseReason::TooBig { .. } => 1009,
            CloseReason::HandlerFailed | CloseReason::Internal => 1011,
            // Try again later, in the registry of close codes: it is the relay that has no room. (A
            // page's script is never told the HTTP status of a refused upgrade.)
            CloseReason::Refused(_) | CloseReason::NoRoom => 1013,
            CloseReason::Script { code, .. } => *code,
        }
    }

    /// What the peer reads: the text of the Close frame, and the `error` of a raw client's `close`.
    /// Empty where there is nothing to explain.
    pub fn text(&self) -> String {
        match self {
            CloseReason::Quit
            | CloseReason::ClosedByPeer(_)
            | CloseReason::EndOfStream
            | CloseReason::Broken => String::new(),
            CloseReason::GoingAway => "the relay is stopping".to_owned(),
            CloseReason::Protocol(what) | CloseReason::Refused(what) => (*what).to_owned(),
            CloseReason::NotUtf8 => "text that is not UTF-8".to_owned(),
            CloseReason::TooBig { bytes_max } => format!("message over {bytes_max} bytes"),
            CloseReason::SlowConsumer => "slow consumer".to_owned(),
            CloseReason::NoRoom => {
                "no room for unfinished messages (limits.unfinished_bytes_max)".to_owned()
            }
            CloseReason::TooManyClaims => "too many claims of names in use".to_owned(),
            CloseReason::TooMuchWaiting => {
                "too much of it waits for limits.broadcasts_per_second_max".to_owned()
            }
            CloseReason::Unresponsive => "no answer to pings".to_owned(),
            CloseReason::Idle => "idle for too long".to_owned(),
            CloseReason::Unregistered => "not registered in time".to_owned(),
            CloseReason::Script { text, .. } => text.clone(),
            CloseReason::HandlerFailed => "handler failed".to_owned(),
            CloseReason::Internal => "internal error".to_owned(),
        }
    }

    /// The name of this end in logs, metrics and `on.disconnect`.
    pub fn label(&self) -> &'static str {
        match self {
            CloseReason::Quit => "quit",
            CloseReason::ClosedByPeer(_) => "closed_by_peer",
            CloseReason::EndOfStream => "end_of_stream",
            CloseReason::Broken => "broken",
            CloseReason::GoingAway => "going_away",
            CloseReason::Protocol(_) => "protocol_error",
            CloseReason::NotUtf8 => "not_utf8",
            CloseReason::TooBig { .. } => "too_big",
            CloseReason::SlowConsumer => "slow_consumer",
            CloseReason::NoRoom => "no_room",
            CloseReason::TooManyClaims => "too_many_claims",
            CloseReason::TooMuchWaiting => "too_much_waiting",
            CloseReason::Unresponsive => "unresponsive",
            CloseReason::Idle => "idle",
            CloseReason::Unregistered => "unregistered",
            CloseReason::Refused(_) => "refused",
            CloseReason::Script { .. } => "script",
            CloseReason::HandlerFailed => "handler_failed",
            CloseReason::Internal => "internal_error",
        }
    }

    /// How loud its log line is: what the peer did is for those who look closely, what the operator
    /// can mend is a warning. Of a bug in relay its panic has told.
    pub fn level(&self) -> Level {
        match self {
            CloseReason::SlowConsumer | CloseReason::HandlerFailed => Level::WARN,
            _ => Level::DEBUG,
        }
    }
}
