//! A stage for tests: a real VM and a real hub with one worker, and what was handed over as text.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::budget::{Budget, Budgets};
use super::clock::Clock;
use super::engine::Engine;
use super::fault::{HandlerError, LoadError};
use super::source::Source;
use super::terms::Terms;
use crate::config::ScriptConfig;
use crate::hub::{Client, Delivery, Hub, HubLimits};
use crate::message::{Message, MessageLimits};
use crate::session::{ClientInfo, ClientKind, Scheme, SessionId};

pub const LIMITS: HubLimits = HubLimits {
    name_bytes_max: 128,
    failed_claims_max: 5,
    rooms_per_client_max: 32,
    attributes_bytes_max: 16 * 1024,
    store_bytes_max: 64 * 1024,
};
pub const MESSAGE_LIMITS: MessageLimits = MessageLimits { depth_max: 127, opcode_bytes_max: 128 };
pub const DEFAULT_SCRIPT: &str = include_str!("../../scripts/opcodes.lua");

pub struct Stage {
    pub hub: Rc<RefCell<Hub>>,
    pub engine: Engine,
    pub clock: Clock,
    serial: u64,
}

/// The defaults, but with time enough for a busy machine. What nothing stops could never fail its
/// test: so it ends all of them.
pub fn budgets() -> Budgets {
    Budgets {
        timers_max: 9,
        call_timeout: Duration::from_secs(60),
        call_warn: Duration::from_secs(60),
        load_timeout: Duration::from_secs(60),
        stuck: Arc::new(|stuck| {
            eprintln!("{stuck:?}");
            std::process::abort();
        }),
        ..Budgets::from(&ScriptConfig::default())
    }
}

pub fn load(
    script: &str,
    hub: &Rc<RefCell<Hub>>,
    generation: u64,
    clock: &Clock,
) -> Result<Engine, LoadError> {
    let source = Source::new("scripts/opcodes.lua", script);
    let settings = json!({"greeting": "hello", "list": [1, 2], "deep": {"on": true}});
    let settings = settings.as_object().expect("an object").clone();
    let budget = Budget::new(budgets()).expect("a thread");
    Engine::load(&source, generation, Rc::clone(hub), &settings, &budget, clock)
}

/// [`terms`] for the script in this file.
pub fn terms_of(file: &Path) -> Terms {
    let script = ScriptConfig { file: file.to_owned(), ..ScriptConfig::default() };
    Terms { script, ..terms() }
}

pub fn terms() -> Terms {
    Terms {
        script: ScriptConfig::default(),
        hub: LIMITS,
        message: MESSAGE_LIMITS,
        budgets: budgets(),
        broadcasts_per_second_max: 0,
        aside_bytes_max: usize::MAX,
    }
}

pub fn info(serial: u64, kind: ClientKind, path: &str, ident: Option<&str>) -> ClientInfo {
    ClientInfo {
        id: SessionId { worker: 0, slot: u32::try_from(serial).expect("small"), serial },
        kind,
        scheme: if kind == ClientKind::Web { Scheme::Wss } else { Scheme::Tcp },
        addr: ([192, 0, 2, 1], 4711).into(),
        path: path.to_owned(),
        headers: [("host", "a"), ("x-list", "1"), ("x-list", "2")].into_iter().collect(),
        ident: ident.map(str::to_owned),
        issued_uuid: format!("i-{serial}").into(),
        may_send_feedback: true,
    }
}

pub fn message(json: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(json.as_bytes()), MESSAGE_LIMITS).expect("a message")
}

impl Stage {
    pub fn new(script: &str) -> Stage {
        let hub = Rc::new(RefCell::new(Hub::new(1, LIMITS)));
        let clock = Clock::standing_at(Duration::from_secs(1_800_000_000));
        let engine = load(script, &hub, 1, &clock).unwrap_or_else(|error| panic!("{error}"));
        Stage { hub, engine, clock, serial: 0 }
    }

    /// A script that runs this code for every message.
    pub fn with(code: &str) -> Stage {
        Stage::new(&format!("function on.default(client, msg)\n{code}\nend"))
    }

    pub fn web(&mut self, path: &str) -> Rc<Client> {
        self.connect(ClientKind::Web, path, None)
    }

    pub fn backend(&mut self, ident: Option<&str>) -> Rc<Client> {
        self.connect(ClientKind::Backend, "/", ident)
    }

    pub fn backend_at(&mut self, path: &str) -> Rc<Client> {
        self.connect(ClientKind::Backend, path, None)
    }

    fn connect(&mut self, kind: ClientKind, path: &str, ident: Option<&str>) -> Rc<Client> {
        self.serial += 1;
        let client = self.hub.borrow_mut().connect(info(self.serial, kind, path, ident));
        self.transact(|engine| engine.on_connect(&client))
            .unwrap_or_else(|error| panic!("{error}"));
        client
    }

    /// A page that is registered, with nothing left to take.
    pub fn registered(&mut self, uuid: &str) -> Rc<Client> {
        let client = self.web("/");
        let mut hub = self.hub.borrow_mut();
        hub.begin();
        hub.register(&client, uuid, None).expect("a free name");
        hub.commit();
        drop(hub.take_deliveries(0));
        drop(hub);
        client
    }

    pub fn says(&self, client: &Rc<Client>, json: &str) -> Result<Vec<String>, HandlerError> {
        self.transact(|engine| engine.on_message(client, &mut message(json)))?;
        Ok(self.took())
    }

    /// As a message of a new page does it.
    pub fn transact(
        &self,
        call: impl FnOnce(&Engine) -> Result<(), HandlerError>,
    ) -> Result<(), HandlerError> {
        self.hub.borrow_mut().begin();
        let result = call(&self.engine);
        let mut hub = self.hub.borrow_mut();
        if result.is_ok() {
            hub.commit()
        } else {
            hub.rollback()
        }
        result
    }

    pub fn took(&self) -> Vec<String> {
        self.hub.borrow_mut().take_deliveries(0).iter().map(told).collect()
    }
}

/// A delivery in words; clients by their serial.
pub fn told(delivery: &Delivery) -> String {
    let utf8 = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("payloads are UTF-8");
    match delivery {
        Delivery::Decided { to, ack: true, .. } => format!("{} next", to.serial),
        Delivery::Decided { to, ack: false, .. } => format!("{} no next", to.serial),
        Delivery::Ack { to } => format!("{} next at last", to.serial),
        Delivery::ClaimFailed { to } => format!("{} failed", to.serial),
        Delivery::Ask { to } => format!("{} asked", to.serial),
        Delivery::Send { to, text } => format!("{} < {}", to.serial, utf8(text.as_bytes())),
        Delivery::Broadcast { text, except: None } => format!("all < {}", utf8(text.as_bytes())),
        Delivery::Broadcast { text, except: Some(id) } => {
            format!("all but {} < {}", id.serial, utf8(text.as_bytes()))
        }
        Delivery::Room { to, text, except } => {
            let to: Vec<String> = to
                .iter()
                .filter(|id| Some(**id) != *except)
                .map(|id| id.serial.to_string())
                .collect();
            format!("{} < {}", to.join("+"), utf8(text.as_bytes()))
        }
        Delivery::Aside { bytes, aside: true } => format!("aside {bytes}"),
        Delivery::Aside { bytes, aside: false } => format!("again {bytes}"),
        Delivery::Register { to, uuid } => format!("{} is {uuid}", to.serial),
        Delivery::Close { to, reason } => {
            format!("{} closed {} {}", to.serial, reason.code(), reason.text())
                .trim_end()
                .to_owned()
        }
    }
}
