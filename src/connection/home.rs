//! What the connections of one worker share. Lives on the worker's thread.

use std::cell::{Cell, RefCell};
use std::ops::AddAssign;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use crate::close::CloseReason;
use crate::config::Config;
use crate::hub::{Link, Shard};
use crate::script::Intake;
use crate::session::Issuer;
use crate::waiting::Waiting;

/// How much is read at once. One buffer serves all connections of a worker, because a connection
/// keeps bytes only while a frame is incomplete.
const READ_BYTES: usize = 64 * 1024;

/// How long a handshake may go on once the drain has begun: one that is alive is over by then, and
/// one that is not must not hold up the end.
const HANDSHAKE_GRACE: Duration = Duration::from_millis(500);

/// The surroundings of a connection on its worker.
pub struct Home {
    config: RefCell<Rc<Config>>,
    pub shard: RefCell<Shard>,
    pub intake: Intake,
    pub(super) issuer: Arc<Issuer>,
    pub(super) buffer: RefCell<Box<[u8]>>,
    /// Handshakes that are under way, up to the answer that ends them.
    handshakes: Cell<usize>,
    draining: Cell<bool>,
    drain: Notify,
    /// How those have ended who were connected when the drain began.
    partings: Cell<Partings>,
    /// Tells the worker that a connection or a handshake has ended.
    left: Notify,
}

impl Home {
    pub fn new(
        worker: u16,
        config: &Config,
        intake: Intake,
        issuer: Arc<Issuer>,
        waiting: Waiting,
    ) -> Home {
        Home {
            shard: RefCell::new(Shard::new(worker, config, waiting)),
            buffer: RefCell::new(vec![0; READ_BYTES].into_boxed_slice()),
            intake,
            issuer,
            config: RefCell::new(Rc::new(config.clone())),
            handshakes: Cell::new(0),
            draining: Cell::new(false),
            drain: Notify::new(),
            partings: Cell::default(),
            left: Notify::new(),
        }
    }

    /// What holds now. To be asked anew each time, so that a reload reaches connections that stand.
    pub fn config(&self) -> Rc<Config> {
        Rc::clone(&self.config.borrow())
    }

    /// A config that was read again holds from now on. Each worker has a copy: a count of references
    /// that they shared would be written to by all of them, for every message.
    pub fn adopt(&self, config: &Config) {
        self.shard.borrow_mut().adopt(config);
        self.intake.set_limits(&config.limits);
        self.config.replace(Rc::new(config.clone()));
    }

    /// Begins the drain: handshakes have a moment to end in a goodbye, and nobody is seated any more.
    pub fn drain(&self) {
        self.draining.set(true);
        self.drain.notify_waiters();
    }

    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Returns when no connection is left.
    pub async fn emptied(&self) {
        while self.handshakes.get() > 0 || !self.shard.borrow().is_empty() {
            self.left.notified().await;
        }
    }

    /// Counts a handshake, with its answer, while the guard lives: the worker waits for it.
    pub(super) fn under_way(&self) -> UnderWay<'_> {
        UnderWay::new(self)
    }

    /// Runs a handshake to its end, or a moment into the drain (`None`).
    pub(super) async fn unless_drained<T>(&self, handshake: impl Future<Output = T>) -> Option<T> {
        let drain = self.drain.notified();
        let mut handshake = pin!(handshake);
        if !self.draining.get() {
            tokio::select! {
                () = drain => {}
                outcome = &mut handshake => return Some(outcome),
            }
        }
        timeout(HANDSHAKE_GRACE, handshake).await.ok()
    }

    /// How the clients have parted in the drain, if it ended now.
    pub fn partings(&self) -> Partings {
        let (shard, mut partings) = (self.shard.borrow(), self.partings.get());
        let parted = shard.parted();
        partings.closed += parted;
        partings.cut += shard.len() - parted;
        partings
    }

    /// Counts the end of a client in the drain.
    pub(super) fn count_parting(&self, link: &Link, reason: &CloseReason) {
        if self.is_draining() {
            let mut partings = self.partings.get();
            match reason {
                CloseReason::GoingAway if link.has_parted() => partings.closed += 1,
                CloseReason::GoingAway | CloseReason::SlowConsumer => partings.cut += 1,
                _ => partings.left += 1,
            }
            self.partings.set(partings);
        }
    }

    pub(super) fn tell_left(&self) {
        self.left.notify_one();
    }
}

/// What became of the clients in a drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Partings {
    /// Were told, and have all that was sent to them.
    pub closed: usize,
    /// Ended for a reason of their own before they were told.
    pub left: usize,
    /// Did not take what was for them in time.
    pub cut: usize,
}

impl AddAssign for Partings {
    fn add_assign(&mut self, more: Partings) {
        self.closed += more.closed;
        self.left += more.left;
        self.cut += more.cut;
    }
}

/// Counts a handshake while it lives.
pub(super) struct UnderWay<'a>(&'a Home);

impl UnderWay<'_> {
    fn new(home: &Home) -> UnderWay<'_> {
        home.handshakes.set(home.handshakes.get() + 1);
        UnderWay(home)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.handshakes.set(self.0.handshakes.get() - 1);
        self.0.tell_left();
    }
}
