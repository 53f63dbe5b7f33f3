//! The script: what every opcode means. This is its handle; the script itself runs on a thread of
//! its own, which also owns the hub.

mod api;
mod budget;
mod clients;
mod clock;
mod engine;
mod fault;
mod file;
mod guards;
mod handlers;
mod host;
mod intake;
mod modules;
mod outcome;
mod queue;
mod rehearsal;
mod repeats;
mod sandbox;
mod source;
#[cfg(test)]
mod stage;
mod strikes;
mod suggest;
mod survey;
mod terms;
pub mod testing;
mod thread;
mod timers;
mod unknowns;
mod value;

use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc;

pub use api::reference;
pub use budget::{Budget, Budgets, Stuck};
pub use clock::Clock;
pub use engine::Engine;
use fault::Fault;
pub use fault::{HandlerError, LoadError};
pub use intake::{Intake, Ticket};
pub use outcome::{Awaited, Outcome, Reload, Unanswered};
pub use queue::{Event, Queue, Request};
use rehearsal::rehearse;
pub use source::Source;
pub use survey::{Survey, survey};
pub use terms::Terms;
pub use thread::Status;

// For the fuzz targets (fuzz/), which have the thread decide step by step, and values converted.
#[doc(hidden)]
pub use {
    thread::{ScriptThread, Setup},
    value::{Access, Json},
};

use crate::hub::Delivery;
use crate::threads::NoThread;
use crate::watch::{Watch, Watched};

/// A running script. Dropping it stops it.
pub struct Script {
    queue: Queue,
    status: Arc<Mutex<Status>>,
    // The watch makes requests, so it is told to end before the thread that fulfils them.
    watch: Option<Watch>,
    thread: Option<JoinHandle<()>>,
}

impl Script {
    /// Loads the script, starts its thread and watches the file. Returns when the first generation
    /// is loaded, its `on.load` included. A file that can not be watched is a warning: SIGHUP and
    /// `relay reload` still work.
    pub fn start(
        terms: Terms,
        workers: Vec<mpsc::Sender<Vec<Delivery>>>,
    ) -> Result<Script, LoadError> {
        let source = Source::read(&terms.script.file)?;
        let watched = Watched::default();
        let queue = Queue::default();
        let back = queue.clone();
        let rehearse = Box::new(move |source, terms, reload| {
            rehearse(source, terms, reload, back.clone());
        });
        let setup = Setup {
            source,
            terms,
            workers,
            clock: Clock::default(),
            watched: watched.clone(),
            rehearse: Some(rehearse),
        };
        let (thread, status) = spawn(setup, queue.clone())?;
        let asked = queue.clone();
        let watch = Watch::start("script-watch", watched, move || {
            asked.request(Request::Reload(Reload::default()));
        })
        .inspect_err(|error| tracing::warn!("changes of the script go unnoticed: {error:#}"))
        .ok();
        Ok(Script { queue, status, watch, thread: Some(thread) })
    }

    /// Where the workers put what happens to their clients.
    pub fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Has nothing wait any more that waits for a limit on its rate: the relay is about to end.
    pub fn drain(&self) {
        self.queue.request(Request::Drain);
    }

    /// What others may ask of the script while it is served elsewhere.
    pub fn reloader(&self) -> Reloader {
        Reloader::new(self.queue.clone())
    }

    pub fn status(&self) -> Status {
        self.status_board().status()
    }

    /// Where others may look while the script is served elsewhere.
    pub fn status_board(&self) -> StatusBoard {
        StatusBoard(Arc::clone(&self.status))
    }

    /// Has decided what is queued, and waits for that. Blocks: the workers must still take what
    /// they are handed, or be gone.
    pub fn stop(self) {
        drop(self);
    }

    /// The same without the waiting, which is left to whoever has the thread: nothing waits for it when
    /// this is dropped.
    pub fn ending(&mut self) -> Option<JoinHandle<()>> {
        self.watch.take();
        let thread = self.thread.take()?;
        self.queue.request(Request::Stop);
        Some(thread)
    }
}

/// Tells which version of the script runs.
#[derive(Clone)]
pub struct StatusBoard(Arc<Mutex<Status>>);

