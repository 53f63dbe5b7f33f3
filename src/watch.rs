//! Tells when the bytes of files have become others.
//!
//! The directories are watched, not the files: editors save by rename and config maps swap symlinks,
//! after which a watch on the file would look at nothing. What counts is the bytes, so a save
//! without a change is no change.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};

use crate::threads::NoThread;

/// A file larger than this is none that relay reads. Reading stops here.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// A save is several events; it is over when nothing more came for this long.
const QUIET: Duration = Duration::from_millis(50);
/// A directory that is never quiet must not put a reload off for ever.
const QUIET_WITHIN: Duration = Duration::from_secs(1);
/// Nor must a file that is another one each time.
const LOOKS_MAX: usize = 10;
/// Looked at this often without any event: a network file system sends none, and a directory that
/// was itself replaced sends no more.
const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// A file and what was in it; `None` where it could not be read.
pub type LookedAt = (PathBuf, Option<Vec<u8>>);

type Contents = HashMap<PathBuf, Option<Vec<u8>>>;

/// Opens a file for reading, and nothing else that has a path: opening a pipe would wait for somebody
/// to write to it.
pub fn open(path: &Path) -> io::Result<File> {
    match path.metadata()?.is_file() {
        true => File::open(path),
        false => Err(io::Error::other("is no regular file")),
    }
}

/// All bytes of a file, but not more than one over the limit, so that a huge file costs no memory.
pub fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The files that are watched, with what was last read of each. Shared by the watch and whoever
/// reads them, who may name others at any time.
#[derive(Clone, Default)]
pub struct Watched(Arc<Mutex<Files>>);

#[derive(Default)]
struct Files {
    files: Vec<LookedAt>,
    wake: Option<SyncSender<()>>,
}

impl Watched {
    pub fn set(&self, files: Vec<LookedAt>) {
        let mut watched = self.lock();
        watched.files = files;
        // There may be a new directory to watch. Full is fine, as below.
        if let Some(wake) = &watched.wake {
            let _ = wake.try_send(());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Files> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches files until it is dropped: no change after that is told. Its thread may end later, and is
/// not waited for: a file system that hangs must not hold up the end of the relay.
pub struct Watch {
    wake: SyncSender<()>,
    stop: Arc<AtomicBool>,
}

impl Watch {
    /// Calls `changed` from a thread of that name whenever the bytes of a watched file have become
    /// others than the last ones seen, at first than those it is watched with. Gone is a change, too.
    ///
    /// # Errors
    /// The system has no more watches or threads to give, or the directory of the first file is not
    /// there.
    pub fn start(
        name: &str,
        watched: Watched,
        changed: impl Fn() + Send + 'static,
    ) -> anyhow::Result<Watch> {
        Watch::looking_again(name, watched, changed, LOOK_AGAIN)
    }

    fn looking_again(
        name: &str,
        watched: Watched,
        changed: impl Fn() + Send + 'static,
        look_again: Duration,
    ) -> anyhow::Result<Watch> {
        // Without a thread of its own, notify panics, and again when it is dropped for that, which ends
        // the process. So whether there are both, that one and the watch's, is seen before.
        probe(name, 2).map_err(NoThread::to("watching files"))?;
        let (wake, events) = sync_channel(1);
        let woken = wake.clone();
        // Full is fine: a wake-up that is still to come looks at everything.
        let watcher = notify::recommended_watcher(move |event| {
            if may_be_a_change(&event) {
                let _ = woken.try_send(());
            }
        })
        .context("file watches")?;
        let stop = Arc::new(AtomicBool::new(false));
        let mut eye = Eye {
            watched,
            seen: HashMap::new(),
            watcher,
            directories: HashSet::new(),
            look_again,
            stop: Arc::clone(&stop),
        };
        let first = eye.watched.lock().files.first().map(|(path, _)| directory_of(path));
        if let Some(directory) = first {
            eye.watch_directory(&directory)
                .with_context(|| format!("watching {}", directory.display()))?;
        }
        eye.watched.lock().wake = Some(wake.clone());
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || eye.watch(&events, changed))
            .map_err(NoThread::to("watching files"))?;
        Ok(Watch { wake, stop })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let _ = self.wake.try_send(());
    }
}

struct Eye {
    watched: Watched,
    /// What is known of: the bytes of the last change, at first those that it is watched with.
    seen: Contents,
    watcher: RecommendedWatcher,
    directories: HashSet<PathBuf>,
    look_again: Duration,
    stop: Arc<AtomicBool>,
}

impl Eye {
    fn watch_directory(&mut self, directory: &Path) -> notify::Result<()> {
        if !self.directories.contains(directory) {
            self.watcher.watch(directory, RecursiveMode::NonRecursive)?;
            self.directories.insert(directory.to_owned());
        }
        Ok(())
    }

    /// What is in the files now.
    fn look(&mut self) -> Contents {
        let files = self.watched.lock().files.clone();
        let mut found = Contents::new();
        for (path, read) in files {
            // A directory that can not be watched is looked at again and again all the same.
            let _ = self.watch_directory(&directory_of(&path));
            found.insert(path.clone(), read_bytes(&path).ok());
            self.seen.entry(path).or_insert(read);
        }
        self.seen.retain(|path, _| found.contains_key(path));
        found
    }

    /// Whether any file has become another than the one last seen, and stays that for as long as it is
    /// `quiet`: in the midst of a save in place a look finds what nobody has written. Events may be
    /// late, or there are none, so only a second look tells.
    fn changes(&mut self, quiet: impl Fn()) -> bool {
        let mut found = self.look();
        for _ in 1..LOOKS_MAX {
            if found == self.seen {
                return false;
            }
            quiet();
            let before = mem::replace(&mut found, self.look());
            if found == before {
                break;
            }
        }
        let seen = mem::replace(&mut self.seen, found);
        seen != self.seen
    }

    fn watch(&mut self, events: &Receiver<()>, changed: impl Fn()) {
        // The first look is for what happened between the load and the start of the watch.
        let stopped = |eye: &Eye| eye.stop.load(Ordering::Acquire);
        while !stopped(self) {
            if self.changes(|| wait_until_quiet(events)) && !stopped(self) {
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

/// Whether the system gives so many threads at once: each starts the next and outlives it. A thread that
/// has been joined still counts for a moment, so two of them make sure of one.
fn probe(name: &str, threads: usize) -> io::Result<()> {
    let next = name.to_owned();
    let run = move || if threads > 1 { probe(&next, threads - 1) } else { Ok(()) };
    thread::Builder::new().name(name.to_owned()).spawn(run)?.join().unwrap_or(Ok(()))
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
