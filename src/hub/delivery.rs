//! What the hub hands to the workers.

use std::sync::Arc;

use bytes::Bytes;

use super::rooms::Members;
use crate::close::CloseReason;
use crate::session::SessionId;

/// The text of a message, shared by all its receivers. Always UTF-8.
#[derive(Clone, Debug)]
pub struct Payload(Bytes);

impl Payload {
    /// The bytes of a message as its sender wrote them, which its parser found to be UTF-8.
    pub fn forwarded(raw: Bytes) -> Payload {
        Payload(raw)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<String> for Payload {
    fn from(text: String) -> Payload {
        Payload(Bytes::from(text))
    }
}

/// One thing for a worker to do. A worker does them in the order given; that order is the one
/// common order of all receivers.
#[derive(Debug)]
pub enum Delivery {
    /// A message of this session is decided: its room in the script's queue is free again, and
    /// its sender is told with a `next`, unless it is being closed.
    Decided { to: SessionId, bytes: usize, ack: bool },
    /// A message of so many bytes waits for a turn of its own, and its room in the script's queue is
    /// free meanwhile; or no longer.
    Aside { bytes: usize, aside: bool },
    /// The `next` that was held back when its message was decided.
    Ack { to: SessionId },
    /// One message for one client.
    Send { to: SessionId, text: Payload },
    /// One message for every registered web client of the worker.
    Broadcast { text: Payload, except: Option<SessionId> },
    /// One message for these web clients of the worker.
    Room { to: Members, text: Payload, except: Option<SessionId> },
    /// From here on the client receives broadcasts, and its acks carry this uuid.
    Register { to: SessionId, uuid: Arc<str> },
    /// The client has claimed a name that it does not get.
    ClaimFailed { to: SessionId },
    /// Another client claims the name of this one: it is to show that it is alive.
    Ask { to: SessionId },
    /// Nothing more goes to the client but its farewell.
    Close { to: SessionId, reason: CloseReason },
}
