//! What it costs that a script decides: one message through the shipped script, and the same decisions
//! written in Rust. `cargo bench --bench dispatch`; the ratio is what counts.

use std::cell::RefCell;
use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use relay::config::Config;
use relay::hub::{Address, Client, Hub, Payload};
use relay::message::{Message, MessageLimits};
use relay::script::{Budget, Budgets, Clock, Engine, Source};
use relay::server::terms;
use relay::session::{ClientInfo, ClientKind, Scheme, SessionId};

/// Events between two hand-overs to a worker, as in the script thread.
const TURN: usize = 64;

/// A message of 76 bytes, as performance figures of others have it.
const BROADCAST: &[u8] =
    br#"{"opcode":"broadcast","message":"seventy-six bytes of JSON, as in the table"}"#;
const FEEDBACK: &[u8] =
    br#"{"opcode":"feedback","uuid":"page-2","text":"50 % of it is done by now"}"#;

struct Stage {
    hub: Rc<RefCell<Hub>>,
    engine: Engine,
    sender: SessionId,
    limits: MessageLimits,
    decided: usize,
}

impl Stage {
    fn new() -> Stage {
        let terms = terms(&Config::default());
        let hub = Rc::new(RefCell::new(Hub::new(1, terms.hub)));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/opcodes.lua");
        let source = Source::read(&script).expect("the shipped script");
        let budget = Budget::new(Budgets::clone(&terms.budgets)).expect("a thread");
        let of = Rc::clone(&hub);
        let engine =
            Engine::load(&source, 1, of, &terms.script.settings, &budget, &Clock::default());
        let engine = engine.expect("the shipped script loads");
        let sender = client(&hub, 1).id();
        client(&hub, 2);
        Stage { hub, engine, sender, limits: terms.message, decided: 0 }
    }

    fn scripted(&mut self, bytes: &Bytes) {
        let (mut message, sender) = self.take(bytes);
        self.hub.borrow_mut().begin();
        self.engine.on_message(&sender, &mut message).expect("handled");
        self.commit();
    }

    /// What scripts/opcodes.lua says, in Rust.
    fn native(&mut self, bytes: &Bytes) {
        let (message, sender) = self.take(bytes);
        let mut hub = self.hub.borrow_mut();
        hub.begin();
        match message.opcode.as_ref().map(|opcode| opcode.as_str()) {
            Some("feedback") => {
                let uuid = message.uuid.as_ref().map(|uuid| uuid.as_str()).unwrap_or_default();
                hub.deliver(Address::Uuid(uuid), Payload::forwarded(message.raw.clone()));
            }
            Some("echo") => {
                hub.send(&sender, Payload::forwarded(message.raw.clone()));
            }
            _ => {
                hub.broadcast(Payload::forwarded(message.raw.clone()), Some(&sender));
            }
        }
        drop(hub);
        self.commit();
    }

    /// What precedes each decision, whoever makes it: the message is read and acked, and its sender
    /// looked up.
    fn take(&mut self, bytes: &Bytes) -> (Message, Rc<Client>) {
        let message = Message::parse(bytes.clone(), self.limits).expect("a message");
        let mut hub = self.hub.borrow_mut();
        hub.decided(self.sender, bytes.len());
        let sender = hub.client(self.sender).cloned().expect("connected");
        (message, sender)
    }

    fn commit(&mut self) {
        let mut hub = self.hub.borrow_mut();
        hub.commit();
        self.decided += 1;
        if self.decided.is_multiple_of(TURN) {
            black_box(hub.take_deliveries(0));
        }
    }
}

fn client(hub: &Rc<RefCell<Hub>>, serial: u32) -> Rc<Client> {
    let mut hub = hub.borrow_mut();
    let client = hub.connect(ClientInfo {
        id: SessionId { worker: 0, slot: serial, serial: serial.into() },
        kind: ClientKind::Web,
        scheme: Scheme::Ws,
        addr: ([127, 0, 0, 1], 4711).into(),
        path: "/".to_owned(),
        headers: [("host", "localhost")].into_iter().collect(),
        ident: None,
        issued_uuid: format!("issued-{serial}").into(),
        may_send_feedback: true,
    });
    hub.begin();
    hub.register(&client, &format!("page-{serial}"), None).expect("a free name");
    hub.commit();
    client
}

fn dispatch(c: &mut Criterion) {
    for (name, text) in [("broadcast", BROADCAST), ("feedback", FEEDBACK)] {
        let bytes = Bytes::from_static(text);
        let mut group = c.benchmark_group(format!("dispatch/{name}/{}B", text.len()));
        let mut stage = Stage::new();
        group.bench_function("native", |b| b.iter(|| stage.native(black_box(&bytes))));
        let mut stage = Stage::new();
        group.bench_function("scripted", |b| b.iter(|| stage.scripted(black_box(&bytes))));
        group.finish();
    }
}

criterion_group!(benches, dispatch);
criterion_main!(benches);
