//! A turn: timers, the lanes, some events, and the hand-over of what they caused.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::ScriptThread;
use super::lane::{HEAVY_BYTES, Pace};
use crate::panics::Whom;
use crate::script::queue::Event;

/// After this many events the workers get what they caused, even if more are waiting: enough to
/// make a hand-over cheap per event, few enough that the first of them waits under 0.1 ms.
const EVENTS_PER_HAND_OVER: usize = 64;

/// When timers are due for longer than this, messages come in between.
const TIMERS_PER_TURN: Duration = Duration::from_millis(10);

/// Stored values whose time is over that are freed at each hand-over, so that it takes microseconds;
/// what they are is gone already.
const SWEPT_PER_HAND_OVER: usize = 64;

impl ScriptThread {
    /// Decides what was taken from the queue and hands the outcome over, in turns. What is in the lane
    /// may be left for the next time.
    pub fn decide_all(&mut self, events: &mut VecDeque<Event>) {
        loop {
            self.call_timers();
            let mut pace = Pace::start(&self.loader.clock);
            // While there are others, it has no more time than they.
            if self.lane_owes.is_zero() || events.is_empty() {
                while pace.has_time()
                    && let Some(event) = self.lane.next()
                {
                    pace.look_at_each();
                    self.decide_at(&mut pace, event);
                }
                self.lane_owes = pace.spent();
            }
            for number in 0..EVENTS_PER_HAND_OVER {
                if number > 0 && !pace.has_time() {
                    break;
                }
                let Some(event) = self.next_admitted() else { break };
                pace.look_at_each();
                self.decide_now(&mut pace, event);
            }
            let others = self.loader.clock.now();
            for event in events.drain(..events.len().min(EVENTS_PER_HAND_OVER)) {
                if event.bytes() >= HEAVY_BYTES {
                    self.lane.put(event.client());
                }
                if let Some(event) = self.lane.keep(event) {
                    self.decide_at(&mut pace, event);
                }
            }
            let others = self.loader.clock.now() - others;
            self.lane_owes = self.lane_owes.saturating_sub(others);
            self.bound_waiting();
            self.hand_over();
            if events.is_empty() {
                return;
            }
        }
    }

    fn decide_at(&mut self, pace: &mut Pace, event: Event) {
        if let Some(event) = self.admit(event) {
            self.decide_now(pace, event);
        }
    }

    fn decide_now(&mut self, pace: &mut Pace, event: Event) {
        let handler = self.handler_of(&event);
        let client = (!matches!(event, Event::Disconnected { .. })).then(|| event.client());
        self.decide(event);
        self.count_broadcasts(handler);
        if pace.took_long()
            && let Some(client) = client
        {
            self.lane.put(client);
        }
    }

    /// Whether something waits for the next turn.
    pub fn waits(&self) -> bool {
        let now = self.loader.clock.now();
        !self.lane.is_empty() || self.broadcasts.due(now).is_some_and(|due| due <= now)
    }

    /// Calls the timers that are due, but not more of them than messages, nor for longer than some
    /// milliseconds: neither may keep the other waiting.
    fn call_timers(&mut self) {
        let until = Instant::now() + TIMERS_PER_TURN;
        for number in 0..EVENTS_PER_HAND_OVER {
            if number > 0 && Instant::now() >= until {
                break;
            }
            let Some(function) = self.engine.take_due_timer() else { break };
            // Each by the place of its function: one that runs away ends no other.
            if !self.strikes.all_on() && self.strikes.is_off(&self.engine.timer_name(&function)) {
                continue;
            }
            self.confined(Whom::Nobody, |thread| {
                if let Err(error) = thread.handle(|engine| engine.on_timer(&function)) {
                    let name = thread.engine.timer_name(&function);
                    thread.failed(&error, "timer", &name, None);
                }
            });
            self.count_broadcasts(None);
        }
        let now = self.loader.clock.now();
        self.hub.borrow_mut().store().sweep(SWEPT_PER_HAND_OVER, now);
    }
}
