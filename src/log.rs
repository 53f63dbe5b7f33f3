//! The way of the log to standard error: a bounded queue and a thread of its own. Whoever reads the log
//! slowly, or not at all, holds up neither a worker nor the script; what finds no room is counted.

mod seldom;

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

pub use seldom::Seldom;

/// What waits to be written, in lines and in bytes: seconds of a busy log, and no more memory than a
/// slow client may take.
const LINES_MAX: usize = 8_192;
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// The queue that the process logs to, so that its last words can be waited for.
static OPENED: OnceLock<Arc<Held>> = OnceLock::new();

/// Writes whole lines; never waits.
#[derive(Clone)]
pub struct Log {
    lines: SyncSender<Vec<u8>>,
    held: Arc<Held>,
}

#[derive(Default)]
struct Held {
    bytes: AtomicUsize,
    lost: AtomicU64,
}

impl Log {
    /// Starts the thread that writes to standard error.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn to_stderr() -> io::Result<Log> {
        let log = Log::to(io::stderr())?;
        // A second one is waited for by nobody.
        let _ = OPENED.set(Arc::clone(&log.held));
        Ok(log)
    }

    fn to(out: impl Write + Send + 'static) -> io::Result<Log> {
        let (lines, queue) = sync_channel(LINES_MAX);
        let held = Arc::<Held>::default();
        let of = Arc::clone(&held);
        thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&queue, &of, out))?;
        Ok(Log { lines, held })
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let held = self.held.bytes.fetch_add(line.len(), Ordering::Relaxed);
        if held + line.len() > BYTES_MAX || self.lines.try_send(line.to_vec()).is_err() {
            self.held.bytes.fetch_sub(line.len(), Ordering::Release);
            self.held.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A time as the log has it: a number in one unit, for the programs that read it.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Waits until what was logged is written, but not longer than this. For the end of the process.
pub fn flush(at_most: Duration) {
    if let Some(held) = OPENED.get() {
        held.wait(at_most);
    }
}

impl Held {
    fn wait(&self, at_most: Duration) {
        let since = Instant::now();
        while self.bytes.load(Ordering::Acquire) > 0 && since.elapsed() < at_most {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn write_all(queue: &Receiver<Vec<u8>>, held: &Held, mut out: impl Write) {
    for line in queue {
        // Without a reader there is nobody to tell.
        let _ = out.write_all(&line);
        let lost = held.lost.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let _ = writeln!(out, "{lost} lines of the log were lost: nobody read it fast enough");
        }
        let _ = out.flush();
        held.bytes.fetch_sub(line.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, pipe};

    use super::*;

    #[test]
    fn a_reader_that_pauses_holds_up_nobody_and_is_told_what_it_missed() {
        let (reader, writer) = pipe().expect("a pipe");
        let mut log = Log::to(writer).expect("a thread");
        let line = [&[b'x'; 1_023][..], b"\n"].concat();
        // More than the pipe and the queue hold, and nobody reads.
        let count = 2 * BYTES_MAX / line.len();
        for _ in 0..count {
            assert_eq!(log.write(&line).expect("never fails"), line.len());
        }
        let held = Arc::clone(&log.held);
        held.wait(Duration::from_millis(10));
        assert!(held.bytes.load(Ordering::Relaxed) > 0);
        drop(log);
        let read: Vec<String> =
            BufReader::new(reader).lines().collect::<Result<_, _>>().expect("text");
        let written = read.iter().filter(|text| text.starts_with('x')).count();
        let lost: usize = read
            .iter()
            .filter_map(|text| {
                text.strip_suffix(" lines of the log were lost: nobody read it fast enough")
            })
            .map(|lost| lost.parse::<usize>().expect("a count"))
            .sum();
        assert!(lost > 0);
        assert_eq!(written + lost, count);
        assert_eq!(held.bytes.load(Ordering::Relaxed), 0);
    }
}
