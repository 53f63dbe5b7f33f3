//! Every function and field a script can see.

use super::*;
use crate::hub::Address;
use crate::session::ClientKind;

#[test]
fn msg_tells_its_fields() {
    eval_all(&[
        ("msg.opcode", "x"),
        ("msg.uuid", "u-9"),
        ("msg.ident", "billing"),
        ("msg.size", "57"),
        ("msg.raw", r#"{"opcode":"x","uuid":"u-9","ident":"billing","n":[1,2.5]}"#),
        ("msg.data.n[2]", "2.5"),
        ("msg.data.missing", "nil"),
        ("msg.data == msg.data", "true"),
    ]);
    let mut stage = Stage::with(
        "client:send(tostring(msg.opcode) .. tostring(msg.uuid) .. tostring(msg.data))",
    );
    let client = stage.web("/");
    assert_eq!(stage.says(&client, "7").expect("handled"), ["1 < nilnil7"]);
}

#[test]
fn msg_is_only_valid_during_its_handler() {
    let accesses = [
        "kept.raw",
        "kept.opcode",
        "kept.size",
        "kept.data",
        "client:send(kept)",
        "relay.broadcast(kept)",
    ];
    for access in accesses {
        let mut stage = Stage::new(&format!(
            "local kept
            function opcodes.keep(client, msg) kept = msg local _ = msg.data end
            function opcodes.use(client, msg) local x = {access} end
            function on.disconnect(client) local x = {access} end"
        ));
        let client = stage.web("/");
        stage.says(&client, r#"{"opcode":"keep"}"#).expect("handled");
        let error = stage.says(&client, r#"{"opcode":"use"}"#).expect_err("expired").to_string();
        let expected = "scripts/opcodes.lua:3: msg is only valid during its handler";
        assert!(error.starts_with(expected), "{error}");
        stage.transact(|engine| engine.on_disconnect(&client, "quit")).expect_err("expired");
    }
}

#[test]
fn msg_is_one_value_in_its_handler_and_another_in_the_next() {
    let mut stage = Stage::with(
        "before = before or msg
        client:send(tostring(before == msg) .. tostring(({[before] = 1})[msg]) .. tostring(msg))",
    );
    let client = stage.web("/");
    assert_eq!(stage.says(&client, "1").expect("handled"), ["1 < true1msg"]);
    assert_eq!(stage.says(&client, "2").expect("handled"), ["1 < falsenilmsg"]);
}

#[test]
fn null_is_no_msg() {
    eval_all(&[
        ("relay.json.null", "null"),
        ("relay.json.null == msg", "false"),
        ("type(relay.json.null)", "userdata"),
    ]);
    fails_all(&[
        ("client:send(relay.json.null)", "a null can not be sent"),
        ("local x = relay.json.null.raw", "null has no field 'raw'"),
        ("relay.json.null.raw = 1", "null is read-only"),
        ("msg.raw = 1", "msg is read-only"),
        ("local x = msg.row", "msg has no field 'row'"),
        ("local x = msg .. 'x'", "msg or null"),
    ]);
}

#[test]
fn the_data_of_a_msg_are_plain_values_and_stay() {
    let mut stage = Stage::new(
        "local kept
        function opcodes.keep(_, msg) kept = msg.data end
        function opcodes.use(client) client:send(kept) end",
    );
    let client = stage.web("/");
    stage.says(&client, r#"{"opcode":"keep"}"#).expect("handled");
    let sent = stage.says(&client, r#"{"opcode":"use"}"#).expect("handled");
    assert_eq!(sent, [r#"1 < {"opcode":"keep"}"#]);
}

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
    fails_all(&[("client:close(1000, string.rep('x', 124))", "reason is longer than 123 bytes")]);
}

#[test]
fn register_answers_and_is_seen_at_once() {
    for name in ["''", "nil", "7", "'\\xff'", "string.rep('x', 129)"] {
        let sent = run(&format!(
            "local ok, why = client:register({name}) client:send(tostring(ok) .. why)"
        ));
        assert_eq!(sent, Ok(vec!["1 < falseuuid_invalid".to_owned()]), "{name}");
    }
    let sent = run("assert(relay.count() == 0)
        assert(client:register('u-1') == true and relay.count() == 1)
        assert(relay.find('u-1') == client and relay.broadcast('x') == 1)");
    assert_eq!(sent, Ok(vec!["1 is u-1".to_owned(), "all < x".to_owned()]));
    let mut stage = Stage::with(
        "local ok, why = client:register('u-1')
        assert(ok == false and why == 'pending')",
    );
    let (_owner, client) = (stage.registered("u-1"), stage.web("/"));
    assert_eq!(stage.says(&client, "{}").expect("handled"), ["1 asked"]);
    let sent = run("client:close()
        local ok, why = client:register('u')
        assert(ok == false and why == 'closing')");
    assert_eq!(sent, Ok(vec!["1 closed 1000".to_owned()]));
}

#[test]
fn deliver_and_find_know_two_name_spaces() {
    for (expression, answer) in [
        ("relay.deliver('u-1', msg)", "1 < {}3 < true"),
        ("relay.deliver({uuid = 'u-1'}, {a = 1})", r#"1 < {"a":1}3 < true"#),
        ("relay.deliver({ident = 'billing'}, 'x')", "2 < x3 < true"),
        ("relay.deliver({uuid = 'billing'}, 'x')", "3 < false"),
        ("relay.deliver('billing', 'x')", "3 < false"),
        ("relay.deliver({ident = 'u-1'}, 'x')", "3 < false"),
        ("relay.deliver(nil, 'x')", "3 < false"),
        ("relay.deliver('', 'x')", "3 < false"),
        ("relay.deliver({}, 'x')", "3 < false"),
        ("relay.deliver({ident = nil}, 'x')", "3 < false"),
        ("relay.deliver({ident = ''}, 'x')", "3 < false"),
        ("relay.deliver('\\xff', 'x')", "3 < false"),
        ("relay.find('u-1').id", "3 < 1"),
        ("relay.find({ident = 'billing'}).ident", "3 < billing"),
        ("relay.find('i-3')", "3 < nil"),
        ("relay.find(nil)", "3 < nil"),
        ("relay.find('')", "3 < nil"),
    ] {
        let mut stage = Stage::with(&format!("client:send(tostring({expression}))"));
        stage.registered("u-1");
        stage.backend(Some("billing"));
        let client = stage.web("/");
        assert_eq!(stage.says(&client, "{}").expect(expression).concat(), answer, "{expression}");
    }
    fails_all(&[
        ("relay.deliver(7, 'x')", "relay.deliver: name must be a uuid or a table"),
        ("relay.deliver(client, 'x')", "relay.deliver: name must be a uuid or a table"),
        ("relay.deliver({idnt = 'x'}, 'x')", "unknown name space 'idnt' (did you mean 'ident'?)"),
        ("relay.deliver({ident = 7}, 'x')", "ident must be a string, not a number"),
        ("relay.deliver({ident = 'a', uuid = 'b'}, 'x')", "either uuid or ident, not both"),
        ("relay.find(true)", "relay.find: name must be"),
        ("relay.deliver('nobody')", "a nil can not be sent"),
    ]);
}

#[test]
fn broadcast_counts_its_receivers() {
    for (code, sent) in [
        ("client:send(tostring(relay.broadcast(msg)))", ["all < {}", "1 < 2"]),
        (
            "client:send(tostring(relay.broadcast(msg, {except = client})))",
            ["all but 1 < {}", "1 < 1"],
        ),
        ("client:send(tostring(relay.broadcast('x', {})))", ["all < x", "1 < 2"]),
        ("client:send(tostring(relay.broadcast('x', {except = nil})))", ["all < x", "1 < 2"]),
    ] {
        let mut stage = Stage::with(code);
        let (client, _other) = (stage.registered("u-1"), stage.registered("u-2"));
        assert_eq!(stage.says(&client, "{}").expect(code), sent, "{code}");
    }
    fails_all(&[
        (
            "relay.broadcast('x', {exept = client})",
            "unknown option 'exept' (did you mean 'except'?)",
        ),
        ("relay.broadcast('x', {except = 'u-1'})", "except must be a client, not a string"),
        ("relay.broadcast('x', {except = msg})", "except must be a client"),
        ("relay.broadcast('x', client)", "options must be a table"),
    ]);
}

#[test]
fn wrong_names_are_errors_that_help() {
    fails_all(&[
        ("local x = client.idnt", "client has no field 'idnt' (did you mean 'ident'?)"),
        ("client:registr('x')", "client has no field 'registr' (did you mean 'register'?)"),
        ("local x = msg.dat", "msg has no field 'dat' (did you mean 'data'?)"),
        ("local x = msg[1]", "msg has no field '1'"),
        ("relay.brodcast(msg)", "relay has no field 'brodcast' (did you mean 'broadcast'?)"),
        ("relay.json.parse('x')", "relay.json has no field 'parse'"),
        ("relay.log.warning('x')", "relay.log has no field 'warning'"),
        ("client.name = 'x'", "client is read-only"),
        ("client.uuid = 'x'", "client is read-only"),
        ("msg.data = {}", "msg is read-only"),
        ("relay.x = 1", "relay is read-only"),
        ("relay.broadcast = 1", "readonly table"),
    ]);
}

#[test]
fn the_smaller_functions_of_relay() {
    let copied = r#"{"opcode":"x","ident":"billing","n":[1,2.5],"uuid":"u-9"}"#;
    eval_all(&[
        ("relay.now() > 1.7e9", "true"),
        ("relay.api_version", "1"),
        ("relay.config.greeting", "hello"),
        ("relay.config.list[2]", "2"),
        ("relay.config.nothing", "nil"),
        ("relay.json.encode(relay.json.decode('[1,{}]'))", "[1,{}]"),
        ("relay.json.encode(relay.json.array())", "[]"),
        ("relay.json.encode(relay.json.null)", "null"),
        ("relay.json.decode('null') == relay.json.null", "true"),
        ("relay.json.encode(relay.json.copy(msg.data))", copied),
    ]);
    assert_eq!(
        run("local c = relay.json.copy(msg.data) c.n[3] = 3 c.uuid = nil client:send(c)"),
        Ok(vec![r#"1 < {"opcode":"x","ident":"billing","n":[1,2.5,3]}"#.to_owned()])
    );
    fails_all(&[
        ("relay.json.decode('{')", "not JSON: EOF while parsing"),
        ("relay.json.decode(7)", "text must be a string, not a number"),
        ("relay.json.array(msg.data.n)", "use relay.json.copy first"),
        ("local t = {} t.t = t relay.json.copy(t)", "nested deeper than 127"),
    ]);
    // Fields that can not be JSON do not fail a handler that only wants to tell something.
    let logs =
        "relay.log.warn('x', {f = print}) relay.log.error(nil) relay.log.debug(client) print()";
    assert_eq!(run(logs), Ok(vec![]));
}

#[test]
fn a_handler_that_fails_at_any_point_has_done_nothing() {
    let steps = [
        "client:register('u-7')",
        "relay.broadcast('x')",
        "client:send('y')",
        "relay.deliver('u-1', msg)",
        "client:error('no')",
        "client:register('u-1')",
        "relay.find('u-1'):close()",
        "client:register('u-8')",
        "client:close(4000)",
    ];
    for fails_after in 0..=steps.len() {
        let mut stage = Stage::with(&format!("{} error('here')", steps[..fails_after].join(" ")));
        let (other, client) = (stage.registered("u-1"), stage.web("/"));
        stage.says(&client, "{}").expect_err("fails");
        assert_eq!(stage.took(), [] as [String; 0], "after {fails_after}");
        assert!(client.is_connected() && other.is_connected() && !client.is_registered());
        let hub = stage.hub.borrow();
        assert_eq!(hub.registered(), 1);
        for (uuid, there) in [("u-1", true), ("u-7", false), ("u-8", false)] {
            assert_eq!(hub.find(Address::Uuid(uuid)).is_some(), there, "{uuid} {fails_after}");
        }
    }
}

#[test]
fn hooks_get_what_they_are_promised() {
    let mut stage = Stage::new(
        "function on.load(info) relay.broadcast({info.generation, info.reload}) end
        function on.connect(client) client:send('hello') end
        function on.disconnect(client, why) relay.broadcast(client.uuid .. why .. relay.count()) end
        function opcodes.x() end",
    );
    stage.transact(|engine| engine.on_load(true)).expect("loaded");
    assert_eq!(stage.took(), ["all < [1,true]"]);
    let client = stage.web("/");
    assert_eq!(stage.took(), ["1 < hello"]);
    let registered = stage.registered("u-2");
    stage.hub.borrow_mut().disconnect(registered.id());
    stage.transact(|engine| engine.on_disconnect(&registered, "quit")).expect("handled");
    assert_eq!(stage.took(), ["all < u-2quit0"]);
    // No handler and no on.default: nothing happens.
    assert_eq!(stage.says(&client, r#"{"opcode":"y"}"#).expect("handled"), [] as [String; 0]);
}
