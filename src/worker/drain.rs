//! A worker's part of the drain: its clients are told one after the other, and what became of them
//! is counted.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::close::CloseReason;
use crate::config::Drain;
use crate::connection::Home;

/// How many clients are told in a second at least, over all workers. So many may come back at once:
/// the TLS handshakes of 500 take a core half a second, and a relay with few clients ends at once.
const TOLD_PER_SECOND: u32 = 500;

/// Tells everybody who is connected, spread over the window where they are many.
pub async fn tell_all(home: Rc<Home>, workers: usize) {
    let sessions = home.shard.borrow().sessions();
    let pause = pause(&home.config().drain, sessions.len(), workers);
    let begun = Instant::now();
    for (at, id) in (0u32..).zip(sessions) {
        sleep_until(begun + pause * at).await;
        home.shard.borrow().end(id, CloseReason::GoingAway);
    }
}

/// From one client of a worker to its next.
fn pause(drain: &Drain, clients: usize, workers: usize) -> Duration {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX).max(1);
    // The last ones, too, need time to take what waits for them.
    let window = drain.window.min(drain.timeout / 2);
    (window / count(clients)).min(Duration::from_secs(1) * count(workers) / TOLD_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_share_the_window_and_few_do_not_use_it() {
        let millis = Duration::from_millis;
        let drain = Drain { window: millis(5_000), timeout: millis(10_000) };
        for (clients, workers, micros) in [
            (0, 1, 2_000),
            (10, 1, 2_000),
            (10, 4, 8_000),
            (2_500, 1, 2_000),
            (5_000, 1, 1_000),
            (50_000, 8, 100),
        ] {
            let pause = pause(&drain, clients, workers);
            assert_eq!(pause, Duration::from_micros(micros), "{clients} on one of {workers}");
        }
        let at_once = Drain { window: millis(0), ..drain.clone() };
        assert_eq!(pause(&at_once, 100, 2), Duration::ZERO);
        let short = Drain { timeout: millis(1_000), ..drain };
        assert_eq!(pause(&short, 5_000, 1), Duration::from_micros(100));
    }
}
