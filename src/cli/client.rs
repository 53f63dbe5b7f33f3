//! relay's command line as a client of a relay: one connection on any of the four transports.

mod failure;
mod tls;
mod url;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use clap::Args;
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError::HandshakeIncomplete;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, ClientRequestBuilder, Message};

pub use failure::{Failure, Reason};
use failure::{body, farewell, lost, no_relay, silent, turned_away};
pub use url::RemoteUrl;

use super::{EXIT_LOST, EXIT_NO_RELAY, EXIT_UNAVAILABLE, EXIT_UNTRUSTED, EXIT_USAGE};
use crate::frame::{Decoder, Frame};

/// The longest message that is taken from a relay, which bounds its messages by a limit of its own.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
const READ_BYTES: usize = 16 * 1024;

/// How the relay is connected to.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectArgs {
    /// Trust the certificates in this PEM file instead of the system's
    #[arg(long, value_name = "FILE")]
    pub cafile: Option<PathBuf>,

    /// Trust any certificate: whoever is on the way can read and change everything
    #[arg(long, conflicts_with = "cafile")]
    pub insecure: bool,

    /// Show the certificate in this PEM file, for a relay that has tls.client_ca
    #[arg(long, value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,

    /// The private key of that certificate, a PEM file
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,

    /// The Origin to send with ws:// and wss://, for a relay that has web.allowed_origins
    #[arg(long, value_name = "ORIGIN")]
    pub origin: Option<String>,
}

/// Which kind of client the relay is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Receives what it is told in answer to its own messages, and nothing else.
    Backend,
    /// May register, and then receives broadcasts.
    Web,
}

/// What a client hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    Message(Bytes),
    /// The relay has closed, for this reason where it gave one.
    Closed(Option<Reason>),
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

type Stream = Box<dyn Duplex>;

/// A connection to a relay, behind its `ready`.
pub struct Client {
    wire: Wire,
    /// The uuid that the relay issued.
    pub issued_uuid: String,
}

enum Wire {
    WebSocket(Box<WebSocketStream<Stream>>),
    Raw { stream: Stream, decoder: Decoder, input: BytesMut, goodbye: Option<Reason> },
}

impl Client {
    /// Connects, and waits for the `ready`. Without a deadline of its own.
    ///
    /// # Errors
    /// 64: a flag that does not fit. 69: nobody listens there, or says a word. 75: the relay is full, or
    /// stops. 76: what listens there is no relay. 77: its certificate is not trusted, or it refuses this
    /// client.
    pub async fn connect(
        url: &RemoteUrl,
        args: &ConnectArgs,
        role: Role,
    ) -> Result<Client, Failure> {
        let stream = dial(url, args).await?;
        let wire = match url.websocket() {
            true => upgrade(url, args, role, stream).await?,
            false => greet(stream).await?,
        };
        let mut client = Client { wire, issued_uuid: String::new() };
        match client.heard().await? {
            Heard::Message(message) => match issued_uuid(&message) {
                Some(uuid) => client.issued_uuid = uuid,
                None => {
                    return Err(farewell(&message).map_or_else(
                        || no_relay(url, "its first message is no ready"),
                        |reason| turned_away(url, &reason),
                    ));
                }
            },
            Heard::Closed(Some(reason)) => return Err(turned_away(url, &reason)),
            Heard::Closed(None) => return Err(silent(url)),
        }
        Ok(client)
    }

    /// Sends one message. That it could be written says nothing about its being read.
    ///
    /// # Errors
    /// 75: the connection is gone.
    pub async fn send(&mut self, text: &str) -> Result<(), Failure> {
        let sent = match &mut self.wire {
            Wire::WebSocket(websocket) => {
                websocket.send(Message::text(text)).await.map_err(io::Error::other)
            }
            Wire::Raw { stream, .. } => write(stream, text.as_bytes()).await,
        };
        sent.map_err(|error| lost(&error))
    }

    /// Waits for what comes next; loses nothing where the wait is given up.
    ///
    /// # Errors
    /// 75: the connection is gone. 76: what comes is no message.
    pub async fn heard(&mut self) -> Result<Heard, Failure> {
        self.heard_within(Duration::MAX).await
    }

    /// The same, from a relay that is seen to live: a WebSocket that is silent for so long is pinged, and
    /// has as long to answer. A machine that is gone says nothing, not even that.
    ///
    /// # Errors
    /// As [`Client::heard`]; 75: no answer.
    pub async fn heard_within(&mut self, patience: Duration) -> Result<Heard, Failure> {
        match &mut self.wire {
            Wire::WebSocket(websocket) => heard_websocket(websocket, patience).await,
            Wire::Raw { stream, decoder, input, goodbye } => {
                let heard = heard_raw(stream, decoder, input).await?;
                // A raw client is told the reason in a message, and the end follows it.
                match heard {
                    Heard::Message(message) => {
                        *goodbye = farewell(&message);
                        Ok(Heard::Message(message))
                    }
                    Heard::Closed(_) => Ok(Heard::Closed(goodbye.take())),
                }
            }
        }
    }

    /// Says that nothing more is sent. The relay then decides what it has, and closes.
    pub async fn finish(&mut self) {
        // A connection that is gone needs no goodbye.
        let _ = match &mut self.wire {
            Wire::WebSocket(websocket) => websocket.close(None).await.map_err(io::Error::other),
            Wire::Raw { stream, .. } => stream.shutdown().await,
        };
    }
}

