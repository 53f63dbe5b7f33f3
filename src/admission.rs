//! Who gets in: how many clients there may be at once, in all and from one address, and how many
//! that have not told yet what they are. Shared by the listeners and the workers, and asked a few
//! times in the life of a connection, never on the way of a message.

mod alarm;

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

use crate::close::CloseReason;
use crate::config::Config;
use crate::frame::forwarded::canonical;
pub use alarm::Alarm;

/// Clients at once that are told that there is no place for them; the sockets of further ones are
/// closed without a word. They come on top of `limits.connections_max`.
pub const GOODBYES_MAX: usize = 32;

/// The places of this relay.
pub struct Admission {
    config: watch::Receiver<Arc<Config>>,
    crowd: Mutex<Crowd>,
    /// Of each bound that is reached.
    full: Alarm,
    crowded: Alarm,
    overrun: Alarm,
}

/// Who is here.
#[derive(Default)]
struct Crowd {
    connections: usize,
    handshakes: usize,
    goodbyes: usize,
    /// How many handshakes have begun: their order.
    begun: u64,
    /// As many entries as there are addresses with a connection.
    visitors: HashMap<IpAddr, Visitors>,
}

/// Those of one address.
#[derive(Default)]
struct Visitors {
    connections: usize,
    /// The handshakes under way, the oldest first, and how to end each.
    handshakes: BTreeMap<u64, Arc<Notify>>,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// `limits.connections_max` is reached.
    Full,
    /// `limits.connections_per_ip_max` is.
    Crowded,
}

impl Refused {
    /// What the client is told.
    pub fn text(self) -> &'static str {
        match self {
            Refused::Full => "the relay is full",
            Refused::Crowded => "too many connections from your address",
        }
    }

    pub fn reason(self) -> CloseReason {
        CloseReason::Refused(self.text())
    }
}

/// The place of one socket, to be held until that is closed.
pub struct Place {
    admission: Arc<Admission>,
    addr: SocketAddr,
    standing: Standing,
    /// Until its handshake is over.
    handshake: Option<Handshake>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Client,
    /// Is told that there is no place, and why.
    Goodbye(Refused),
    /// Is not even told.
    Outside,
}

struct Handshake {
    number: u64,
    end: Arc<Notify>,
}

impl Admission {
    pub fn new(config: watch::Receiver<Arc<Config>>) -> Admission {
        Admission {
            config,
            crowd: Mutex::default(),
            full: Alarm::new("limits.connections_max is reached: clients are refused"),
            crowded: Alarm::new("limits.connections_per_ip_max is reached: clients are refused"),
            overrun: Alarm::new("limits.handshakes_pending_max is reached: the oldest are ended"),
        }
    }

    /// A place for a socket that was accepted from this address. `None`: it is to be closed.
    pub fn enter(self: &Arc<Self>, peer: SocketAddr) -> Option<Place> {
        let addr = canonical(peer);
        let mut crowd = self.crowd();
        let full = crowd.connections >= self.config().limits.connections_max;
        let standing = match if full { Some(Refused::Full) } else { self.judge(&crowd, addr) } {
            None => Standing::Client,
            Some(refused) => self.refuse(&mut crowd, refused, addr),
        };
        let handshake = match standing {
            Standing::Outside => return None,
            Standing::Goodbye(_) => None,
            Standing::Client => {
                crowd.arrive(addr);
                Some(self.begin_handshake(&mut crowd, addr))
            }
        };
        drop(crowd);
        Some(Place { admission: Arc::clone(self), addr, standing, handshake })
    }

    /// Clients that have a place.
    pub fn connections(&self) -> usize {
        self.crowd().connections
    }

    /// Those of them that have not told yet what they are.
    pub fn handshakes(&self) -> usize {
        self.crowd().handshakes
    }

    /// Tells the log when a bound is reached, and when that is over. Never returns.
    pub async fn tell(&self) {
        tokio::join!(self.full.tell(), self.crowded.tell(), self.overrun.tell());
    }

    /// Whether one more from this address is one too many. A proxy stands for many clients.
    fn judge(&self, crowd: &Crowd, addr: SocketAddr) -> Option<Refused> {
        let config = self.config();
        let Config { limits, trusted_proxies, .. } = &**config;
        let here = crowd.visitors.get(&network(addr)).map_or(0, |here| here.connections);
        let crowded = here >= limits.connections_per_ip_max
            && !limits.trusted.contains(addr.ip())
            && !trusted_proxies.contains(addr.ip());
        crowded.then_some(Refused::Crowded)
    }

