//! An I/O worker: a thread that owns its connections for life, with a runtime of its own.
//!
//! Its main task is the turn: it hands over to the script what its connections have read, takes
//! what the hub hands over, and writes each client once. It never waits for the script thread.

mod drain;
mod inbox;
mod pulse;

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::admission::Place;
use crate::config::Config;
use crate::connection::{self, Door, Home, Partings};
use crate::hub::Delivery;
use crate::script::{Intake, Queue};
use crate::session::Issuer;
use crate::threads::NoThread;
use crate::waiting::Waiting;
use inbox::Inbox;
pub use pulse::Pulse;

/// How many hand-overs of the hub may wait for a worker; then the script thread waits for it.
pub const INBOX_HAND_OVERS: usize = 64;

/// Hand-overs of accepted sockets that wait for a worker; then the listeners wait. The sockets in
/// them have their places.
const ARRIVALS: usize = 64;

/// A turn waits for one more pass of the event loop for each so many clients that it writes to: a
/// write costs about as much as a pass.
const WRITES_PER_PASS: usize = 16;

/// The first pass finds out which connections have something to read, and the second reads it.
const PASSES_TO_READ: usize = 2;

/// How often stalled and silent clients are looked for.
const TICK: Duration = Duration::from_secs(1);

/// A socket that was accepted, on its way to its worker.
pub struct Arrival {
    pub tcp: std::net::TcpStream,
    pub door: Door,
    pub place: Place,
}

/// What the workers are to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    Run,
    /// End every session, spread over the window of the drain, then stop.
    Drain,
    /// Stop, whatever is left.
    Stop,
}

/// A running worker.
pub struct Worker {
    pub arrivals: mpsc::Sender<Vec<Arrival>>,
    pub thread: JoinHandle<()>,
}

/// What a worker is made with.
pub struct Plan {
    /// What holds; a change is a reload.
    pub config: watch::Receiver<Arc<Config>>,
    pub issuer: Arc<Issuer>,
    pub queue: Queue,
    pub waiting: Waiting,
    pub workers: usize,
    pub orders: watch::Receiver<Order>,
    /// Told once when the worker has ended, whatever ended it.
    pub ended: mpsc::Sender<Ended>,
    /// Beats once a second.
    pub pulse: Arc<Pulse>,
}

/// That a worker has ended: how its clients have parted, or `None` where a panic ended it.
pub type Ended = Option<Partings>;

/// Tells that a worker has ended, by a panic as well.
struct TellEnd {
    to: mpsc::Sender<Ended>,
    partings: Ended,
}

impl Drop for TellEnd {
    fn drop(&mut self) {
        // There is room for one from each worker; nobody listens only when all is over.
        let _ = self.to.try_send(self.partings);
    }
}

/// Starts the worker of that number.
///
/// # Errors
/// Where the system gives no thread or no event queue.
pub fn start(index: u16, plan: Plan, inbox: mpsc::Receiver<Vec<Delivery>>) -> io::Result<Worker> {
    let (arrivals, accepted) = mpsc::channel(ARRIVALS);
    let (tell_started, started) = sync_channel(1);
    let thread = thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        // Before the runtime, so that it tells when all connections are gone.
        let mut end = TellEnd { to: plan.ended.clone(), partings: None };
        let runtime =
            Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let (runtime, outcome) = match runtime {
            Ok(runtime) => (Some(runtime), Ok(())),
            Err(error) => (None, Err(error)),
        };
        // The other side waits for exactly this.
        let _ = tell_started.send(outcome);
        if let Some(runtime) = runtime {
            end.partings = Some(runtime.block_on(run(index, plan, accepted, inbox)));
        }
    });
    let thread =
        thread.map_err(NoThread::to(format!("worker {index}"))).map_err(io::Error::other)?;
    started.recv().map_err(io::Error::other)??;
    Ok(Worker { arrivals, thread })
}

