//! What the hub has handed over and the worker has not done yet.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use super::INBOX_HAND_OVERS;
use crate::hub::{Delivery, TURN_BYTES};
use crate::script::Intake;

/// The worker's end of its bounded hand-over channel, and what it has taken out of it.
pub struct Inbox {
    channel: mpsc::Receiver<Vec<Delivery>>,
    /// With the bytes of their texts.
    taken: VecDeque<(Vec<Delivery>, usize)>,
    /// The texts of all that was taken.
    bytes: usize,
    /// Whether anything that was taken goes to many.
    broadcasts: bool,
}

impl Inbox {
    pub fn new(channel: mpsc::Receiver<Vec<Delivery>>) -> Inbox {
        Inbox { channel, taken: VecDeque::new(), bytes: 0, broadcasts: false }
    }

    pub fn is_empty(&self) -> bool {
        self.taken.is_empty() && self.channel.is_empty()
    }

    /// Waits until there is something; `false` when there never will be again.
    pub async fn filled(&mut self, intake: &Intake) -> bool {
        if self.taken.is_empty() {
            let Some(hand_over) = self.channel.recv().await else { return false };
            self.keep(hand_over, intake);
        }
        true
    }

    /// Takes what is there, up to a turn's worth: what a turn can not write stays in the channel, or
    /// the script would never wait for this worker. What was decided or put aside has its room in the
    /// script's queue again.
    pub fn take_all(&mut self, intake: &Intake) {
        while !self.is_full()
            && let Ok(hand_over) = self.channel.try_recv()
        {
            self.keep(hand_over, intake);
        }
    }

    /// Whether a turn has enough to write.
    pub fn is_full(&self) -> bool {
        self.taken.len() >= INBOX_HAND_OVERS || self.bytes >= TURN_BYTES
    }

    fn keep(&mut self, hand_over: Vec<Delivery>, intake: &Intake) {
        let mut bytes = 0;
        for delivery in &hand_over {
            match delivery {
                Delivery::Decided { bytes, .. } | Delivery::Aside { bytes, aside: true } => {
                    intake.give_back(*bytes);
                }
                Delivery::Aside { bytes, aside: false } => intake.take(*bytes),
                Delivery::Send { text, .. } => bytes += text.as_bytes().len(),
                Delivery::Broadcast { text, .. } | Delivery::Room { text, .. } => {
                    bytes += text.as_bytes().len();
                    self.broadcasts = true;
                }
                _ => {}
            }
        }
        self.bytes += bytes;
        self.taken.push_back((hand_over, bytes));
    }

    pub fn broadcasts(&self) -> bool {
        self.broadcasts
    }

    /// The oldest hand-over that was taken.
    pub fn next(&mut self) -> Option<Vec<Delivery>> {
        let (next, bytes) = self.taken.pop_front()?;
        self.bytes -= bytes;
        self.broadcasts &= !self.taken.is_empty();
        Some(next)
    }
}
