//! What a script sees of a client, and does with it.

use super::*;
use crate::close::CloseReason;
use crate::frame::Encoding;
use crate::session::ClientKind;

#[test]
fn client_tells_its_fields() {
    eval_all(&[
        ("client.id", "1"),
        ("client.kind", "web"),
        ("client.transport", "wss"),
        ("client.path", "/page"),
        ("client.addr", "192.0.2.1:4711"),
        ("client.ident", "nil"),
        ("client.headers.host", "a"),
        ("client.headers['x-list']", "1, 2"),
        ("client.headers.missing", "nil"),
        ("client.uuid", "nil"),
        ("client.issued_uuid", "i-1"),
        ("client", "client 1 (web)"),
    ]);
    assert_eq!(
        run("client:register('u-1') client:send(client.uuid)"),
        Ok(vec!["1 is u-1".to_owned(), "1 < u-1".to_owned()])
    );
    let mut stage = Stage::with("client:send(client.kind .. client.ident .. client.transport)");
    let backend = stage.backend(Some("billing"));
    assert_eq!(stage.says(&backend, "{}").expect("handled"), ["1 < backendbillingtcp"]);
}

#[test]
fn a_client_is_the_same_object_each_time() {
    let mut stage = Stage::new(
        "local seen = {}
        function opcodes.look(client)
          client:send(tostring(seen[client]))
          seen[client] = client.id
        end
        function opcodes.find(client) client:send(tostring(relay.find('u-2') == client)) end
        function opcodes.other(client) client:send(tostring(relay.find('u-1') == client)) end",
    );
    let (_one, two) = (stage.registered("u-1"), stage.registered("u-2"));
    for (opcode, answer) in [("look", "nil"), ("look", "2"), ("find", "true"), ("other", "false")] {
        let sent = stage.says(&two, &format!(r#"{{"opcode":"{opcode}"}}"#)).expect("handled");
        assert_eq!(sent, [format!("2 < {answer}")]);
    }
}

#[test]
fn a_slot_that_is_used_again_is_another_client() {
    let mut stage = Stage::with("first = first or client client:send(tostring(first == client))");
    let one = stage.web("/");
    assert_eq!(stage.says(&one, "{}").expect("handled"), ["1 < true"]);
    stage.hub.borrow_mut().disconnect(one.id());
    let mut info = crate::script::stage::info(1, ClientKind::Web, "/", None);
    info.id.serial = 9;
    let two = stage.hub.borrow_mut().connect(info);
    assert_eq!(stage.says(&two, "{}").expect("handled"), ["9 < false"]);
}

#[test]
fn send_takes_a_message_a_table_or_a_text() {
    let raw = r#"1 < {"opcode":"x","uuid":"u-9","ident":"billing","n":[1,2.5]}"#;
    for (code, sent) in [
        ("client:send(msg)", raw),
        ("client:send({z = 1, opcode = 'o', a = {}})", r#"1 < {"opcode":"o","a":{},"z":1}"#),
        ("client:send('any text, ü')", "1 < any text, ü"),
        ("assert(client:send('x') == true)", "1 < x"),
    ] {
        assert_eq!(run(code), Ok(vec![sent.to_owned()]), "{code}");
    }
    fails_all(&[
        ("client:send('\\xff')", "a text that is not UTF-8 can not be sent"),
        ("client:send(7)", "a number can not be sent"),
        ("client:send()", "a nil can not be sent"),
        ("client:send(client)", "a client can not be sent"),
        ("client:send({f = print})", "a function can not be JSON, at f"),
        ("client:send({m = msg})", "a host object (client, msg) can not be JSON, at m"),
        ("client:send(string.rep('x', 4 * 1024 * 1024 + 1))", "over 4194304 bytes"),
        ("client:send({x = string.rep('x', 4 * 1024 * 1024 + 1)})", "longer than 4194304 bytes"),
        ("client.send('x')", "call it with a colon: client:send(...)"),
    ]);
}

#[test]
fn error_names_what_it_is_about() {
    let sent = |code: &str| run(code).expect(code).concat();
    assert_eq!(
        sent("client:error('no_such_room', 'it is \"gone\"')"),
        r#"1 < {"opcode":"error","code":"no_such_room","message":"it is \"gone\"","ref":"x"}"#
    );
    assert_eq!(sent("client:error('no')"), r#"1 < {"opcode":"error","code":"no","ref":"x"}"#);
    fails_all(&[
        ("client:error()", "client:error: code is missing"),
        ("client:error({})", "client:error: code must be a string, not a table"),
        ("client:error('x', 7)", "client:error: message must be a string, not a number"),
    ]);
    let script = "function on.connect(client) client:error('no') end function on.default() end";
    let mut stage = Stage::new(script);
    stage.web("/");
    assert_eq!(stage.took(), [r#"1 < {"opcode":"error","code":"no","ref":"connect"}"#]);
}

#[test]
fn close_checks_code_and_reason() {
    let longest = format!("1 closed 4999 {}", "x".repeat(123));
    for (code, closed) in [
        ("client:close()", "1 closed 1000"),
        ("client:close(1000)", "1 closed 1000"),
        ("client:close(nil, 'bye')", "1 closed 1000 bye"),
        ("client:close(1013, 'full')", "1 closed 1013 full"),
        ("client:close(4999, string.rep('x', 123))", &longest),
        ("client:close() assert(client:send('b') == false) client:close(4000)", "1 closed 1000"),
    ] {
        assert_eq!(run(code).map(|sent| sent.concat()), Ok(closed.to_owned()), "{code}");
    }
    for code in [
        "999", "1004", "1005", "1006", "1010", "1015", "1016", "2999", "5000", "65536", "66536",
        "-1", "1000.5", "'1000'", "1e300", "0/0",
    ] {
        let error = run(&format!("client:close({code})")).expect_err(code);
        assert!(error.contains("client:close: code must be"), "{code}: {error}");
    }
    fails_all(&[
        ("client:close(1000, string.rep('x', 124))", "reason is longer than 123 bytes"),
        ("client:close(1000, string.rep('\\1', 34))", "reason is longer than 200 bytes as JSON"),
    ]);
    // The oldest raw clients read 256 bytes at once.
    for text in ["x".repeat(123), "\"".repeat(99), "\x01".repeat(33)] {
        let lua = format!("client:close(4999, {text:?})").replace("\\u{1}", "\\1");
        assert!(run(&lua).is_ok(), "{lua}");
        let reason = CloseReason::Script { code: 4999, text };
        assert!(Encoding::Raw.farewell(&reason).len() <= 256);
    }
}
