//! The shipped script, clause by clause of the protocol.

use super::*;
use crate::script::stage::DEFAULT_SCRIPT;

fn stage() -> Stage {
    Stage::new(DEFAULT_SCRIPT)
}

#[test]
fn greets_every_client_with_its_uuid_in_this_very_form() {
    let mut stage = stage();
    stage.web("/");
    assert_eq!(stage.took(), [r#"1 < {"opcode":"ready","os":"Linux","uuid":"i-1"}"#]);
    stage.backend(None);
    assert_eq!(stage.took(), [r#"2 < {"opcode":"ready","os":"Linux","uuid":"i-2"}"#]);
}

#[test]
fn a_page_at_web_is_registered_from_the_start_under_its_issued_uuid() {
    let mut stage = stage();
    let page = stage.web("/web");
    assert_eq!(stage.took()[1..], ["1 is i-1"]);
    let other = stage.registered("u-2");
    let feedback = |uuid: &str| format!(r#"{{"opcode":"feedback","uuid":"{uuid}"}}"#);
    let sent = stage.says(&other, &feedback("i-1")).expect("handled");
    assert_eq!(sent, [format!("1 < {}", feedback("i-1"))]);
    // Both names address it once it has chosen one.
    stage.says(&page, r#"{"opcode":"uuid","message":"u-1"}"#).expect("handled");
    for uuid in ["i-1", "u-1"] {
        assert_eq!(stage.says(&other, &feedback(uuid)).expect("handled").len(), 1, "{uuid}");
    }
    let backend = stage.backend_at("/web");
    assert!(!backend.is_registered());
}

#[test]
fn uuid_registers_and_renames_and_a_claim_of_a_name_in_use_is_the_relays_to_decide() {
    let mut stage = stage();
    let (one, two) = (stage.web("/"), stage.web("/"));
    stage.took();
    let uuid = r#"{"opcode":"uuid","message":"u-1"}"#;
    assert_eq!(stage.says(&one, uuid).expect("handled"), ["1 is u-1"]);
    assert_eq!(stage.says(&two, uuid).expect("handled"), ["1 asked"]);
    let renamed = stage.says(&one, r#"{"opcode":"uuid","message":"u-3"}"#);
    assert_eq!(renamed.expect("handled"), ["1 is u-3", "2 is u-1"]);
    assert_eq!(stage.says(&one, uuid).expect("handled"), ["2 asked"]);
    stage.hub.borrow_mut().begin();
    stage.hub.borrow_mut().answered(two.id());
    stage.hub.borrow_mut().commit();
    assert_eq!(
        stage.took(),
        [
            r#"1 < {"opcode":"error","code":"uuid_taken","message":"not registered","ref":"uuid"}"#,
            "1 failed",
        ]
    );
    for message in ["", r#","message":7"#, r#","message":"""#, r#","message":null"#] {
        let sent = stage.says(&two, &format!(r#"{{"opcode":"uuid"{message}}}"#));
        let sent = sent.expect("handled").concat();
        assert!(sent.contains(r#""code":"uuid_invalid""#), "{message}: {sent}");
    }
    // Another client's issued uuid can not be taken.
    let sent = stage.says(&two, r#"{"opcode":"uuid","message":"i-1"}"#).expect("handled").concat();
    assert!(sent.contains("uuid_taken"), "{sent}");
    let backend = stage.backend(None);
    stage.took();
    let sent =
        stage.says(&backend, r#"{"opcode":"uuid","message":"u-9"}"#).expect("handled").concat();
    assert!(sent.contains("not_a_web_client"), "{sent}");
}

#[test]
fn feedback_goes_to_the_one_it_names() {
    let mut stage = stage();
    let (_page, backend) = (stage.registered("u-1"), stage.backend(Some("billing")));
    stage.took();
    let cases = [
        (r#"{"opcode":"feedback", "uuid":"u-1"}"#, Some(1)),
        (r#"{"opcode":"feedback","ident":"billing"}"#, Some(2)),
        // The two name spaces are apart.
        (r#"{"opcode":"feedback","uuid":"billing"}"#, None),
        (r#"{"opcode":"feedback","ident":"u-1"}"#, None),
        (r#"{"opcode":"feedback","uuid":"U-1"}"#, None),
        (r#"{"opcode":"feedback","uuid":""}"#, None),
        (r#"{"opcode":"feedback","uuid":7}"#, None),
        (r#"{"opcode":"feedback"}"#, None),
    ];
    for (json, to) in cases {
        let expected: Vec<String> =
            to.map(|to: u64| format!("{to} < {json}")).into_iter().collect();
        assert_eq!(stage.says(&backend, json).expect("handled"), expected, "{json}");
    }
}

#[test]
fn echo_comes_back_and_quit_closes() {
    let mut stage = stage();
    let page = stage.web("/");
    stage.took();
    let echo = r#"{ "opcode":"echo", "n":1.0, "n":1.00 }"#;
    assert_eq!(stage.says(&page, echo).expect("handled"), [format!("1 < {echo}")]);
    assert_eq!(stage.says(&page, r#"{"opcode":"quit"}"#).expect("handled"), ["1 closed 1000"]);
}

#[test]
fn anything_else_goes_to_all_other_registered_pages() {
    let mut stage = stage();
    let page = stage.registered("u-1");
    let backend = stage.backend(None);
    stage.took();
    for json in
        [r#"{"opcode":"broadcast","a":1}"#, r#"{"x":[]}"#, "[1,2]", r#"{"opcode":"__index"}"#]
    {
        assert_eq!(stage.says(&page, json).expect("handled"), [format!("all but 1 < {json}")]);
        assert_eq!(stage.says(&backend, json).expect("handled"), [format!("all < {json}")]);
    }
}

#[test]
fn has_no_stray_globals() {
    assert_eq!(stage().engine.warnings(), [] as [String; 0]);
}
