//! A bound address, and the loop that accepts on it: cheap, and never ended by an error.

mod inherited;

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::admission::{Admission, Alarm};
use crate::config::{ListenAt, ListenScheme, ListenUrl, Listening};
use crate::connection::Door;
use crate::worker::Arrival;
pub use inherited::Inherited;

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

impl Listener {
    fn new(scheme: ListenScheme, socket: Socket) -> io::Result<Listener> {
        socket.set_nonblocking(true)?;
        // What is accepted inherits it (tcp(7)).
        socket.set_tcp_nodelay(true)?;
        let socket = TcpListener::from_std(socket.into());
        let listening = Listening { scheme, addr: socket.local_addr()? };
        Ok(Listener { socket: watch(socket)?, listening })
    }

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        loop {
            let mut ready = ready!(self.socket.poll_read_ready(cx))?;
            if let Ok(accepted) = ready.try_io(|socket| socket.get_ref().accept()) {
                return Poll::Ready(accepted);
            }
        }
    }
}

/// Binds every address that the URL's host stands for, or takes the sockets that were bound for it.
///
/// # Errors
/// Where the host is unknown, an address cannot be bound, or no such socket was handed over.
pub fn bind(url: &ListenUrl, inherited: &mut Inherited) -> io::Result<Vec<Listener>> {
    let sockets: Vec<Socket> = match &url.at {
        ListenAt::Address { host, port } => open_all(host, *port)?,
        ListenAt::Systemd(name) => inherited.take(name)?.into_iter().map(Socket::from).collect(),
    };
    sockets.into_iter().map(|socket| Listener::new(url.scheme, socket)).collect()
}

fn open_all(host: &str, port: u16) -> io::Result<Vec<Socket>> {
    let mut addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the host has no address"));
    }
    addresses.into_iter().map(open).collect()
}

fn open(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Its successor is unsafe, for types that change their descriptor or close it meanwhile: this one
/// does neither.
#[expect(deprecated)]
fn watch(socket: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    AsyncFd::with_interest(socket, Interest::READABLE)
}

/// Where accepted sockets go, and which of them.
pub struct Reception {
    workers: Vec<mpsc::Sender<Vec<Arrival>>>,
    admission: Arc<Admission>,
    /// What each worker is to get with the next hand-over.
    gathered: Vec<Vec<Arrival>>,
    /// How many have come, for whose turn it is.
    count: usize,
}

impl Reception {
    pub fn new(workers: Vec<mpsc::Sender<Vec<Arrival>>>, admission: Arc<Admission>) -> Reception {
        let gathered = workers.iter().map(|_| Vec::new()).collect();
        Reception { workers, admission, gathered, count: 0 }
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

/// Accepts on all listeners, each with what it serves, for ever. Ends when it is cancelled.
pub async fn accept(listeners: Vec<(Listener, Door)>, reception: Reception) {
    let (admission, stuck) =
        (Arc::clone(&reception.admission), Alarm::new("no connection can be accepted"));
    tokio::select! {
        () = accept_each(&listeners, reception, &stuck) => {}
        () = admission.tell() => {}
        () = stuck.tell() => {}
    }
}

async fn accept_each(listeners: &[(Listener, Door)], mut reception: Reception, stuck: &Alarm) {
    let (mut first, mut wait) = (0, BACK_OFF_MIN);
    loop {
        let at_once = poll_fn(|cx| Poll::Ready(poll_accept(listeners, first, cx))).await;
        let (at, accepted) = match at_once {
            Poll::Ready(accepted) => accepted,
            Poll::Pending => {
                reception.hand_over().await;
                poll_fn(|cx| poll_accept(listeners, first, cx)).await
            }
        };
        first = at + 1;
        match accepted {
            Ok((tcp, peer)) => {
                wait = BACK_OFF_MIN;
                match reception.admission.enter(peer) {
                    Some(place) => {
                        let (tcp, door) = (tcp.into(), listeners[at].1.clone());
                        reception.take(Arrival { tcp, door, place }).await;
                    }
                    // However many are sent away, those who got in do not wait for it.
                    None => reception.hand_over().await,
                }
            }
            Err(error) if is_of_peer(&error) => {}
            Err(error) => {
                stuck.note(&error);
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
            | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_does_not_listen_is_not_the_fault_of_a_peer() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let error = socket.accept().map(drop).expect_err("it was never told to listen");
        assert!(!is_of_peer(&error), "{error}");
        assert!(is_of_peer(&io::ErrorKind::ConnectionAborted.into()));
    }
}
