//! One run of the generator: senders send, everybody's bytes are counted, and at the end each
//! client must have received exactly what is due to it.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use mio::{Events, Token};
use serde::{Deserialize, Serialize};

use crate::generator::Clients;
use crate::protocol::{Work, frame_bytes, masked_frame, name, name_range};

/// How long a run waits at its end for what is still to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Of this many receivers, one is asked how late its messages are.
const SAMPLED: usize = 10;

/// What a run does.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Run {
    pub work: Work,
    /// The length of a message.
    pub bytes: usize,
    pub millis: u64,
    pub pace: Pace,
}

/// When the next message is sent.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Pace {
    /// When everybody has received the last one.
    OneInFlight,
    /// When one of so many per sender is answered.
    PerSender(u64),
    /// By the clock, so many a second over all senders, whatever has been answered.
    Open(f64),
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    pub messages: u64,
    pub deliveries: u64,
    /// Clients that did not receive exactly what they should have.
    pub wrong_counts: usize,
    pub nanos: u64,
    /// From sending to receiving at p50, p99 and p99.9, in microseconds.
    pub late_micros: [u64; 3],
}

/// What every message of a run has in common.
struct Shape {
    template: Vec<u8>,
    delivery_bytes: u64,
    answer_bytes: u64,
    /// Deliveries for each message.
    fan_out: u64,
}

struct Load<'a> {
    clients: &'a mut Clients,
    run: Run,
    shape: Shape,
    began: Instant,
    messages: u64,
    delivered_bytes: u64,
    answered_bytes: u64,
    /// When each message was sent, or was to be sent, in microseconds.
    sent_at: Vec<u64>,
    late: Vec<u64>,
}

/// Does one run.
pub fn run(clients: &mut Clients, run: &Run) -> io::Result<Outcome> {
    for client in &mut clients.all {
        (client.received, client.sent) = (0, 0);
    }
    let text = run.work.message(run.bytes).into_bytes();
    let shape = Shape {
        delivery_bytes: frame_bytes(text.len()) as u64,
        answer_bytes: run.work.answer_bytes(text.len()) as u64,
        fan_out: match run.work {
            Work::Broadcast => clients.receivers.len() as u64,
            Work::Feedback => 1,
            Work::Echo => 0,
        },
        template: match run.work {
            Work::Feedback => text,
            Work::Broadcast | Work::Echo => masked_frame(&text),
        },
    };
    let load = Load {
        clients,
        run: *run,
        shape,
        began: Instant::now(),
        messages: 0,
        delivered_bytes: 0,
        answered_bytes: 0,
        sent_at: Vec::new(),
        late: Vec::new(),
    };
    load.run()
}

