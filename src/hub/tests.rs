use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use proptest::prelude::*;

use super::*;
use crate::close::CloseReason;
use crate::session::Scheme;

pub(super) fn limits() -> HubLimits {
    HubLimits {
        name_bytes_max: 128,
        failed_claims_max: 5,
        rooms_per_client_max: 3,
        attributes_bytes_max: 64,
        store_bytes_max: 4_096,
    }
}

pub(super) fn info(serial: u64, kind: ClientKind, ident: Option<&str>) -> ClientInfo {
    ClientInfo {
        id: SessionId { worker: (serial % 2) as u16, slot: (serial / 2) as u32, serial },
        kind,
        scheme: Scheme::Ws,
        addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 1)),
        path: "/".to_owned(),
        headers: Default::default(),
        ident: ident.map(str::to_owned),
        issued_uuid: format!("issued-{serial}").into(),
        may_send_feedback: true,
    }
}

pub(super) fn web(hub: &mut Hub, serial: u64) -> Rc<Client> {
    hub.connect(info(serial, ClientKind::Web, None))
}

/// What both workers are handed, one word each.
pub(super) fn handed_over(hub: &mut Hub) -> Vec<String> {
    let deliveries = (0..2).flat_map(|worker| hub.take_deliveries(worker)).collect::<Vec<_>>();
    let word = |delivery| match delivery {
        Delivery::Decided { to, ack, .. } => format!("decided {} {ack}", to.serial),
        Delivery::Ack { to } => format!("ack {}", to.serial),
        Delivery::ClaimFailed { to } => format!("failed {}", to.serial),
        Delivery::Ask { to } => format!("ask {}", to.serial),
        Delivery::Send { to, .. } => format!("send {}", to.serial),
        Delivery::Broadcast { except, .. } => format!("broadcast {:?}", except.map(|id| id.serial)),
        Delivery::Room { to, except, .. } => {
            let to: Vec<u64> = to.iter().map(|id| id.serial).collect();
            format!("room {to:?} {:?}", except.map(|id| id.serial))
        }
        Delivery::Aside { aside, .. } => format!("aside {aside}"),
        Delivery::Register { to, uuid } => format!("register {} {uuid}", to.serial),
        Delivery::Close { to, reason } => format!("close {} {}", to.serial, reason.label()),
    };
    deliveries.into_iter().map(word).collect()
}

pub(super) fn text(text: &str) -> Payload {
    Payload::from(text.to_owned())
}

#[test]
fn the_fifth_failed_claim_closes() {
    let mut hub = Hub::new(2, limits());
    let (_owner, other) = (web(&mut hub, 2), web(&mut hub, 4));
    for claim in 1..=5 {
        assert!(other.is_connected(), "before claim {claim}");
        hub.begin();
        assert_eq!(hub.register(&other, "issued-2", None), Err(RegisterError::Taken));
        hub.send(&other, text("no"));
        hub.commit();
    }
    assert!(!other.is_connected());
    let words = handed_over(&mut hub);
    let last = ["failed 4", "send 4", "close 4 too_many_claims"];
    assert!(words.ends_with(&last.map(str::to_owned)), "{words:?}");
}

#[test]
fn an_issued_uuid_is_its_clients_own_and_addresses_it_once_registered() {
    let mut hub = Hub::new(2, limits());
    let (owner, other) = (web(&mut hub, 2), web(&mut hub, 3));
    hub.begin();
    assert_eq!(hub.register(&other, "issued-2", None), Err(RegisterError::Taken));
    assert!(hub.find(Address::Uuid("issued-2")).is_none(), "not registered yet");
    assert_eq!(hub.register(&owner, "u-1", None), Ok(()));
    hub.commit();
    for name in ["u-1", "issued-2"] {
        assert!(hub.find(Address::Uuid(name)).is_some_and(|found| found.id() == owner.id()));
    }
    // Renamed: the chosen name is free, the issued one is not.
    hub.begin();
    assert_eq!(hub.register(&owner, "u-2", None), Ok(()));
    assert_eq!(hub.register(&other, "u-1", None), Ok(()));
    assert_eq!(hub.register(&other, "issued-2", None), Err(RegisterError::Taken));
    hub.commit();
    assert_eq!(hub.registered(), 2);
}

