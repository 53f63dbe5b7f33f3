use super::*;
use crate::close::CloseReason;
use crate::hub::Address;
use crate::hub::tests::{handed_over, limits, web};

mod properties;

/// A hub with an owner of the name `u` and two others, and nothing handed over.
fn hub() -> (Hub, [Rc<Client>; 3]) {
    let mut hub = Hub::new(2, limits());
    let clients = [2, 4, 6].map(|serial| web(&mut hub, serial));
    assert_eq!(says_uuid(&mut hub, &clients[0], "u"), Ok(()));
    handed_over(&mut hub);
    (hub, clients)
}

/// As a message does it whose handler registers its sender.
fn says_uuid(hub: &mut Hub, client: &Rc<Client>, uuid: &str) -> Result<(), RegisterError> {
    hub.deciding(client.id(), 10);
    hub.begin();
    let registered = hub.register(client, uuid, Some("uuid"));
    hub.commit();
    registered
}

fn claims(hub: &mut Hub, client: &Rc<Client>, uuid: &str) {
    assert_eq!(says_uuid(hub, client, uuid), Err(RegisterError::Pending));
}

fn answers(hub: &mut Hub, owner: &Rc<Client>) {
    hub.begin();
    hub.answered(owner.id());
    hub.commit();
}

fn closes(hub: &mut Hub, client: &Rc<Client>) {
    hub.begin();
    hub.close(client, CloseReason::Quit);
    hub.commit();
}

fn holder(hub: &Hub, uuid: &str) -> Option<u64> {
    hub.find(Address::Uuid(uuid)).map(|client| client.id().serial)
}

#[test]
fn the_owner_is_asked_once_and_its_answer_refuses_all_claims() {
    let (mut hub, [owner, one, two]) = hub();
    claims(&mut hub, &one, "u");
    claims(&mut hub, &two, "u");
    assert_eq!(handed_over(&mut hub), ["decided 4 false", "ask 2", "decided 6 false"]);
    answers(&mut hub, &owner);
    let refused = ["ack 4", "send 4", "failed 4", "ack 6", "send 6", "failed 6"];
    assert_eq!(handed_over(&mut hub), refused);
    assert_eq!((one.failed_claims.get(), two.failed_claims.get()), (1, 1));
    assert_eq!(holder(&hub, "u"), Some(2));
    // The next one is asked about anew.
    claims(&mut hub, &one, "u");
    assert_eq!(handed_over(&mut hub), ["decided 4 false", "ask 2"]);
}

#[test]
fn the_first_claim_gets_the_name_however_its_owner_ends() {
    type End = fn(&mut Hub, &Rc<Client>);
    let ends: [(&str, End); 3] = [
        ("gone", |hub, owner| drop(hub.disconnect(owner.id()))),
        ("closed", closes),
        ("renamed", |hub, owner| assert_eq!(says_uuid(hub, owner, "v"), Ok(()))),
    ];
    for (end, ends) in ends {
        let (mut hub, [owner, one, two]) = hub();
        claims(&mut hub, &one, "u");
        claims(&mut hub, &two, "u");
        handed_over(&mut hub);
        ends(&mut hub, &owner);
        let words = handed_over(&mut hub);
        // The ack comes behind the registration, whose uuid it carries.
        let settled = ["register 4 u", "ack 4", "ack 6", "send 6", "failed 6"];
        assert!(words.ends_with(&settled.map(str::to_owned)), "{end}: {words:?}");
        assert_eq!(holder(&hub, "u"), Some(4), "{end}");
        assert_eq!((one.failed_claims.get(), two.failed_claims.get()), (0, 1), "{end}");
    }
}

#[test]
fn a_claimant_that_leaves_or_is_closed_claims_nothing() {
    let (mut hub, [owner, one, two]) = hub();
    claims(&mut hub, &one, "u");
    claims(&mut hub, &two, "u");
    hub.disconnect(one.id());
    closes(&mut hub, &two);
    handed_over(&mut hub);
    hub.disconnect(owner.id());
    assert_eq!(handed_over(&mut hub), [] as [&str; 0]);
    assert_eq!(holder(&hub, "u"), None);
}

