//! Messages on standard output: one line each for programs, laid out for people.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use serde::Deserialize;
use serde_json::Value;

/// How messages are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Layout {
    /// One message per line, byte for byte; a line feed within one becomes a blank.
    Lines,
    /// With time, colours and indentation.
    Pretty,
}

impl Layout {
    /// For people where a terminal is the reader.
    pub fn of_stdout() -> Layout {
        if io::stdout().is_terminal() { Layout::Pretty } else { Layout::Lines }
    }

    /// Prints a message, at once.
    ///
    /// # Errors
    /// Those of standard output; a reader that has gone is `BrokenPipe`.
    pub fn print(self, message: &[u8]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self {
            Layout::Lines => out.write_all(&line(message))?,
            Layout::Pretty => out.write_all(pretty(message, since_midnight()).as_bytes())?,
        }
        out.flush()
    }
}

/// The opcode of a message that has one.
pub fn opcode(message: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default)]
        opcode: Value,
    }
    match serde_json::from_slice::<Head>(message).ok()?.opcode {
        Value::String(opcode) => Some(opcode),
        _ => None,
    }
}

/// What an `error` of the relay says, on one line: its code, its words, and the id that the operator's log
/// has too.
pub fn told_error(error: &Value) -> String {
    let said = |key: &str| error[key].as_str().unwrap_or_default().escape_debug().to_string();
    let id = if error["id"].is_string() { format!(" (id {})", said("id")) } else { String::new() };
    format!("{}: {}{id}", said("code"), said("message"))
}

/// JSON has line feeds between its tokens only, so that a blank means the same.
fn line(message: &[u8]) -> Vec<u8> {
    let blank = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
    message.iter().map(blank).chain([b'\n']).collect()
}

fn since_midnight() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Duration::from_millis((now.as_millis() % 86_400_000) as u64)
}

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const KEY: &str = "\x1b[36m";
const TEXT: &str = "\x1b[32m";
const OTHER: &str = "\x1b[33m";
const RESET: &str = "\x1b[0m";

/// A heading, and the message token by token as it was written: parsed and written again, it would
/// lose large numbers and the order of its keys.
fn pretty(message: &[u8], time: Duration) -> String {
    let text = String::from_utf8_lossy(message);
    let (seconds, millis) = (time.as_secs(), time.subsec_millis());
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let opcode = opcode(message).unwrap_or_else(|| "no opcode".to_owned());
    let mut out = format!(
        "{DIM}{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z{RESET} {BOLD}{}{RESET}\n",
        harmless(&opcode)
    );
    let tokens = tokens(&text);
    let mut depth = 0;
    let closes = |token: Option<&&str>| matches!(token, Some(&"}" | &"]"));
    let opens = |token: Option<&&str>| matches!(token, Some(&"{" | &"["));
    let new_line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth));
    };
    for (at, token) in tokens.iter().enumerate() {
        let (before, after) = (at.checked_sub(1).and_then(|at| tokens.get(at)), tokens.get(at + 1));
        if closes(Some(token)) && !opens(before) {
            depth = usize::saturating_sub(depth, 1);
            new_line(&mut out, depth);
        }
        let colour = match (*token, after) {
            ("{" | "}" | "[" | "]" | "," | ":", _) => "",
            (_, Some(&":")) => KEY,
            (token, _) if token.starts_with('"') => TEXT,
            _ => OTHER,
        };
        let reset = if colour.is_empty() { "" } else { RESET };
        let _ = write!(out, "{colour}{}{reset}", harmless(token));
        match *token {
            ":" => out.push(' '),
            "," => new_line(&mut out, depth),
            _ if opens(Some(token)) && !closes(after) => {
                depth += 1;
                new_line(&mut out, depth);
            }
            _ => {}
        }
    }
    out.push('\n');
    out
}

/// The tokens of JSON, without what is between them.
fn tokens(text: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let end = match first {
            '{' | '}' | '[' | ']' | ',' | ':' => 1,
            '"' => text_end(rest),
            _ => rest
                .find(|c: char| c.is_whitespace() || "{}[],:\"".contains(c))
                .unwrap_or(rest.len()),
        };
        let (token, behind) = rest.split_at(end.max(first.len_utf8()));
        tokens.push(token);
        rest = behind.trim_start();
    }
    tokens
}

/// Behind the closing quote.
fn text_end(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            _ => escaped = byte == b'\\' && !escaped,
        }
    }
    rest.len()
}

/// Others write the messages: a control character in one must not reach the terminal, and what turns
/// the direction of writing could make it look like another message.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line() {
        assert_eq!(line(b"{\"a\":\r\n1}"), b"{\"a\":  1}\n");
        assert_eq!(line("{\"a\":\"ž\\n\"}".as_bytes()), "{\"a\":\"ž\\n\"}\n".as_bytes());
    }

    #[test]
    fn opcodes_are_text() {
        assert_eq!(opcode(br#"{"a":1,"opcode":"x\u0041"}"#).as_deref(), Some("xA"));
        for none in [&br#"{"opcode":1}"#[..], b"{}", b"[]", b"1", b"", b"\xff"] {
            assert_eq!(opcode(none), None);
        }
    }

    #[test]
    fn an_error_has_its_id() {
        let told = |error| told_error(&serde_json::from_str(error).expect("JSON"));
        assert_eq!(told(r#"{"code":"a","message":"b\n","id":"c"}"#), "a: b\\n (id c)");
        assert_eq!(told(r#"{"code":"a"}"#), "a: ");
    }

    /// What a terminal shows, without its colours.
    fn shown(text: &str) -> String {
        let printed = pretty(text.as_bytes(), Duration::from_millis(45_296_007));
        let parts: Vec<&str> = printed.split('\u{1b}').collect();
        let bare = parts[1..].iter().map(|part| part.split_once('m').expect("a colour").1);
        [parts[0]].into_iter().chain(bare).collect()
    }

    #[test]
    fn laid_out_for_people() {
        assert_eq!(
            shown(r#" {"opcode":"x","n":[1,{}, 12345678901234567890],"e":{ },"s":"a,\"b\" {"}"#),
            "12:34:56.007Z x\n{\n  \"opcode\": \"x\",\n  \"n\": [\n    1,\n    {},\n    \
             12345678901234567890\n  ],\n  \"e\": {},\n  \"s\": \"a,\\\"b\\\" {\"\n}\n"
        );
        assert_eq!(shown("[]"), "12:34:56.007Z no opcode\n[]\n");
        assert_eq!(shown("\"half"), "12:34:56.007Z no opcode\n\"half\n");
    }

    #[test]
    fn a_terminal_gets_no_controls_from_others() {
        let printed = shown("{\"opcode\":\"a\\u001b[2J\",\"b\":\"\u{9b}2J\u{202e}\"}");
        assert!(!printed.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{printed:?}");
        assert!(printed.contains("a\\u001b[2J\n"), "the opcode in the heading: {printed:?}");
        assert!(printed.contains("\\u009b2J\\u202e"), "{printed:?}");
    }
}
