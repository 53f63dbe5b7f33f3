//! A bound address, and the loop that accepts on it: cheap, and never ended by an error.

use std::cell::Cell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::config::{Config, ListenScheme, ListenUrl};
use crate::connection::Door;
use crate::worker::Arrival;

/// Connections that the kernel completes before they are accepted; it takes its own limit
/// (net.core.somaxconn) where that is lower.
const BACKLOG: i32 = 4096;

/// How many connections a worker gets at once, while more are waiting to be accepted: each hand-over
/// wakes it, which costs more than the accepting.
const ARRIVALS_PER_HAND_OVER: usize = 64;

/// How long accepting waits after an error, doubled each time: out of descriptors, the listener
/// stays readable, and a loop without a wait would only burn the processor.
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// A bound address.
pub struct Listener {
    /// Not tokio's, which would have each connection watched here before its worker does.
    socket: AsyncFd<TcpListener>,
    pub listening: Listening,
}

/// Where the relay listens; prints as the URL that a client would use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    pub scheme: ListenScheme,
    pub addr: SocketAddr,
}

impl Listener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(cx))?;
            if let Ok(accepted) = ready.try_io(|socket| socket.get_ref().accept()) {
                return Poll::Ready(accepted);
            }
        }
    }
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.addr)
    }
}

/// Binds every address that the URL's host stands for.
///
/// # Errors
/// Where the host is unknown or an address cannot be bound.
pub fn bind(url: &ListenUrl) -> io::Result<Vec<Listener>> {
    let mut addresses: Vec<SocketAddr> = (url.host.as_str(), url.port).to_socket_addrs()?.collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    }
    addresses.into_iter().map(|addr| bind_one(url.scheme, addr)).collect()
}

fn bind_one(scheme: ListenScheme, addr: SocketAddr) -> io::Result<Listener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // What is accepted inherits it (tcp(7)).
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    let socket = TcpListener::from_std(socket.into());
    let listening = Listening { scheme, addr: socket.local_addr()? };
    Ok(Listener { socket: watch(socket)?, listening })
}

