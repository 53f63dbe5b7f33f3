//! What the hub has handed over and the worker has not done yet.

use std::collections::VecDeque;

use tokio::sync::mpsc;

use crate::hub::Delivery;
use crate::script::Intake;

/// The worker's end of its bounded hand-over channel, and what it has taken out of it.
pub struct Inbox {
    channel: mpsc::Receiver<Vec<Delivery>>,
    taken: VecDeque<Vec<Delivery>>,
    /// Whether anything that was taken goes to many.
    broadcasts: bool,
}

impl Inbox {
    pub fn new(channel: mpsc::Receiver<Vec<Delivery>>) -> Inbox {
        Inbox { channel, taken: VecDeque::new(), broadcasts: false }
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

    /// Takes all that is there. What was decided or put aside has its room in the script's
    /// queue again.
    pub fn take_all(&mut self, intake: &Intake) {
        while let Ok(hand_over) = self.channel.try_recv() {
            self.keep(hand_over, intake);
        }
    }

    fn keep(&mut self, hand_over: Vec<Delivery>, intake: &Intake) {
        for delivery in &hand_over {
            match delivery {
                Delivery::Decided { bytes, .. } | Delivery::Aside { bytes, aside: true } => {
                    intake.give_back(*bytes);
                }
                Delivery::Aside { bytes, aside: false } => intake.take(*bytes),
                Delivery::Broadcast { .. } | Delivery::Room { .. } => self.broadcasts = true,
                _ => {}
            }
        }
        self.taken.push_back(hand_over);
    }

    pub fn broadcasts(&self) -> bool {
        self.broadcasts
    }

    /// The oldest hand-over that was taken.
    pub fn next(&mut self) -> Option<Vec<Delivery>> {
        let next = self.taken.pop_front();
        self.broadcasts &= !self.taken.is_empty();
        next
    }
}
