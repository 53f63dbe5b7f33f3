//! Every timeout of a connection under a paused clock: one worker with real sockets, and a test that
//! plays the script. Time passes only where the test says so, so that each timeout is seen to come
//! at its time, and not a millisecond before.

mod drain;
mod gathering;
mod handshakes;
mod panics;
mod peer;
mod silence;
mod writes;

use std::collections::VecDeque;
use std::net::{TcpListener, TcpStream as Socket};

use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;
use crate::admission::Admission;
use crate::close::CloseReason;
use crate::config::{ListenScheme, Listening};
use crate::hub::Payload;
use crate::script::Event;
use crate::session::SessionId;
use peer::Peer;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// How often everybody has its turn while time stands still.
const ROUNDS: usize = 50;

/// How long the kernel may take in real time, which ends a test that would hang.
const DEADLINE: Duration = Duration::from_secs(20);

/// A worker, and the other ends of all that it has.
struct Stage {
    begun: Instant,
    listener: TcpListener,
    arrivals: mpsc::Sender<Vec<Arrival>>,
    queue: Queue,
    inbox: mpsc::Sender<Vec<Delivery>>,
    orders: watch::Sender<Order>,
    running: JoinHandle<Partings>,
    waiting: Waiting,
    pulse: Arc<Pulse>,
    /// What the script was told.
    events: Vec<Event>,
}

/// A listener for clients of every kind, as far as it has TLS.
fn door(tls: Option<Arc<crate::transport::tls::Tls>>) -> Door {
    let addr = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    Door::new(Listening { scheme: ListenScheme::Any, addr }, tls)
}

/// Runs the body beside a worker with the default config, changed like this.
fn staged(change: impl FnOnce(&mut Config), body: impl AsyncFnOnce(&mut Stage)) {
    let mut config = Config::default();
    change(&mut config);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build_local(LocalOptions::default())
        .expect("a runtime");
    runtime.block_on(async {
        let mut stage = Stage::new(config);
        stage.settle().await;
        body(&mut stage).await;
    });
}

impl Stage {
    fn new(config: Config) -> Stage {
        let (arrivals, accepted) = mpsc::channel(ARRIVALS);
        let (inbox, outlet) = mpsc::channel(INBOX_HAND_OVERS);
        let (orders, order) = watch::channel(Order::Run);
        let (ended, _) = mpsc::channel(1);
        let (queue, pulse) = (Queue::default(), Arc::<Pulse>::default());
        let waiting = Waiting::of_workers(1).remove(0);
        let plan = Plan {
            waiting: waiting.clone(),
            config: watch::Sender::new(Arc::new(config)).subscribe(),
            issuer: Arc::new(Issuer::new().expect("random numbers")),
            queue: queue.clone(),
            workers: 1,
            orders: order,
            ended,
            pulse: Arc::clone(&pulse),
        };
        Stage {
            begun: Instant::now(),
            listener: TcpListener::bind("127.0.0.1:0").expect("a port"),
            arrivals,
            queue,
            inbox,
            orders,
            running: tokio::task::spawn_local(run(0, plan, accepted, outlet)),
            waiting,
            pulse,
            events: Vec::new(),
        }
    }

    /// Lets all happen that can happen now. As long as somebody is ready, a paused clock stands
    /// still.
    async fn settle(&mut self) {
        for _ in 0..ROUNDS {
            tokio::task::yield_now().await;
            let mut events = VecDeque::new();
            self.queue.take(&mut events, Some(std::time::Instant::now()));
            for event in events {
                let to = event.client();
                let decided = match &event {
                    Event::Connected(_) | Event::Disconnected { .. } => Some((0, false)),
                    Event::Message { message, .. } => Some((message.raw.len(), true)),
                    Event::Noise { .. } => Some((0, true)),
                    Event::Refused { bytes, .. } => Some((*bytes, true)),
                    Event::Alive { .. } | Event::Departed { .. } => None,
                };
                if let Some((bytes, ack)) = decided {
                    self.deliver(Delivery::Decided { to, bytes, ack });
                }
                self.events.push(event);
            }
        }
    }

