//! One client's life: through the handshake, as a member of the hub, to its goodbye.

mod drive;
mod handshake;
mod home;
mod membership;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::Level;

use drive::Drive;
pub use handshake::Door;
use handshake::{Admitted, NotAdmitted, admit};
pub use home::{Home, Partings};
use membership::{Membership, Seat};

use crate::frame::{Decoder, Encoding, forwarded};
use crate::session::{ClientInfo, Scheme};
use crate::transport::Transport;

/// How much of what a refused peer still sends is read, so that it gets to read its answer.
const REFUSED_BYTES_MAX: usize = 64 * 1024;

/// Serves one accepted socket to its end. `pending` is held as long as the handshake lasts.
pub async fn serve<P>(tcp: TcpStream, peer: SocketAddr, door: Door, home: Rc<Home>, pending: P) {
    // The client's, once a trusted proxy has told it.
    let mut peer = forwarded::canonical(peer);
    // The handshake's future is large and short-lived; what stays is small.
    let admitted = Box::pin(knock(tcp, &mut peer, door, &home)).await;
    drop(pending);
    let Some(admitted) = admitted else { return };
    let Admitted { transport, scheme, kind, head, rest, opening } = admitted;
    let bytes_max = home.config().limits.message_bytes_max;
    let (encoding, mut decoder) = match scheme {
        Scheme::Ws | Scheme::Wss => (Encoding::WebSocket, Decoder::websocket(bytes_max)),
        Scheme::Tcp | Scheme::Ssl => (Encoding::Raw, Decoder::raw(bytes_max)),
    };
    decoder.keep(&rest);
    let link = home.shard.borrow_mut().insert(kind, encoding, transport, opening);
    let seat = Seat::new(Rc::clone(&home), Rc::clone(&link));
    let info = ClientInfo {
        id: link.id,
        kind,
        scheme,
        addr: peer,
        ident: head.headers.get("ident").filter(|ident| !ident.is_empty()).map(str::to_owned),
        path: head.path,
        headers: head.headers,
        issued_uuid: home.issuer.issue(),
    };
    tracing::debug!(session = link.id.serial, %peer, scheme = scheme.name(), "connected");
    link.submitted(0);
    let membership = Membership::new(Rc::clone(&home), info);
    let reason = Drive::new(Rc::clone(&home), link, decoder, membership).await;
    home.count_parting(&seat.link, &reason);
    let session = seat.link.id.serial;
    // A macro's level is a constant.
    match reason.level() {
        Level::ERROR => tracing::error!(session, %peer, reason = reason.label(), "closed"),
        Level::WARN => tracing::warn!(session, %peer, reason = reason.label(), "closed"),
        _ => tracing::debug!(session, %peer, reason = reason.label(), "closed"),
    }
}

/// The handshake under its deadline; refusals are answered here.
async fn knock(tcp: TcpStream, peer: &mut SocketAddr, door: Door, home: &Home) -> Option<Admitted> {
    let config = home.config();
    let limits = &config.limits;
    let admitted = timeout(limits.handshake_timeout, admit(tcp, peer, &door, home));
    match home.unless_draining(admitted).await? {
        Ok(Ok(admitted)) => return Some(admitted),
        Ok(Err(NotAdmitted::Refused(transport, refusal))) => {
            tracing::debug!(%peer, status = refusal.status, text = refusal.text, "refused");
            answer(transport, &refusal.response(), limits.linger_timeout).await;
        }
        Ok(Err(NotAdmitted::Served(transport))) => {
            tracing::debug!(%peer, "served the test page");
            answer(transport, &[], limits.linger_timeout).await;
        }
        Ok(Err(NotAdmitted::Failed(error))) => tracing::debug!(%peer, %error, "handshake failed"),
        Err(_) => tracing::debug!(%peer, "handshake timed out"),
    }
    None
}

/// Says the last in HTTP, and reads on for a moment: closing on unread input would take the answer
/// back.
async fn answer(mut transport: Transport, last: &[u8], linger: Duration) {
    let goodbye = async {
        transport.write_all(last).await?;
        transport.shut_down();
        let mut rest = [0; 2048];
        let mut total = 0;
        while total < REFUSED_BYTES_MAX {
            match transport.read(&mut rest).await? {
                0 => break,
                count => total += count,
            }
        }
        std::io::Result::Ok(())
    };
    // A peer that does not wait for its answer has lost nothing.
    let _ = timeout(linger, goodbye).await;
}
