//! One client's life: through the handshake, as a member of the hub, to its goodbye.

mod allowance;
mod door;
mod drive;
mod handshake;
mod home;
mod membership;

use std::io::ErrorKind;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::Level;

pub use door::Door;
use drive::Drive;
use handshake::{Admitted, NotAdmitted, admit};
pub use home::{Home, Partings};
use membership::{Membership, Seat};

use crate::admission::{Place, Refused};
use crate::close::CloseReason;
use crate::config::FeedbackConfig;
use crate::frame::{Decoder, Encoding};
use crate::panics::{Panicked, Whom, confined, confined_future};
use crate::session::{ClientInfo, ClientKind};
use crate::transport::Transport;

/// How much of what a refused peer still sends is read, so that it gets to read its answer.
const REFUSED_BYTES_MAX: usize = 64 * 1024;

/// Takes an accepted socket through its handshake; `place` is held until it is closed.
pub async fn welcome(tcp: TcpStream, door: Door, home: Rc<Home>, place: Place) {
    let whom = Whom::Peer(place.addr());
    if confined_future(whom, let_in(tcp, door, Rc::clone(&home), place)).await.is_err() {
        home.shard.borrow().count_panic();
    }
}

async fn let_in(tcp: TcpStream, door: Door, home: Rc<Home>, mut place: Place) {
    let admitted = knock(tcp, door, &home, &mut place).await;
    place.settle();
    if let Some(admitted) = admitted {
        // A task of its own: the handshake's is large and short-lived, what stays is small.
        drop(tokio::task::spawn_local(Life::begin(admitted, &home, place)));
    }
}

/// A connection after its handshake, to its end.
struct Life {
    // Dropped in this order: it leaves the hub before its seat is free, and its place is free when
    // its socket is closed.
    drive: Drive,
    seat: Seat,
    place: Place,
}

impl Life {
    fn begin(admitted: Admitted, home: &Rc<Home>, place: Place) -> Life {
        let Admitted { transport, scheme, kind, head, rest, opening } = admitted;
        let peer = place.addr();
        let bytes_max = home.config().limits.message_bytes_max;
        let encoding = Encoding::from(scheme);
        let mut decoder = match encoding {
            Encoding::WebSocket => Decoder::websocket(bytes_max),
            Encoding::Raw => Decoder::raw(bytes_max),
        };
        decoder.keep(&rest);
        let link = home.shard.borrow_mut().insert(kind, encoding, transport, opening);
        let seat = Seat::new(Rc::clone(home), Rc::clone(&link));
        let info = ClientInfo {
            id: link.id,
            kind,
            scheme,
            addr: peer,
            ident: head.headers.get("ident").filter(|ident| !ident.is_empty()).map(str::to_owned),
            path: head.path,
            headers: head.headers,
            issued_uuid: home.issuer.issue(),
            may_send_feedback: may_send_feedback(&home.config().feedback, kind, peer.ip()),
        };
        tracing::debug!(session = link.id.serial, %peer, scheme = scheme.name(), "connected");
        link.submitted(0);
        let membership = Membership::new(Rc::clone(home), info);
        let drive = Drive::new(Rc::clone(home), link, decoder, membership);
        Life { drive, seat, place }
    }
}

impl Future for Life {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let whom = Whom::Session(self.seat.link.id.serial);
        let driven = confined(whom, || Pin::new(&mut self.drive).poll(cx));
        let Seat { home, link } = &self.seat;
        let reason = match driven {
            Ok(polled) => ready!(polled),
            Err(Panicked) => {
                home.shard.borrow().count_panic();
                CloseReason::Internal
            }
        };
        home.count_parting(link, &reason);
        let (session, peer) = (link.id.serial, self.place.addr());
        let failed_claims = link.failed_claims();
        // A macro's level is a constant.
        match reason.level() {
            Level::WARN => {
                tracing::warn!(session, %peer, reason = reason.label(), failed_claims, "closed")
            }
            _ => tracing::debug!(session, %peer, reason = reason.label(), failed_claims, "closed"),
        }
        Poll::Ready(())
    }
}

fn may_send_feedback(config: &FeedbackConfig, kind: ClientKind, addr: IpAddr) -> bool {
    match kind {
        ClientKind::Web => config.allow_web,
        ClientKind::Backend => config.from.is_empty() || config.from.contains(addr),
    }
}

/// The handshake under its deadline; refusals are answered here.
async fn knock(tcp: TcpStream, door: Door, home: &Home, place: &mut Place) -> Option<Admitted> {
    let config = home.config();
    let limits = &config.limits;
    let _under_way = home.under_way();
    let overrun = place.overrun();
    // Boxed, because each future that it goes through would have room for it.
    let admitted = Box::pin(admit(tcp, place, &door, home));
    let admitted = timeout(limits.handshake_timeout, admitted);
    let admitted = home.unless_drained(async {
        tokio::select! {
            outcome = admitted => Some(outcome),
            () = overrun => None,
        }
    });
    let outcome = admitted.await?;
    let peer = place.addr();
    let Some(outcome) = outcome else {
        tracing::debug!(%peer, "handshake ended to make room");
        return None;
    };
    match outcome {
        Ok(Ok(admitted)) => match turned_away(home, place) {
            None => return Some(admitted),
            Some(reason) => {
                tracing::debug!(%peer, text = reason.text(), "refused");
                let farewell = Encoding::from(admitted.scheme).farewell(&reason);
                let last = [&admitted.opening[..], &farewell].concat();
                Box::pin(answer(admitted.transport, &last, limits.linger_timeout)).await;
            }
        },
        Ok(Err(NotAdmitted::Refused(refused))) => {
            door.tell_refused(peer, &refused.refusal, refused.origin.as_deref());
            Box::pin(answer(refused.transport, &refused.answer, limits.linger_timeout)).await;
        }
        Ok(Err(NotAdmitted::Served(transport))) => {
            tracing::debug!(%peer, "served the test page");
            Box::pin(answer(transport, &[], limits.linger_timeout)).await;
        }
        Ok(Err(NotAdmitted::Failed(error))) if error.kind() == ErrorKind::InvalidData => {
            door.tell_failed(peer, &error);
        }
        Ok(Err(NotAdmitted::Failed(error))) => tracing::debug!(%peer, %error, "handshake failed"),
        Err(_) => tracing::debug!(%peer, "handshake timed out"),
    }
    None
}

/// Why somebody who is through its handshake does not stay. Whoever was seated once the drain has begun
/// would never be asked to end.
fn turned_away(home: &Home, place: &Place) -> Option<CloseReason> {
    match home.is_draining() {
        true => Some(CloseReason::GoingAway),
        false => place.refused().map(Refused::reason),
    }
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
