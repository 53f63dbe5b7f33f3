//! The bare servers that relay is compared with: what the work costs where nothing is decided,
//! checked or kept. They understand just enough of the protocol to serve the generator.
//!
//! [`Limit::PerMessage`] does one `send` of a prebuilt frame for each message and receiver;
//! [`Limit::PerTurn`] gathers what a turn of its loop has read and does one `send` for each receiver
//! and turn.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Ipv4Addr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::{Domain, Socket, Type};

use crate::protocol::{ACK, Work, frame, measure, name_range};

/// How the limit writes broadcasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    PerMessage,
    PerTurn,
}

const LISTENER: Token = Token(usize::MAX);
const READY: &str =
    r#"{"opcode":"ready","os":"Linux","uuid":"00000000-0000-4000-8000-000000000000"}"#;
const SWITCHING: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
     Connection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

struct Server {
    poll: Poll,
    listener: TcpListener,
    limit: Limit,
    work: Work,
    peers: Slab<Peer>,
    receivers: Vec<usize>,
    /// What is sent for a message, by the length of its text; made at the first of that length.
    prebuilt: Prebuilt,
    ack_frame: Vec<u8>,
    /// The broadcasts of this turn.
    log: Vec<u8>,
}

#[derive(Default)]
struct Prebuilt {
    text_bytes: usize,
    frame: Vec<u8>,
    answer: Vec<u8>,
}

struct Peer {
    stream: TcpStream,
    kind: Kind,
    /// Input that is no whole message yet.
    held: Vec<u8>,
    unsent: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unknown,
    Receiver,
    Sender,
    Backend,
}

/// Serves until the process is ended.
pub fn serve(work: Work, limit: Limit) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(socket.into());
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("listening on ws://{}", listener.local_addr()?);
    let mut server = Server {
        poll,
        listener,
        limit,
        work,
        peers: Slab::new(),
        receivers: Vec::new(),
        prebuilt: Prebuilt::default(),
        ack_frame: frame(ACK.as_bytes()),
        log: Vec::new(),
    };
    server.run()
}

