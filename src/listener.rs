//! A bound address, and the loop that accepts on it: cheap, and never ended by an error.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::config::{ListenScheme, ListenUrl};
use crate::connection::Door;
use crate::worker::Arrival;

/// Connections that the kernel completes before they are accepted; it takes its own limit
/// (net.core.somaxconn) where that is lower.
const BACKLOG: i32 = 4096;

/// How long accepting waits after an error, doubled up to the second one: out of descriptors,
/// the listener stays readable, and a loop without a wait would only burn the processor.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

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

/// Where accepted sockets go, shared by all listeners.
pub struct Reception {
    workers: Vec<mpsc::Sender<Arrival>>,
    next: AtomicUsize,
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
            next: AtomicUsize::new(0),
            connections: Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS))),
            handshakes: Arc::new(Semaphore::new(handshakes_max.min(Semaphore::MAX_PERMITS))),
        }
    }
}

impl Listener {
    /// Accepts for ever; ends when its task is cancelled.
    pub async fn run(self, door: Door, reception: Arc<Reception>) {
        let mut wait = BACK_OFF.0;
        loop {
            // Permits first: what is not accepted waits in the kernel and costs the relay nothing.
            let permits = (
                Arc::clone(&reception.connections).acquire_owned().await,
                Arc::clone(&reception.handshakes).acquire_owned().await,
            );
            let (Ok(connection), Ok(handshake)) = permits else { return };
            let accepted = self.socket.accept().await.and_then(|(tcp, peer)| {
                tcp.set_nodelay(true)?;
                Ok((tcp.into_std()?, peer))
            });
            match accepted {
                Ok((tcp, peer)) => {
                    wait = BACK_OFF.0;
                    let door = door.clone();
                    reception.hand_out(Arrival { tcp, peer, door, connection, handshake }).await;
                }
                Err(error) if is_of_peer(&error) => {}
                Err(error) => {
                    tracing::warn!(listener = %self.listening, %error, "cannot accept");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(BACK_OFF.1);
                }
            }
        }
    }
}

impl Reception {
    /// To one worker after the other: connections are many and alike.
    async fn hand_out(&self, arrival: Arrival) {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.workers.len();
        if self.workers[next].send(arrival).await.is_err() {
            tracing::debug!("a connection came while the relay stops");
        }
    }
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
