//! A panic is a bug in relay. What is done for one client is confined: a panic there ends that client,
//! and the log says which; so is each thing that the script thread decides. Anywhere else on a worker it ends the worker, and with it the process, since
//! nobody knows then what is left of what its clients share.

use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::pin::pin;
use std::task::Poll;

/// Whom a thread is working for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whom {
    /// Somebody in the handshake.
    Peer(SocketAddr),
    /// The client of the session with this serial.
    Session(u64),
    /// Nobody in particular: a timer of the script, its reload.
    Nobody,
}

/// The work panicked. The log has been told.
#[derive(Debug)]
pub struct Panicked;

thread_local! {
    static WORKS_FOR: Cell<Option<Whom>> = const { Cell::new(None) };
}

/// Does something for one client, or one thing by itself. What the work borrows must be of no use to anybody else when it is
/// broken off in the midst.
///
/// # Errors
/// It panicked.
pub fn confined<T>(whom: Whom, work: impl FnOnce() -> T) -> Result<T, Panicked> {
    let before = WORKS_FOR.replace(Some(whom));
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        #[cfg(test)]
        faults::strike(whom);
        work()
    }));
    WORKS_FOR.set(before);
    outcome.map_err(|_| Panicked)
}

/// The same for what takes its time.
///
/// # Errors
/// It panicked.
pub async fn confined_future<T>(whom: Whom, work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    poll_fn(|cx| match confined(whom, || work.as_mut().poll(cx)) {
        Ok(polled) => polled.map(Ok),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

/// Has each panic of this process told where the log goes, in its format.
pub fn log() {
    panic::set_hook(Box::new(tell));
}

fn tell(panic: &PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let (session, peer) = match WORKS_FOR.get() {
        Some(Whom::Session(serial)) => (Some(serial), None),
        Some(Whom::Peer(addr)) => (None, Some(tracing::field::display(addr))),
        Some(Whom::Nobody) | None => (None, None),
    };
    let at = panic.location().map(tracing::field::display);
    let text = panic.payload_as_str().unwrap_or_default();
    tracing::error!(thread = thread.name(), session, peer, at, "bug in relay: {text}");
}

/// Bugs that tests have.
#[cfg(test)]
pub mod faults {
    use std::cell::Cell;
    use std::panic;
    use std::sync::Once;

    use crate::panics::{Whom, tell};

    thread_local! {
        static NEXT: Cell<Option<Whom>> = const { Cell::new(None) };
        static TELLS: Cell<bool> = const { Cell::new(false) };
    }

    /// Has the panics of this thread told meanwhile as those of a relay are; the tests on others fail
    /// as ever.
    pub fn told(does: impl FnOnce()) {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = panic::take_hook();
            panic::set_hook(Box::new(move |panic| match TELLS.get() {
                true => tell(panic),
                false => before(panic),
            }));
        });
        TELLS.set(true);
        does();
        TELLS.set(false);
    }

    /// What this thread does next for that client panics.
    pub fn befall(whom: Whom) {
        NEXT.set(Some(whom));
    }

    pub(super) fn strike(whom: Whom) {
        if NEXT.get() == Some(whom) {
            NEXT.set(None);
            panic!("a bug that a test has made");
        }
    }
}
