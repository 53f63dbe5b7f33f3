use proptest::prelude::*;
use tokio::time::timeout;

use super::*;
use crate::config::Limits;

/// At most 10 connections, 3 of an address and 4 handshakes; 10.0.0.0/8 is trusted, 127.0.0.9 is a
/// proxy.
fn admission() -> Arc<Admission> {
    let networks = |text: &str| [text.parse().expect(text)].into_iter().collect();
    let limits = Limits {
        connections_max: 10,
        connections_per_ip_max: 3,
        handshakes_pending_max: 4,
        trusted: networks("10.0.0.0/8"),
        ..Limits::default()
    };
    let trusted_proxies = networks("127.0.0.9");
    let config = Config { limits, trusted_proxies, ..Config::default() };
    Arc::new(Admission::new(watch::channel(Arc::new(config)).1))
}

fn addr(ip: &str) -> SocketAddr {
    SocketAddr::new(ip.parse().expect(ip), 1)
}

/// A place behind its handshake.
fn enter(admission: &Arc<Admission>, ip: &str) -> Place {
    let mut place = admission.enter(addr(ip)).expect("a place, or a goodbye");
    place.settle();
    place
}

fn refused(admission: &Arc<Admission>, ip: &str) -> Option<Refused> {
    enter(admission, ip).refused()
}

async fn is_overrun(place: &Place) -> bool {
    timeout(std::time::Duration::ZERO, place.overrun()).await.is_ok()
}

#[test]
fn an_address_has_its_share() {
    let admission = admission();
    for (taken, same, other) in [
        ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
        ("192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"),
        ("2001:db8::1", "2001:db8::ffff:0:0:1", "2001:db8:0:1::1"),
    ] {
        let mut places: Vec<Place> = (0..3).map(|_| enter(&admission, taken)).collect();
        assert_eq!(refused(&admission, same), Some(Refused::Crowded), "{same}");
        assert_eq!(refused(&admission, other), None, "{other}");
        places.pop();
        assert_eq!(refused(&admission, same), None, "{same}");
    }
    let trusted: Vec<Place> = (0..5).map(|_| enter(&admission, "10.1.2.3")).collect();
    assert!(trusted.iter().all(|place| place.refused().is_none()));
    let proxies: Vec<Place> = (0..5).map(|_| enter(&admission, "127.0.0.9")).collect();
    assert!(proxies.iter().all(|place| place.refused().is_none()));
}

#[test]
fn beyond_the_bound_goodbyes_are_said_and_then_none() {
    let admission = admission();
    let mut clients: Vec<Place> = (0..10).map(|_| enter(&admission, "10.0.0.1")).collect();
    let mut goodbyes: Vec<Place> =
        (0..GOODBYES_MAX).map(|_| enter(&admission, "10.0.0.1")).collect();
    assert!(goodbyes.iter().all(|place| place.refused() == Some(Refused::Full)));
    assert!(admission.enter(addr("10.0.0.1")).is_none());
    goodbyes.pop();
    assert_eq!(refused(&admission, "10.0.0.1"), Some(Refused::Full));
    clients.pop();
    assert_eq!(refused(&admission, "10.0.0.1"), None);
}

#[test]
fn a_proxy_tells_whose_place_it_is() {
    let admission = admission();
    let client = addr("192.0.2.1");
    let mut places: Vec<Place> = (0..5).map(|_| enter(&admission, "127.0.0.9")).collect();
    let told: Vec<bool> = places.iter_mut().map(|place| place.belongs_to(client)).collect();
    assert_eq!(told, [true; 5], "those that are too many are to be told so");
    let standings: Vec<_> = places.iter().map(Place::refused).collect();
    let crowded = Some(Refused::Crowded);
    assert_eq!(standings, [None, None, None, crowded, crowded]);
    assert!(places.iter().all(|place| place.addr() == client));
    // Who is refused has no place any more.
    assert_eq!(admission.crowd().connections, 3);
    places.remove(0);
    assert_eq!(refused(&admission, "192.0.2.1"), None);
}