#[test]
fn a_late_end_of_a_former_tenant_does_not_remove_the_present_one() {
    let mut hub = Hub::new(2, limits());
    let first = web(&mut hub, 2);
    hub.disconnect(first.id());
    let mut again = info(6, ClientKind::Web, None);
    again.id.slot = first.id().slot;
    let second = hub.connect(again);
    assert!(hub.disconnect(first.id()).is_none());
    assert!(hub.client(second.id()).is_some() && hub.client(first.id()).is_none());
}

#[test]
fn idents_address_backends_and_are_a_name_space_of_their_own() {
    let mut hub = Hub::new(2, limits());
    let page = web(&mut hub, 2);
    let backend = hub.connect(info(4, ClientKind::Backend, Some("billing")));
    let twin = hub.connect(info(6, ClientKind::Backend, Some("billing")));
    hub.begin();
    assert_eq!(hub.register(&page, "billing", None), Ok(()));
    assert_eq!(hub.register(&backend, "b", None), Err(RegisterError::Backend));
    hub.commit();
    let holder = |hub: &Hub| hub.find(Address::Ident("billing")).map(|found| found.id());
    assert_eq!(holder(&hub), Some(backend.id()));
    hub.disconnect(twin.id());
    assert_eq!(holder(&hub), Some(backend.id()));
    hub.disconnect(backend.id());
    assert_eq!(holder(&hub), None);
}

#[test]
fn what_a_closing_client_says_is_decided_without_an_ack() {
    let mut hub = Hub::new(2, limits());
    let client = web(&mut hub, 2);
    hub.begin();
    hub.close(&client, CloseReason::Quit);
    hub.send(&client, text("late"));
    hub.commit();
    hub.decided(client.id(), 10);
    assert_eq!(handed_over(&mut hub), ["close 2 quit", "decided 2 false"]);
}

#[test]
fn a_room_is_web_clients_until_the_last_one_left() {
    let mut hub = Hub::new(2, limits());
    let (one, two, other) = (web(&mut hub, 2), web(&mut hub, 3), web(&mut hub, 4));
    let backend = hub.connect(info(6, ClientKind::Backend, None));
    hub.begin();
    assert_eq!(hub.join(&one, "r"), Ok(true));
    assert_eq!(hub.join(&one, "r"), Ok(false));
    assert_eq!(hub.join(&two, "r"), Ok(true));
    assert_eq!(hub.join(&backend, "r"), Err(JoinError::Backend));
    for name in ["".to_owned(), "x".repeat(129)] {
        assert_eq!(hub.join(&one, &name), Err(JoinError::Invalid));
    }
    for room in ["s", "t"] {
        assert_eq!(hub.join(&one, room), Ok(true));
    }
    assert_eq!(hub.join(&one, "u"), Err(JoinError::TooMany));
    assert_eq!(hub.broadcast_to_room("r", text("x"), None), 2);
    assert_eq!(hub.broadcast_to_room("r", text("x"), Some(&one)), 1);
    assert_eq!(hub.broadcast_to_room("r", text("x"), Some(&other)), 2);
    assert_eq!(hub.broadcast_to_room("s", text("x"), Some(&one)), 0);
    assert_eq!(hub.broadcast_to_room("nowhere", text("x"), None), 0);
    assert!(hub.leave(&two, "r") && !hub.leave(&two, "r"));
    hub.commit();
    // What was sent before it left is for it, too.
    let rooms = ["room [2] None", "room [2] Some(2)", "room [2] None"];
    let rooms_of_two = ["room [3] None", "room [3] None", "room [3] None"];
    assert_eq!(handed_over(&mut hub), [rooms, rooms_of_two].concat());
    hub.begin();
    hub.close(&one, CloseReason::Quit);
    assert_eq!((hub.count("r"), hub.rooms.len()), (0, 0));
    assert_eq!(hub.join(&one, "r"), Err(JoinError::Closing));
    hub.rollback();
    assert_eq!((hub.count("r"), hub.rooms.len()), (1, 3));
    hub.disconnect(one.id());
    assert_eq!((hub.count("r"), hub.rooms.len()), (0, 0));
}

