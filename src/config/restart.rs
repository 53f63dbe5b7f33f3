//! What of a config that was read again can hold at once, and what takes a restart.

use std::collections::BTreeSet;

use figment::value::{Dict, Value};

use super::keys::Config;
use super::layer::leaves;

/// Names keys, each with what puts the running value in place of another one and says whether it
/// was another.
macro_rules! keys {
    ($($first:ident $(. $rest:ident)*),+ $(,)?) => {
        [$((
            concat!(stringify!($first) $(, ".", stringify!($rest))*),
            |new, running| keep(&mut new.$first $(.$rest)*, &running.$first $(.$rest)*),
        )),+]
    };
}

/// The keys that only a start reads: they say what is bound, and how many threads there are. All
/// others hold from a reload on. relay.toml lists them, and a test holds it to that.
pub const RESTART: [Key; 5] = keys![listen, workers, control.socket, health.listen, log.format];

type Key = (&'static str, fn(&mut Config, &Config) -> bool);

fn keep<T: Clone + PartialEq>(new: &mut T, running: &T) -> bool {
    let differs = new != running;
    if differs {
        new.clone_from(running);
    }
    differs
}

impl Config {
    /// Takes back the changes that need a restart, and returns their keys.
    pub fn keep_until_restart(&mut self, running: &Config) -> Vec<&'static str> {
        let mut kept = RESTART.to_vec();
        kept.retain(|(_, keep)| keep(self, running));
        kept.into_iter().map(|(key, _)| key).collect()
    }

    /// The dotted keys whose values are not the same, in alphabetical order.
    pub fn differences(&self, other: &Config) -> Vec<String> {
        // A path that is not UTF-8 can not be told as text: then nothing is listed.
        let tree = |config: &Config| {
            Value::serialize(config).ok().and_then(Value::into_dict).unwrap_or_default()
        };
        let (one, other) = (tree(self), tree(other));
        let keys: BTreeSet<Vec<String>> = leaves(&one).into_iter().chain(leaves(&other)).collect();
        // An empty table differs by what the other one has in it.
        let of = |tree, key: &[String]| value(tree, key).filter(|value| value.as_dict().is_none());
        let differ = |key: &Vec<String>| of(&one, key) != of(&other, key);
        keys.into_iter().filter(differ).map(|key| key.join(".")).collect()
    }
}

fn value<'a>(tree: &'a Dict, key: &[String]) -> Option<&'a Value> {
    match key {
        [] => None,
        [last] => tree.get(last),
        [first, rest @ ..] => match tree.get(first)? {
            Value::Dict(_, inner) => value(inner, rest),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_a_restart_stays_and_is_named_and_the_rest_is_new() {
        let running = Config::default();
        let mut new = Config { workers: 3, ..Config::default() };
        new.control.socket = "elsewhere".into();
        new.limits.header_bytes_max = 1;
        new.script.settings.insert("a".to_owned(), 1.into());
        assert_eq!(new.keep_until_restart(&running), ["workers", "control.socket"]);
        assert_eq!((new.workers, &new.control), (0, &running.control));
        assert_eq!(new.differences(&running), ["limits.header_bytes_max", "script.settings.a"]);
        assert_eq!(new.keep_until_restart(&running), [""; 0]);
    }

    #[test]
    fn the_shipped_file_lists_what_takes_a_restart() {
        let shipped = include_str!("../../relay.toml");
        let keys: Vec<&str> = RESTART.iter().map(|(key, _)| *key).collect();
        let line = format!("# Only a start reads these: {}.", keys.join(", "));
        assert!(shipped.lines().any(|it| it == line), "expected in relay.toml: {line}");
        let known = leaves(&super::super::layer::defaults());
        for key in keys {
            assert!(known.iter().any(|path| path.join(".") == key), "no such key: {key}");
        }
    }
}
