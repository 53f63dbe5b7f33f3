//! A byte stream, plain or TLS, that is written without waiting: what the socket does not take at
//! once is the caller's to keep. Independent of what the bytes mean.

pub mod tls;

use std::io::{self, IoSlice, Read, Write};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use rustls::{ServerConfig, ServerConnection};
use tokio::io::{AsyncRead, AsyncReadExt, Interest, ReadBuf, join};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// How much encrypted output a session may hold for a socket that takes nothing; what does not
/// fit stays in the client's queue, where it is counted.
const TLS_HELD_BYTES_MAX: usize = 64 * 1024;

/// One connected socket with, maybe, a TLS session on it.
pub struct Transport {
    stream: Stream,
    /// Bytes that the socket has taken, encrypted ones where there is TLS.
    sent: u64,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

/// A TLS session after its handshake.
struct TlsStream {
    tcp: TcpStream,
    session: ServerConnection,
    /// What broke the session: told when all that came whole before it has been read.
    broken: Option<rustls::Error>,
}

impl Transport {
    pub fn plain(tcp: TcpStream) -> Transport {
        Transport { stream: Stream::Plain(tcp), sent: 0 }
    }

    /// Goes through the TLS handshake, of which `begun` has been read already.
    pub async fn accept_tls(
        self,
        begun: Bytes,
        config: &Arc<ServerConfig>,
    ) -> io::Result<Transport> {
        let Stream::Plain(tcp) = self.stream else {
            return Err(io::Error::other("TLS within TLS"));
        };
        let (reading, writing) = tcp.into_split();
        let stream = join(AsyncReadExt::chain(io::Cursor::new(begun), reading), writing);
        let stream = TlsAcceptor::from(Arc::clone(config)).accept(stream).await?;
        let (stream, mut session) = stream.into_inner();
        session.set_buffer_limit(Some(TLS_HELD_BYTES_MAX));
        let (reading, writing) = stream.into_inner();
        let (_, reading) = reading.into_inner();
        let tcp = reading.reunite(writing).map_err(io::Error::other)?;
        Ok(Transport {
            stream: Stream::Tls(Box::new(TlsStream { tcp, session, broken: None })),
            sent: 0,
        })
    }

    pub fn is_tls(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Whether the client has shown a certificate that one of the authorities signed.
    pub fn has_client_certificate(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.session.peer_certificates().is_some(),
        }
    }

    fn tcp(&self) -> &TcpStream {
        match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(stream) => &stream.tcp,
        }
    }

    /// Whether the peer has ended its side, though what came before that may not be read yet.
    pub fn has_peer_ended(&self) -> bool {
        let ready = pin!(self.tcp().ready(Interest::READABLE));
        let ready = ready.poll(&mut Context::from_waker(Waker::noop()));
        matches!(ready, Poll::Ready(Ok(ready)) if ready.is_read_closed())
    }

    /// Reads what is there. 0 is the end of the stream, with or without TLS's goodbye: the oldest
    /// clients never send one.
    pub fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(tcp) => poll_read_tcp(tcp, cx, buffer),
            Stream::Tls(stream) => stream.poll_read(cx, buffer, &mut self.sent),
        }
    }

    /// Writes what the socket takes now, and says how much that was; never waits.
    ///
    /// # Errors
    /// `WouldBlock` where it takes nothing; then [`Transport::poll_writable`] tells when to go on.
    pub fn try_write(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(tcp) => {
                let taken = match parts {
                    [part] => tcp.try_write(part),
                    parts => tcp.try_write_vectored(parts),
                }?;
                self.sent += taken as u64;
                Ok(taken)
            }
            Stream::Tls(stream) => stream.try_write(parts, &mut self.sent),
        }
    }

    /// How many bytes the socket has taken since the start: it is stalled while this stands still.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether bytes that were taken by [`Transport::try_write`] have not reached the socket yet.
    pub fn holds_output(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => false,
            Stream::Tls(stream) => stream.session.wants_write(),
        }
    }

    /// Brings held bytes to the socket.
    ///
    /// # Errors
    /// `WouldBlock` where the socket does not take all of them.
    pub fn try_flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(_) => Ok(()),
            Stream::Tls(stream) => stream.try_flush(&mut self.sent),
        }
    }

    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tcp().poll_write_ready(cx)
    }

    /// Writes all of `bytes`, waiting as long as it takes. For handshakes.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() || self.holds_output() {
            let written = match bytes {
                [] => self.try_flush().map(|()| 0),
                bytes => self.try_write(&[IoSlice::new(bytes)]),
            };
            match written {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.tcp().writable().await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads at least one byte, or 0 at the end of the stream. For handshakes.
    pub async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_read(cx, buffer)).await
    }

    /// Says goodbye on the writing side: TLS's `close_notify`, then FIN. Reading goes on.
    pub fn shut_down(&mut self) {
        if let Stream::Tls(stream) = &mut self.stream {
            stream.session.send_close_notify();
            // A full socket loses the goodbye, not data: this is called when all else is written.
            let _ = stream.try_flush(&mut self.sent);
        }
        let _ = socket2::SockRef::from(self.tcp()).shutdown(std::net::Shutdown::Write);
    }
}

impl TlsStream {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        sent: &mut u64,
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.session.reader().read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Poll::Ready(Ok(0));
                }
                read => return Poll::Ready(read),
            }
            if let Some(error) = &self.broken {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, error.clone())));
            }
            match self.session.read_tls(&mut Source { tcp: &mut self.tcp, cx: &mut *cx }) {
                Ok(0) => return Poll::Ready(Ok(0)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(error) => return Poll::Ready(Err(error)),
            }
            self.broken = self.session.process_new_packets().err();
            // An alert, or the answer to a key update. What does not fit goes with the next write.
            if self.session.wants_write() {
                let _ = self.try_flush(sent);
            }
        }
    }

    fn try_write(&mut self, parts: &[IoSlice<'_>], sent: &mut u64) -> io::Result<usize> {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let mut taken = 0;
        loop {
            match self.try_flush(sent) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && taken > 0 => {
                    return Ok(taken);
                }
                flushed => flushed?,
            }
            if taken == total {
                return Ok(taken);
            }
            // The session takes no more than its buffer limit at once.
            taken += match taken {
                0 => self.session.writer().write_vectored(parts)?,
                _ => self.session.writer().write(rest(parts, taken))?,
            };
        }
    }

    fn try_flush(&mut self, sent: &mut u64) -> io::Result<()> {
        while self.session.wants_write() {
            *sent += self.session.write_tls(&mut Sink(&self.tcp))? as u64;
        }
        Ok(())
    }
}

/// What of the part that byte `at` falls into comes from there on.
fn rest<'a>(parts: &'a [IoSlice<'_>], mut at: usize) -> &'a [u8] {
    for part in parts {
        if at < part.len() {
            return &part[at..];
        }
        at -= part.len();
    }
    &[]
}

fn poll_read_tcp(
    tcp: &mut TcpStream,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(buffer);
    ready!(std::pin::Pin::new(tcp).poll_read(cx, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

/// The socket as rustls reads it.
struct Source<'a, 'b> {
    tcp: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

impl Read for Source<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match poll_read_tcp(self.tcp, self.cx, buffer) {
            Poll::Ready(read) => read,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

/// The socket as rustls writes it.
struct Sink<'a>(&'a TcpStream);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(parts)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
