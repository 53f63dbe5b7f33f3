//! From an accepted socket to a client: TLS, the first bytes that tell what it is, the WebSocket
//! upgrade or the greeting. The caller holds the one deadline over all of it.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::net::TcpStream;

use super::door::Door;
use super::home::Home;
use crate::admission::Place;
use crate::frame::forwarded;
use crate::frame::handshake::{self as head, Head, Refusal};
use crate::frame::proxy::{self, Proxied};
use crate::frame::sniff::{Sniff, sniff};
use crate::http;
use crate::session::{ClientKind, Scheme};
use crate::transport::Transport;

/// How much of a handshake is read at once.
const SEGMENT_BYTES: usize = 4 * 1024;

const NO_CERTIFICATE: Refusal =
    Refusal::new(403, "a backend has to show a certificate here (tls.client_ca)")
        .mended_by("tls.client_ca");

/// For clients that come to a listener of the other kind. The first of them reads no HTTP, but its user
/// knows the error of who gets some for TLS.
const PLAIN_ONLY: Refusal =
    Refusal::bad_request("this port speaks no TLS: connect with ws:// or tcp://");
const TLS_ONLY: Refusal =
    Refusal::bad_request("this port speaks TLS: connect with wss:// or ssl://");

/// A client that is through its handshake.
pub struct Admitted {
    pub transport: Transport,
    pub scheme: Scheme,
    pub kind: ClientKind,
    pub head: Head,
    /// What came behind the handshake: it belongs to the stream.
    pub rest: Bytes,
    /// The answer to the handshake, where that is still to be written.
    pub opening: Box<[u8]>,
}

/// Why there is no client.
pub enum NotAdmitted {
    /// To be told so.
    Refused(Box<Refused>),
    /// A browser that was served a page, and needs no more than time to read it.
    Served(Transport),
    /// Gone, or not able to speak TLS with the relay.
    Failed(io::Error),
}

/// A client that is refused.
pub struct Refused {
    pub transport: Transport,
    pub refusal: Refusal,
    /// In HTTP, or as a raw client is told.
    pub answer: Vec<u8>,
    /// The page that it comes from, if it says so.
    pub origin: Option<String>,
}

impl From<io::Error> for NotAdmitted {
    fn from(error: io::Error) -> NotAdmitted {
        NotAdmitted::Failed(error)
    }
}

/// A peer that has not told all of what it is.
struct Newcomer<'a> {
    transport: Transport,
    input: BytesMut,
    place: &'a mut Place,
    home: &'a Home,
}

/// Goes through the handshake, also with a client that has no place: to be told so. The place becomes
/// that of the client as soon as a trusted proxy has told whom it speaks for.
pub async fn admit(
    tcp: TcpStream,
    place: &mut Place,
    door: &Door,
    home: &Home,
) -> Result<Admitted, NotAdmitted> {
    let transport = Transport::plain(tcp);
    let mut newcomer = Newcomer { transport, input: BytesMut::new(), place, home };
    newcomer.introduction().await?;
    let mut kind = newcomer.sniff().await?;
    match (kind, &door.tls) {
        (Sniff::Tls, Some(tls)) => {
            let config = tls.now();
            newcomer = Box::pin(newcomer.start_tls(&config)).await?;
            kind = newcomer.sniff().await?;
        }
        (Sniff::Tls, None) => return Err(newcomer.refused(PLAIN_ONLY)),
        _ if door.listening.scheme.plain() => {}
        (Sniff::Greeting | Sniff::Json, _) => return Err(newcomer.refused_raw(TLS_ONLY)),
        _ => return Err(newcomer.refused(TLS_ONLY)),
    }
    match kind {
        Sniff::Http => newcomer.upgrade().await,
        Sniff::Greeting => newcomer.greeting().await,
        Sniff::Json => newcomer.admitted_raw(plain_head()),
        Sniff::Tls | Sniff::NeedMore | Sniff::Unknown => {
            let refusal = Refusal::bad_request("neither WebSocket nor JSON nor a greeting");
            Err(newcomer.refused(refusal))
        }
    }
}