    fn refuse(&self, crowd: &mut Crowd, refused: Refused, addr: SocketAddr) -> Standing {
        match refused {
            Refused::Full => self.full.note(&addr.ip()),
            Refused::Crowded => self.crowded.note(&addr.ip()),
        }
        if crowd.goodbyes >= GOODBYES_MAX {
            return Standing::Outside;
        }
        crowd.goodbyes += 1;
        Standing::Goodbye(refused)
    }

    fn begin_handshake(&self, crowd: &mut Crowd, addr: SocketAddr) -> Handshake {
        if crowd.handshakes >= self.config().limits.handshakes_pending_max {
            self.overrun.note(&addr.ip());
            crowd.make_room();
        }
        crowd.begun += 1;
        let handshake = Handshake { number: crowd.begun, end: Arc::default() };
        crowd.begin(addr, &handshake);
        handshake
    }

    fn config(&self) -> watch::Ref<'_, Arc<Config>> {
        self.config.borrow()
    }

    fn crowd(&self) -> MutexGuard<'_, Crowd> {
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crowd {
    fn arrive(&mut self, addr: SocketAddr) {
        self.connections += 1;
        self.visitors.entry(network(addr)).or_default().connections += 1;
    }

    /// Its handshake must have been ended.
    fn depart(&mut self, addr: SocketAddr) {
        self.connections -= 1;
        if let Entry::Occupied(mut here) = self.visitors.entry(network(addr)) {
            here.get_mut().connections -= 1;
            if here.get().connections == 0 {
                here.remove();
            }
        }
    }

    fn begin(&mut self, addr: SocketAddr, handshake: &Handshake) {
        let here = self.visitors.entry(network(addr)).or_default();
        here.handshakes.insert(handshake.number, Arc::clone(&handshake.end));
        self.handshakes += 1;
    }

    /// Whether it was still under way.
    fn end(&mut self, addr: SocketAddr, handshake: &Handshake) -> bool {
        let here = self.visitors.get_mut(&network(addr));
        let ended = here.is_some_and(|here| here.handshakes.remove(&handshake.number).is_some());
        self.handshakes -= usize::from(ended);
        ended
    }

    /// Ends the oldest handshake, as the kernel does in its own queue under attack, but of the
    /// address that has most of them under way: those of all others have their time. Among equals it
    /// is the oldest of all, or chance would end one that has just begun.
    fn make_room(&mut self) {
        let greed = |here: &Visitors| {
            let oldest = here.handshakes.keys().next().copied();
            (here.handshakes.len(), Reverse(oldest))
        };
        let greediest = self.visitors.values_mut().max_by_key(|here| greed(here));
        if let Some((_, end)) = greediest.and_then(|here| here.handshakes.pop_first()) {
            end.notify_one();
            self.handshakes -= 1;
        }
    }
}

impl Place {
    /// The client's address, as far as it is known.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Why there is no place for this client; it is to be told, and then to go.
    pub fn refused(&self) -> Option<Refused> {
        match self.standing {
            Standing::Goodbye(refused) => Some(refused),
            Standing::Client | Standing::Outside => None,
        }
    }

    /// A trusted proxy has told whose place this is. `false`: its socket is to be closed.
    #[must_use]
    pub fn belongs_to(&mut self, client: SocketAddr) -> bool {
        let before = std::mem::replace(&mut self.addr, client);
        if self.standing == Standing::Client && network(before) != network(client) {
            let admission = Arc::clone(&self.admission);
            let mut crowd = admission.crowd();
            let handshake = self.handshake.take().filter(|it| crowd.end(before, it));
            crowd.depart(before);
            match admission.judge(&crowd, client) {
                Some(refused) => self.standing = admission.refuse(&mut crowd, refused, client),
                None => {
                    crowd.arrive(client);
                    handshake.iter().for_each(|it| crowd.begin(client, it));
                    self.handshake = handshake;
                }
            }
        }
        self.standing != Standing::Outside
    }

    /// Completes when the handshake has to end for the sake of others.
    pub fn overrun(&self) -> impl Future<Output = ()> + use<> {
        let end = self.handshake.as_ref().map(|handshake| Arc::clone(&handshake.end));
        async move {
            match end {
                Some(end) => end.notified().await,
                None => std::future::pending().await,
            }
        }
    }

    /// The handshake is over.
    pub fn settle(&mut self) {
        if let Some(handshake) = self.handshake.take() {
            self.admission.crowd().end(self.addr, &handshake);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.settle();
        match self.standing {
            Standing::Client => self.admission.crowd().depart(self.addr),
            Standing::Goodbye(_) => self.admission.crowd().goodbyes -= 1,
            Standing::Outside => {}
        }
    }
}

/// What counts as one address: who has one IPv6 address has the 2^64 of its network.
fn network(addr: SocketAddr) -> IpAddr {
    match addr.ip() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & (u128::MAX << 64)).into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests;