impl Server {
    fn run(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; 256 * 1024];
        loop {
            self.poll.poll(&mut events, None)?;
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    Token(peer) => {
                        if event.is_writable() {
                            self.send(peer, &[]);
                        }
                        if event.is_readable() {
                            self.read(peer, &mut buffer);
                        }
                    }
                }
            }
            if !self.log.is_empty() {
                let log = std::mem::take(&mut self.log);
                self.send_to_all(&log);
                self.log = log;
                self.log.clear();
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            let mut stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            let entry = self.peers.vacant_entry();
            let token = Token(entry.key());
            self.poll.registry().register(&mut stream, token, Interest::READABLE)?;
            let kind = Kind::Unknown;
            entry.insert(Peer { stream, kind, held: Vec::new(), unsent: Vec::new() });
        }
    }

    fn read(&mut self, at: usize, buffer: &mut [u8]) {
        loop {
            let Some(peer) = self.peers.get_mut(at) else { return };
            match peer.stream.read(buffer) {
                Ok(0) => return self.remove(at),
                Ok(count) => {
                    self.take(at, &buffer[..count]);
                    // Less than was asked for: the socket is empty.
                    if count < buffer.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.remove(at),
            }
        }
    }

    fn remove(&mut self, at: usize) {
        self.peers.remove(at);
        self.receivers.retain(|receiver| *receiver != at);
    }

    fn take(&mut self, at: usize, input: &[u8]) {
        if self.peers[at].held.is_empty() {
            let used = self.messages(at, input);
            self.peers[at].held.extend_from_slice(&input[used..]);
            return;
        }
        let mut held = std::mem::take(&mut self.peers[at].held);
        held.extend_from_slice(input);
        let used = self.messages(at, &held);
        held.drain(..used);
        self.peers[at].held = held;
    }

    /// Serves the whole messages at the front of the input; returns how long they are.
    fn messages(&mut self, at: usize, input: &[u8]) -> usize {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            let length = match self.peers[at].kind {
                Kind::Unknown => self.greet(at, rest),
                Kind::Backend => memchr::memchr(b'}', rest).map(|end| {
                    self.feedback(&rest[..=end]);
                    self.send(at, ACK.as_bytes());
                    end + 1
                }),
                Kind::Receiver | Kind::Sender => {
                    measure(rest).filter(|(_, whole)| *whole <= rest.len()).map(|(text, whole)| {
                        self.message(at, text);
                        whole
                    })
                }
            };
            match length {
                Some(length) if length > 0 => used += length,
                _ => return used,
            }
        }
    }

    fn greet(&mut self, at: usize, input: &[u8]) -> Option<usize> {
        if !input.ends_with(b"\n\n") && !input.ends_with(b"\r\n\r\n") {
            return None;
        }
        let mut answer = Vec::new();
        if input.starts_with(b"php") {
            self.peers[at].kind = Kind::Backend;
            answer.extend_from_slice(READY.as_bytes());
        } else {
            answer.extend_from_slice(SWITCHING.as_bytes());
            answer.extend_from_slice(&frame(READY.as_bytes()));
            let receives = input.starts_with(b"GET /web");
            self.peers[at].kind = if receives { Kind::Receiver } else { Kind::Sender };
            if receives {
                self.receivers.push(at);
            }
        }
        self.send(at, &answer);
        Some(input.len())
    }

    fn message(&mut self, at: usize, text_bytes: usize) {
        self.prebuild(text_bytes);
        let prebuilt = std::mem::take(&mut self.prebuilt);
        if self.peers[at].kind == Kind::Sender && self.work == Work::Echo {
            self.send(at, &prebuilt.answer);
        } else {
            let ack = std::mem::take(&mut self.ack_frame);
            self.send(at, &ack);
            self.ack_frame = ack;
        }
        if self.peers[at].kind == Kind::Sender && self.work == Work::Broadcast {
            match self.limit {
                Limit::PerMessage => self.send_to_all(&prebuilt.frame),
                Limit::PerTurn => self.log.extend_from_slice(&prebuilt.frame),
            }
        }
        self.prebuilt = prebuilt;
    }

    fn feedback(&mut self, message: &[u8]) {
        self.prebuild(message.len());
        let digits = name_range().end - 6..name_range().end;
        let number = message[digits].iter().fold(0, |n, digit| n * 10 + usize::from(digit - b'0'));
        let prebuilt = std::mem::take(&mut self.prebuilt);
        self.send(self.receivers[number % self.receivers.len()], &prebuilt.frame);
        self.prebuilt = prebuilt;
    }

    fn prebuild(&mut self, text_bytes: usize) {
        if self.prebuilt.text_bytes != text_bytes {
            let frame = frame(self.work.message(text_bytes).as_bytes());
            let answer = [self.ack_frame.as_slice(), &frame].concat();
            self.prebuilt = Prebuilt { text_bytes, frame, answer };
        }
    }

    fn send_to_all(&mut self, bytes: &[u8]) {
        for at in 0..self.receivers.len() {
            self.send(self.receivers[at], bytes);
        }
    }

    /// Sends, behind what the socket has not taken yet.
    fn send(&mut self, at: usize, bytes: &[u8]) {
        let Some(peer) = self.peers.get_mut(at) else { return };
        let waited = !peer.unsent.is_empty();
        let sent = match waited {
            true => {
                peer.unsent.extend_from_slice(bytes);
                peer.stream.write(&peer.unsent)
            }
            false if bytes.is_empty() => return,
            false => peer.stream.write(bytes),
        };
        // A peer that is gone says so when it is read from.
        let sent = sent.unwrap_or_default();
        if waited {
            peer.unsent.drain(..sent);
        } else {
            peer.unsent.extend_from_slice(&bytes[sent..]);
        }
        if waited == peer.unsent.is_empty() {
            let interest = match peer.unsent.is_empty() {
                true => Interest::READABLE,
                false => Interest::READABLE | Interest::WRITABLE,
            };
            // Fails only where the descriptor is gone.
            let _ = self.poll.registry().reregister(&mut peer.stream, Token(at), interest);
        }
    }
}