impl Newcomer<'_> {
    /// Reads more, into what has come so far.
    async fn read(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            let mut buffer = self.home.buffer.borrow_mut();
            let count = ready!(self.transport.poll_read(cx, &mut buffer[..SEGMENT_BYTES]))?;
            self.input.extend_from_slice(&buffer[..count]);
            Poll::Ready(match count {
                0 => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(()),
            })
        })
        .await
    }

    /// Takes what a trusted proxy says in front of all else about whom it speaks for.
    async fn introduction(&mut self) -> io::Result<()> {
        if !self.home.config().trusted_proxies.contains(self.place.addr().ip()) {
            return Ok(());
        }
        loop {
            let proxied = proxy::parse(&self.input, self.home.config().limits.header_bytes_max);
            match proxied.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                Proxied::NeedMore => self.read().await?,
                Proxied::No => return Ok(()),
                Proxied::Header { client, bytes } => {
                    self.input.advance(bytes);
                    return client.map_or(Ok(()), |client| self.speaks_for(client));
                }
            }
        }
    }

    /// The peer is a proxy, and this is its client.
    fn speaks_for(&mut self, client: SocketAddr) -> io::Result<()> {
        match self.place.belongs_to(forwarded::canonical(client)) {
            true => Ok(()),
            false => Err(io::Error::other("no place for this client")),
        }
    }

    /// Reads until the first bytes tell what this is.
    async fn sniff(&mut self) -> io::Result<Sniff> {
        loop {
            match sniff(&self.input) {
                Sniff::NeedMore => self.read().await?,
                known => return Ok(known),
            }
        }
    }

    async fn start_tls(self, config: &Arc<rustls::ServerConfig>) -> io::Result<Self> {
        let transport = self.transport.accept_tls(self.input.freeze(), config).await?;
        Ok(Newcomer { transport, input: BytesMut::new(), ..self })
    }

    async fn upgrade(mut self) -> Result<Admitted, NotAdmitted> {
        let bytes_max = self.home.config().limits.header_bytes_max;
        let (mut request, used) = loop {
            match head::parse_http(&self.input, bytes_max) {
                Ok(Some(parsed)) => break parsed,
                Ok(None) => self.read().await?,
                Err(refusal) => return Err(self.refused(refusal)),
            }
        };
        self.input.advance(used);
        // A greeting has header lines too, but no proxy that would write any.
        let proxies = &self.home.config().trusted_proxies;
        match forwarded::client(self.place.addr(), &request.head.headers, proxies) {
            Ok(client) => self.speaks_for(client)?,
            Err(refusal) => return Err(self.refused(refusal)),
        }
        // A WebSocket client can be told so that its program hears it: by a Close frame.
        if let Some(refused) = self.place.refused().filter(|_| !request.wants_upgrade()) {
            return Err(self.refused(Refusal::new(503, refused.text())));
        }
        match http::page(&request, &self.home.config().web) {
            Ok(Some(page)) => {
                // Under the deadline of the handshake, which a reader that takes nothing runs into.
                self.transport.write_all(&page).await?;
                return Err(NotAdmitted::Served(self.transport));
            }
            Ok(None) => {}
            Err(refusal) => return Err(self.refused(refusal)),
        }
        let opening = match head::upgrade(&request, &self.home.config().web.allowed_origins) {
            Ok(upgrade) => upgrade.response.into_boxed_slice(),
            Err(refusal) => {
                let origin = request.head.headers.get("origin").map(str::to_owned);
                return Err(self.refused_of(refusal, origin));
            }
        };
        request.head.headers.retain(|name| !head::OF_THE_UPGRADE.contains(&name));
        let php = request.head.headers.get("client-type").is_some_and(|is| is == "php");
        if !php {
            return Ok(self.admitted(true, ClientKind::Web, request.head, opening));
        }
        if self.lacks_certificate() {
            return Err(self.refused(NO_CERTIFICATE));
        }
        // Such a client throws away what arrives in the same read as the 101.
        self.transport.write_all(&opening).await?;
        tokio::time::sleep(self.home.config().web.php_ready_delay).await;
        Ok(self.admitted(true, ClientKind::Backend, request.head, Box::default()))
    }

    async fn greeting(mut self) -> Result<Admitted, NotAdmitted> {
        let (head, used) = loop {
            match head::parse_greeting(&self.input, self.home.config().limits.header_bytes_max) {
                Ok(Some(parsed)) => break parsed,
                Ok(None) => self.read().await?,
                Err(refusal) => return Err(self.refused(refusal)),
            }
        };
        self.input.advance(used);
        self.admitted_raw(head)
    }

    fn admitted_raw(self, head: Head) -> Result<Admitted, NotAdmitted> {
        match self.lacks_certificate() {
            true => Err(self.refused_raw(NO_CERTIFICATE)),
            false => Ok(self.admitted(false, ClientKind::Backend, head, Box::default())),
        }
    }

    /// Whether a backend would have had to show a certificate, and has not. One that is none of the
    /// authorities' has ended the TLS handshake.
    fn lacks_certificate(&self) -> bool {
        let wanted = !self.home.config().tls.client_ca.as_os_str().is_empty();
        wanted && self.transport.is_tls() && !self.transport.has_client_certificate()
    }

    /// To be answered in HTTP.
    fn refused(self, refusal: Refusal) -> NotAdmitted {
        self.refused_of(refusal, None)
    }

    fn refused_of(self, refusal: Refusal, origin: Option<String>) -> NotAdmitted {
        let (transport, answer) = (self.transport, refusal.response());
        NotAdmitted::Refused(Box::new(Refused { transport, refusal, answer, origin }))
    }

    fn refused_raw(self, refusal: Refusal) -> NotAdmitted {
        let (transport, answer) = (self.transport, refusal.raw_response());
        NotAdmitted::Refused(Box::new(Refused { transport, refusal, answer, origin: None }))
    }

    fn admitted(
        self,
        websocket: bool,
        kind: ClientKind,
        head: Head,
        opening: Box<[u8]>,
    ) -> Admitted {
        let scheme = Scheme::new(websocket, self.transport.is_tls());
        let rest = self.input.freeze();
        Admitted { transport: self.transport, scheme, kind, head, rest, opening }
    }
}

/// What is known of a client that begins with its first message.
fn plain_head() -> Head {
    Head { path: "/".to_owned(), query: String::new(), headers: Default::default() }
}
