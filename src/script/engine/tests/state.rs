//! What scripts keep outside of Lua: rooms, attributes, the store.

use super::*;

#[test]
fn rooms_are_joined_left_counted_and_sent_to() {
    let mut stage = Stage::with(
        "assert(client:join('r') == true and client:join('r') == false)
        assert(relay.count('r') == 1 and relay.count() == 2 and relay.count('none') == 0)
        local other = relay.find('u-2')
        assert(other:join('r') and relay.count('r') == 2)
        assert(relay.broadcast({n = 1}, {room = 'r'}) == 2)
        assert(relay.broadcast('x', {room = 'r', except = client}) == 1)
        assert(relay.broadcast('x', {room = 'none'}) == 0)
        assert(client:broadcast('z', 'r') == 1 and client:broadcast('z', 'none') == 0)
        assert(other:leave('r') == true and other:leave('r') == false)
        assert(relay.broadcast('y', {room = 'r'}) == 1)
        client:close()
        assert(relay.count('r') == 0 and client:leave('r') == false)",
    );
    let (client, _other) = (stage.registered("u-1"), stage.registered("u-2"));
    let sent = stage.says(&client, "{}").expect("handled");
    assert_eq!(sent, ["1+2 < {\"n\":1}", "2 < x", "2 < z", "1 < y", "1 closed 1000"]);
    for (room, why) in [
        ("''", "room_invalid"),
        ("nil", "room_invalid"),
        ("7", "room_invalid"),
        ("'\\xff'", "room_invalid"),
        ("string.rep('x', 129)", "room_invalid"),
    ] {
        let sent =
            run(&format!("local ok, why = client:join({room}) client:send(tostring(ok) .. why)"));
        assert_eq!(sent, Ok(vec![format!("1 < false{why}")]), "{room}");
    }
    eval_all(&[
        (
            "(function() for i = 1, 32 do client:join('r' .. i) end return relay.count('r32') end)()",
            "1",
        ),
        (
            "select(2, (function() for i = 1, 32 do client:join('r' .. i) end return client:join('x') end)())",
            "too_many_rooms",
        ),
        ("client:leave(nil)", "false"),
    ]);
    let mut stage = Stage::with("client:send(tostring(select(2, client:join('r'))))");
    let backend = stage.backend(None);
    assert_eq!(stage.says(&backend, "{}").expect("handled"), ["1 < not_a_web_client"]);
    fails_all(&[
        ("relay.broadcast('x', {room = 7})", "room must be a string, not a number"),
        ("relay.broadcast('x', {rom = 'r'})", "unknown option 'rom' (did you mean 'room'?)"),
        ("relay.count({})", "room must be a string, not a table"),
    ]);
}

#[test]
fn attributes_are_copies_and_come_back_as_they_were() {
    eval_all(&[
        ("client:get('none')", "nil"),
        ("(function() client:set('k', 'ü') return client:get('k') end)()", "ü"),
        ("(function() client:set('k', 2^60) return client:get('k') == 2^60 end)()", "true"),
        ("(function() client:set('k', 0.1) return client:get('k') == 0.1 end)()", "true"),
        ("(function() client:set('k', -2^53) return client:get('k') == -2^53 end)()", "true"),
        ("(function() client:set('k', false) return client:get('k') end)()", "false"),
        ("(function() client:set('k', 1) client:set('k', nil) return client:get('k') end)()", "nil"),
        (
            "(function() local t = {list = {}, n = {1, {x = true}}} client:set('k', t) t.list[1] = 1
            local got = client:get('k') got.n[1] = 9
            return #client:get('k').list .. client:get('k').n[1] .. tostring(got.n[2].x) end)()",
            "01true",
        ),
    ]);
    fails_all(&[
        ("client:set('k', print)", "a function can not be JSON"),
        ("client:set('k', 0/0)", "NaN"),
        ("client:set('k', client)", "can not be JSON"),
        ("client:set(1, 1)", "client:set: key must be a string"),
        ("client:get()", "client:get: key is missing"),
        ("client:set('k', string.rep('x', 16384))", "over 16384 bytes for one client"),
    ]);
}

