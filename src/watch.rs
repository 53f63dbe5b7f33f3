//! Notices that the script's file has changed.
//!
//! The directory is watched, not the file: editors save by rename and config maps swap symlinks,
//! after which a watch on the file would look at nothing. What counts is the bytes, so a save
//! without a change is no change.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use super::file::read_bytes;
use super::source::LookedAt;

/// A save is several events; it is over when nothing more came for this long.
const QUIET: Duration = Duration::from_millis(50);
/// A directory that is never quiet must not put a reload off for ever.
const QUIET_WITHIN: Duration = Duration::from_secs(1);
/// Looked at this often without any event: a network file system sends none, and a directory that
/// was itself replaced sends no more.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The further files that decide what runs: what the last load read of each. Shared by the thread,
/// which loads, and the watch.
#[derive(Clone, Default)]
pub struct Watched(Arc<Mutex<Further>>);

#[derive(Default)]
struct Further {
    files: Vec<LookedAt>,
    wake: Option<SyncSender<()>>,
}

impl Watched {
    pub fn set(&self, files: Vec<LookedAt>) {
        let mut further = self.lock();
        further.files = files;
        // There may be a new directory to watch. Full is fine, as below.
        if let Some(wake) = &further.wake {
            let _ = wake.try_send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Further> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches the script's file, and what it requires, until it is dropped.
pub struct Watch {
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
        watched: Watched,
        changed: impl Fn() + Send + 'static,
    ) -> anyhow::Result<Watch> {
        Watch::looking_again(file, known, watched, changed, LOOK_AGAIN)
    }

    fn looking_again(
        file: &Path,
        known: Vec<u8>,
        watched: Watched,
        changed: impl Fn() + Send + 'static,
        look_again: Duration,
    ) -> anyhow::Result<Watch> {
        let directory = directory_of(file);
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
            .watch(&directory, RecursiveMode::NonRecursive)
            .with_context(|| format!("watching {}", directory.display()))?;
        let stop = Arc::new(AtomicBool::new(false));
        watched.lock().wake = Some(wake.clone());
        let mut eye = Eye {
            file: file.to_owned(),
            watched,
            seen: HashMap::from([(file.to_owned(), Some(known))]),
            watcher,
            directories: HashSet::from([directory]),
            look_again,
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::Builder::new()
            .name("script-watch".to_owned())
            .spawn(move || eye.watch(&events, changed))
            .context("the thread that watches the script")?;
        Ok(Watch { wake, stop, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.wake.try_send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Eye {
    file: PathBuf,
    watched: Watched,
    /// The bytes last seen of each file; `None` where it could not be read.
    seen: HashMap<PathBuf, Option<Vec<u8>>>,
    watcher: RecommendedWatcher,
    directories: HashSet<PathBuf>,
    look_again: Duration,
    stop: Arc<AtomicBool>,
}

impl Eye {
    /// Whether any file has become another than the one last seen.
    fn look(&mut self) -> bool {
        let further = self.watched.lock().files.clone();
        for (path, read) in further {
            // A directory that can not be watched is looked at again and again all the same.
            let directory = directory_of(&path);
            if !self.directories.contains(&directory)
                && self.watcher.watch(&directory, RecursiveMode::NonRecursive).is_ok()
            {
                self.directories.insert(directory);
            }
            self.seen.entry(path).or_insert(read);
        }
        let files = self.watched.lock().files.iter().map(|(path, _)| path.clone()).collect();
        let files: HashSet<PathBuf> = files;
        self.seen.retain(|path, _| *path == self.file || files.contains(path));
        let mut changed = false;
        for (path, seen) in &mut self.seen {
            let now = read_bytes(path).ok();
            changed |= now != *seen;
            *seen = now;
        }
        changed
    }

    fn watch(&mut self, events: &Receiver<()>, changed: impl Fn()) {
        // The first look is for what happened between the load and the start of the watch.
        loop {
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            if self.look() {
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

/// The directory that a file is in.
fn directory_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
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