    /// Lets time pass, in steps to each full second, which is when the worker's tick comes.
    async fn pass(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            let into = Duration::from_nanos(self.begun.elapsed().subsec_nanos().into());
            tokio::time::advance((SECOND - into).min(end - Instant::now())).await;
            self.settle().await;
        }
    }

    /// Lets time pass while the script decides nothing.
    async fn undecided(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            for _ in 0..ROUNDS {
                tokio::task::yield_now().await;
            }
            tokio::time::advance(SECOND).await;
        }
    }

    /// Sees that something is so after that time from now, and is not before.
    async fn only_after(&mut self, time: Duration, mut is_so: impl FnMut(&Stage) -> bool) {
        self.pass(time - MILLI).await;
        assert!(!is_so(self), "before {time:?} were over");
        self.pass(MILLI).await;
        self.until(is_so).await;
    }

    /// Sees that something is not so before that time from now is over, and that it comes to that.
    async fn not_before(&mut self, time: Duration, is_so: impl Fn(&Stage) -> bool) {
        self.pass(time - MILLI).await;
        assert!(!is_so(self), "before {time:?} were over");
        let end = Instant::now() + 5 * time;
        while !is_so(self) {
            assert!(Instant::now() < end, "it never came to that");
            self.pass(SECOND).await;
        }
    }

    /// Waits for the kernel while time stands still: a busy machine is slow even on its loopback.
    #[track_caller]
    fn until(&mut self, mut is_so: impl FnMut(&Stage) -> bool) -> impl Future<Output = ()> {
        let at = std::panic::Location::caller();
        async move {
            let since = std::time::Instant::now();
            self.settle().await;
            while !is_so(self) {
                assert!(since.elapsed() < DEADLINE, "it never came to that: {at}");
                self.settle().await;
            }
        }
    }

    fn deliver(&self, delivery: Delivery) {
        self.inbox.try_send(vec![delivery]).expect("a worker that takes what it is handed");
    }

    fn register(&self, peer: &Peer) {
        self.deliver(Delivery::Register { to: peer.id(), uuid: "u".into() });
    }

    fn close(&self, peer: &Peer) {
        let reason = CloseReason::Script { code: 4000, text: String::new() };
        self.deliver(Delivery::Close { to: peer.id(), reason });
    }

    /// Sends it so much that its socket does not take all of it.
    async fn flood(&mut self, peer: &Peer) {
        let text = Payload::from("x".repeat(64 << 20));
        self.deliver(Delivery::Send { to: peer.id(), text });
        self.until(|_| peer.takes_no_more()).await;
    }

    /// Why the script was told that it is gone, if it was.
    fn end_of(&self, peer: &Peer) -> Option<CloseReason> {
        self.events.iter().find_map(|event| match event {
            Event::Disconnected { id, reason } if *id == peer.id() => Some(reason.clone()),
            _ => None,
        })
    }

    /// How often the script heard of it since it is connected.
    fn heard_of(&self, peer: &Peer) -> usize {
        let behind = |event: &&Event| !matches!(event, Event::Connected(_));
        self.events.iter().filter(behind).filter(|event| event.client() == peer.id()).count()
    }

    /// Somebody who has not said anything.
    async fn peer(&mut self) -> Peer {
        self.peer_at(door(None)).await
    }

    async fn peer_at(&mut self, door: Door) -> Peer {
        let socket = Socket::connect(self.listener.local_addr().expect("bound")).expect("room");
        socket.set_nonblocking(true).expect("a socket option");
        let (tcp, peer) = self.listener.accept().expect("a connection");
        tcp.set_nonblocking(true).expect("a socket option");
        let config = watch::channel(Arc::new(Config::default())).1;
        let admission = Arc::new(Admission::new(config));
        let place = admission.enter(peer).expect("a place");
        self.arrivals.try_send(vec![Arrival { tcp, door, place }]).expect("a worker that welcomes");
        self.settle().await;
        Peer::new(socket, admission)
    }

    /// Says what makes a client of it.
    async fn connect(&mut self, mut peer: Peer, says: &str) -> Peer {
        let before = self.newest();
        peer.say(says);
        self.until(|stage| stage.newest() != before).await;
        peer.id = self.newest();
        if says.starts_with("GET") {
            self.until(|_| peer.has_heard(b"\r\n\r\n")).await;
            peer.heard.clear();
        }
        peer
    }

    fn newest(&self) -> Option<SessionId> {
        let connected = |event: &Event| match event {
            Event::Connected(info) => Some(info.id),
            _ => None,
        };
        self.events.iter().rev().find_map(connected)
    }

    async fn web(&mut self) -> Peer {
        let peer = self.peer().await;
        self.connect(peer, &upgrade("")).await
    }

    async fn raw(&mut self) -> Peer {
        let peer = self.peer().await;
        self.connect(peer, "php process\n\n").await
    }
}

/// A request for a WebSocket.
fn upgrade(header: &str) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{header}\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
}

/// A short frame as a client sends it; the mask changes nothing.
fn frame(opcode: u8, payload: &str) -> Vec<u8> {
    let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126);
    let head = [0x80 | opcode, 0x80 | length.expect("a short one"), 0, 0, 0, 0];
    [&head, payload.as_bytes()].concat()
}

const TEXT: u8 = 1;
const PING: u8 = 9;
const PONG: u8 = 10;
