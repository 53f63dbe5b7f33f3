//! JSON to Lua and back: the same value, but for what docs/scripting-reference.md says of numbers,
//! and a text that stays as it is from then on.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use mlua::Lua;
use relay::script::{Access, Json};
use serde_json::value::RawValue;

thread_local! {
    static LUA: (Lua, Json) = {
        let lua = Lua::new();
        let json = Json::new(&lua).expect("a VM with memory");
        (lua, json)
    };
}

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    LUA.with(|(lua, json)| {
        let value = match json.decode(lua, text, Access::Editable) {
            Ok(value) => value,
            Err(error) => return assert!(may_be_refused(text), "{text}: {error}"),
        };
        let written = json.encode(&value).expect("what was JSON can be JSON");
        assert_eq!(tree(text, As::Read), tree(&written, As::Written), "{text} became {written}");
        let again = json.decode(lua, &written, Access::ReadOnly).expect("JSON of relay's own");
        assert_eq!(json.encode(&again).expect("JSON again"), written);
        let copy = json.copy(lua, &again).expect("not too deep");
        assert_eq!(json.encode(&copy).expect("JSON again"), written, "a copy");
    });
});

/// No JSON, nested too deep, or half a surrogate pair.
fn may_be_refused(text: &str) -> bool {
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(_) => text.matches(['{', '[']).count() > 127,
        Err(_) => true,
    }
}

/// A value by what it means: keys in any order, the last of two counts, numbers as doubles.
#[derive(Debug, PartialEq)]
enum Tree {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    Array(Vec<Tree>),
    Object(BTreeMap<String, Tree>),
}

/// Whether the text is what relay reads, or what it has written.
#[derive(Clone, Copy, PartialEq)]
enum As {
    Read,
    Written,
}

fn tree(text: &str, way: As) -> Tree {
    const VALID: &str = "known to be JSON";
    let text = text.trim_ascii();
    match text.as_bytes()[0] {
        b'n' => Tree::Null,
        b't' | b'f' => Tree::Bool(text == "true"),
        b'"' => Tree::Text(serde_json::from_str(text).expect(VALID)),
        b'[' => {
            let values: Vec<&RawValue> = serde_json::from_str(text).expect(VALID);
            Tree::Array(values.into_iter().map(|value| tree(value.get(), way)).collect())
        }
        b'{' => {
            let fields: BTreeMap<String, &RawValue> = serde_json::from_str(text).expect(VALID);
            let fields = fields.into_iter().map(|(key, value)| (key, tree(value.get(), way)));
            Tree::Object(fields.collect())
        }
        _ => {
            let number: f64 = text.parse().expect("a JSON number is one of Rust's");
            match way {
                As::Read if !is_exact(text, number) => Tree::Text(text.to_owned()),
                As::Read | As::Written => Tree::Number(number),
            }
        }
    }
}

/// Whether a Lua number can be what was written: an integer up to 2^53, or a fraction that is finite.
fn is_exact(text: &str, number: f64) -> bool {
    match text.contains(['.', 'e', 'E']) {
        true => number.is_finite(),
        false => number.abs() <= 9_007_199_254_740_992.0 && !text.ends_with("9007199254740993"),
    }
}
