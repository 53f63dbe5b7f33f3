//! The way in: transports, and how a client introduces itself.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;

use super::fault::Fault;
use super::{Client, Library};
use crate::harness::in_time;

/// How a client reaches the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Ws,
    Wss,
    Tcp,
    Ssl,
}

impl Transport {
    pub fn is_tls(self) -> bool {
        matches!(self, Transport::Wss | Transport::Ssl)
    }

    pub fn is_websocket(self) -> bool {
        matches!(self, Transport::Ws | Transport::Wss)
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Ws => "ws",
            Transport::Wss => "wss",
            Transport::Tcp => "tcp",
            Transport::Ssl => "ssl",
        })
    }
}

/// A byte stream, plain or TLS.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for T {}

pub type Stream = Box<dyn ByteStream>;

/// How a client introduces itself.
#[derive(Clone, Debug)]
pub struct Hello {
    kind: Kind,
    path: Option<String>,
    headers: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Web,
    Php,
    /// A raw backend that does not greet: its first message opens the conversation.
    Bare,
}

impl Hello {
    pub fn web(path: &str) -> Hello {
        Hello { kind: Kind::Web, path: Some(path.to_owned()), headers: Vec::new() }
    }

    /// A raw greeting, or a WebSocket with `Client-Type: php`.
    pub fn php(path: Option<&str>) -> Hello {
        Hello { kind: Kind::Php, path: path.map(str::to_owned), headers: Vec::new() }
    }

    pub fn bare() -> Hello {
        Hello { kind: Kind::Bare, path: None, headers: Vec::new() }
    }

    pub fn header(mut self, name: &str, value: &str) -> Hello {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// What the client says first on a raw socket.
    fn greeting(&self) -> String {
        assert!(self.headers.is_empty(), "a raw greeting has no headers");
        match (self.kind, &self.path) {
            (Kind::Web, _) => panic!("a web client on a raw socket"),
            (Kind::Php, None) => "php process\n\n".to_owned(),
            (Kind::Php, Some(path)) => format!("php process\nGET {path} HTTP/1.1\n\n"),
            (Kind::Bare, _) => String::new(),
        }
    }
}

/// Where a relay is, and how clients reach it.
#[derive(Clone)]
pub struct Door {
    pub addr: SocketAddr,
    tls: Option<Arc<rustls::ClientConfig>>,
    fault: Fault,
    /// Where clients come from, if that is not the system's choice.
    source: Option<IpAddr>,
    /// What goes in front of all that a client sends.
    preface: Arc<[u8]>,
}

impl Door {
    pub fn new(addr: SocketAddr, tls: Option<Arc<rustls::ClientConfig>>) -> Door {
        Door { addr, tls, fault: Fault::None, source: None, preface: Arc::new([]) }
    }

    /// The same door for clients that come from this address of the machine.
    pub fn from(&self, source: [u8; 4]) -> Door {
        Door { source: Some(source.into()), ..self.clone() }
    }

    /// The same door for clients of a proxy that puts these bytes in front of theirs.
    pub fn behind(&self, preface: impl AsRef<[u8]>) -> Door {
        Door { preface: preface.as_ref().into(), ..self.clone() }
    }

    /// The same door over a network that carries one byte at a time, TLS records included.
    pub fn dribbling(&self) -> Door {
        self.dribbling_slowly(Duration::ZERO)
    }

    /// The same, each byte a while after the one before.
    pub fn dribbling_slowly(&self, delay: Duration) -> Door {
        Door { fault: Fault::Dribbles(delay), ..self.clone() }
    }

    /// The same door over a network that breaks when a client has sent so many bytes: sending is an error
    /// then, and the relay sees a reset once the client has dropped its stream.
    pub fn breaking_after(&self, bytes: usize) -> Door {
        Door { fault: Fault::BreaksAfter(bytes), ..self.clone() }
    }

    /// The same door for clients with another idea of TLS.
    pub fn with_tls(&self, tls: Arc<rustls::ClientConfig>) -> Door {
        Door { tls: Some(tls), ..self.clone() }
    }

    pub fn tls(&self) -> Arc<rustls::ClientConfig> {
        Arc::clone(self.tls.as_ref().expect("a relay with TLS"))
    }

