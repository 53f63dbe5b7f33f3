//! Claims, renames, ends and answers in any order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const CLIENTS: u64 = 6;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "issued-1"];
const FAILED_MAX: u32 = 4;

/// What one client does, by its place.
#[derive(Clone, Debug)]
enum Step {
    /// Claims a name, in a message.
    Claim(u64, usize),
    /// The same in a handler that fails.
    Fail(u64, usize),
    /// Answers, if it is asked.
    Answer(u64),
    Close(u64),
    Leave(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let client = || 1..=CLIENTS;
    let claim = || (client(), 0..NAMES.len());
    prop_oneof![
        12 => claim().prop_map(|(client, name)| Step::Claim(client, name)),
        1 => claim().prop_map(|(client, name)| Step::Fail(client, name)),
        4 => client().prop_map(Step::Answer),
        1 => client().prop_map(Step::Close),
        1 => client().prop_map(Step::Leave),
    ]
}

/// The plainest thing that keeps the promises.
#[derive(Default)]
struct Model {
    /// Who has a name, registered under it or issued with it.
    holders: BTreeMap<&'static str, u64>,
    waiting: BTreeMap<&'static str, Vec<u64>>,
    clients: BTreeMap<u64, Person>,
}

#[derive(Clone, Default)]
struct Person {
    uuid: Option<&'static str>,
    claimed: Option<&'static str>,
    failed: u32,
    asked: bool,
    /// Messages it sent, and those of them that are acknowledged.
    said: usize,
    acked: usize,
}

impl Model {
    fn new() -> Model {
        let mut model = Model::default();
        model.holders.insert("issued-1", 1);
        model.clients = (1..=CLIENTS).map(|serial| (serial, Person::default())).collect();
        model
    }

    fn person(&mut self, serial: u64) -> &mut Person {
        self.clients.get_mut(&serial).expect("it is there")
    }

    fn claim(&mut self, serial: u64, name: &'static str) {
        match self.holders.get(name).copied() {
            Some(owner) if owner != serial && name == "issued-1" && owner == 1 => {
                self.person(serial).acked += 1;
                self.fails(serial);
            }
            Some(owner) if owner != serial => {
                if self.person(serial).claimed == Some(name) {
                    self.person(serial).acked += 1;
                    return;
                }
                self.person(owner).asked = true;
                self.withdraw(serial);
                if let Some(person) = self.clients.get_mut(&serial) {
                    person.claimed = Some(name);
                    self.waiting.entry(name).or_default().push(serial);
                }
            }
            _ => {
                self.person(serial).acked += 1;
                self.withdraw(serial);
                if self.clients.contains_key(&serial) {
                    self.take(serial, name);
                }
            }
        }
    }

    fn take(&mut self, serial: u64, name: &'static str) {
        self.holders.insert(name, serial);
        let before = self.person(serial).uuid.replace(name);
        if let Some(before) = before.filter(|before| *before != name) {
            self.free(serial, before);
        }
    }

    fn withdraw(&mut self, serial: u64) {
        let Some(name) = self.person(serial).claimed.take() else { return };
        self.waiting.entry(name).or_default().retain(|waits| *waits != serial);
        self.person(serial).acked += 1;
        self.fails(serial);
    }

    fn free(&mut self, owner: u64, name: &'static str) {
        if name == "issued-1" && owner == 1 && self.clients.contains_key(&1) {
            return;
        }
        self.holders.remove(name);
        let mut waiting = self.waiting.remove(name).unwrap_or_default().into_iter();
        if let Some(first) = waiting.next() {
            self.person(first).claimed = None;
            self.person(first).acked += 1;
            self.take(first, name);
        }
        waiting.for_each(|serial| self.refuse(serial));
    }

    fn refuse(&mut self, serial: u64) {
        self.person(serial).claimed = None;
        self.person(serial).acked += 1;
        self.fails(serial);
    }

    fn fails(&mut self, serial: u64) {
        self.person(serial).failed += 1;
        if self.person(serial).failed >= FAILED_MAX {
            self.ends(serial);
        }
    }

    fn answers(&mut self, serial: u64) {
        self.person(serial).asked = false;
        let claims = self.person(serial).uuid.and_then(|name| self.waiting.remove(name));
        claims.into_iter().flatten().for_each(|claimant| self.refuse(claimant));
    }

