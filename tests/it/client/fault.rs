//! Networks that are slow, or break.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::Stream;

/// What is wrong with the network between a client and the relay. What is counted is what TCP carries,
/// TLS records included.
#[derive(Clone, Copy, Debug)]
pub enum Fault {
    None,
    /// It carries one byte at a time in both directions, and takes this long for each that is sent.
    Dribbles(Duration),
    /// It breaks when this many bytes have been sent, and resets the connection.
    BreaksAfter(usize),
}

impl Fault {
    pub fn over(self, tcp: TcpStream) -> io::Result<Stream> {
        Ok(match self {
            Fault::None => Box::new(tcp),
            Fault::Dribbles(delay) => {
                Box::new(Dribble { tcp, delay, wait: None, whole: WHOLE_BYTES })
            }
            Fault::BreaksAfter(left) => {
                // What is closed then is reset (socket(7), SO_LINGER of 0).
                SockRef::from(&tcp).set_linger(Some(Duration::ZERO))?;
                Box::new(Breaking { tcp, left })
            }
        })
    }
}

/// The first bytes that are read come as they are: tungstenite's client takes an upgrade in so many
/// pieces for an attack.
const WHOLE_BYTES: usize = 256;

/// Carries one byte at a time.
struct Dribble {
    tcp: TcpStream,
    delay: Duration,
    wait: Option<Pin<Box<Sleep>>>,
    whole: usize,
}

impl AsyncWrite for Dribble {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(wait) = &mut self.wait {
            ready!(wait.as_mut().poll(cx));
        }
        let one = bytes.len().min(1);
        let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, &bytes[..one]));
        self.wait = (!self.delay.is_zero()).then(|| Box::pin(sleep(self.delay)));
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl AsyncRead for Dribble {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let some = self.whole.max(1).min(buffer.remaining());
        let mut bytes = [0; WHOLE_BYTES];
        let mut few = ReadBuf::new(&mut bytes[..some]);
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut few))?;
        buffer.put_slice(few.filled());
        self.whole = self.whole.saturating_sub(few.filled().len());
        Poll::Ready(Ok(()))
    }
}

/// Sends so many bytes, and then none any more.
struct Breaking {
    tcp: TcpStream,
    left: usize,
}

impl AsyncWrite for Breaking {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let some = bytes.len().min(self.left);
        if some == 0 && !bytes.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, &bytes[..some]))?;
        self.left -= written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl AsyncRead for Breaking {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, buffer)
    }
}
