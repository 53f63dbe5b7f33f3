//! A worker's share of the sessions, and how it does what the hub hands over: gather a turn, then
//! write each client it concerns once.

mod room;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use slab::Slab;

use super::Delivery;
use super::link::Link;
use super::silence::{CLAIM_PING, Patience, Step};
use super::turn::{Finished, Turn};
use crate::close::CloseReason;
use crate::config::Config;
use crate::frame::{self, Encoding};
use crate::outbound::QueueLimits;
use crate::panics::{Whom, confined};
use crate::session::{ClientKind, SessionId};
use crate::transport::Transport;
use crate::waiting::Waiting;
use room::Bound;

/// The sessions of one worker.
pub struct Shard {
    worker: u16,
    queue_limits: QueueLimits,
    waiting: Waiting,
    queues: Bound,
    unfinished: Bound,
    stall_timeout: Duration,
    patience: Patience,
    /// Web clients get acks.
    acks_web: bool,
    links: Slab<Rc<Link>>,
    /// The slots of those who receive broadcasts, in no order that means anything.
    members: Vec<u32>,
    turn: Turn,
    turns: u64,
    serials: u64,
    /// How many of what is done for one client have panicked.
    panics: Cell<usize>,
}

impl Shard {
    pub fn new(worker: u16, config: &Config, waiting: Waiting) -> Shard {
        let limits = &config.limits;
        Shard {
            worker,
            queue_limits: QueueLimits::from(limits),
            queues: Bound::queues(&waiting, limits),
            unfinished: Bound::unfinished(&waiting, limits),
            waiting,
            stall_timeout: limits.write_stall_timeout,
            patience: Patience::from(limits),
            acks_web: config.web.acks,
            links: Slab::new(),
            members: Vec::new(),
            turn: Turn::default(),
            turns: 0,
            serials: 0,
            panics: Cell::new(0),
        }
    }

    /// Another config holds from now on, for the sessions that are there as well.
    pub fn adopt(&mut self, config: &Config) {
        let limits = &config.limits;
        self.acks_web = config.web.acks;
        self.queue_limits = QueueLimits::from(limits);
        self.queues.bytes_max = limits.queues_bytes_max;
        self.unfinished.bytes_max = limits.unfinished_bytes_max;
        self.stall_timeout = limits.write_stall_timeout;
        self.patience = Patience::from(limits);
    }

    pub fn len(&self) -> usize {
        self.links.len()
    }

    /// How many clients receive broadcasts.
    pub fn receivers(&self) -> usize {
        self.members.len()
    }

    pub fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// How many turns have been written since the start.
    pub fn flushes(&self) -> u64 {
        self.turns
    }

    /// How many panics have been confined to one client since the start.
    pub fn panics(&self) -> usize {
        self.panics.get()
    }

    pub fn count_panic(&self) {
        self.panics.set(self.panics.get() + 1);
    }

    /// Does something for one client. A panic ends that one.
    fn serve(&self, link: &Link, work: impl FnOnce()) {
        if confined(Whom::Session(link.id.serial), work).is_err() {
            self.count_panic();
            link.fail();
        }
    }

    /// Seats a client. The `opening`, the answer to its handshake, is written in the turn that tells
    /// that the script knows it, in one write with what greets it.
    pub fn insert(
        &mut self,
        kind: ClientKind,
        encoding: Encoding,
        transport: Transport,
        opening: Box<[u8]>,
    ) -> Rc<Link> {
        let entry = self.links.vacant_entry();
        self.serials += 1;
        let id = SessionId {
            worker: self.worker,
            // Far below 2^32: a worker has as many sessions as descriptors.
            slot: entry.key() as u32,
            // Unique over all workers, of which there are 1,024 at most, and exact as a number in Lua.
            serial: self.serials << 10 | u64::from(self.worker & 0x3ff),
        };
        let link = Link::new(id, kind, encoding, transport, &self.waiting);
        link.opening.set(opening);
        Rc::clone(entry.insert(Rc::new(link)))
    }

    pub fn remove(&mut self, link: &Link) {
        self.leave(link);
        if self.link(link.id).is_some() {
            self.links.remove(link.id.slot as usize);
        }
    }

    /// Those who are connected, in the order of their slots.
    pub fn sessions(&self) -> Vec<SessionId> {
        self.links.iter().map(|(_, link)| link.id).collect()
    }

    /// How many of them have all that they are to be sent, their farewell included.
    pub fn parted(&self) -> usize {
        self.links.iter().filter(|(_, link)| link.has_parted()).count()
    }

    /// Asks a session to end once what it sent is decided.
    pub fn end(&self, id: SessionId, reason: CloseReason) {
        if let Some(link) = self.link(id) {
            link.ask_to_end(reason);
        }
    }

    /// Cuts the clients whose sockets take nothing, pings those who are silent, and ends those who have
    /// been for too long, unless nobody is listened to now. To be called once a second.
    pub fn tick(&self, listening: bool) {
        for (_, link) in &self.links {
            self.serve(link, || self.look_after(link, listening));
        }
        self.make_room();
        // Another worker's clients may hold what is too much, and count nothing any more.
        self.give_up_unfinished();
        self.queues.tell();
        self.unfinished.tell();
    }

    fn look_after(&self, link: &Link, listening: bool) {
        link.cut_if_stalled(self.stall_timeout);
        // Silence that may be the relay's doing is none.
        if !listening || link.is_speaking() {
            link.silence.spoke();
        }
        if link.is_delayed() || link.is_being_written() {
            link.silence.heard();
        }
        // Whoever may have no more undecided is not read from, and hears of no end by that.
        if link.undecided() > 0 && link.has_peer_ended() {
            link.wake();
        }
        let registered = link.place.get().is_some();
        match link.silence.tick(link.kind, registered, self.patience) {
            Step::Wait => {}
            Step::Ping => link.send_frame(frame::ping_frame(b""), self.queue_limits),
            Step::End(reason) => link.ask_to_end(reason),
        }
    }

