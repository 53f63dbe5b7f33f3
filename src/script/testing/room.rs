//! The clients of a test: what a worker is to real ones, without sockets.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::close::CloseReason;
use crate::headers::Headers;
use crate::hub::{Client, Delivery, Payload, RegisterError};
use crate::message::{Message, MessageLimits, NoMessage};
use crate::script::clock::Clock;
use crate::script::fault::LoadError;
use crate::script::queue::Event;
use crate::script::source::Source;
use crate::script::terms::Terms;
use crate::script::thread::{ScriptThread, Setup};
use crate::session::{ClientInfo, ClientKind, Scheme, SessionId};
use crate::watch::Watched;

/// The clock of every test starts here, so that nothing depends on the day: 2020-09-13 12:26:40.
const STARTS_AT: Duration = Duration::from_secs(1_600_000_000);
/// One hand-over is taken before the next is made; on.load alone comes before the first event.
const HAND_OVERS: usize = 4;

/// More moments at which timers are due than a test means to wait for.
pub const TIMER_TURNS_MAX: usize = 100_000;

/// A script thread's state and everybody who is connected to it.
pub struct Room {
    thread: ScriptThread,
    outlet: mpsc::Receiver<Vec<Delivery>>,
    guests: Vec<Guest>,
    clock: Clock,
    limits: MessageLimits,
}

/// One client.
pub struct Guest {
    pub client: Rc<Client>,
    pub heard: VecDeque<Payload>,
    /// The `ready` that it was greeted with.
    pub ready: Option<Payload>,
    /// The code the relay closed it with.
    pub closed: Option<u16>,
    left: bool,
    registered: bool,
}

/// How a client comes.
#[derive(Default)]
pub struct Arrival {
    pub path: Option<String>,
    pub headers: Vec<(String, String)>,
    pub ident: Option<String>,
    /// As `[feedback]` would decide it; without it, it may.
    pub may_send_feedback: Option<bool>,
}

impl Room {
    /// Loads the script, `on.load` included.
    pub fn open(script: &Source, terms: &Terms) -> Result<Room, LoadError> {
        let (worker, outlet) = mpsc::channel(HAND_OVERS);
        let clock = Clock::standing_at(STARTS_AT);
        let setup = Setup {
            source: script.clone(),
            // Its clock stands, and nothing has to wait for it.
            terms: Terms { broadcasts_per_second_max: 0, ..terms.clone() },
            workers: vec![worker],
            clock: clock.clone(),
            watched: Watched::default(),
            rehearse: None,
        };
        let thread = ScriptThread::new(setup)?;
        Ok(Room { thread, outlet, guests: Vec::new(), clock, limits: terms.message })
    }

    /// Connects a client; returns its number. A `ready` that greets it is put aside.
    pub fn connect(&mut self, kind: ClientKind, arrival: Arrival) -> usize {
        let number = self.guests.len();
        let slot = u32::try_from(number).unwrap_or(u32::MAX);
        let id = SessionId { worker: 0, slot, serial: u64::from(slot) + 1 };
        let headers = arrival.headers.iter().map(|(name, value)| (&**name, value.as_bytes()));
        let info = ClientInfo {
            id,
            kind,
            scheme: if kind == ClientKind::Web { Scheme::Ws } else { Scheme::Tcp },
            // From the block for documentation (RFC 5737).
            addr: ([192, 0, 2, 1], u16::try_from(10_000 + number).unwrap_or(u16::MAX)).into(),
            path: arrival.path.unwrap_or_else(|| "/".to_owned()),
            headers: Headers::from_wire(headers),
            ident: arrival.ident.filter(|ident| !ident.is_empty()),
            issued_uuid: format!("issued-{}", number + 1).into(),
            may_send_feedback: arrival.may_send_feedback.unwrap_or(true),
        };
        // Known to the hub before the deliveries that `on.connect` causes are looked at.
        let mut events = VecDeque::from([Event::Connected(Box::new(info))]);
        self.thread.decide_all(&mut events);
        let client = self.thread.hub().borrow().client(id).cloned();
        let client = client.expect("a client that has just been connected and did not leave");
        self.guests.push(Guest {
            client,
            heard: VecDeque::new(),
            ready: None,
            closed: None,
            left: false,
            registered: false,
        });
        self.settle(VecDeque::new());
        let guest = &mut self.guests[number];
        let is_ready = |text: &Payload| {
            let message = Message::parse(Bytes::copy_from_slice(text.as_bytes()), self.limits);
            let opcode = message.ok().and_then(|message| message.opcode);
            opcode.is_some_and(|opcode| opcode.as_str() == "ready")
        };
        if guest.heard.front().is_some_and(is_ready) {
            guest.ready = guest.heard.pop_front();
        }
        number
    }

    /// Registers a web client as pages do it: it says `uuid`. A script that has no such opcode has
    /// its own ways to register; then the client is registered without being asked.
    pub fn register(&mut self, number: usize, uuid: &str) -> Result<(), RegisterError> {
        if self.thread.engine().handles("uuid") {
            let text = serde_json::json!({"opcode": "uuid", "message": uuid}).to_string();
            self.says(number, text.into_bytes());
        } else {
            let client = Rc::clone(&self.guests[number].client);
            let mut hub = self.thread.hub().borrow_mut();
            hub.begin();
            let registered = hub.register(&client, uuid, None);
            hub.commit();
            drop(hub);
            self.settle(VecDeque::new());
            registered
                .or_else(|why| if why == RegisterError::Pending { Ok(()) } else { Err(why) })?;
        }
        match self.guests[number].client.uuid().as_deref() == Some(uuid) {
            true => Ok(()),
            false => Err(RegisterError::Taken),
        }
    }