async fn dial(url: &RemoteUrl, args: &ConnectArgs) -> Result<Stream, Failure> {
    let tls = match url.tls() {
        true => Some(tls::config(args)?),
        false => None,
    };
    let tcp = TcpStream::connect((&*url.host, url.port)).await.map_err(|error| {
        Failure::new(EXIT_UNAVAILABLE, format!("cannot connect to {url}: {error}"))
    })?;
    // Each write is a whole message, for which somebody waits. Where it cannot be set, it is slower.
    let _ = tcp.set_nodelay(true);
    let Some(tls) = tls else { return Ok(Box::new(tcp)) };
    let name = ServerName::try_from(url.host.clone())
        .map_err(|error| Failure::new(EXIT_USAGE, format!("{url}: {error}")))?;
    match TlsConnector::from(Arc::clone(&tls)).connect(name, tcp).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) if tls::is_untrusted(&error) => {
            let text = format!("{url} is not trusted: its certificate: {}", tls::in_words(&error));
            Err(Failure::new(EXIT_UNTRUSTED, text))
        }
        Err(error) if tls::is_plain(&error) => {
            let plain = url.without_tls();
            Err(no_relay(url, &format!("no TLS is spoken there; without it that is {plain}")))
        }
        Err(error) => Err(no_relay(url, &format!("no TLS: {error}"))),
    }
}

async fn upgrade(
    url: &RemoteUrl,
    args: &ConnectArgs,
    role: Role,
    stream: Stream,
) -> Result<Wire, Failure> {
    let uri = url.to_string().parse().map_err(|error: tungstenite::http::uri::InvalidUri| {
        Failure::new(EXIT_USAGE, format!("{url}: {error}"))
    })?;
    let mut request = ClientRequestBuilder::new(uri);
    if let Some(origin) = &args.origin {
        request = request.with_header("Origin", origin);
    }
    if role == Role::Backend {
        request = request.with_header("Client-Type", "php");
    }
    let limits = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    match tokio_tungstenite::client_async_with_config(request, stream, Some(limits)).await {
        Ok((websocket, _)) => Ok(Wire::WebSocket(Box::new(websocket))),
        Err(tungstenite::Error::Http(response)) => {
            let status = response.status();
            let code = match status.as_u16() {
                401 | 403 => EXIT_UNTRUSTED,
                429 | 503 => EXIT_LOST,
                _ => EXIT_NO_RELAY,
            };
            Err(Failure::new(code, format!("{url} refuses: {status}{}", body(&response))))
        }
        Err(tungstenite::Error::Io(_) | tungstenite::Error::Protocol(HandshakeIncomplete)) => {
            Err(silent(url))
        }
        Err(error) => Err(no_relay(url, &error.to_string())),
    }
}

/// A raw client may begin with its first message; the greeting lets it wait for the `ready` first.
async fn greet(mut stream: Stream) -> Result<Wire, Failure> {
    write(&mut stream, b"php process\n\n").await.map_err(|error| lost(&error))?;
    let decoder = Decoder::raw(MESSAGE_BYTES_MAX);
    Ok(Wire::Raw { stream, decoder, input: BytesMut::new(), goodbye: None })
}

async fn write(stream: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

async fn heard_websocket(
    websocket: &mut WebSocketStream<Stream>,
    patience: Duration,
) -> Result<Heard, Failure> {
    let mut asked = false;
    loop {
        let Ok(next) = timeout(patience, websocket.next()).await else {
            if asked {
                return Err(lost(&format!("no answer to a ping within {patience:?}")));
            }
            asked = true;
            // One that takes nothing does not answer either.
            let ping = websocket.send(Message::Ping(Bytes::new()));
            let _ = timeout(patience, ping).await;
            continue;
        };
        asked = false;
        match next {
            Some(Ok(Message::Text(text))) => return Ok(Heard::Message(Bytes::from(text))),
            Some(Ok(Message::Close(frame))) => {
                // The answer to it; whoever has gone already does not miss it.
                let _ = websocket.flush().await;
                let reason = |frame: tungstenite::protocol::CloseFrame| Reason {
                    code: frame.code.into(),
                    text: frame.reason.to_string(),
                };
                return Ok(Heard::Closed(frame.map(reason)));
            }
            // Pings are answered as the next frame is waited for.
            Some(Ok(_)) => {}
            Some(Err(tungstenite::Error::ConnectionClosed)) | None => {
                return Ok(Heard::Closed(None));
            }
            Some(Err(error)) => return Err(lost(&error)),
        }
    }
}

async fn heard_raw(
    stream: &mut Stream,
    decoder: &mut Decoder,
    input: &mut BytesMut,
) -> Result<Heard, Failure> {
    loop {
        let whole = input.len();
        let mut rest: &mut [u8] = input;
        let frame = decoder.decode(&mut rest);
        let used = whole - rest.len();
        input.advance(used);
        match frame {
            Ok(Some(Frame::Message(message))) => return Ok(Heard::Message(message)),
            Ok(Some(_)) => continue,
            Ok(None) => {}
            Err(reason) => return Err(Failure::new(EXIT_NO_RELAY, reason.text())),
        }
        input.reserve(READ_BYTES);
        match stream.read_buf(input).await {
            Ok(0) if decoder.awaits_pause() => {
                return Err(Failure::new(
                    EXIT_NO_RELAY,
                    "what answers is no relay: it says no JSON",
                ));
            }
            Ok(0) => return Ok(Heard::Closed(None)),
            Ok(_) => {}
            // TLS without its goodbye is an end, too: a message is whole or it is none.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(Heard::Closed(None));
            }
            Err(error) => return Err(lost(&error)),
        }
    }
}

fn issued_uuid(message: &[u8]) -> Option<String> {
    let message: Value = serde_json::from_slice(message).ok()?;
    let uuid = (message["opcode"] == "ready").then(|| message["uuid"].as_str())??;
    Some(uuid.to_owned())
}
