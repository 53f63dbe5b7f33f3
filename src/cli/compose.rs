//! A message out of the words of a command line. What is JSON already stays as it was written, byte
//! for byte: fields that flags add stand in front of it.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::value::RawValue;

/// The fields that address a message.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// Send to the page registered under this uuid (opcode feedback, unless you say another)
    #[arg(long, value_parser = NonEmptyStringValueParser::new(), conflicts_with = "ident")]
    pub uuid: Option<String>,

    /// Send to the backend of this name (opcode feedback, unless you say another)
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub ident: Option<String>,

    /// The opcode [default: the message's own, else feedback with --uuid or --ident, else broadcast]
    #[arg(long)]
    pub opcode: Option<String>,
}

impl Address {
    /// The message with these fields. `text` must be a JSON object.
    ///
    /// # Errors
    /// What is wrong with the text, in words that follow its place.
    pub fn put_on(&self, text: &str) -> Result<String, String> {
        let text = text.trim();
        let own: BTreeMap<String, &RawValue> =
            serde_json::from_str(text).map_err(|error| format!("no JSON object: {error}"))?;
        let addressed = self.uuid.is_some() || self.ident.is_some();
        let default = if addressed { "feedback" } else { "broadcast" };
        let unless_own = (!own.contains_key("opcode")).then_some(default);
        let fields = [
            ("opcode", self.opcode.as_deref(), unless_own),
            ("uuid", self.uuid.as_deref(), None),
            ("ident", self.ident.as_deref(), None),
        ];
        let mut front = String::from("{");
        for (key, given, default) in fields {
            let Some(value) = given.or(default) else { continue };
            // Of two keys of one name, it is up to each reader which one counts.
            if own.contains_key(key) {
                return Err(format!("it has its own {key}, and --{key} says another"));
            }
            front.extend([&*quoted(key), ":", &*quoted(value), ","]);
        }
        if own.is_empty() {
            front.truncate(front.len() - usize::from(front.ends_with(',')));
        }
        Ok(front + &text[1..])
    }
}

/// The object that `key=value` (text) and `key:=value` (JSON) make, in their order.
///
/// # Errors
/// The first word that is neither.
pub fn object(words: &[String]) -> Result<String, String> {
    let mut keys = BTreeSet::new();
    let mut fields = Vec::new();
    for word in words {
        let Some((key, value)) = word.split_once('=') else {
            return Err(format!("{word:?} is neither JSON nor key=value"));
        };
        let (key, value) = match key.strip_suffix(':') {
            Some(key) => (key, json(key, value)?),
            None => (key, quoted(value)),
        };
        if key.is_empty() {
            return Err(format!("{word:?} has no key"));
        }
        if !keys.insert(key) {
            return Err(format!("{key} comes twice"));
        }
        fields.push(format!("{}:{value}", quoted(key)));
    }
    Ok(format!("{{{}}}", fields.join(",")))
}

fn json(key: &str, value: &str) -> Result<String, String> {
    match serde_json::from_str::<&RawValue>(value) {
        Ok(value) => Ok(value.get().to_owned()),
        Err(error) => Err(format!("{key}:= takes JSON, found {value:?}: {error}")),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(uuid: &str, ident: &str, opcode: &str) -> Address {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Address { uuid: some(uuid), ident: some(ident), opcode: some(opcode) }
    }

    #[test]
    fn flags_stand_in_front_of_what_stays_as_it_was() {
        let big = r#"{"n":123456789012345678901234567890, "x":1.0,"n":2}"#;
        for (address, text, whole) in [
            (address("", "", ""), "{}", r#"{"opcode":"broadcast"}"#),
            (address("", "", ""), " { } \n", r#"{"opcode":"broadcast" }"#),
            (address("", "", ""), big, &format!("{{\"opcode\":\"broadcast\",{}", &big[1..])),
            (address("", "", ""), r#"{"opcode":"x"}"#, r#"{"opcode":"x"}"#),
            (address("", "", ""), r#"{"opcode":7}"#, r#"{"opcode":7}"#),
            (address("U\"", "", ""), "{}", r#"{"opcode":"feedback","uuid":"U\""}"#),
            (address("U", "", ""), r#"{"opcode":"x"}"#, r#"{"uuid":"U","opcode":"x"}"#),
            (address("", "I", ""), r#"{"a":1}"#, r#"{"opcode":"feedback","ident":"I","a":1}"#),
            (address("U", "", "y"), r#"{"a":1}"#, r#"{"opcode":"y","uuid":"U","a":1}"#),
        ] {
            assert_eq!(address.put_on(text).as_deref(), Ok(whole));
        }
    }

    #[test]
    fn what_is_no_message_is_told() {
        for (address, text, part) in [
            (address("", "", ""), "", "no JSON object"),
            (address("", "", ""), "[]", "no JSON object"),
            (address("", "", ""), "{} {}", "no JSON object"),
            (address("", "", ""), "{'a':1}", "no JSON object"),
            (address("", "", "x"), r#"{"opcode":"x"}"#, "its own opcode"),
            (address("U", "", ""), r#"{"uuid":"V"}"#, "its own uuid"),
        ] {
            let why = address.put_on(text).expect_err(text);
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn words_become_an_object() {
        let object = |words: &[&str]| {
            object(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(
            object(&["b=1", "a:=[1, 2.0]", "text=x := \"y\"=z", "empty="]).as_deref(),
            Ok(r#"{"b":"1","a":[1, 2.0],"text":"x := \"y\"=z","empty":""}"#)
        );
        assert_eq!(object(&[]).as_deref(), Ok("{}"));
        for (words, part) in [
            (&["a"][..], "neither JSON nor key=value"),
            (&["=x"], "has no key"),
            (&[":=1"], "has no key"),
            (&["a:=x"], "a:= takes JSON"),
            (&["a=1", "a:=2"], "a comes twice"),
        ] {
            let why = object(words).expect_err(part);
            assert!(why.contains(part), "{words:?}: {why}");
        }
    }
}