/// Its successor is unsafe, for types that change their descriptor or close it meanwhile: this one
/// does neither.
#[expect(deprecated)]
fn watch(socket: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// Where accepted sockets go, and how many there may be.
pub struct Reception {
    workers: Vec<mpsc::Sender<Vec<Arrival>>>,
    /// What each worker is to get with the next hand-over.
    gathered: Vec<Vec<Arrival>>,
    /// How many have come, for whose turn it is.
    count: usize,
    config: watch::Receiver<Arc<Config>>,
    connections: Rc<Quota>,
    handshakes: Rc<Quota>,
}

/// A place among the connections, and one among the handshakes.
type Places = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl Reception {
    pub fn new(
        workers: Vec<mpsc::Sender<Vec<Arrival>>>,
        config: watch::Receiver<Arc<Config>>,
    ) -> Reception {
        let limits = config.borrow().limits.clone();
        Reception {
            gathered: workers.iter().map(|_| Vec::new()).collect(),
            count: 0,
            workers,
            config,
            connections: Rc::new(Quota::new(limits.connections_max)),
            handshakes: Rc::new(Quota::new(limits.handshakes_pending_max)),
        }
    }

    /// Places for one more connection. What is not accepted waits in the kernel and costs the
    /// relay nothing.
    async fn places(&mut self) -> Result<Places, AcquireError> {
        if self.connections.is_used_up() {
            tracing::warn!("limits.connections_max is reached: further clients wait");
        }
        if self.connections.is_used_up() || self.handshakes.is_used_up() {
            self.hand_over().await;
        }
        Ok((self.connections.take().await?, self.handshakes.take().await?))
    }

    /// Goes by the config that holds, until it is cancelled.
    fn follow_config(&self) -> impl Future<Output = ()> + use<> {
        let mut config = self.config.clone();
        let (connections, handshakes) = (Rc::clone(&self.connections), Rc::clone(&self.handshakes));
        async move {
            while config.changed().await.is_ok() {
                let limits = config.borrow_and_update().limits.clone();
                connections.set_number(limits.connections_max);
                handshakes.set_number(limits.handshakes_pending_max);
            }
            std::future::pending().await
        }
    }

    /// Takes one in; the workers get it with the next hand-over, one after the other: connections
    /// are many and alike.
    async fn take(&mut self, arrival: Arrival) {
        let worker = self.count % self.workers.len();
        self.gathered[worker].push(arrival);
        self.count = self.count.wrapping_add(1);
        if self.gathered[worker].len() == ARRIVALS_PER_HAND_OVER {
            self.hand_over().await;
        }
    }

    async fn hand_over(&mut self) {
        for (worker, gathered) in self.workers.iter().zip(&mut self.gathered) {
            if !gathered.is_empty() && worker.send(std::mem::take(gathered)).await.is_err() {
                tracing::debug!("connections refused: the worker has ended");
            }
        }
    }
}

/// So many at once, a number that can change while some are taken.
struct Quota {
    free: Arc<Semaphore>,
    number: Cell<usize>,
    /// Taken ones beyond the number: they are no places any more when they are free again.
    beyond: Cell<usize>,
}

impl Quota {
    fn new(number: usize) -> Quota {
        let number = number.min(Semaphore::MAX_PERMITS);
        let free = Arc::new(Semaphore::new(number));
        Quota { free, number: Cell::new(number), beyond: Cell::new(0) }
    }

    fn is_used_up(&self) -> bool {
        self.free.available_permits() <= self.beyond.get()
    }

    async fn take(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        loop {
            let place = Arc::clone(&self.free).acquire_owned().await?;
            if self.beyond.get() == 0 {
                return Ok(place);
            }
            self.beyond.set(self.beyond.get() - 1);
            place.forget();
        }
    }

    fn set_number(&self, number: usize) {
        let number = number.min(Semaphore::MAX_PERMITS);
        let before = self.number.replace(number);
        let fewer = before.saturating_sub(number);
        self.beyond.set(self.beyond.get() + fewer - self.free.forget_permits(fewer));
        let more = number.saturating_sub(before);
        let kept = more.min(self.beyond.get());
        self.beyond.set(self.beyond.get() - kept);
        self.free.add_permits(more - kept);
    }
}

/// Accepts on all listeners, each with what it serves, for ever. Ends when it is cancelled.
pub async fn accept(listeners: Vec<(Listener, Door)>, reception: Reception) {
    tokio::select! {
        () = reception.follow_config() => {}
        () = accept_all(listeners, reception) => {}
    }
}

async fn accept_all(listeners: Vec<(Listener, Door)>, mut reception: Reception) {
    let mut wait = BACK_OFF_MIN;
    while let Ok((connection, handshake)) = reception.places().await {
        let first = reception.count;
        let at_once = poll_fn(|cx| Poll::Ready(poll_accept(&listeners, first, cx))).await;
        let (at, accepted) = match at_once {
            Poll::Ready(accepted) => accepted,
            Poll::Pending => {
                reception.hand_over().await;
                poll_fn(|cx| poll_accept(&listeners, first, cx)).await
            }
        };
        let (listener, door) = &listeners[at];
        match accepted {
            Ok((tcp, peer)) => {
                wait = BACK_OFF_MIN;
                let (tcp, door) = (tcp.into(), door.clone());
                reception.take(Arrival { tcp, peer, door, connection, handshake }).await;
            }
            Err(error) if is_of_peer(&error) => {}
            Err(error) => {
                tracing::warn!(listener = %listener.listening, %error, "cannot accept");
                reception.hand_over().await;
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(BACK_OFF_MAX);
            }
        }
    }
}

/// The next connection of any listener; they are asked from the `first` on, so that none starves.
fn poll_accept(
    listeners: &[(Listener, Door)],
    first: usize,
    cx: &mut Context<'_>,
) -> Poll<(usize, io::Result<(TcpStream, SocketAddr)>)> {
    for at in 0..listeners.len() {
        let at = first.wrapping_add(at) % listeners.len();
        if let Poll::Ready(accepted) = listeners[at].0.poll_accept(cx) {
            return Poll::Ready((at, accepted));
        }
    }
    Poll::Pending
}

/// Errors of one connection, not of accepting.
fn is_of_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many can be taken now; they are given back.
    fn free(quota: &Quota) -> usize {
        let take = || {
            let taken = Box::pin(quota.take());
            futures_util::FutureExt::now_or_never(taken)?.ok()
        };
        std::iter::from_fn(take).collect::<Vec<_>>().len()
    }

    #[test]
    fn the_number_of_places_changes_while_some_are_taken() {
        let quota = Quota::new(5);
        let mut taken: Vec<_> = (0..4).map(|_| quota.free.clone().try_acquire_owned()).collect();
        assert_eq!(free(&quota), 1);
        quota.set_number(2);
        assert_eq!(free(&quota), 0);
        drop(taken.pop());
        drop(taken.pop());
        assert_eq!(free(&quota), 0, "those were two more than there may be");
        drop(taken.pop());
        assert_eq!(free(&quota), 1);
        quota.set_number(1);
        assert_eq!(free(&quota), 0);
        quota.set_number(4);
        assert_eq!(free(&quota), 3);
        drop(taken);
        assert_eq!(free(&quota), 4);
    }
}