#[tokio::test]
async fn the_oldest_handshake_of_the_greediest_makes_room() {
    let admission = admission();
    let one = admission.enter(addr("192.0.2.1")).expect("a place");
    let greedy: Vec<Place> =
        (0..3).map(|_| admission.enter(addr("10.0.0.1")).expect("a place")).collect();
    assert!(!is_overrun(&one).await && !is_overrun(&greedy[0]).await);
    let other = admission.enter(addr("192.0.2.2")).expect("a place");
    assert!(is_overrun(&greedy[0]).await && !is_overrun(&greedy[1]).await);
    let more = admission.enter(addr("10.0.0.1")).expect("a place");
    assert!(is_overrun(&greedy[1]).await, "it is still the greediest itself");
    assert!(!is_overrun(&one).await && !is_overrun(&other).await && !is_overrun(&more).await);
    assert_eq!(admission.crowd().handshakes, 4);
    // One that is over makes room, and is never ended.
    let mut one = one;
    one.settle();
    let _last = admission.enter(addr("192.0.2.3")).expect("a place");
    assert!(!is_overrun(&greedy[2]).await && !is_overrun(&more).await);
}

#[tokio::test]
async fn among_equals_the_oldest_handshake_makes_room() {
    let admission = admission();
    let enter = |ip| admission.enter(([192, 0, 2, ip], 1).into()).expect("a place");
    let places: Vec<Place> = (0..10).map(enter).collect();
    let mut ended = Vec::new();
    for place in &places {
        ended.push(is_overrun(place).await);
    }
    assert_eq!(ended, [[true; 6].as_slice(), &[false; 4]].concat(), "4 have room");
}

/// What happens to places, which are meant by a number.
#[derive(Clone, Debug)]
enum Step {
    Enter(u8),
    BelongsTo(usize, u8),
    Settle(usize),
    Leave(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..4u8).prop_map(Step::Enter),
        2 => (any::<usize>(), 0..4u8).prop_map(|(place, ip)| Step::BelongsTo(place, ip)),
        2 => any::<usize>().prop_map(Step::Settle),
        3 => any::<usize>().prop_map(Step::Leave),
    ]
}

proptest! {
    /// Whatever happens, what is counted is what is there, and nothing is left behind.
    #[test]
    fn counts_are_right(steps in prop::collection::vec(step(), 0..200)) {
        let admission = admission();
        let mut places: Vec<Place> = Vec::new();
        for step in steps {
            let count = places.len().max(1);
            match step {
                Step::Enter(ip) => places.extend(admission.enter(([192, 0, 2, ip], 1).into())),
                Step::BelongsTo(at, ip) => if let Some(place) = places.get_mut(at % count) {
                    let _ = place.belongs_to(([192, 0, 2, ip], 2).into());
                },
                Step::Settle(at) => if let Some(place) = places.get_mut(at % count) {
                    place.settle();
                },
                Step::Leave(at) => if at % count < places.len() {
                    places.swap_remove(at % count);
                },
            }
            let crowd = admission.crowd();
            let clients = places.iter().filter(|place| place.standing == Standing::Client);
            let goodbyes = places.iter().filter(|place| place.refused().is_some());
            prop_assert_eq!(crowd.connections, clients.count());
            prop_assert_eq!(crowd.goodbyes, goodbyes.count());
            let of_each = || crowd.visitors.values();
            prop_assert_eq!(of_each().map(|here| here.connections).sum::<usize>(), crowd.connections);
            prop_assert_eq!(of_each().map(|here| here.handshakes.len()).sum::<usize>(), crowd.handshakes);
            prop_assert!(of_each().all(|here| (1..=3).contains(&here.connections)));
            prop_assert!(crowd.connections <= 10 && crowd.handshakes <= 4);
        }
        drop(places);
        let crowd = admission.crowd();
        prop_assert!(crowd.visitors.is_empty() && crowd.handshakes == 0 && crowd.goodbyes == 0);
    }
}
