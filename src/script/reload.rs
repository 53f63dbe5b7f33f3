//! Notices that the script's file has changed.
//!
//! The directory is watched, not the file: editors save by rename and config maps swap symlinks,
//! after which a watch on the file would look at nothing. What counts is the bytes, so a save
//! without a change is no change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::file::read_bytes;

/// A save is several events; it is over when nothing more came for this long.
const QUIET: Duration = Duration::from_millis(50);
/// A directory that is never quiet must not put a reload off for ever.
const QUIET_WITHIN: Duration = Duration::from_secs(1);
/// Looked at this often without any event: a network file system sends none, and a directory that
/// was itself replaced sends no more.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// Watches one file until it is dropped.
pub struct Watch {
    // Before the thread, so that no event comes once the thread has ended.
    watcher: Option<RecommendedWatcher>,
    wake: SyncSender<()>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Calls `changed` from a thread of its own whenever the file's bytes have become others than
    /// the last ones seen, at first than `known`. Gone is a change, too. Fails where the system has
    /// no more watches or threads to give.
    pub fn start(
        file: &Path,
        known: Vec<u8>,
        changed: impl Fn() + Send + 'static,
    ) -> anyhow::Result<Watch> {
        Watch::looking_again(file, known, changed, LOOK_AGAIN)
    }

    fn looking_again(
        file: &Path,
        known: Vec<u8>,
        changed: impl Fn() + Send + 'static,
        look_again: Duration,
    ) -> anyhow::Result<Watch> {
        let directory = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let (wake, events) = sync_channel(1);
        let woken = wake.clone();
        // Full is fine: a wake-up that is still to come looks at everything.
        let mut watcher = notify::recommended_watcher(move |event| {
            if may_be_a_change(&event) {
                let _ = woken.try_send(());
            }
        })
        .context("file watches")?;
        watcher
            .watch(directory, RecursiveMode::NonRecursive)
            .with_context(|| format!("watching {}", directory.display()))?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut eye =
            Eye { file: file.to_owned(), seen: Some(known), look_again, stop: Arc::clone(&stop) };
        let thread = std::thread::Builder::new()
            .name("script-watch".to_owned())
            .spawn(move || eye.watch(&events, changed))
            .context("the thread that watches the script")?;
        Ok(Watch { watcher: Some(watcher), wake, stop, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watcher.take();
        self.stop.store(true, Ordering::Release);
        let _ = self.wake.try_send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Eye {
    file: PathBuf,
    /// The bytes last seen; `None` where the file could not be read.
    seen: Option<Vec<u8>>,
    look_again: Duration,
    stop: Arc<AtomicBool>,
}

impl Eye {
    fn watch(&mut self, events: &Receiver<()>, changed: impl Fn()) {
        // The first look is for what happened between the load and the start of the watch.
        loop {
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            let now = read_bytes(&self.file).ok();
            if now != self.seen {
                self.seen = now;
                changed();
            }
            match events.recv_timeout(self.look_again) {
                Ok(()) => wait_until_quiet(events),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }
}

/// Reading is an event, too. Were it heeded, looking at the file would be a reason to look again.
fn may_be_a_change(event: &notify::Result<Event>) -> bool {
    use notify::event::{AccessKind, AccessMode};
    match event.as_ref().map(|event| event.kind) {
        Ok(EventKind::Access(AccessKind::Close(AccessMode::Write))) => true,
        Ok(EventKind::Access(_)) => false,
        // An error may stand for events that were lost.
        Ok(_) | Err(_) => true,
    }
}

fn wait_until_quiet(events: &Receiver<()>) {
    let since = Instant::now();
    while since.elapsed() < QUIET_WITHIN && events.recv_timeout(QUIET).is_ok() {}
}

#[cfg(test)]
mod tests;