/// A worker's life. [`start`] runs it on a thread; the fuzz targets step by step.
pub async fn run(
    index: u16,
    plan: Plan,
    accepted: mpsc::Receiver<Vec<Arrival>>,
    inbox: mpsc::Receiver<Vec<Delivery>>,
) -> Partings {
    let mut inbox = Inbox::new(inbox);
    let (mut orders, mut configs) = (plan.orders, plan.config);
    let config = Arc::clone(&configs.borrow_and_update());
    let intake = Intake::new(plan.queue, plan.workers, &config.limits);
    let home = Rc::new(Home::new(index, &config, intake, plan.issuer, plan.waiting));
    // Tasks of their own: nothing that keeps the turns busy may put them off.
    let mut tasks = JoinSet::new();
    tasks.spawn_local(welcome_all(Rc::clone(&home), accepted));
    tasks.spawn_local(tick(Rc::clone(&home), Arc::clone(&plan.pulse)));
    let turns = async {
        loop {
            tokio::select! {
                // Orders first: whatever else is ready must not put them off.
                biased;
                Ok(()) = orders.changed() => match *orders.borrow_and_update() {
                    Order::Run => {}
                    Order::Drain => {
                        home.drain();
                        tasks.spawn_local(drain::tell_all(Rc::clone(&home), plan.workers));
                    }
                    Order::Stop => return,
                },
                // A worker that goes on without one of them would be none.
                Some(Err(panicked)) = tasks.join_next() => {
                    std::panic::resume_unwind(panicked.into_panic());
                }
                Ok(()) = configs.changed() => {
                    let config = Arc::clone(&configs.borrow_and_update());
                    home.adopt(&config);
                }
                () = std::future::poll_fn(|cx| home.intake.poll_hand_over(cx)) => {}
                filled = inbox.filled(&home.intake) => match filled {
                    true => turn(&home, &mut inbox).await,
                    // The script thread is gone: nothing can be decided any more.
                    false => return,
                },
                () = home.emptied(), if home.is_draining() => return,
            }
            // One turn, then the connections: an inbox that never empties must not keep them from
            // reading, nor from writing what waits.
            if !inbox.is_empty() {
                tokio::task::yield_now().await;
            }
        }
    };
    // A turn writes to as many clients as it concerns: its budget is the turn, not tokio's.
    tokio::task::unconstrained(turns).await;
    // Others may drain for a while yet. The tick never runs again: the runtime ends here.
    plan.pulse.end();
    home.partings()
}

/// One turn: takes what the hub has handed over, up to what is written at once, and writes it.
async fn turn(home: &Home, inbox: &mut Inbox) {
    gather(home, inbox).await;
    let mut shard = home.shard.borrow_mut();
    // A turn that has grown to a flush of its own is long enough.
    let flushes = shard.flushes();
    while shard.flushes() == flushes
        && let Some(hand_over) = inbox.next()
    {
        for delivery in hand_over {
            shard.apply(delivery);
        }
    }
    shard.flush();
}

/// Lets a turn that is going to write to many gather what is about to be decided, so that one write
/// carries it: what the connections have to say is read and handed over first, and while the script
/// has messages of theirs, some more passes of the event loop go by. They are counted against the
/// writes, and cost a small part of them at most, whatever the script does.
async fn gather(home: &Home, inbox: &mut Inbox) {
    inbox.take_all(&home.intake);
    let mut passes = 0;
    while inbox.broadcasts()
        && !inbox.is_full()
        && passes < home.shard.borrow().receivers() / WRITES_PER_PASS
        && (passes < PASSES_TO_READ || home.intake.awaits_decisions())
    {
        // The script's thread may be waiting for this very core.
        thread::yield_now();
        tokio::task::yield_now().await;
        home.intake.hand_over();
        inbox.take_all(&home.intake);
        passes += 1;
    }
}

async fn tick(home: Rc<Home>, pulse: Arc<Pulse>) {
    let mut tick = tokio::time::interval(TICK);
    // A worker that was late has not been listening either.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        // While the script has no room for more, nobody is read from.
        let listening = home.intake.has_room();
        let shard = home.shard.borrow();
        shard.tick(listening);
        pulse.beat(shard.len(), shard.panics());
    }
}

async fn welcome_all(home: Rc<Home>, mut accepted: mpsc::Receiver<Vec<Arrival>>) {
    while let Some(arrivals) = accepted.recv().await {
        for arrival in arrivals {
            welcome(&home, arrival);
        }
    }
}

fn welcome(home: &Rc<Home>, arrival: Arrival) {
    let Arrival { tcp, door, place } = arrival;
    let tcp = match TcpStream::from_std(tcp) {
        Ok(tcp) => tcp,
        Err(error) => {
            return tracing::error!(peer = %place.addr(), %error, "connection refused");
        }
    };
    let home = Rc::clone(home);
    drop(tokio::task::spawn_local(connection::welcome(tcp, door, home, place)));
}

#[cfg(test)]
mod tests;