    fn ends(&mut self, serial: u64) {
        let Some(person) = self.clients.remove(&serial) else { return };
        if let Some(name) = person.claimed {
            self.waiting.entry(name).or_default().retain(|waits| *waits != serial);
        }
        let issued = (serial == 1).then_some("issued-1");
        if let Some(name) = person.uuid.filter(|name| Some(*name) != issued) {
            self.free(serial, name);
        }
        if issued.is_some() {
            self.free(serial, "issued-1");
        }
    }
}

/// A hub, and what its clients were told.
struct Told {
    hub: Hub,
    acks: BTreeMap<u64, usize>,
}

impl Told {
    fn take(&mut self) {
        for word in handed_over(&mut self.hub) {
            let words: Vec<&str> = word.split(' ').collect();
            if let ["decided", serial, "true"] | ["ack", serial] = words[..] {
                *self.acks.entry(serial.parse().expect("a serial")).or_default() += 1;
            }
        }
    }

    fn client(&self, serial: u64) -> Option<Rc<Client>> {
        let found = self.hub.clients().find(|client| client.id().serial == serial);
        found.filter(|client| client.is_connected()).cloned()
    }

    fn perform(&mut self, model: &mut Model, step: &Step) {
        let (Step::Claim(serial, _)
        | Step::Fail(serial, _)
        | Step::Answer(serial)
        | Step::Close(serial)
        | Step::Leave(serial)) = *step;
        let Some(client) = self.client(serial) else { return };
        match *step {
            Step::Claim(_, name) => {
                let _ = says_uuid(&mut self.hub, &client, NAMES[name]);
                model.person(serial).said += 1;
                model.claim(serial, NAMES[name]);
            }
            Step::Fail(_, name) => {
                self.hub.deciding(client.id(), 10);
                self.hub.begin();
                let _ = self.hub.register(&client, NAMES[name], None);
                self.hub.rollback();
                model.person(serial).said += 1;
                model.person(serial).acked += 1;
            }
            Step::Answer(_) => {
                if std::mem::take(&mut model.person(serial).asked) {
                    answers(&mut self.hub, &client);
                    model.answers(serial);
                }
            }
            Step::Close(_) => {
                closes(&mut self.hub, &client);
                model.ends(serial);
            }
            Step::Leave(_) => {
                self.hub.disconnect(client.id());
                model.ends(serial);
            }
        }
        self.take();
    }

    fn agrees_with(&self, model: &Model) -> Result<(), TestCaseError> {
        let there = (1..=CLIENTS).filter(|serial| self.client(*serial).is_some());
        prop_assert!(there.eq(model.clients.keys().copied()));
        for name in NAMES {
            let holder = self.hub.uuids.holder(name).map(|id| id.serial);
            prop_assert_eq!(holder, model.holders.get(name).copied(), "{}", name);
        }
        for (serial, person) in &model.clients {
            let client = self.client(*serial).expect("seen above");
            let (uuid, claimed) = (client.uuid(), client.claimed.borrow().clone());
            prop_assert_eq!(uuid.as_deref(), person.uuid, "of {}", serial);
            prop_assert_eq!(claimed.as_deref(), person.claimed, "of {}", serial);
            prop_assert_eq!(client.failed_claims.get(), person.failed, "of {}", serial);
            prop_assert_eq!(client.asked.get(), person.asked, "of {}", serial);
            let acks = self.acks.get(serial).copied().unwrap_or_default();
            prop_assert_eq!(acks, person.acked, "acks of {}", serial);
            // One ack for each message, and none is held back but for a claim that waits, whose
            // owner is asked.
            prop_assert_eq!(acks + usize::from(person.claimed.is_some()), person.said);
            if let Some(name) = person.claimed {
                prop_assert!(model.clients[&model.holders[name]].asked, "who holds {}", name);
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn claims_follow_the_model(steps in prop::collection::vec(step(), 0..120)) {
        let mut hub = Hub::new(2, crate::hub::HubLimits { failed_claims_max: FAILED_MAX, ..limits() });
        for serial in 1..=CLIENTS {
            web(&mut hub, serial);
        }
        let mut told = Told { hub, acks: BTreeMap::new() };
        let mut model = Model::new();
        for step in &steps {
            told.perform(&mut model, step);
            told.agrees_with(&model)?;
        }
        // When all who are asked have answered, nobody waits for anything.
        for serial in 1..=CLIENTS {
            told.perform(&mut model, &Step::Answer(serial));
        }
        told.agrees_with(&model)?;
        prop_assert!(told.hub.claims.is_empty());
    }
}