#[test]
fn attributes_are_bounded_by_their_length() {
    let mut hub = Hub::new(2, limits());
    let client = web(&mut hub, 2);
    hub.begin();
    let too_many = Err(TooManyAttributes { bytes_max: 64 });
    assert_eq!(hub.set_attribute(&client, "key", Some(&"1".repeat(61))), Ok(()));
    assert_eq!(hub.set_attribute(&client, "key", Some(&"2".repeat(61))), Ok(()));
    assert_eq!(hub.set_attribute(&client, "key", Some(&"3".repeat(62))), too_many);
    assert_eq!(hub.set_attribute(&client, "k", Some("")), too_many);
    assert_eq!(client.attribute("key").as_deref(), Some(&*"2".repeat(61)));
    assert_eq!(hub.set_attribute(&client, "key", None), Ok(()));
    assert_eq!(hub.set_attribute(&client, "k", Some("1")), Ok(()));
    assert_eq!((client.attribute("key"), client.attribute("k").as_deref()), (None, Some("1")));
}

#[derive(Clone, Debug)]
enum Step {
    Register(u64, u8),
    Close(u64),
    Send(u64),
    Broadcast(u64),
    Join(u64, u8),
    Leave(u64, u8),
    ToRoom(u64, u8),
    Note(u64, u8, Option<usize>),
    Store(u8, Option<f64>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..6u64, 0..4u8).prop_map(|(client, name)| Step::Register(client, name)),
        1 => (1..6u64).prop_map(Step::Close),
        1 => (1..6u64).prop_map(Step::Send),
        1 => (1..6u64).prop_map(Step::Broadcast),
        4 => (1..6u64, 0..5u8).prop_map(|(client, room)| Step::Join(client, room)),
        2 => (1..6u64, 0..5u8).prop_map(|(client, room)| Step::Leave(client, room)),
        1 => (1..6u64, 0..5u8).prop_map(|(client, room)| Step::ToRoom(client, room)),
        2 => (1..6u64, 0..3u8, prop::option::of(1..40usize))
            .prop_map(|(client, key, length)| Step::Note(client, key, length)),
        2 => (0..3u8, prop::option::of(0.0..9.0)).prop_map(|(key, by)| Step::Store(key, by)),
    ]
}

/// All that can be asked of a hub from outside.
fn observed(hub: &mut Hub) -> Vec<String> {
    let mut seen = vec![format!("{} {} {}", hub.registered(), hub.connected(), hub.rooms.len())];
    for serial in 1..6u64 {
        let id = info(serial, ClientKind::Web, None).id;
        let client = hub.client(id).map(|client| (client.uuid(), client.is_connected()));
        let issued = hub.find(Address::Uuid(&format!("issued-{serial}"))).map(|found| found.id());
        seen.push(format!("{serial} {client:?} {issued:?}"));
    }
    for name in 0..4u8 {
        let holder = hub.find(Address::Uuid(&format!("name-{name}"))).map(|found| found.id());
        seen.push(format!("name-{name} {holder:?}"));
    }
    for room in 0..5u8 {
        let room = format!("room-{room}");
        let mut listed: Vec<u64> = hub
            .rooms
            .members(&room)
            .iter()
            .flat_map(|(_, ids)| ids.iter())
            .map(|id| id.serial)
            .collect();
        listed.sort_unstable();
        let mut joined: Vec<u64> = hub
            .clients()
            .filter(|client| client.is_connected() && client.is_in(&room))
            .map(|client| client.id().serial)
            .collect();
        joined.sort_unstable();
        // However it came about: the room and its members say the same.
        assert_eq!((hub.count(&room), &listed), (joined.len(), &joined), "{room}");
        seen.push(format!("{room} {listed:?}"));
    }
    for client in hub.clients() {
        let notes: Vec<_> = (0..3u8).map(|key| client.attribute(&key.to_string())).collect();
        seen.push(format!("{} {:?} {notes:?}", client.id().serial, client.rooms));
    }
    for key in 0..3u8 {
        seen.push(format!("{key} {:?}", hub.store.get(&[key], Instant::now())));
    }
    for ident in ["one", "two"] {
        seen.push(format!("{ident} {:?}", hub.find(Address::Ident(ident)).map(|found| found.id())));
    }
    seen
}

