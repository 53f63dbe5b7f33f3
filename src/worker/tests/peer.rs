use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use super::*;

/// The other end of a connection, which reads and writes only where the test says so.
pub struct Peer {
    socket: Option<Socket>,
    pub id: Option<SessionId>,
    admission: Arc<Admission>,
    pub heard: Vec<u8>,
    /// How the kernel's table writes the ports of the relay's end and of this one.
    ports: (String, String),
}

impl Peer {
    /// With the admission that has given a place to nobody else.
    pub fn new(socket: Socket, admission: Arc<Admission>) -> Peer {
        let port = |addr: io::Result<SocketAddr>| format!(":{:04X}", addr.expect("one").port());
        let ports = (port(socket.peer_addr()), port(socket.local_addr()));
        Peer { socket: Some(socket), id: None, admission, heard: Vec::new(), ports }
    }

    pub fn id(&self) -> SessionId {
        self.id.expect("a client")
    }

    /// Its address, as the relay sees it.
    pub fn addr(&self) -> SocketAddr {
        let socket = self.socket.as_ref().expect("it has not hung up");
        socket.local_addr().expect("it has one")
    }

    /// Says it, and waits until it has come: the worker, on this same thread, reads it later.
    pub fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        let aim = self.far_end().map_or(0, |end| end.unread) + bytes.len();
        self.socket().write_all(bytes).expect("room, and somebody who listens");
        let since = std::time::Instant::now();
        while self.far_end().is_some_and(|end| end.unread < aim) {
            assert!(since.elapsed() < DEADLINE, "it never came");
            thread::yield_now();
        }
    }

    pub fn hang_up(&mut self) {
        self.socket = None;
    }

    /// All that has come to it.
    pub fn heard(&mut self) -> &[u8] {
        while self.read(1 << 16) {}
        &self.heard
    }

    /// Reads that much at most; whether there was anything.
    pub fn read(&mut self, bytes: usize) -> bool {
        let mut buffer = vec![0; bytes];
        let count = self.socket().read(&mut buffer).unwrap_or(0);
        self.heard.extend_from_slice(&buffer[..count]);
        count > 0
    }

    pub fn has_heard(&mut self, bytes: &[u8]) -> bool {
        self.heard().windows(bytes.len()).any(|window| window == bytes)
    }

    /// Whether its stream has ended, all read.
    pub fn has_end(&mut self) -> bool {
        self.heard();
        match self.socket().read(&mut [0]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
        }
    }

    /// Whether the relay has nothing more to do with it.
    pub fn is_over(&self) -> bool {
        self.admission.connections() == 0
    }

    /// Whether its handshake is over.
    pub fn is_through(&self) -> bool {
        self.admission.handshakes() == 0
    }

    /// Whether the relay's kernel does no more than ask it for room, which it has not.
    pub fn takes_no_more(&self) -> bool {
        self.far_end().is_some_and(|end| end.probes_window)
    }

    fn socket(&mut self) -> &mut Socket {
        self.socket.as_mut().expect("it has not hung up")
    }

    /// What the kernel says of the relay's end, while that is there.
    fn far_end(&self) -> Option<FarEnd> {
        let table = fs::read_to_string("/proc/net/tcp").expect("Linux");
        let (relay, own) = &self.ports;
        let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| row[1].ends_with(relay) && row[2].ends_with(own))?;
        // tx_queue:rx_queue, then the timer that runs.
        let unread = row[4].rsplit(':').next().expect("a field");
        Some(FarEnd {
            unread: usize::from_str_radix(unread, 16).expect("a number"),
            probes_window: row[5].starts_with("04:"),
        })
    }
}

/// From a line of /proc/net/tcp, as the kernel's proc_net_tcp.rst describes it.
struct FarEnd {
    /// Bytes that have come and are not read.
    unread: usize,
    /// All that was sent has been taken, and the peer has no room for more.
    probes_window: bool,
}