    pub async fn dial_tcp(&self) -> TcpStream {
        let socket = match self.addr {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        };
        let socket = socket.expect("a socket");
        if let Some(source) = self.source {
            socket.bind((source, 0).into()).expect("an address of this machine");
        }
        let tcp = in_time("a TCP connection", socket.connect(self.addr)).await;
        let tcp = tcp.expect("a relay that accepts");
        tcp.set_nodelay(true).expect("a TCP option");
        tcp
    }

    pub async fn dial(&self, transport: Transport) -> Stream {
        self.dial_over(self.dial_tcp().await, transport).await.expect("a TLS handshake")
    }

    /// Makes the transport out of a TCP connection.
    pub async fn dial_over(&self, tcp: TcpStream, transport: Transport) -> io::Result<Stream> {
        let mut bytes = self.fault.over(tcp)?;
        bytes.write_all(&self.preface).await?;
        if !transport.is_tls() {
            return Ok(bytes);
        }
        let name = "localhost".try_into().expect("a name");
        let connecting = TlsConnector::from(self.tls()).connect(name, bytes);
        Ok(Box::new(in_time("a TLS handshake", connecting).await?))
    }

    /// Connects, and leaves `ready` to be heard.
    pub async fn open(&self, transport: Transport, hello: Hello) -> Client {
        self.open_over(self.dial_tcp().await, transport, hello).await
    }

    /// As [`Door::open`] over a TCP connection with options of its own.
    pub async fn open_over(&self, tcp: TcpStream, transport: Transport, hello: Hello) -> Client {
        let stream = self.dial_over(tcp, transport).await.expect("a TLS handshake");
        if transport.is_websocket() {
            let upgrade = upgrade(stream, &hello);
            let websocket = in_time("an upgrade", upgrade).await.expect("an upgrade");
            return Client::websocket(transport, websocket);
        }
        let mut client = Client::raw(transport, stream);
        client.send_bytes(hello.greeting().as_bytes()).await;
        client
    }

    /// As [`Door::open`] with a client that speaks through a library and trusts this certificate.
    pub fn open_through(
        &self,
        library: Library,
        certificate: &Path,
        transport: Transport,
        hello: &Hello,
    ) -> Client {
        let host = if transport.is_tls() { "localhost" } else { "127.0.0.1" };
        let path = hello.path.as_deref().unwrap_or_default();
        let url = format!("{transport}://{host}:{}{path}", self.addr.port());
        let (mut adapter, output) = library.start(certificate);
        adapter.connect(&url, &hello.headers, certificate);
        Client::through(transport, adapter, output)
    }

    /// A web client that has heard its `ready`.
    pub async fn web(&self, transport: Transport, path: &str) -> Client {
        let mut client = self.open(transport, Hello::web(path)).await;
        client.hears_ready().await;
        client
    }

    /// A web client that is registered under a name of its choice.
    pub async fn web_named(&self, transport: Transport, name: &str) -> Client {
        let mut client = self.web(transport, "/").await;
        client.send(&json!({ "opcode": "uuid", "message": name }).to_string()).await;
        client.acked("").await;
        client
    }

    /// A backend that has heard its `ready`.
    pub async fn backend(&self, transport: Transport) -> Client {
        let mut client = self.open(transport, Hello::php(None)).await;
        client.hears_ready().await;
        client
    }

    /// A web client at `/`, or a backend, as the transport has it; with its `ready` heard.
    pub async fn client(&self, transport: Transport) -> Client {
        match transport.is_websocket() {
            true => self.web(transport, "/").await,
            false => self.backend(transport).await,
        }
    }
}

async fn upgrade(stream: Stream, hello: &Hello) -> tungstenite::Result<WebSocketStream<Stream>> {
    let path = hello.path.as_deref().unwrap_or("/");
    let uri = format!("ws://localhost{path}").parse().expect("a path that makes a URI");
    let mut request = ClientRequestBuilder::new(uri);
    if hello.kind == Kind::Php {
        request = request.with_header("Client-Type", "php");
    }
    for (name, value) in &hello.headers {
        request = request.with_header(name, value);
    }
    let (websocket, _) = tokio_tungstenite::client_async(request, stream).await?;
    Ok(websocket)
}
