//! The writing to one client: what its socket takes at once, and what has to wait for it.

use std::io::{self, IoSlice};
use std::time::Duration;

use tokio::time::Instant;

use crate::hub::turn::Part;
use crate::outbound::Outbound;
use crate::transport::Transport;
use crate::waiting::Sum;

/// What goes out to one client: its transport, and what that has not taken yet.
pub(super) struct Output {
    pub(super) transport: Transport,
    pub(super) outbound: Outbound,
    /// Since when the socket has taken nothing, while something waits for it.
    pub(super) stalled_since: Option<Instant>,
    /// What it had taken by then.
    sent_before: u64,
    /// The peer cannot be written to any more; what it sent before may still be read.
    pub(super) broken: bool,
    /// The farewell is in the queue: nothing comes behind it.
    pub(super) ended: bool,
}

impl Output {
    pub(super) fn new(transport: Transport, queues: &Sum) -> Output {
        Output {
            transport,
            outbound: Outbound::new(queues),
            stalled_since: None,
            sent_before: 0,
            broken: false,
            ended: false,
        }
    }

    pub(super) fn holds(&self) -> bool {
        !self.broken && (!self.outbound.is_empty() || self.transport.holds_output())
    }

    pub(super) fn is_stalled(&self, timeout: Duration) -> bool {
        self.stalled_since.is_some_and(|since| since.elapsed() >= timeout)
    }

    pub(super) fn write(&mut self, parts: &[Part<'_>], one_by_one: bool) {
        if self.broken || self.ended {
            return;
        }
        let direct = !self.holds();
        let (mut queued, mut at) = (!direct, 0);
        while at < parts.len() && !queued {
            let group = if one_by_one { &parts[at..=at] } else { &parts[at..] };
            let written = match self.write_group(group) {
                Ok(written) => written,
                Err(_) => return self.break_off(),
            };
            queued = self.queue_rest(group, written);
            at += group.len();
        }
        for part in &parts[at..] {
            self.outbound.push(part.buffer, part.bytes, 0, part.messages);
        }
        if queued && direct {
            self.write_waiting(one_by_one);
        }
        self.watch_progress();
    }

    fn write_group(&mut self, group: &[Part<'_>]) -> io::Result<usize> {
        let written = match group {
            [part] => self.transport.try_write(&[IoSlice::new(part.bytes)]),
            group => {
                let slices: Vec<_> = group.iter().map(|part| IoSlice::new(part.bytes)).collect();
                self.transport.try_write(&slices)
            }
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            written => written,
        }
    }

    /// Queues what was not written; `true` if there was anything.
    fn queue_rest(&mut self, group: &[Part<'_>], mut written: usize) -> bool {
        for part in group {
            if written < part.bytes.len() {
                self.outbound.push(part.buffer, part.bytes, written, part.messages);
            }
            written = written.saturating_sub(part.bytes.len());
        }
        !self.outbound.is_empty()
    }

    pub(super) fn write_waiting(&mut self, one_by_one: bool) {
        let written = self.outbound.write(&mut self.transport, one_by_one).and_then(|written| {
            match self.transport.try_flush() {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
                _ => Ok(written),
            }
        });
        match written {
            Err(_) => self.break_off(),
            Ok(_) => self.watch_progress(),
        }
    }

    /// The clock of a stall: it runs while anything waits, here or in the TLS session, and starts
    /// anew whenever the socket takes something.
    fn watch_progress(&mut self) {
        let sent = self.transport.sent();
        if !self.holds() {
            self.stalled_since = None;
        } else if self.stalled_since.is_none() || sent != self.sent_before {
            self.stalled_since = Some(Instant::now());
        }
        self.sent_before = sent;
    }

    /// Nothing can be written any more. Reading goes on: what the peer sent before still counts.
    pub(super) fn break_off(&mut self) {
        self.broken = true;
        self.outbound.clear();
        self.stalled_since = None;
    }
}
