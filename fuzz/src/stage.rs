//! A whole relay on one thread, but for the listener: a worker with its runtime and the script thread's
//! state, which take turns. Time stands still unless it is let pass, so the same input does the same.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use relay::admission::Admission;
use relay::config::{Config, ListenScheme, Listening};
use relay::connection::Door;
use relay::waiting::Waiting;
use relay::script::{Clock, Queue, ScriptThread, Setup, Source};
use relay::session::Issuer;
use relay::transport::tls::{self, Tls};
use relay::watch::Watched;
use relay::worker::{self, Arrival, Ended, INBOX_HAND_OVERS, Order, Plan};
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::{mpsc, watch};

/// The script that is shipped: what everybody's clients reach.
const SCRIPT: &str = include_str!("../../scripts/opcodes.lua");

/// Where all clients come from.
const PEER: ([u8; 4], u16) = ([192, 0, 2, 1], 4711);

/// How often the worker's tasks have their turn before it counts as quiet: what one turn causes the
/// next one does, and a chain of them is no longer than from the socket over the task to the queue.
const TURNS: usize = 4;

/// The relay.
pub struct Stage {
    runtime: LocalRuntime,
    arrivals: mpsc::Sender<Vec<Arrival>>,
    queue: Queue,
    script: ScriptThread,
    events: VecDeque<relay::script::Event>,
    admission: Arc<Admission>,
    door: Door,
    // Held as long as the worker runs.
    _orders: watch::Sender<Order>,
    _configs: watch::Sender<Arc<Config>>,
    _ended: mpsc::Receiver<Ended>,
}

impl Stage {
    /// Starts a relay with the shipped script.
    pub fn new(mut config: Config) -> Stage {
        // A busy machine ends no handler: that would depend on the machine.
        config.script.call_timeout = Duration::from_secs(3600);
        config.script.call_warn = Duration::from_secs(3600);
        config.tls.directory = std::env::temp_dir().join("relay-fuzz-certs");
        let tls = tls::acceptor(&config.tls).expect("a certificate for development");
        let tls = Arc::new(Tls::new(tls.server_config));
        let config = Arc::new(config);
        let (inbox, outlet) = mpsc::channel(INBOX_HAND_OVERS);
        let script = ScriptThread::new(Setup {
            source: Source::new("opcodes.lua", SCRIPT),
            terms: relay::server::terms(&config),
            workers: vec![inbox],
            clock: Clock::default(),
            watched: Watched::default(),
            rehearse: None,
        })
        .expect("the shipped script loads");
        let queue = Queue::default();
        let (orders, obeyed) = watch::channel(Order::Run);
        let (tell_end, ended) = mpsc::channel(1);
        let (configs, config) = watch::channel(config);
        let admission = Arc::new(Admission::new(config.clone()));
        let plan = Plan {
            config,
            issuer: Arc::new(Issuer::new().expect("random numbers")),
            queue: queue.clone(),
            waiting: Waiting::of_workers(1).remove(0),
            workers: 1,
            orders: obeyed,
            ended: tell_end,
            pulse: Arc::default(),
        };
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build_local(LocalOptions::default())
            .expect("a runtime");
        let listening =
            Listening { scheme: ListenScheme::Any, addr: ([127, 0, 0, 1], 8083).into() };
        let (arrivals, accepted) = mpsc::channel(1);
        runtime.spawn_local(worker::run(0, plan, accepted, outlet));
        Stage {
            runtime,
            arrivals,
            queue,
            script,
            events: VecDeque::new(),
            admission,
            door: Door::new(listening, Some(tls)),
            _orders: orders,
            _configs: configs,
            _ended: ended,
        }
    }

    /// A client connects, which the relay sees with the next thing that happens.
    pub fn connect(&mut self) -> Peer {
        let (near, far) = UnixStream::pair().expect("two sockets");
        near.set_nonblocking(true).expect("settable");
        far.set_nonblocking(true).expect("settable");
        let arrival = Arrival {
            // A stream socket like any other to all that the relay does with it.
            tcp: TcpStream::from(OwnedFd::from(far)),
            door: self.door.clone(),
            place: self.admission.enter(PEER.into()).expect("a place"),
        };
        self.arrivals.try_send(vec![arrival]).expect("room for one");
        Peer { socket: near, heard: Vec::new(), ended: false }
    }

    /// Lets worker and script do what there is to do, until all is quiet.
    pub fn settle(&mut self) {
        loop {
            self.runtime.block_on(async {
                for _ in 0..TURNS {
                    tokio::task::yield_now().await;
                }
            });
            self.queue.take(&mut self.events, Some(Instant::now()));
            if self.events.is_empty() && !self.script.waits() {
                return;
            }
            self.script.decide_all(&mut self.events);
        }
    }

    /// Lets time pass.
    pub fn wait(&mut self, time: Duration) {
        self.runtime.block_on(tokio::time::advance(time));
        self.settle();
    }

    /// How many clients the hub knows.
    pub fn connected(&self) -> usize {
        self.script.hub().borrow().connected()
    }
}

/// The far end of a connection.
pub struct Peer {
    socket: UnixStream,
    /// All that came, until it is taken.
    pub heard: Vec<u8>,
    /// Whether the relay has closed its side.
    pub ended: bool,
}

impl Peer {
    /// Sends as much as the relay reads. What it does not want any more is left out.
    pub fn say(&mut self, stage: &mut Stage, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.socket.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
            stage.settle();
            self.listen();
        }
    }

    /// Ends this side, and waits for the other.
    pub fn hang_up(&mut self, stage: &mut Stage) {
        // The relay may have closed altogether.
        let _ = self.socket.shutdown(Shutdown::Write);
        stage.settle();
        self.listen();
    }

    /// Takes what has come.
    pub fn listen(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            match self.socket.read(&mut buffer) {
                Ok(0) => return self.ended = true,
                Ok(count) => self.heard.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.ended = true,
            }
        }
    }
}
