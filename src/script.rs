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
mod queue;
mod reload;
mod repeats;
mod reply;
mod sandbox;
mod source;
#[cfg(test)]
mod stage;
mod strikes;
mod suggest;
mod thread;
mod timers;
mod value;

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde_json::{Map, Value as Setting};
use tokio::sync::mpsc;

pub use budget::{Budgets, Stuck};
pub use engine::Engine;
use fault::Fault;
pub use fault::{HandlerError, LoadError};
pub use intake::Intake;
pub use queue::{Event, Queue, Request};
use reload::{Watch, Watched};
pub use source::Source;
pub use thread::Status;
use thread::{ScriptThread, Setup};

use crate::hub::{Delivery, HubLimits};

/// A running script. Dropping it stops it.
pub struct Script {
    queue: Queue,
    status: Arc<Mutex<Status>>,
    // The watch makes requests, so it ends before the thread that fulfils them.
    watch: Option<Watch>,
    thread: Option<JoinHandle<()>>,
}

impl Script {
    /// Loads the script, starts its thread and watches the file. Returns when the first generation
    /// is loaded, its `on.load` included. A file that can not be watched is a warning: SIGHUP
    /// still works.
    pub fn start(
        file: &Path,
        settings: Map<String, Setting>,
        workers: Vec<mpsc::Sender<Vec<Delivery>>>,
        limits: HubLimits,
        timers_max: usize,
        budgets: Budgets,
    ) -> Result<Script, LoadError> {
        let source = Source::read(file)?;
        let known = source.text.clone().into_bytes();
        let watched = Watched::default();
        let queue = Queue::default();
        let setup = Setup {
            file: file.to_owned(),
            source,
            settings,
            workers,
            limits,
            timers_max,
            budgets,
            watched: watched.clone(),
        };
        let (thread, status) = spawn(setup, queue.clone())?;
        let asked = queue.clone();
        let watch = Watch::start(file, known, watched, move || asked.request(Request::Reload))
            .inspect_err(|error| tracing::warn!("changes of the script go unnoticed: {error:#}"))
            .ok();
        Ok(Script { queue, status, watch, thread: Some(thread) })
    }

    /// Where the workers put what happens to their clients.
    pub fn queue(&self) -> Queue {
        self.queue.clone()
    }

    /// Has the script loaded again if its bytes have changed. Returns at once; the log and
    /// [`Script::status`] tell the outcome.
    pub fn reload(&self) {
        self.queue.request(Request::Reload);
    }

    pub fn status(&self) -> Status {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has decided what is queued, and waits for that. Blocks: the workers must still take what
    /// they are handed, or be gone.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.watch.take();
        if let Some(thread) = self.thread.take() {
            self.queue.request(Request::Stop);
            if thread.join().is_err() {
                tracing::error!("the script thread had ended by a bug in relay");
            }
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.end();
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
        .map_err(|error| Fault::new(format!("no thread for the script: {error}")))?;
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
    use std::path::PathBuf;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::session::ClientKind;

    fn file(name: &str, text: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("relay-script-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let file = dir.join("opcodes.lua");
        std::fs::write(&file, text).expect("written");
        file
    }

    fn start(file: &Path) -> (Result<Script, LoadError>, mpsc::Receiver<Vec<Delivery>>) {
        let (worker, outlet) = mpsc::channel(8);
        (Script::start(file, Map::new(), vec![worker], stage::LIMITS, 9, stage::budgets()), outlet)
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
        let (script, mut outlet) = start(&file("stop", stage::DEFAULT_SCRIPT));
        let script = script.expect("started");
        let info = stage::info(1, ClientKind::Web, "/web", None);
        script.queue().push(&mut vec![Event::Connected(Box::new(info))]);
        script.stop();
        let deliveries = outlet.blocking_recv().expect("handed over");
        assert_eq!(deliveries.len(), 2);
        assert!(outlet.blocking_recv().is_none());
    }

    #[test]
    fn a_bad_first_script_is_an_error_with_its_line() {
        let (script, _outlet) = start(&file("bad", "\nfunction on.conect() end"));
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
        let (script, _outlet) =
            start(&file("bad-load", "function on.default() end function on.load() error('x') end"));
        assert!(script.err().expect("refused").summary().ends_with("opcodes.lua:1: x"));
    }

    #[test]
    fn the_thread_wakes_up_for_a_timer() {
        let text = "function on.default() end
            function on.load() relay.after(0.03, function() relay.broadcast('now') end) end";
        let since = Instant::now();
        let (script, mut outlet) = start(&file("timer", text));
        let script = script.expect("started");
        let deliveries = outlet.blocking_recv().expect("handed over");
        assert!(since.elapsed() >= Duration::from_millis(30));
        assert_eq!(deliveries.iter().map(stage::told).collect::<Vec<_>>(), ["all < now"]);
        script.stop();
    }

    #[test]
    fn a_saved_module_is_the_next_generation_too() {
        let file = file("saved-module", "require('parts/one') function on.default() end");
        let parts = file.with_file_name("parts");
        std::fs::create_dir_all(&parts).expect("made");
        std::fs::write(parts.join("one.lua"), "return 1").expect("written");
        let (script, _outlet) = start(&file);
        let script = script.expect("started");
        for generation in 2..5 {
            let since = Instant::now();
            std::fs::write(parts.join("one.lua"), "require('./two')").expect("written");
            let _ = std::fs::remove_file(parts.join("two.lua"));
            eventually(|| script.status().rejected.is_some());
            std::fs::write(parts.join("two.lua"), format!("return {generation}")).expect("written");
            eventually(|| script.status().generation == generation);
            assert_eq!(script.status().rejected, None);
            // By events, not by looking again.
            assert!(generation == 2 || since.elapsed() < Duration::from_secs(2));
        }
        script.stop();
    }

    #[test]
    fn a_saved_file_is_the_next_generation() {
        let file = file("saved", stage::DEFAULT_SCRIPT);
        let (script, _outlet) = start(&file);
        let script = script.expect("started");
        assert_eq!(script.status().generation, 1);
        std::fs::write(&file, "function").expect("written");
        eventually(|| script.status().rejected.is_some());
        std::fs::write(&file, "function on.default() end").expect("written");
        eventually(|| script.status().generation == 2);
        assert_eq!(script.status().rejected, None);
        // By request, nothing happens without a change.
        script.reload();
        script.stop();
    }
}
