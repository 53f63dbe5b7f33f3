//! The way to the relay, over four transports.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, pem::PemObject};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{WebSocketStream, client_async};

/// A byte stream, plain or TLS.
pub trait ByteStream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> ByteStream for T {}

pub type Stream = Box<dyn ByteStream>;

#[derive(Clone)]
pub struct Door {
    addr: SocketAddr,
    tls: Arc<rustls::ClientConfig>,
}

impl Door {
    /// `certificate`: what a client has to trust.
    pub fn new(addr: SocketAddr, certificate: &Path) -> io::Result<Door> {
        let certificate = CertificateDer::from_pem_file(certificate).map_err(io::Error::other)?;
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Door { addr, tls: Arc::new(config) })
    }

    /// A TCP connection, closed by a reset where that is asked for.
    pub async fn tcp(&self, resets: bool) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        // What a slow reader leaves unread is the relay's to keep, not the kernel's.
        socket.set_recv_buffer_size(16 * 1024)?;
        let tcp = socket.connect(self.addr).await?;
        tcp.set_nodelay(true)?;
        SockRef::from(&tcp).set_linger(resets.then_some(Duration::ZERO))?;
        Ok(tcp)
    }

    pub async fn dial(&self, tls: bool, resets: bool) -> io::Result<Stream> {
        let tcp = self.tcp(resets).await?;
        if !tls {
            return Ok(Box::new(tcp));
        }
        let name = "localhost".try_into().map_err(io::Error::other)?;
        Ok(Box::new(TlsConnector::from(Arc::clone(&self.tls)).connect(name, tcp).await?))
    }

    pub async fn web(
        &self,
        path: &str,
        tls: bool,
        resets: bool,
    ) -> io::Result<WebSocketStream<Stream>> {
        let stream = self.dial(tls, resets).await?;
        let upgrade = client_async(format!("ws://localhost{path}"), stream).await;
        upgrade.map(|(websocket, _)| websocket).map_err(io::Error::other)
    }
}
