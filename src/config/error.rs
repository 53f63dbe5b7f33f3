//! The one message an operator reads about a mistake in the config, and the words in it.

use std::fmt;
use std::path::PathBuf;

use figment::error::{Actual, Kind};

/// A mistake in the config. Its `Display` is one line that names the place, the key and what is
/// wrong; the process prints it and ends with code 64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Where the wrong value was given.
    pub origin: Origin,
    /// The dotted key; `None` when the mistake is about no single key.
    pub key: Option<String>,
    /// What is wrong, in words, and how to mend it where that is known.
    pub problem: String,
}

/// Where a value of the config comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A line, counted from 1, of the config file.
    File { path: PathBuf, line: Option<usize> },
    /// An environment variable of this name.
    Variable(String),
    /// A flag, as the operator typed it.
    Flag(String),
    /// Nobody: the built-in value.
    Default,
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.problem)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Origin::File { path, line: None } => write!(f, "{}", path.display()),
            Origin::Variable(name) => write!(f, "environment variable {name}"),
            Origin::Flag(text) => write!(f, "flag {text}"),
            Origin::Default => f.write_str("built-in defaults"),
        }
    }
}

/// A path of keys as one writes it in TOML. Parts that are no bare key are quoted, which also keeps
/// line breaks out of the message.
pub fn dotted<S: AsRef<str>>(path: &[S]) -> String {
    let bare = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
    };
    let parts = path.iter().map(AsRef::as_ref);
    let parts = parts.map(|part| if bare(part) { part.to_owned() } else { quoted(part) });
    parts.collect::<Vec<_>>().join(".")
}

/// Text out of the config, escaped and cut to 80 characters for a message.
pub fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(80).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// Text that was typed on the command line: as it is, unless that would break or flood the message.
pub fn shown(text: &str) -> String {
    let plain = text.len() <= 80 && !text.contains(char::is_control);
    if plain { text.to_owned() } else { quoted(text) }
}

/// The candidate that `word` is most likely a misspelling of, if there is one close enough.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, candidate), candidate))
        // Below this, "suggestions" for short words are noise: `port` and `web` come out at 0.
        .filter(|(likeness, _)| *likeness > 0.82)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Says in an operator's words what serde says in Rust's.
pub fn problem_of(kind: Kind) -> String {
    match kind {
        Kind::Message(text) => text,
        Kind::InvalidType(found, wanted) | Kind::InvalidValue(found, wanted) => {
            format!("expected {}, found {}", expected(&wanted), actual(&found))
        }
        other => other.to_string(),
    }
}

fn expected(rust: &str) -> &str {
    match rust {
        "a string" | "path string" => "text",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        "u64" | "usize" => "a whole number from 0",
        other => other,
    }
}

fn actual(found: &Actual) -> String {
    match found {
        Actual::Bool(value) => value.to_string(),
        Actual::Unsigned(value) => format!("the number {value}"),
        Actual::Signed(value) => format!("the number {value}"),
        Actual::Float(value) => format!("the number {value:?}"),
        Actual::Str(text) => format!("the text {}", quoted(text)),
        Actual::Seq => "a list".to_owned(),
        Actual::Map => "a table".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_what_is_close_and_nothing_else() {
        let keys = ["queue_bytes_max", "queue_messages_max", "header_bytes_max"];
        for word in ["queue_byte_max", "queue_bytes", "queu_bytes_max", "QUEUE_BYTES_MAX"] {
            assert_eq!(closest(word, keys), Some("queue_bytes_max"), "{word}");
        }
        assert_eq!(closest("colour", keys), None);
        assert_eq!(closest("port", ["web", "raw", "log", "tls"]), None);
    }

    #[test]
    fn keys_and_texts_stay_on_one_line() {
        assert_eq!(dotted(&["script", "settings", "a b\n"]), r#"script.settings."a b\n""#);
        assert_eq!(quoted(&"x".repeat(81)), format!("\"{}…\"", "x".repeat(80)));
    }
}
