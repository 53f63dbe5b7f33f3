//! What a script sees of the relay, and its hooks.

use super::*;
use crate::hub::Address;

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
        ("client:send(tostring(client:broadcast(msg)))", ["all but 1 < {}", "1 < 1"]),
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
        ("client:broadcast('x', {})", "client:broadcast: room must be a string, not a table"),
    ]);
}

#[test]
fn wrong_names_are_errors_that_help() {
    fails_all(&[
        ("local x = client.idnt", "client has no field 'idnt' (did you mean 'ident'?)"),
        ("client:registr('x')", "client has no field 'registr' (did you mean 'register'?)"),
        ("client:send(client:uuid())", ": client.uuid is a value: write it without colon and brac"),
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