#[test]
fn a_claim_that_is_replaced_is_acknowledged_and_counts_as_failed() {
    let (mut hub, [owner, one, two]) = hub();
    assert_eq!(says_uuid(&mut hub, &two, "v"), Ok(()));
    claims(&mut hub, &one, "u");
    handed_over(&mut hub);
    // By another claim.
    claims(&mut hub, &one, "v");
    assert_eq!(handed_over(&mut hub), ["decided 4 false", "ack 4", "ask 6", "failed 4"]);
    assert_eq!(one.failed_claims.get(), 1);
    // By a name that is free.
    assert_eq!(says_uuid(&mut hub, &one, "w"), Ok(()));
    assert_eq!(handed_over(&mut hub), ["decided 4 true", "register 4 w", "ack 4", "failed 4"]);
    assert_eq!(one.failed_claims.get(), 2);
    for owner in [&owner, &two] {
        answers(&mut hub, owner);
    }
    assert_eq!(handed_over(&mut hub), [] as [&str; 0]);
}

#[test]
fn a_claim_that_is_said_again_keeps_its_place_and_costs_nothing() {
    let (mut hub, [owner, one, two]) = hub();
    claims(&mut hub, &one, "u");
    claims(&mut hub, &two, "u");
    handed_over(&mut hub);
    for _ in 0..9 {
        claims(&mut hub, &one, "u");
        assert_eq!(handed_over(&mut hub), ["decided 4 false", "ack 4"]);
    }
    hub.disconnect(owner.id());
    assert_eq!((holder(&hub, "u"), one.failed_claims.get()), (Some(4), 0));
}

#[test]
fn a_handler_that_fails_has_asked_nobody() {
    let (mut hub, [_, one, _]) = hub();
    hub.deciding(one.id(), 10);
    hub.begin();
    assert_eq!(hub.register(&one, "u", None), Err(RegisterError::Pending));
    hub.rollback();
    assert_eq!(handed_over(&mut hub), ["decided 4 true"]);
    assert!(one.claimed.borrow().is_none());
}

#[test]
fn only_the_claimants_own_message_waits_for_its_ack() {
    let (mut hub, [owner, one, two]) = hub();
    hub.deciding(two.id(), 10);
    hub.begin();
    assert_eq!(hub.register(&one, "u", None), Err(RegisterError::Pending));
    hub.commit();
    assert_eq!(handed_over(&mut hub), ["decided 6 true", "ask 2"]);
    hub.disconnect(owner.id());
    assert_eq!(handed_over(&mut hub), ["register 4 u"]);
    // And none that was decided before, by no handler.
    hub.decided(one.id(), 10);
    hub.begin();
    assert_eq!(hub.register(&two, "u", None), Err(RegisterError::Pending));
    hub.commit();
    assert_eq!(handed_over(&mut hub), ["decided 4 true", "ask 4"]);
}

#[test]
fn a_claim_that_its_own_handler_replaces_holds_no_ack() {
    let (mut hub, [_, one, _]) = hub();
    hub.deciding(one.id(), 10);
    hub.begin();
    assert_eq!(hub.register(&one, "u", None), Err(RegisterError::Pending));
    assert_eq!(hub.register(&one, "v", None), Ok(()));
    hub.commit();
    assert_eq!(handed_over(&mut hub), ["decided 4 true", "ask 2", "register 4 v", "failed 4"]);
}

#[test]
fn a_name_that_its_owner_takes_back_within_a_handler_was_never_free() {
    let (mut hub, [owner, one, two]) = hub();
    claims(&mut hub, &one, "u");
    handed_over(&mut hub);
    hub.begin();
    assert_eq!(hub.register(&owner, "v", None), Ok(()));
    assert_eq!(hub.register(&owner, "u", None), Ok(()));
    hub.commit();
    assert_eq!(handed_over(&mut hub), ["register 2 v", "register 2 u"]);
    // One that a handler gives to another is not free either.
    hub.begin();
    assert_eq!(hub.register(&owner, "v", None), Ok(()));
    assert_eq!(hub.register(&two, "u", None), Ok(()));
    hub.commit();
    let words = handed_over(&mut hub);
    assert_eq!(words, ["register 2 v", "register 6 u", "ack 4", "send 4", "failed 4"]);
}

#[test]
fn the_fifth_claim_that_fails_closes_and_frees_what_others_wait_for() {
    let (mut hub, [owner, one, two]) = hub();
    assert_eq!(says_uuid(&mut hub, &one, "v"), Ok(()));
    for _ in 0..4 {
        claims(&mut hub, &one, "u");
        answers(&mut hub, &owner);
    }
    claims(&mut hub, &one, "u");
    claims(&mut hub, &two, "v");
    handed_over(&mut hub);
    answers(&mut hub, &owner);
    let closed =
        ["ack 4", "send 4", "failed 4", "close 4 too_many_claims", "register 6 v", "ack 6"];
    assert_eq!(handed_over(&mut hub), closed);
}