#[test]
fn the_store_keeps_strings_and_numbers() {
    eval_all(&[
        ("relay.store.get('none')", "nil"),
        ("(function() relay.store.set('k', '\\0\\xff') return #relay.store.get('k') end)()", "2"),
        ("(function() relay.store.set('k', 1.5) return relay.store.get('k') + 1 end)()", "2.5"),
        ("relay.store.incr('n') + relay.store.incr('n', 2.5)", "4.5"),
        (
            "tostring(relay.store.cas('k', nil, 'a')) .. tostring(relay.store.cas('k', nil, 'b'))",
            "truefalse",
        ),
        (
            "(function() relay.store.set('k', 1) return relay.store.cas('k', 1, 2, {ttl = 9}) end)()",
            "true",
        ),
        ("(function() relay.store.set('k', 1) return relay.store.cas('k', '1', 2) end)()", "false"),
        ("tostring(relay.store.expire('k', 9)) .. tostring(relay.store.delete('k'))", "falsefalse"),
        ("(function() relay.store.set('k', 1) return relay.store.delete('k') end)()", "true"),
    ]);
    fails_all(&[
        ("relay.store.set('k')", "relay.store.set: a value must be a string or number, not a nil"),
        ("relay.store.set('k', {})", "not a table"),
        ("relay.store.set('', 1)", "key must be 1 to 512 bytes long"),
        ("relay.store.set(1, 1)", "key must be a string, not a number"),
        ("relay.store.set('k', 0/0)", "would not be finite"),
        ("relay.store.set('k', 1, {tll = 1})", "unknown option 'tll' (did you mean 'ttl'?)"),
        ("relay.store.set('k', 1, {ttl = 0})", "ttl must be 0.001 to 315360000 seconds, not 0"),
        ("relay.store.set('k', 1, {ttl = 1/0})", "not inf"),
        ("relay.store.expire('k')", "seconds, not a nil"),
        ("relay.store.incr('k', 'x')", "by must be a number, not a string"),
        ("relay.store.set('k', 'v') relay.store.incr('k')", "the value is not a number"),
        (
            "relay.store.set('k', string.rep('v', 65536))",
            "the store is full (store.memory_bytes_max",
        ),
    ]);
}

#[test]
fn what_is_kept_survives_a_reload_and_not_a_failure() {
    let mut stage = Stage::new(
        "function opcodes.keep(client)
          client:set('a', {1}) client:join('r') relay.store.set('k', 1, {ttl = 10})
        end
        function opcodes.fail(client)
          client:set('a', nil) client:leave('r') relay.store.incr('k') relay.store.set('l', 'x')
          assert(relay.count('r') == 0 and relay.store.get('k') == 2)
          error('here')
        end",
    );
    let client = stage.web("/");
    stage.says(&client, r#"{"opcode":"keep"}"#).expect("handled");
    stage.says(&client, r#"{"opcode":"fail"}"#).expect_err("fails");
    let next = "function on.default(client)
        client:send({client:get('a') or 'none', relay.count('r'), relay.store.get('k') or 'none',
          tostring(relay.store.get('l'))})
        end";
    stage.engine =
        load(next, &stage.hub, 2, &stage.clock).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(stage.says(&client, "{}").expect("handled"), [r#"1 < [[1],1,1,"nil"]"#]);
    stage.clock.advance(std::time::Duration::from_secs(11));
    assert_eq!(stage.says(&client, "{}").expect("handled"), [r#"1 < [[1],1,"none","nil"]"#]);
}

#[test]
fn a_handler_sees_its_own_doing_before_it_is_done() {
    let mut stage = Stage::with(
        "assert(relay.find('u-2') == nil and relay.deliver('u-2', 'x') == false)
        client:register('u-2')
        assert(relay.find('u-1') == nil and relay.find('u-2') == client and relay.count() == 1)
        assert(relay.deliver('u-2', 'x') == true)
        client:close()
        assert(relay.find('u-2') == nil and relay.count() == 0)
        assert(relay.deliver('u-2', 'x') == false and relay.broadcast('x') == 0)",
    );
    let client = stage.registered("u-1");
    let sent = stage.says(&client, "{}").expect("handled");
    assert_eq!(sent, ["1 is u-2", "1 < x", "1 closed 1000", "all < x"]);
}