impl Load<'_> {
    fn run(mut self) -> io::Result<Outcome> {
        let end = Duration::from_millis(self.run.millis);
        let mut events = Events::with_capacity(self.clients.all.len().max(64));
        let mut answered = Vec::new();
        self.start()?;
        loop {
            let is_over = self.began.elapsed() >= end;
            if is_over && self.is_complete() || self.began.elapsed() >= end + PATIENCE {
                return Ok(self.finish());
            }
            let wait = match self.run.pace {
                // Its core is its own: sleeping would only make it late.
                Pace::Open(_) => Duration::ZERO,
                _ => Duration::from_millis(100),
            };
            match self.clients.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            answered.clear();
            for event in &events {
                let Token(at) = event.token();
                if self.receive(at)? {
                    answered.push(at);
                }
            }
            if !is_over {
                self.go_on(&answered)?;
            }
        }
    }

    fn start(&mut self) -> io::Result<()> {
        let senders = self.clients.senders.clone();
        match self.run.pace {
            Pace::OneInFlight => self.send(senders[0]),
            Pace::PerSender(count) => {
                senders.iter().try_for_each(|at| (0..count).try_for_each(|_| self.send(*at)))
            }
            Pace::Open(_) => Ok(()),
        }
    }

    /// Sends what is due, now that these senders have received something.
    fn go_on(&mut self, answered: &[usize]) -> io::Result<()> {
        match self.run.pace {
            Pace::OneInFlight => match self.is_complete() {
                true => self.send(self.clients.senders[0]),
                false => Ok(()),
            },
            Pace::PerSender(count) => {
                for at in answered {
                    let client = &self.clients.all[*at];
                    let answers = client.received / self.shape.answer_bytes;
                    for _ in client.sent - answers..count {
                        self.send(*at)?;
                    }
                }
                Ok(())
            }
            Pace::Open(rate) => {
                let due = (self.began.elapsed().as_secs_f64() * rate) as u64;
                while self.messages < due {
                    let senders = &self.clients.senders;
                    let at = senders[self.messages as usize % senders.len()];
                    let to_be_sent = self.messages as f64 * 1e6 / rate;
                    self.send(at)?;
                    if let Some(sent) = self.sent_at.last_mut() {
                        *sent = to_be_sent as u64;
                    }
                }
                Ok(())
            }
        }
    }

    fn send(&mut self, at: usize) -> io::Result<()> {
        if self.run.work == Work::Feedback {
            let receiver = self.messages as usize % self.clients.receivers.len();
            self.shape.template[name_range()].copy_from_slice(name(receiver).as_bytes());
        }
        self.sent_at.push(self.began.elapsed().as_micros() as u64);
        self.messages += 1;
        let client = &mut self.clients.all[at];
        client.sent += 1;
        client.write(&self.shape.template)
    }

    /// Reads all that a client has received; whether it was a sender.
    fn receive(&mut self, at: usize) -> io::Result<bool> {
        let Clients { all, buffer, .. } = &mut *self.clients;
        let client = &mut all[at];
        client.write(&[])?;
        let before = client.received;
        loop {
            match client.read(buffer) {
                Ok(0) => return Err(io::Error::other("the server has closed a connection")),
                Ok(count) => {
                    client.received += count as u64;
                    if count < buffer.len() && !client.is_tls() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        let (after, bytes) = (client.received, client.received - before);
        if client.is_sender() {
            self.answered_bytes += bytes;
            return Ok(bytes > 0);
        }
        self.delivered_bytes += bytes;
        if self.run.work == Work::Broadcast && at.is_multiple_of(SAMPLED) && bytes > 0 {
            let now = self.began.elapsed().as_micros() as u64;
            let whole = self.shape.delivery_bytes;
            let these = (before / whole) as usize..(after / whole) as usize;
            let sent = self.sent_at.get(these).unwrap_or_default();
            self.late.extend(sent.iter().map(|sent| now.saturating_sub(*sent)));
        }
        Ok(false)
    }

    fn is_complete(&self) -> bool {
        self.delivered_bytes == self.messages * self.shape.fan_out * self.shape.delivery_bytes
            && self.answered_bytes == self.messages * self.shape.answer_bytes
    }

    fn finish(mut self) -> Outcome {
        let nanos = self.began.elapsed().as_nanos() as u64;
        let receivers = self.clients.receivers.len() as u64;
        let due = |place: usize| match self.run.work {
            Work::Broadcast => self.messages,
            // One after the other got one.
            Work::Feedback => {
                self.messages / receivers + u64::from((place as u64) < self.messages % receivers)
            }
            Work::Echo => 0,
        };
        let all = &self.clients.all;
        let receivers = self.clients.receivers.iter().enumerate();
        let wrong_receivers = receivers
            .filter(|(place, at)| all[**at].received != due(*place) * self.shape.delivery_bytes);
        let wrong_senders = self
            .clients
            .senders
            .iter()
            .filter(|at| all[**at].received != all[**at].sent * self.shape.answer_bytes);
        let wrong_counts = wrong_receivers.count() + wrong_senders.count();
        self.late.sort_unstable();
        let late = |share: f64| {
            let at = (self.late.len() as f64 * share) as usize;
            self.late.get(at.min(self.late.len().saturating_sub(1))).copied().unwrap_or_default()
        };
        Outcome {
            messages: self.messages,
            deliveries: self.messages * self.shape.fan_out,
            wrong_counts,
            nanos,
            late_micros: [late(0.5), late(0.99), late(0.999)],
        }
    }
}
