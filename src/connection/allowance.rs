//! What one client may send per second, where that is limited.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::Limits;
use crate::rate::Bucket;

/// How much more a client may send now. Whatever goes beyond is not read yet; nothing is dropped.
pub struct Allowance {
    rates: Rates,
    frames: Option<Bucket>,
    bytes: Option<Bucket>,
}

/// What the config says of it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Rates {
    messages: usize,
    burst: usize,
    bytes: usize,
}

impl From<&Limits> for Rates {
    fn from(limits: &Limits) -> Rates {
        Rates {
            messages: limits.messages_per_second_max,
            burst: limits.messages_burst_max,
            bytes: limits.bytes_per_second_max,
        }
    }
}

impl Allowance {
    /// Has a client's allowance follow the limits. `None`, and no memory, where nothing is limited.
    pub fn follow(limits: &Limits, allowance: &mut Option<Box<Allowance>>) {
        let rates = Rates::from(limits);
        match allowance {
            None if rates.messages == 0 && rates.bytes == 0 => {}
            Some(allowance) if allowance.rates == rates => {}
            _ => *allowance = Allowance::new(rates).map(Box::new),
        }
    }

    fn new(rates: Rates) -> Option<Allowance> {
        let now = Instant::now().into_std();
        let frames = Bucket::new(rates.messages, rates.burst, now);
        let bytes = Bucket::new(rates.bytes, rates.bytes, now);
        let limited = frames.is_some() || bytes.is_some();
        limited.then_some(Allowance { rates, frames, bytes })
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
        if self.bytes.is_some() { self.rates.bytes } else { usize::MAX }
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