    /// A client says something, which is decided with all that it causes.
    pub fn says(&mut self, number: usize, text: Vec<u8>) {
        let from = self.guests[number].client.id();
        let bytes = text.len();
        let event = match Message::parse(Bytes::from(text), self.limits) {
            Ok(message) => Event::Message { from, message },
            Err(NoMessage::NotText) => Event::Noise { from },
            Err(NoMessage::TooDeep) => refused(from, bytes, "too_deep"),
            Err(NoMessage::OpcodeTooLong) => refused(from, bytes, "opcode_too_long"),
        };
        self.settle(VecDeque::from([event]));
    }

    /// A client goes away by itself.
    pub fn leaves(&mut self, number: usize) {
        let guest = &mut self.guests[number];
        guest.left = true;
        let reason = match guest.client.info.kind {
            ClientKind::Web => CloseReason::ClosedByPeer(Some(1001)),
            ClientKind::Backend => CloseReason::EndOfStream,
        };
        let event = Event::Disconnected { id: guest.client.id(), reason };
        self.settle(VecDeque::from([event]));
    }

    /// Lets time pass: each timer that is due by then is called at its own time. `false` where that
    /// never ends.
    pub fn advance(&mut self, by: Duration) -> bool {
        let end = self.clock.now() + by;
        let mut turns = 0;
        while let Some(due) = self.thread.engine().next_timer().filter(|due| *due <= end) {
            turns += 1;
            if turns > TIMER_TURNS_MAX {
                return false;
            }
            self.clock.advance(due.saturating_duration_since(self.clock.now()));
            self.settle(VecDeque::new());
        }
        self.clock.advance(end.saturating_duration_since(self.clock.now()));
        self.settle(VecDeque::new());
        true
    }

    /// What a client was told of a handler that failed, if it has not heard it: a test that does not
    /// look at the answer must not pass for that.
    pub fn unheard_failure(&self) -> Option<String> {
        let mut unheard = self.guests.iter().flat_map(|guest| &guest.heard);
        let failed = unheard.find(|text| {
            let reply = serde_json::from_slice::<serde_json::Value>(text.as_bytes());
            reply.is_ok_and(|reply| {
                reply["opcode"] == "error"
                    && (reply["code"] == "handler_failed" || reply["code"] == "handler_disabled")
            })
        });
        failed.map(|text| String::from_utf8_lossy(text.as_bytes()).into_owned())
    }

    pub fn guest(&mut self, number: usize) -> &mut Guest {
        &mut self.guests[number]
    }

    /// Decides, and does with the outcome what workers do, until nothing is left.
    fn settle(&mut self, mut events: VecDeque<Event>) {
        loop {
            self.thread.decide_all(&mut events);
            while let Ok(deliveries) = self.outlet.try_recv() {
                deliveries.into_iter().for_each(|delivery| self.take(delivery, &mut events));
            }
            if events.is_empty() && !self.thread.waits() {
                return;
            }
        }
    }

    fn take(&mut self, delivery: Delivery, events: &mut VecDeque<Event>) {
        match delivery {
            // An ack says nothing about the script.
            Delivery::Decided { .. } | Delivery::Ack { .. } | Delivery::ClaimFailed { .. } => {}
            // Whoever has not left is alive.
            Delivery::Ask { to } => {
                if self.of(to).is_there() {
                    events.push_back(Event::Alive { id: to });
                }
            }
            Delivery::Send { to, text } => self.of(to).hears(&text),
            Delivery::Broadcast { text, except } => {
                let meant = |guest: &&mut Guest| {
                    guest.registered && except.is_none_or(|id| id != guest.client.id())
                };
                self.guests.iter_mut().filter(meant).for_each(|guest| guest.hears(&text));
            }
            Delivery::Room { to, text, except } => {
                to.iter()
                    .filter(|id| Some(**id) != except)
                    .for_each(|id| self.of(*id).hears(&text));
            }
            // In a test nothing waits for a rate.
            Delivery::Aside { .. } => {}
            Delivery::Register { to, .. } => self.of(to).registered = true,
            Delivery::Close { to, reason } => {
                let guest = self.of(to);
                guest.closed = Some(reason.code());
                events.push_back(Event::Disconnected { id: to, reason });
            }
        }
    }

    fn of(&mut self, id: SessionId) -> &mut Guest {
        // Slots are given out once, in the order of the guests.
        &mut self.guests[id.slot as usize]
    }
}

impl Guest {
    /// Whether it can still say something.
    pub fn is_there(&self) -> bool {
        !self.left && self.closed.is_none()
    }

    fn hears(&mut self, text: &Payload) {
        if self.is_there() {
            self.heard.push_back(text.clone());
        }
    }
}

fn refused(from: SessionId, bytes: usize, code: &'static str) -> Event {
    Event::Refused { from, bytes, code, text: String::new() }
}
