//! The watchdog: a thread that looks every few milliseconds which call is running. The script's
//! thread reads no clock; it only writes down the number of its call.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::cpu::{CpuTime, Doing};
use super::label::Label;

/// How often it looks while calls are made: a call is killed at most twice this late. Each look costs
/// some 25 µs of a core that is busy with messages.
const PERIOD: Duration = Duration::from_millis(5);
/// After this long without a call it sleeps until the next one wakes it.
const RESTS_AFTER: Duration = Duration::from_millis(500);
/// A call that runs for this many of its budgets is one that no interrupt reaches.
const STUCK_BUDGETS: u32 = 20;
/// A machine that is busy elsewhere may give the call no time to use its budget up. But everybody waits
/// for it: after so many budgets by the clock on the wall it ends all the same.
const WALL_BUDGETS: u32 = 4;
/// The most that one look adds to the time of a stuck call. When the whole process was stopped, by
/// a debugger or a sleeping machine, that was not the call's doing.
const STEP_MAX: Duration = Duration::from_millis(20);
/// How long the reason may take to reach the log.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// EX_SOFTWARE of sysexits.h.
const EXIT_SOFTWARE: i32 = 70;

/// What the script's thread and the watchdog share.
pub struct Flag {
    /// The running call; 0 for none. The lowest bit tells a load from a call.
    call: AtomicU64,
    /// The call that is to end; numbers are never used again.
    raised: AtomicU64,
    /// The call that took long, and when it was first seen, in microseconds after `epoch`.
    slow: AtomicU64,
    seen: AtomicU64,
    epoch: Instant,
    label: Label,
    generation: AtomicU64,
    rests: AtomicBool,
    ends: AtomicBool,
    call_timeout: Duration,
    load_timeout: Duration,
}

/// A call that does not end although it was told to.
#[derive(Clone, Debug)]
pub struct Stuck {
    /// The opcode or hook.
    pub what: String,
    pub generation: u64,
    pub since: Duration,
    pub budget: Duration,
}

/// Ends the process, so that a supervisor starts it again: no other client could be served.
pub fn end_process(stuck: &Stuck) {
    tracing::error!(
        what = stuck.what,
        generation = stuck.generation,
        since = ?stuck.since,
        budget = ?stuck.budget,
        "the script thread hangs in a host function, relay ends with exit code {EXIT_SOFTWARE}"
    );
    crate::log::flush(LAST_WORDS);
    std::process::exit(EXIT_SOFTWARE);
}

impl Flag {
    pub fn new(call_timeout: Duration, load_timeout: Duration) -> Flag {
        Flag {
            call: AtomicU64::new(0),
            // Not 0, which stands for no call.
            raised: AtomicU64::new(u64::MAX),
            slow: AtomicU64::new(u64::MAX),
            seen: AtomicU64::new(0),
            epoch: Instant::now(),
            label: Label::default(),
            generation: AtomicU64::new(0),
            rests: AtomicBool::new(false),
            ends: AtomicBool::new(false),
            call_timeout,
            load_timeout,
        }
    }

    /// Says whether the watchdog has to be woken.
    pub fn begin(&self, call: u64, what: &str, generation: u64) -> bool {
        self.label.write(what);
        self.generation.store(generation, Ordering::Relaxed);
        // Ordered against the watchdog's own pair in `rest`: one of the two sees the other.
        self.call.swap(call, Ordering::SeqCst);
        self.rests.load(Ordering::SeqCst)
    }

    /// Says what the call was and how long it took, about, if it took long.
    pub fn end(&self, call: u64) -> Option<(String, Duration)> {
        self.call.store(0, Ordering::Release);
        (self.slow.load(Ordering::Acquire) == call).then(|| {
            let seen = Duration::from_micros(self.seen.load(Ordering::Relaxed));
            (self.label.read(), self.epoch.elapsed().saturating_sub(seen))
        })
    }

    pub fn is_up(&self) -> bool {
        self.raised.load(Ordering::Relaxed) == self.call.load(Ordering::Relaxed)
    }

