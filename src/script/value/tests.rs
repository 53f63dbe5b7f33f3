use super::*;

fn with<R>(test: impl FnOnce(&Lua, &Json) -> R) -> R {
    let lua = Lua::new();
    let json = Json::new(&lua).expect("a metatable");
    test(&lua, &json)
}

fn round_trip(text: &str) -> String {
    with(|lua, json| {
        let value = json.decode(lua, text, Access::ReadOnly).map_err(|error| error.to_string());
        value
            .and_then(|value| json.encode(&value).map_err(|error| error.to_string()))
            .unwrap_or_else(|error| error)
    })
}

#[test]
fn what_json_and_lua_share_survives() {
    for text in [
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1.5",
        "-0.0",
        "1e+300",
        "9007199254740992",
        "-9007199254740992",
        "0.1",
        "0.30000000000000004",
        "2.2250738585072014e-308",
        "\"\"",
        "\"a\\\"b\\\\c\\n\"",
        "\"ü😀\"",
        "[]",
        "{}",
        "[[],{}]",
        "[null,null]",
        "{\"opcode\":\"x\",\"a\":[],\"b\":{\"1\":2}}",
        "{\"\":0}",
    ] {
        assert_eq!(round_trip(text), text);
    }
}

#[test]
fn what_changes_its_form_keeps_its_meaning() {
    for (text, written) in [
        (" [ 1 , 2 ] ", "[1,2]"),
        ("1.0", "1"),
        ("1E2", "100"),
        ("-0", "-0.0"),
        ("\"\\u00fc\\ud83d\\ude00\\/\"", "\"ü😀/\""),
        ("{\"b\":1,\"a\":2,\"opcode\":3}", "{\"opcode\":3,\"a\":2,\"b\":1}"),
        ("{\"a\":1,\"a\":2}", "{\"a\":2}"),
        // Too large for a number: the digits, as a string.
        ("9007199254740993", "\"9007199254740993\""),
        ("-18446744073709551616", "\"-18446744073709551616\""),
        ("123456789012345678901234567890", "\"123456789012345678901234567890\""),
        ("1e999", "\"1e999\""),
    ] {
        assert_eq!(round_trip(text), written, "{text}");
    }
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    for text in [
        "",
        "{",
        "[1,]",
        "{\"a\":}",
        "{'a':1}",
        "01",
        "1 2",
        "nul",
        "\"a",
        "\"\\x\"",
        "[1",
        "+1",
        ".5",
        "--1",
        "\u{feff}1",
    ] {
        assert!(round_trip(text).contains("not JSON: "), "{text}: {}", round_trip(text));
    }
    assert!(round_trip("[\n7,\n}").contains("line 3 column 1"));
    assert!(round_trip("\"\\ud800\"").contains("half a surrogate pair at byte 0"));
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(round_trip(&nested(127)), nested(127));
    for depth in [128, 100_000] {
        assert!(round_trip(&nested(depth)).contains("JSON nested deeper than 127"), "{depth}");
    }
}

/// Text that is not valid, given as if it were: an error or a value, but nothing worse.
#[test]
fn reading_invalid_text_as_valid_is_harmless() {
    with(|lua, json| {
        for text in [
            "", "{", "[", "{\"", "\"\\", "{\"a\"", "{\"a\":", "[1", "t", "-", "\"\\\"", "{1:2}",
            "[,]", "\"é\\", "1é",
        ] {
            let _ = json.decode_valid(lua, text, Access::Editable);
        }
    });
}

#[test]
fn what_has_no_json_is_refused_with_its_path() {
    let encode = |code: &str| {
        with(|lua, json| {
            let value = lua.load(code).eval::<Value>().expect(code);
            json.encode(&value).map_err(|error| error.to_string().replace("runtime error: ", ""))
        })
    };
    for (code, error) in [
        ("{a = {b = {1, 2, print}}}", "a function can not be JSON, at a.b[3]"),
        ("0/0", "NaN (0/0) can not be JSON"),
        ("{x = 1/0}", "an infinite number can not be JSON, at x"),
        ("{list = {1, nil, 3}}", "an array with a hole at 2 can not be JSON, at list"),
        ("{[2] = 1}", "an array with a hole at 1 can not be JSON"),
        ("{1, a = 2}", "a table with both numbers and strings as keys can not be JSON"),
        ("{[0] = 1}", "a key that is a number, but not 1, 2, 3 ..., can not be JSON"),
        ("{[1.5] = 1}", "a key that is a number, but not 1, 2, 3 ..., can not be JSON"),
        ("{x = {[true] = 1}}", "a boolean as key can not be JSON, at x"),
        ("{s = '\\xff'}", "a string that is not UTF-8 can not be JSON, at s"),
        (
            "(function() local t = {} t.t = {t} return t end)()",
            "a table that holds itself can not be JSON, at t[1]",
        ),
        ("{c = coroutine.create(print)}", "a thread can not be JSON, at c"),
    ] {
        assert_eq!(encode(&format!("return {code}")), Err(error.to_owned()), "{code}");
    }
    let deep = "local t = {} for _ = 1, 200 do t = {t} end return t";
    assert!(encode(deep).expect_err("deep").starts_with("nested deeper than 127, at [1][1]"));
    // The same table twice is no cycle.
    assert_eq!(encode("local t = {} return {t, t}"), Ok("[{},{}]".to_owned()));
    // Items that Luau keeps in its hash part come in any order.
    let hashed = "local t = {} for i = 100, 115 do t[i] = 1 end for i = 100, 115 do t[i] = nil end
        for i = 9, 1, -1 do t[i] = i end return t";
    assert_eq!(encode(hashed), Ok("[1,2,3,4,5,6,7,8,9]".to_owned()));
    assert_eq!(encode("return {}"), Ok("{}".to_owned()));
    assert_eq!(encode("return 2^60"), Ok("1.152921504606847e+18".to_owned()));
    assert_eq!(encode("return 2^53"), Ok("9007199254740992".to_owned()));
    assert_eq!(encode("return {['\\xff'] = 1}").map_err(|_| ()), Err(()));
}

#[test]
fn arrays_that_are_made_are_arrays() {
    with(|lua, json| {
        let table = lua.create_table().expect("a table");
        json.mark_array(&table).expect("marked");
        assert_eq!(json.encode(&Value::Table(table.clone())).expect("written"), "[]");
        table.raw_set("x", 1).expect("set");
        assert!(json.encode(&Value::Table(table)).is_err());
    });
}

#[test]
fn read_only_is_read_only_all_the_way_and_a_copy_is_not() {
    with(|lua, json| {
        let value = json.decode(lua, "{\"a\":[{}]}", Access::ReadOnly).expect("decoded");
        lua.globals().set("v", &value).expect("set");
        for code in ["v.x = 1", "v.a[2] = 1", "v.a[1].x = 1"] {
            assert!(lua.load(code).exec().is_err(), "{code}");
        }
        lua.globals().set("v", json.copy(lua, &value).expect("copied")).expect("set");
        lua.load("v.x = 1 v.a[1].x = 1 v.a[1] = nil").exec().expect("editable");
        let copy: Value = lua.globals().get("v").expect("get");
        assert_eq!(json.encode(&copy).expect("written"), "{\"a\":[],\"x\":1}");
    });
}
