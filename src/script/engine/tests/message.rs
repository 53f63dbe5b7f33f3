//! What a script sees of a message.

use super::*;

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
