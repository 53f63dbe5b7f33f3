//! What one client may send per second, where that is limited.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;
use crate::rate::Bucket;

/// How much more a client may send now. Whatever goes beyond is not read yet; nothing is dropped.
pub struct Allowance {
    frames: Option<Bucket>,
    bytes: Option<Bucket>,
    bytes_at_once: usize,
}

impl Allowance {
    /// `None`, and no memory, where nothing is limited.
    pub fn new(limits: &Limits) -> Option<Box<Allowance>> {
        let now = Instant::now().into_std();
        let frames = Bucket::new(limits.messages_per_second_max, limits.messages_burst_max, now);
        let per_second = limits.bytes_per_second_max;
        let bytes = Bucket::new(per_second, per_second, now);
        let bytes_at_once = if bytes.is_some() { per_second } else { usize::MAX };
        let limited = frames.is_some() || bytes.is_some();
        limited.then(|| Box::new(Allowance { frames, bytes, bytes_at_once }))
    }

    /// How long the next frame has to wait, of whatever kind it is.
    pub fn frame_wait(&self) -> Duration {
        wait(self.frames)
    }

    pub fn has_sent_frame(&mut self) {
        take(&mut self.frames, 1);
    }

    /// How long reading has to wait.
    pub fn read_wait(&self) -> Duration {
        wait(self.bytes)
    }

    /// How many bytes to read at once: a second's worth, so that the debt they leave is paid in one.
    pub fn bytes_at_once(&self) -> usize {
        self.bytes_at_once
    }

    pub fn has_sent_bytes(&mut self, count: usize) {
        take(&mut self.bytes, count);
    }
}

fn wait(bucket: Option<Bucket>) -> Duration {
    bucket.map_or(Duration::ZERO, |bucket| bucket.wait(Instant::now().into_std()))
}

fn take(bucket: &mut Option<Bucket>, tokens: usize) {
    if let Some(bucket) = bucket {
        bucket.take(tokens, Instant::now().into_std());
    }
}
