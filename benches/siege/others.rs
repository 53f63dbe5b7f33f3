//! The clients that are not to notice anything: each asks for an echo once in a while.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::protocol::{GREETING, Work, masked_frame, upgrade};
use crate::{megabytes, source};

/// Between two echoes of one client.
const PAUSE: Duration = Duration::from_secs(8);
const MESSAGE_BYTES: usize = 64;
/// Connections at once that are in their handshake.
const HANDSHAKES: usize = 200;
/// An echo that takes longer is a connection lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// Of so many others one is a raw backend.
const BACKENDS: usize = 10;

/// All of them, on a thread of their own.
pub struct Others {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    phase: Mutex<&'static str>,
    /// How long the echoes of this phase took.
    took: Mutex<Vec<Duration>>,
    lost: AtomicUsize,
    over: AtomicBool,
}

impl Others {
    /// Returns when all are connected and greeted.
    pub fn connect(relay: SocketAddr, count: usize) -> io::Result<Others> {
        let shared = Arc::new(Shared::default());
        let (tell, told) = sync_channel(1);
        let of_thread = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let mut clients = Vec::new();
                let connected = connect_all(relay, count, &mut clients).await;
                // The other side waits for exactly this.
                let _ = tell.send(connected);
                let mut asking = JoinSet::new();
                for (number, client) in clients.into_iter().enumerate() {
                    let first = PAUSE.mul_f64(number as f64 / count as f64);
                    asking.spawn(ask_again_and_again(client, first, Arc::clone(&of_thread)));
                }
                asking.join_all().await;
            });
        });
        told.recv().map_err(io::Error::other)??;
        Ok(Others { shared, thread })
    }

    pub fn begin(&self, phase: &'static str) {
        *self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
        self.shared.took.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Prints what this phase came to.
    pub fn report(&self, resident: usize) {
        let phase = *self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let mut took = self.shared.took.lock().unwrap_or_else(PoisonError::into_inner).clone();
        took.sort_unstable();
        let at = |per_mille: usize| {
            let took = took.get(took.len() * per_mille / 1000).copied().unwrap_or_default();
            format!("{:>7.2} ms", took.as_secs_f64() * 1000.0)
        };
        let resident = megabytes(resident);
        let (p50, p99, p999) = (at(500), at(990), at(999));
        println!("{phase:<22} {p50}{p99}{p999} {:>8} {resident:>6.1} MB", took.len());
    }

    /// Has all of them leave; how many had lost their connection.
    pub fn end(self) -> usize {
        self.shared.over.store(true, Ordering::Relaxed);
        let panicked = self.thread.join().is_err();
        self.shared.lost.load(Ordering::Relaxed) + usize::from(panicked)
    }
}

struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    answer_bytes: usize,
}

async fn connect_all(relay: SocketAddr, count: usize, clients: &mut Vec<Client>) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    let mut connecting = JoinSet::new();
    for number in 0..count {
        let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
        connecting.spawn(async move {
            let client = Client::connect(relay, number).await;
            drop(place);
            client
        });
    }
    while let Some(client) = connecting.join_next().await {
        clients.push(client.map_err(io::Error::other)??);
    }
    Ok(())
}

impl Client {
    /// Connects, and reads its greeting.
    async fn connect(relay: SocketAddr, number: usize) -> io::Result<Client> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(source(number))?;
        let mut stream = socket.connect(relay).await?;
        stream.set_nodelay(true)?;
        let text = Work::Echo.message(MESSAGE_BYTES).into_bytes();
        let in_frames = Work::Echo.answer_bytes(MESSAGE_BYTES);
        let is_backend = number.is_multiple_of(BACKENDS);
        let (hello, request, answer_bytes) = match is_backend {
            true => (GREETING.to_vec(), text, in_frames - 4),
            false => (upgrade("/").into_bytes(), masked_frame(&text), in_frames),
        };
        stream.write_all(&hello).await?;
        let (mut heard, mut buffer) = (Vec::new(), [0; 1024]);
        // The end of its `ready`.
        while !heard.ends_with(b"\"}") {
            match stream.read(&mut buffer).await? {
                0 => return Err(io::Error::other("closed during the handshake")),
                count => heard.extend_from_slice(&buffer[..count]),
            }
        }
        Ok(Client { stream, request, answer_bytes })
    }

    /// Asks for an echo and hears it.
    async fn ask(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.request).await?;
        let mut buffer = [0; 1024];
        let mut left = self.answer_bytes;
        while left > 0 {
            match self.stream.read(&mut buffer[..left]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => left -= count,
            }
        }
        Ok(())
    }
}

async fn ask_again_and_again(mut client: Client, first: Duration, shared: Arc<Shared>) {
    tokio::time::sleep(first).await;
    let mut next = tokio::time::interval(PAUSE);
    while !shared.over.load(Ordering::Relaxed) {
        next.tick().await;
        let asked = Instant::now();
        if !matches!(tokio::time::timeout(PATIENCE, client.ask()).await, Ok(Ok(()))) {
            shared.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        shared.took.lock().unwrap_or_else(PoisonError::into_inner).push(asked.elapsed());
    }
}