    fn is_half_full(&self) -> bool {
        self.queues.is_half_full()
    }

    /// Sends a frame that no decision asks for, a pong.
    pub fn send_frame(&self, link: &Link, frame: Bytes) {
        self.serve(link, || link.send_frame(frame, self.queue_limits));
        self.make_room();
    }

    /// Takes one delivery into the turn.
    pub fn apply(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Decided { to, bytes, ack } => self.decided(to, bytes, ack),
            // The worker's matter.
            Delivery::Aside { .. } => {}
            Delivery::Ack { to } => self.acknowledge(to),
            Delivery::Send { to, text } => {
                if let Some(link) = self.open_link(to) {
                    let encoding = link.encoding;
                    self.turn.send(to.slot, text.as_bytes(), encoding);
                }
            }
            Delivery::Broadcast { text, except } => {
                if !self.members.is_empty() {
                    let except = except.filter(|id| self.link(*id).is_some());
                    self.turn.broadcast(text.as_bytes(), except.map(|id| id.slot));
                }
            }
            Delivery::Room { to, text, except } => {
                let links = &self.links;
                let there = |id: &&SessionId| {
                    let link = links.get(id.slot as usize);
                    Some(**id) != except && link.is_some_and(|l| l.id == **id && l.is_open())
                };
                let slots = to.iter().filter(there).map(|id| id.slot);
                self.turn.send_to_all(slots, text.as_bytes());
            }
            Delivery::Register { to, uuid } => self.register(to, uuid),
            Delivery::ClaimFailed { to } => {
                if let Some(link) = self.link(to) {
                    link.claim_failed();
                }
            }
            Delivery::Ask { to } => {
                if let Some(link) = self.open_link(to) {
                    link.silence.ask();
                    self.send_frame(link, frame::ping_frame(CLAIM_PING));
                }
            }
            Delivery::Close { to, reason } => self.close(to, reason),
        }
        if self.turn.is_full() {
            self.flush();
        }
    }

    fn decided(&mut self, to: SessionId, bytes: usize, ack: bool) {
        let Some(link) = self.link(to).cloned() else { return };
        link.decided(bytes);
        let opening = link.opening.take();
        if !opening.is_empty() {
            self.turn.send_frame(to.slot, &opening);
        }
        if ack {
            self.acknowledge(to);
        }
    }

    fn acknowledge(&mut self, to: SessionId) {
        let Some(link) = self.open_link(to).cloned() else { return };
        let wanted = self.acks_web || link.kind == ClientKind::Backend;
        if wanted && link.wants_ack(self.queue_limits, self.is_half_full()) {
            let uuid = link.uuid.borrow();
            self.turn.send(to.slot, next(uuid.as_deref()).as_bytes(), link.encoding);
        }
    }

    fn register(&mut self, to: SessionId, uuid: Arc<str>) {
        let Some(link) = self.open_link(to).cloned() else { return };
        link.uuid.replace(Some(uuid));
        if link.place.get().is_none() {
            link.place.set(Some(self.members.len()));
            self.members.push(to.slot);
            self.turn.join(to.slot);
        }
    }

    fn close(&mut self, to: SessionId, reason: CloseReason) {
        let Some(link) = self.open_link(to).cloned() else { return };
        self.turn.send_frame(to.slot, &link.close(reason));
        if self.leave(&link) {
            self.turn.leave(to.slot);
        }
    }

    /// Takes a client out of those who receive broadcasts; `false` where it was none of them.
    fn leave(&mut self, link: &Link) -> bool {
        let Some(place) = link.place.take() else { return false };
        self.members.swap_remove(place);
        if let Some(moved) = self.members.get(place)
            && let Some(moved) = self.links.get(*moved as usize)
        {
            moved.place.set(Some(place));
        }
        true
    }

    /// Ends the turn: one write for each client that it concerns.
    pub fn flush(&mut self) {
        if self.turn.is_empty() {
            return;
        }
        self.turns += 1;
        let turn = self.turn.finish();
        self.write_shares(&turn);
        if let Some(common) = turn.common() {
            for slot in &self.members {
                if let Some(link) = self.links.get(*slot as usize)
                    && link.turn.get() != self.turns
                {
                    self.serve(link, || link.write(&[common], self.queue_limits));
                }
            }
        }
        self.turn.reclaim(turn);
        self.make_room();
    }

    fn write_shares(&self, turn: &Finished) {
        let mut parts = Vec::new();
        for (slot, share) in turn.single_clients() {
            let Some(link) = self.links.get(slot as usize) else { continue };
            parts.clear();
            share.parts(link.place.get().is_some(), link.one_by_one(), &mut parts);
            link.turn.set(self.turns);
            self.serve(link, || link.write(&parts, self.queue_limits));
        }
    }

    fn link(&self, id: SessionId) -> Option<&Rc<Link>> {
        self.links.get(id.slot as usize).filter(|link| link.id == id)
    }

    fn open_link(&self, id: SessionId) -> Option<&Rc<Link>> {
        self.link(id).filter(|link| link.is_open())
    }
}

/// The ack. Its key order is what the oldest clients were written against.
fn next(uuid: Option<&str>) -> String {
    let uuid = serde_json::Value::from(uuid.unwrap_or_default());
    format!(r#"{{"opcode":"next","uuid":{uuid},"fyi":""}}"#)
}

#[cfg(test)]
mod tests;