    pub fn spent(&self) -> String {
        let (budget, key) = self.budget(self.call.load(Ordering::Relaxed));
        format!("used up its {} ms (script.{key})", budget.as_millis())
    }

    fn budget(&self, call: u64) -> (Duration, &'static str) {
        match call & 1 {
            0 => (self.call_timeout, "call_timeout_ms"),
            _ => (self.load_timeout, "load_timeout_ms"),
        }
    }
}

/// Watches until it is dropped.
pub struct Watchdog {
    flag: Arc<Flag>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// Watches the calls of the thread that starts it.
    pub fn start(
        flag: &Arc<Flag>,
        warn: Duration,
        stuck: Arc<dyn Fn(&Stuck) + Send + Sync>,
    ) -> std::io::Result<Watchdog> {
        let cpu = CpuTime::of_this_thread();
        let doing = Box::new(move || cpu.as_ref().and_then(CpuTime::look));
        let mut eye = Eye { flag: Arc::clone(flag), warn, stuck, doing, seen: None };
        let thread = std::thread::Builder::new()
            .name("script-watchdog".to_owned())
            .spawn(move || eye.watch())?;
        Ok(Watchdog { flag: Arc::clone(flag), thread: Some(thread) })
    }

    pub fn wake(&self) {
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.flag.ends.store(true, Ordering::SeqCst);
        self.wake();
        if let Some(thread) = self.thread.take() {
            // It panics only where `stuck` does, which has said why.
            let _ = thread.join();
        }
    }
}

struct Eye {
    flag: Arc<Flag>,
    warn: Duration,
    stuck: Arc<dyn Fn(&Stuck) + Send + Sync>,
    /// What the script's thread is doing, where the system tells.
    doing: Box<dyn Fn() -> Option<Doing> + Send>,
    seen: Option<Seen>,
}

/// The call that is looked at.
struct Seen {
    call: u64,
    /// Not before the call began: nobody is killed early.
    since: Instant,
    /// How long it ran while the watchdog could look.
    ran: Duration,
    /// What its thread had used when it became worth asking, and when that was.
    used: Option<(Instant, Duration)>,
    /// How long it was seen to wait for something else than a processor.
    blocked: Duration,
    reported: bool,
}

impl Eye {
    fn watch(&mut self) {
        let (mut last, mut busy) = (Instant::now(), Instant::now());
        while !self.flag.ends.load(Ordering::SeqCst) {
            let now = Instant::now();
            match self.flag.call.load(Ordering::Acquire) {
                0 if now - busy > RESTS_AFTER => {
                    self.rest();
                    busy = Instant::now();
                    last = busy;
                    continue;
                }
                0 => self.seen = None,
                call => {
                    busy = now;
                    self.look(call, now, now - last);
                }
            }
            last = now;
            std::thread::park_timeout(PERIOD);
        }
    }

    fn rest(&mut self) {
        self.seen = None;
        self.flag.rests.store(true, Ordering::SeqCst);
        if self.flag.call.load(Ordering::SeqCst) == 0 && !self.flag.ends.load(Ordering::SeqCst) {
            std::thread::park();
        }
        self.flag.rests.store(false, Ordering::SeqCst);
    }

