//! How a worker mends it when too much is held for all clients together.

use std::collections::BinaryHeap;
use std::time::Instant;

use super::{Link, Shard};
use crate::config::Limits;
use crate::log::Seldom;
use crate::waiting::{Sum, Waiting};

/// A bound on what is held for all clients together.
pub(super) struct Bound {
    sum: Sum,
    pub(super) bytes_max: usize,
    /// Those that were cut to make room.
    cut: Seldom,
    tells: &'static str,
}

impl Bound {
    pub(super) fn queues(waiting: &Waiting, limits: &Limits) -> Bound {
        let tells = "limits.queues_bytes_max is reached: cut the slowest clients";
        Bound::new(&waiting.queues, limits.queues_bytes_max, tells)
    }

    pub(super) fn unfinished(waiting: &Waiting, limits: &Limits) -> Bound {
        let tells = "limits.unfinished_bytes_max is reached: closed the clients with the longest \
                     unfinished messages";
        Bound::new(&waiting.unfinished, limits.unfinished_bytes_max, tells)
    }

    fn new(sum: &Sum, bytes_max: usize, tells: &'static str) -> Bound {
        Bound { sum: sum.clone(), bytes_max, cut: Seldom::default(), tells }
    }

    fn is_exceeded(&self) -> bool {
        self.sum.is_too_much(self.bytes_max)
    }

    pub(super) fn is_half_full(&self) -> bool {
        self.sum.is_half_full(self.bytes_max)
    }

    pub(super) fn tell(&self) {
        if let Some(cut) = self.cut.due(Instant::now()) {
            tracing::warn!(cut, "{}", self.tells);
        }
    }
}

impl Shard {
    /// While all queues together hold too much, cuts the clients with the largest ones. What a cut
    /// leaves of a begun frame goes as well where that is the largest, so there is room at once, and
    /// nobody is cut for the queue of another. The next tick tells the log.
    pub(super) fn make_room(&self) {
        self.cut_largest(&self.queues, Link::waiting_bytes, Link::make_room);
    }

    /// So much is kept now of messages of this client whose rest has not come. While that is too much
    /// of all clients together, those are ended of whom most is kept.
    pub fn count_unfinished(&self, link: &Link, bytes: usize) {
        link.count_unfinished(bytes);
        self.give_up_unfinished();
    }

    pub(super) fn give_up_unfinished(&self) {
        self.cut_largest(&self.unfinished, Link::unfinished_bytes, |link| {
            link.give_up_unfinished();
            true
        });
    }

    /// While too much is held in all, frees what is held for one client after the other, the largest
    /// first. `free`: `true` where the client is cut by that, and was not before.
    fn cut_largest(
        &self,
        bound: &Bound,
        held: impl Fn(&Link) -> usize,
        free: impl Fn(&Link) -> bool,
    ) {
        if !bound.is_exceeded() {
            return;
        }
        let all = self.links.iter().map(|(slot, link)| (held(link), slot));
        let mut largest: BinaryHeap<_> = all.filter(|(bytes, _)| *bytes > 0).collect();
        while bound.is_exceeded()
            && let Some((_, slot)) = largest.pop()
        {
            let Some(link) = self.links.get(slot) else { continue };
            // Nobody's turn comes more than twice, whatever that frees: to be cut, and to lose the rest.
            let mut cut = false;
            self.serve(link, || cut = free(link));
            if cut {
                bound.cut.note();
                if held(link) > 0 {
                    largest.push((held(link), slot));
                }
            }
        }
    }
}
