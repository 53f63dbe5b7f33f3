//! How a worker mends it when its clients' queues hold too much together.

use std::collections::BinaryHeap;
use std::time::Instant;

use super::Shard;

impl Shard {
    /// While all queues together hold too much, cuts the clients with the largest ones. What a cut
    /// leaves of a begun frame goes as well where that is the largest, so there is room at once, and
    /// nobody is cut for the queue of another. The next tick tells the log.
    pub(super) fn make_room(&self) {
        if !self.waiting.is_too_much(self.queues_bytes_max) {
            return;
        }
        let held = self.links.iter().map(|(slot, link)| (link.waiting_bytes(), slot));
        let mut queues: BinaryHeap<_> = held.filter(|(bytes, _)| *bytes > 0).collect();
        while self.waiting.is_too_much(self.queues_bytes_max)
            && let Some((_, slot)) = queues.pop()
        {
            let Some(link) = self.links.get(slot) else { continue };
            // Nobody's turn comes more than twice, whatever that frees: to be cut, and to lose the rest.
            let mut cut = false;
            self.serve(link, || cut = link.make_room());
            if cut {
                self.cut.note();
                queues.push((link.waiting_bytes(), slot));
            }
        }
    }

    pub(super) fn tell_cut(&self) {
        if let Some(cut) = self.cut.due(Instant::now()) {
            tracing::warn!(cut, "limits.queues_bytes_max is reached: cut the slowest clients");
        }
    }
}
