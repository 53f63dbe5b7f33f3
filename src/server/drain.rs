//! The end of the relay: the workers take leave of their clients, the script decides what is left,
//! and whatever does not end in time is left behind.

use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout_at};

use crate::connection::Partings;
use crate::log::millis;
use crate::script::Script;
use crate::worker::{Ended, Order};

/// How long threads may take at most to end once they were told to: they have nothing left to wait
/// for, unless a handler of the script does not return.
const STOP_GRACE: Duration = Duration::from_millis(500);
/// How often it is asked whether a thread has ended.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// The workers, as the drain sees them.
pub struct Crew {
    orders: watch::Sender<Order>,
    ended: mpsc::Receiver<Ended>,
    /// How many have not ended.
    at_work: usize,
    partings: Partings,
}

impl Crew {
    pub fn new(orders: watch::Sender<Order>, ended: mpsc::Receiver<Ended>, workers: usize) -> Crew {
        Crew { orders, ended, at_work: workers, partings: Partings::default() }
    }

    /// Has the workers drain, then stop, and logs what came of it. Returns the moment up to which
    /// their threads may take to end, at `timeout` from now at the latest.
    pub async fn drain(&mut self, timeout: Duration) -> Instant {
        let begun = Instant::now();
        let end = begun + timeout;
        // The timeout is for all of it: the threads get their grace at its end.
        let deadline = end - STOP_GRACE.min(timeout / 4);
        self.orders.send_replace(Order::Drain);
        let in_time = timeout_at(deadline, self.all_ended()).await.is_ok();
        self.orders.send_replace(Order::Stop);
        // Those that stop only now say what they leave behind.
        let _ = timeout_at(end, self.all_ended()).await;
        let Partings { closed, left, cut } = self.partings;
        let took_ms = millis(begun.elapsed());
        match in_time && cut == 0 {
            true => tracing::info!(closed, left, cut, took_ms, "drained"),
            false => tracing::warn!(closed, left, cut, took_ms, "drained, but not all in time"),
        }
        end.min(Instant::now() + STOP_GRACE)
    }

    async fn all_ended(&mut self) {
        while self.at_work > 0
            && let Some(ended) = self.ended.recv().await
        {
            self.at_work -= 1;
            self.partings += ended.unwrap_or_default();
        }
    }
}

/// Waits for the threads, but not for one that hangs: the end of the process takes it along. It takes
/// no further thread, which the system might not give.
pub async fn join(mut script: Script, workers: Vec<JoinHandle<()>>, until: Instant) {
    let all_ended = async {
        for worker in workers {
            if ended(worker).await.is_err() {
                tracing::error!("a worker panicked");
            }
        }
        // Behind all that they had for it.
        if let Some(thread) = script.ending()
            && ended(thread).await.is_err()
        {
            tracing::error!("the script thread had ended by a bug in relay");
        }
    };
    if timeout_at(until, all_ended).await.is_err() {
        tracing::warn!("a handler of the script does not return: left behind");
        // Dropped with its thread, it would be waited for.
        let _ = script.ending();
    }
}

/// Joins a thread once that does not block.
async fn ended(thread: JoinHandle<()>) -> thread::Result<()> {
    while !thread.is_finished() {
        sleep(LOOK_EVERY).await;
    }
    thread.join()
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    /// Two workers that drain for so many seconds, with one client each that may be too slow.
    fn crew(seconds: [u64; 2]) -> Crew {
        let (orders, _) = watch::channel(Order::Run);
        let (tell, ended) = mpsc::channel(2);
        for seconds in seconds {
            let (mut orders, tell) = (orders.subscribe(), tell.clone());
            tokio::spawn(async move {
                orders.wait_for(|order| *order == Order::Drain).await.expect("the crew lives");
                let stop = orders.wait_for(|order| *order == Order::Stop);
                let cut = timeout(Duration::from_secs(seconds), stop).await.is_ok();
                let cut = usize::from(cut);
                let partings = Partings { closed: 1 - cut, left: 0, cut };
                tell.send(Some(partings)).await.expect("the crew listens");
            });
        }
        Crew::new(orders, ended, 2)
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_over_when_the_last_worker_is_done() {
        let begun = Instant::now();
        let mut crew = crew([1, 3]);
        let end = crew.drain(Duration::from_secs(10)).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
        assert_eq!(end - begun, Duration::from_secs(3) + STOP_GRACE);
        assert_eq!(crew.partings, Partings { closed: 2, left: 0, cut: 0 });
    }

    #[tokio::test(start_paused = true)]
    async fn the_deadline_stops_who_is_not_and_leaves_time_to_end() {
        for (millis, deadline) in [(10_000, 9_500), (1_000, 750)] {
            let begun = Instant::now();
            let mut crew = crew([0, 60]);
            let end = crew.drain(Duration::from_millis(millis)).await;
            assert_eq!(begun.elapsed(), Duration::from_millis(deadline));
            assert_eq!(end - begun, Duration::from_millis(millis));
            assert_eq!(crew.partings, Partings { closed: 1, left: 0, cut: 1 });
        }
    }

    /// One whose turn never ends, by a bug in relay, does not hold up the end of the process.
    #[tokio::test(start_paused = true)]
    async fn a_worker_that_hears_nothing_is_left_behind() {
        let begun = Instant::now();
        let (orders, _) = watch::channel(Order::Run);
        let (_tell, ended) = mpsc::channel(1);
        Crew::new(orders, ended, 1).drain(Duration::from_secs(10)).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(10));
    }
}
