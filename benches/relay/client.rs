//! One client of the generator: a socket, perhaps with TLS on it, and its way through the handshake.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::{ClientConfig, ClientConnection};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::protocol::{GREETING, claim, masked_frame, measure, upgrade};

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// A registered web client: receives broadcasts.
    Receiver,
    /// The same, and takes the name of its number.
    NamedReceiver,
    /// A web client that has no name.
    WebSender,
    /// A raw socket client.
    Backend,
}

/// One connection.
pub struct Client {
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    role: Role,
    number: usize,
    state: State,
    /// The answers of the handshake.
    held: Vec<u8>,
    unsent: Vec<u8>,
    /// Bytes received in this run.
    pub received: u64,
    /// Messages sent in this run.
    pub sent: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Greeting,
    Claiming,
    Ready,
}

impl Client {
    /// Begins to connect from that address.
    pub fn connect(
        role: Role,
        number: usize,
        source: IpAddr,
        server: SocketAddr,
        tls: Option<&Arc<ClientConfig>>,
    ) -> io::Result<Client> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&SocketAddr::new(source, 0).into())?;
        match socket.connect(&server.into()) {
            // EINPROGRESS: the socket is writable when it is connected.
            Err(error) if error.raw_os_error() != Some(IN_PROGRESS) => return Err(error),
            _ => {}
        }
        let tls = tls.map(|config| {
            let name = "localhost".try_into().map_err(io::Error::other)?;
            let session = ClientConnection::new(Arc::clone(config), name);
            session.map(Box::new).map_err(io::Error::other)
        });
        Ok(Client {
            stream: TcpStream::from_std(socket.into()),
            tls: tls.transpose()?,
            role,
            number,
            state: State::Connecting,
            held: Vec::new(),
            unsent: Vec::new(),
            received: 0,
            sent: 0,
        })
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub fn is_sender(&self) -> bool {
        matches!(self.role, Role::WebSender | Role::Backend)
    }

    /// Goes on with the handshake as far as possible; whether it is over.
    pub fn progress(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        if self.state == State::Connecting {
            self.state = State::Greeting;
            let request = match self.role {
                Role::Backend => GREETING.to_vec(),
                Role::WebSender => upgrade("/").into_bytes(),
                Role::Receiver | Role::NamedReceiver => upgrade("/web").into_bytes(),
            };
            self.write(&request)?;
        }
        self.write(&[])?;
        loop {
            match self.read(buffer) {
                Ok(0) => return Err(io::Error::other("closed during the handshake")),
                Ok(count) => self.held.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        if self.state == State::Greeting && self.is_greeted()? {
            self.held = Vec::new();
            self.state = State::Ready;
            if self.role == Role::NamedReceiver {
                self.state = State::Claiming;
                self.write(&masked_frame(claim(self.number).as_bytes()))?;
            }
        }
        if self.state == State::Claiming && is_whole_frame(&self.held) {
            self.held = Vec::new();
            self.state = State::Ready;
        }
        Ok(self.state == State::Ready)
    }

    fn is_greeted(&self) -> io::Result<bool> {
        if self.role == Role::Backend {
            return Ok(self.held.ends_with(b"}"));
        }
        let Some(end) = self.held.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(false);
        };
        match self.held.starts_with(b"HTTP/1.1 101 ") {
            true => Ok(is_whole_frame(&self.held[end + 4..])),
            false => Err(io::Error::other(String::from_utf8_lossy(&self.held).into_owned())),
        }
    }

    /// Reads what is there into the buffer.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &mut self.tls else { return self.stream.read(buffer) };
        loop {
            match session.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            if session.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            session.process_new_packets().map_err(io::Error::other)?;
            while session.wants_write() {
                session.write_tls(&mut self.stream)?;
            }
        }
    }

    /// Writes, behind what the socket has not taken yet, what it takes now; keeps the rest.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(session) = &mut self.tls {
            session.writer().write_all(bytes)?;
            while session.wants_write() {
                match session.write_tls(&mut self.stream) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    written => written?,
                };
            }
            return Ok(());
        }
        if !self.unsent.is_empty() {
            self.unsent.extend_from_slice(bytes);
            let written = taken(self.stream.write(&self.unsent))?;
            self.unsent.drain(..written);
        } else if !bytes.is_empty() {
            let written = taken(self.stream.write(bytes))?;
            self.unsent.extend_from_slice(&bytes[written..]);
        }
        Ok(())
    }
}

/// EINPROGRESS on Linux, for which the standard library has no stable name.
const IN_PROGRESS: i32 = 115;

fn taken(written: io::Result<usize>) -> io::Result<usize> {
    match written {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        written => written,
    }
}

fn is_whole_frame(bytes: &[u8]) -> bool {
    measure(bytes).is_some_and(|(_, whole)| bytes.len() >= whole)
}