    fn look(&mut self, call: u64, now: Instant, step: Duration) {
        let seen = match &mut self.seen {
            Some(seen) if seen.call == call => seen,
            seen => {
                let micros = (now - self.flag.epoch).as_micros();
                self.flag.seen.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
                let ran = Duration::ZERO;
                let blocked = Duration::ZERO;
                *seen = Some(Seen { call, since: now, ran, used: None, blocked, reported: false });
                return;
            }
        };
        let (since, budget) = (now - seen.since, self.flag.budget(call).0);
        let step = step.min(STEP_MAX);
        seen.ran += step;
        if since >= self.warn {
            self.flag.slow.store(call, Ordering::Release);
        }
        if since < self.warn.min(budget) {
            return;
        }
        let own = (self.doing)().map(|doing| {
            let (asked, before) = *seen.used.get_or_insert((now, doing.used));
            seen.blocked += if doing.is_blocked { step } else { Duration::ZERO };
            // Before it was asked for, all of the time was the call's.
            (asked - seen.since) + doing.used.saturating_sub(before)
        });
        if since >= budget
            && (own.is_none_or(|own| own >= budget) || since >= budget * WALL_BUDGETS)
        {
            self.flag.raised.store(call, Ordering::Relaxed);
        }
        // A call that waits for a processor has had no chance to end, however long that lasts.
        let hung = own.map_or(seen.ran, |own| (own + seen.blocked).min(since));
        if hung >= budget * STUCK_BUDGETS && !seen.reported {
            seen.reported = true;
            let (what, generation) =
                (self.flag.label.read(), self.flag.generation.load(Ordering::Relaxed));
            (self.stuck)(&Stuck { what, generation, since, budget });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What becomes of a call that was seen at these times, with so much used by then, and whether it
    /// was blocked: whether it is killed, and whether it counts as stuck.
    fn outcome(looks: &[(u32, Option<(u32, bool)>)]) -> (bool, bool) {
        let flag = Arc::new(Flag::new(50 * MS, 1000 * MS));
        flag.begin(2, "x", 1);
        let now = Arc::new(Mutex::new(None));
        let (told, stuck) = (Arc::clone(&now), Arc::new(AtomicBool::new(false)));
        let tell = Arc::clone(&stuck);
        let mut eye = Eye {
            flag: Arc::clone(&flag),
            warn: 10 * MS,
            stuck: Arc::new(move |_| tell.store(true, Ordering::Relaxed)),
            doing: Box::new(move || *told.lock().expect("not poisoned")),
            seen: None,
        };
        let start = Instant::now();
        eye.look(2, start, MS);
        let mut last = 0;
        for (at, doing) in looks {
            *now.lock().expect("not poisoned") =
                doing.map(|(used, is_blocked)| Doing { used: used * MS, is_blocked });
            eye.look(2, start + *at * MS, (*at - last) * MS);
            last = *at;
        }
        (flag.is_up(), stuck.load(Ordering::Relaxed))
    }

    fn is_killed(looks: &[(u32, Option<u32>)]) -> bool {
        let looks = looks.iter().map(|(at, used)| (*at, used.map(|used| (used, false))));
        outcome(&looks.collect::<Vec<_>>()).0
    }

    #[test]
    fn what_counts_is_the_time_of_the_script_and_not_that_of_others() {
        // It ran all the time.
        assert!(!is_killed(&[(10, Some(910)), (49, Some(949))]));
        assert!(is_killed(&[(10, Some(910)), (50, Some(950))]));
        // It got half of it, and has the rest of its budget left.
        assert!(!is_killed(&[(10, Some(910)), (50, Some(930))]));
        assert!(is_killed(&[(10, Some(910)), (50, Some(930)), (90, Some(950))]));
        // It got nothing, but nobody waits for ever.
        assert!(!is_killed(&[(10, Some(910)), (199, Some(910))]));
        assert!(is_killed(&[(10, Some(910)), (200, Some(910))]));
        // The system does not tell.
        assert!(is_killed(&[(10, None), (50, None)]));
    }

    /// Looks every 10 ms for three seconds.
    fn is_stuck(doing: impl Fn(u32) -> Option<(u32, bool)>) -> bool {
        outcome(&(1..300).map(|look| (look * 10, doing(look * 10))).collect::<Vec<_>>()).1
    }

    #[test]
    fn a_call_hangs_that_works_or_waits_on_and_not_one_that_gets_no_processor() {
        assert!(is_stuck(|at| Some((900 + at, false))), "it works");
        assert!(is_stuck(|_| Some((900, true))), "it waits, for a lock perhaps");
        assert!(is_stuck(|_| None), "the system does not tell");
        assert!(!is_stuck(|_| Some((900, false))), "others work");
        assert!(!is_stuck(|at| Some((900 + at / 10, false))), "others work, it seldom does");
    }
}
