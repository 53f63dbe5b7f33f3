//! A bound address, and the loop that accepts on it: cheap, and never ended by an error.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, mpsc};

use crate::config::{ListenScheme, ListenUrl};
use crate::connection::Door;
use crate::worker::Arrival;

/// Connections that the kernel completes before they are accepted; it takes its own limit
/// (net.core.somaxconn) where that is lower.
const BACKLOG: i32 = 4096;

/// How long accepting waits after an error, doubled each time: out of descriptors, the listener
/// stays readable, and a loop without a wait would only burn the processor.
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// A bound address.
pub struct Listener {
    socket: TcpListener,
    pub listening: Listening,
}

/// Where the relay listens; prints as the URL that a client would use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listening {
    pub scheme: ListenScheme,
    pub addr: SocketAddr,
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
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    let socket = TcpListener::from_std(socket.into())?;
    let listening = Listening { scheme, addr: socket.local_addr()? };
    Ok(Listener { socket, listening })
}

/// Where accepted sockets go, and how many there may be.
pub struct Reception {
    workers: Vec<mpsc::Sender<Arrival>>,
    connections: Arc<Semaphore>,
    handshakes: Arc<Semaphore>,
}

impl Reception {
    pub fn new(
        workers: Vec<mpsc::Sender<Arrival>>,
        connections_max: usize,
        handshakes_max: usize,
    ) -> Reception {
        Reception {
            workers,
            connections: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))),
            handshakes: Arc::new(Semaphore::new(handshakes_max.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Permits for one more connection. What is not accepted waits in the kernel and costs the
    /// relay nothing.
    async fn permits(&self) -> Result<(OwnedSemaphorePermit, OwnedSemaphorePermit), AcquireError> {
        if self.connections.available_permits() == 0 {
            tracing::warn!("limits.connections_max is reached: further clients wait");
        }
        let connection = Arc::clone(&self.connections).acquire_owned().await?;
        Ok((connection, Arc::clone(&self.handshakes).acquire_owned().await?))
    }
}

/// Accepts on all listeners, each with what it serves, for ever. Ends when it is cancelled.
pub async fn accept(listeners: Vec<(Listener, Door)>, reception: Reception) {
    let (mut next, mut wait) = (0, BACK_OFF_MIN);
    while let Ok((connection, handshake)) = reception.permits().await {
        let (at, accepted) = poll_fn(|cx| poll_accept(&listeners, next, cx)).await;
        let (listener, door) = &listeners[at];
        let accepted = accepted.and_then(|(tcp, peer)| {
            tcp.set_nodelay(true)?;
            Ok((tcp.into_std()?, peer))
        });
        match accepted {
            Ok((tcp, peer)) => {
                wait = BACK_OFF_MIN;
                next = next.wrapping_add(1);
                let arrival = Arrival { tcp, peer, door: door.clone(), connection, handshake };
                // To one worker after the other: connections are many and alike.
                let worker = &reception.workers[next % reception.workers.len()];
                if worker.send(arrival).await.is_err() {
                    tracing::debug!(%peer, "refused: the worker has ended");
                }
            }
            Err(error) if is_of_peer(&error) => {}
            Err(error) => {
                tracing::warn!(listener = %listener.listening, %error, "cannot accept");
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
        if let Poll::Ready(accepted) = listeners[at].0.socket.poll_accept(cx) {
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