fn perform(hub: &mut Hub, steps: &[Step]) {
    let id = |serial| info(serial, ClientKind::Web, None).id;
    let client = |hub: &Hub, serial| hub.client(id(serial)).cloned();
    for step in steps {
        match step {
            Step::Register(serial, name) => {
                if let Some(client) = client(hub, *serial) {
                    // 3 stands for the issued one of another client.
                    let name =
                        if *name == 3 { "issued-1".to_owned() } else { format!("name-{name}") };
                    let _ = hub.register(&client, &name, None);
                }
            }
            Step::Close(serial) => {
                if let Some(client) = client(hub, *serial) {
                    hub.close(&client, CloseReason::Quit);
                }
            }
            Step::Send(serial) => {
                if let Some(client) = client(hub, *serial) {
                    hub.send(&client, text("x"));
                }
            }
            Step::Broadcast(serial) => {
                let except = client(hub, *serial);
                hub.broadcast(text("x"), except.as_ref());
            }
            Step::Join(serial, room) => {
                if let Some(client) = client(hub, *serial) {
                    let _ = hub.join(&client, &format!("room-{room}"));
                }
            }
            Step::Leave(serial, room) => {
                if let Some(client) = client(hub, *serial) {
                    hub.leave(&client, &format!("room-{room}"));
                }
            }
            Step::ToRoom(serial, room) => {
                let except = client(hub, *serial);
                hub.broadcast_to_room(&format!("room-{room}"), text("x"), except.as_ref());
            }
            Step::Note(serial, key, length) => {
                if let Some(client) = client(hub, *serial) {
                    let json = length.map(|length| "7".repeat(length));
                    let _ = hub.set_attribute(&client, &key.to_string(), json.as_deref());
                }
            }
            Step::Store(key, by) => {
                let (key, now) = ([*key], Instant::now());
                match by {
                    Some(by) => drop(hub.store().incr(&key, *by, now)),
                    None => drop(hub.store().delete(&key, now)),
                }
            }
        }
    }
}

proptest! {
    /// A handler that fails has done nothing: whatever it asked for, the hub is as before.
    #[test]
    fn a_rollback_leaves_no_trace(
        before in prop::collection::vec(step(), 0..12),
        failing in prop::collection::vec(step(), 0..12),
        after in prop::collection::vec(step(), 0..6),
    ) {
        let mut hubs = [Hub::new(2, limits()), Hub::new(2, limits())];
        for (which, hub) in hubs.iter_mut().enumerate() {
            for serial in 1..4u64 {
                web(hub, serial);
            }
            hub.connect(info(4, ClientKind::Backend, Some("one")));
            hub.connect(info(5, ClientKind::Backend, Some("one")));
            hub.begin();
            perform(hub, &before);
            hub.commit();
            if which == 0 {
                let seen = observed(hub);
                hub.begin();
                perform(hub, &failing);
                hub.rollback();
                prop_assert_eq!(observed(hub), seen);
            }
            // And it goes on as one that was never tried.
            hub.begin();
            perform(hub, &after);
            hub.commit();
        }
        let [mut tried, mut never] = hubs;
        prop_assert_eq!(observed(&mut tried), observed(&mut never));
        prop_assert_eq!(handed_over(&mut tried), handed_over(&mut never));
    }
}