impl StatusBoard {
    /// Of a script that is not there.
    #[cfg(test)]
    pub fn showing(status: Status) -> StatusBoard {
        StatusBoard(Arc::new(Mutex::new(status)))
    }

    pub fn status(&self) -> Status {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if self.ending().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the script thread had ended by a bug in relay");
        }
    }
}

/// Has the script loaded again.
#[derive(Clone)]
pub struct Reloader {
    queue: Queue,
}

impl Reloader {
    pub fn new(queue: Queue) -> Reloader {
        Reloader { queue }
    }

    /// Has the script loaded again if its bytes have changed, or `terms` under which it is to run
    /// from now on; `None` leaves these. Returns at once; the outcome comes when the script thread
    /// has decided, and never if it ends before. Rejected, or too late for who asked, the terms stay
    /// what they were as well.
    pub fn reload(&self, terms: Option<Terms>) -> Awaited {
        let (asked, outcome) = outcome::question();
        let reload = Reload { terms: terms.map(Box::new), asked: Some(asked) };
        self.queue.request(Request::Reload(reload));
        outcome
    }
}

/// What the thread reports when the first generation is loaded.
type Loaded = Result<Arc<Mutex<Status>>, LoadError>;

fn spawn(setup: Setup, queue: Queue) -> Result<(JoinHandle<()>, Arc<Mutex<Status>>), LoadError> {
    let (tell, told) = sync_channel::<Loaded>(1);
    let run = move || match ScriptThread::new(setup) {
        Ok(thread) => {
            // The other side waits for exactly this.
            let _ = tell.send(Ok(thread.status()));
            thread.run(&queue);
        }
        Err(error) => {
            let _ = tell.send(Err(error));
        }
    };
    let thread = std::thread::Builder::new()
        .name("script".to_owned())
        .spawn(run)
        .map_err(NoThread::to("the script"))?;
    match told.recv() {
        Ok(Ok(status)) => Ok((thread, status)),
        Ok(Err(error)) => Err(error),
        Err(_) => {
            Err(Fault::new("the script thread ended while it loaded, by a bug in relay").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::session::ClientKind;

    /// A directory with a script in it.
    struct Home(PathBuf);

    impl Home {
        fn new(name: &str, text: &str) -> Home {
            let name = format!("relay-script-{name}-{}", std::process::id());
            let home = Home(std::env::temp_dir().join(name));
            let _ = std::fs::remove_dir_all(&home.0);
            std::fs::create_dir_all(&home.0).expect("a temporary directory");
            home.save("opcodes.lua", text);
            home
        }

        fn script(&self) -> PathBuf {
            self.0.join("opcodes.lua")
        }

        /// The file is what it was or what it is to be at any time.
        fn save(&self, name: &str, text: &str) {
            let new = self.0.join("new");
            std::fs::write(&new, text).expect("written");
            std::fs::rename(new, self.0.join(name)).expect("renamed");
        }
    }

    impl Drop for Home {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn start(file: &Path) -> (Result<Script, LoadError>, mpsc::Receiver<Vec<Delivery>>) {
        let (worker, outlet) = mpsc::channel(8);
        (Script::start(stage::terms_of(file), vec![worker]), outlet)
    }

    fn eventually(what: impl Fn() -> bool) {
        let until = Instant::now() + Duration::from_secs(10);
        while !what() {
            assert!(Instant::now() < until, "not within 10 s");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn decides_what_is_queued_before_it_stops() {
        let home = Home::new("stop", stage::DEFAULT_SCRIPT);
        let (script, mut outlet) = start(&home.script());
        let script = script.expect("started");
        let info = stage::info(1, ClientKind::Web, "/web", None);
        script.queue().push(&mut vec![Event::Connected(Box::new(info))]);
        script.stop();
        let deliveries = outlet.blocking_recv().expect("handed over");
        // That it is decided, its ready, its name.
        assert_eq!(deliveries.len(), 3);
        assert!(outlet.blocking_recv().is_none());
    }

    #[test]
    fn a_bad_first_script_is_an_error_with_its_line() {
        let home = Home::new("bad", "\nfunction on.conect() end");
        let (script, _outlet) = start(&home.script());
        let error = script.err().expect("refused").to_string();
        assert!(error.contains("opcodes.lua:2: there is no hook on.conect"), "{error}");
        let (script, _outlet) = start(Path::new("/nowhere/opcodes.lua"));
        assert!(
            script
                .err()
                .expect("refused")
                .summary()
                .contains("/nowhere/opcodes.lua: can not be read")
        );
        home.save("opcodes.lua", "function on.default() end function on.load() error('x') end");
        let (script, _outlet) = start(&home.script());
        assert!(script.err().expect("refused").summary().ends_with("opcodes.lua:1: x"));
    }

    #[test]
    fn the_thread_wakes_up_for_a_timer() {
        let text = "function on.default() end
            function on.load() relay.after(0.03, function() relay.broadcast('now') end) end";
        let home = Home::new("timer", text);
        let since = Instant::now();
        let (script, mut outlet) = start(&home.script());
        let script = script.expect("started");
        let deliveries = outlet.blocking_recv().expect("handed over");
        assert!(since.elapsed() >= Duration::from_millis(30));
        assert_eq!(deliveries.iter().map(stage::told).collect::<Vec<_>>(), ["all < now"]);
        script.stop();
    }

    #[test]
    fn a_saved_module_is_the_next_generation_too() {
        let home = Home::new("saved-module", "require('parts/one') function on.default() end");
        std::fs::create_dir(home.0.join("parts")).expect("made");
        home.save("parts/one.lua", "return 1");
        let (script, _outlet) = start(&home.script());
        let script = script.expect("started");
        for n in 0..3 {
            let before = script.status().generation;
            let _ = std::fs::remove_file(home.0.join("parts/two.lua"));
            home.save("parts/one.lua", "require('./two')");
            eventually(|| script.status().rejected.is_some());
            home.save("parts/two.lua", &format!("return {n}"));
            eventually(|| script.status().generation > before);
            assert_eq!(script.status().rejected, None);
        }
        script.stop();
    }

    #[test]
    fn a_test_that_fails_keeps_the_running_generation() {
        let home = Home::new("rehearsed", "function opcodes.n(client) client:send('1') end");
        let says = "test('n', function(t)\n local c = t.web() c:says{opcode = 'n'}\n";
        home.save("opcodes_test.lua", &format!("{says} t.equal(c:heard_raw(), '1') end)"));
        let (worker, _outlet) = mpsc::channel(8);
        let mut terms = stage::terms_of(&home.script());
        terms.script.test_before_reload = true;
        let script = Script::start(terms, vec![worker]).expect("started");
        let reload = || script.reloader().reload(None).wait();
        assert!(matches!(reload(), Outcome::Unchanged { .. }));
        home.save("opcodes.lua", "function opcodes.n(client) client:send('2') end");
        let outcome = reload().to_string();
        let wanted = "opcodes_test.lua:3: test 'n' failed: expected \"1\", got \"2\"";
        assert!(outcome.contains(wanted), "{outcome}");
        assert!(script.status().rejected.is_some_and(|why| why.contains(wanted)));
        home.save("opcodes_test.lua", &format!("{says} t.equal(c:heard_raw(), '2') end)"));
        // All who ask have it tested, and all but the first find it running when that is over.
        for asked in [script.reloader().reload(None), script.reloader().reload(None)] {
            let outcome = asked.wait();
            let (Outcome::Reloaded { generation, .. } | Outcome::Unchanged { generation, .. }) =
                outcome
            else {
                panic!("{outcome}")
            };
            assert_eq!(generation, 2);
        }
        script.stop();
    }

    #[test]
    fn a_saved_file_is_the_next_generation() {
        let home = Home::new("saved", stage::DEFAULT_SCRIPT);
        let (script, _outlet) = start(&home.script());
        let script = script.expect("started");
        assert_eq!(script.status().generation, 1);
        home.save("opcodes.lua", "function");
        eventually(|| script.status().rejected.is_some());
        home.save("opcodes.lua", "function on.default() end");
        eventually(|| script.status().generation == 2);
        assert_eq!(script.status().rejected, None);
        // By request, nothing happens without a change.
        let outcome = script.reloader().reload(None).wait();
        assert!(matches!(outcome, Outcome::Unchanged { generation: 2, .. }), "{outcome}");
        script.stop();
    }
}
