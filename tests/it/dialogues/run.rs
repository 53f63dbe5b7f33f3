//! One performance of a conversation.

use std::collections::BTreeMap;

use serde_json::Value;

use super::text::{Dialogue, Line, Place, Step};
use super::{Cast, Part};
use crate::client::{Client, Heard, Hello, next, opcode, ready_uuid};
use crate::harness::TestRelay;

/// One performance of a dialogue.
pub struct Run<'a> {
    dialogue: &'a Dialogue,
    relay: &'a TestRelay,
    cast: Cast,
    clients: BTreeMap<String, Client>,
    variables: BTreeMap<String, String>,
}

impl<'a> Run<'a> {
    pub fn new(dialogue: &'a Dialogue, relay: &'a TestRelay, cast: Cast) -> Run<'a> {
        let (clients, variables) = (BTreeMap::new(), BTreeMap::new());
        Run { dialogue, relay, cast, clients, variables }
    }

    pub async fn play(&mut self) {
        for line in &self.dialogue.lines {
            self.perform(line).await;
        }
        // Whatever the relay says stands in the dialogue: nobody may have heard more.
        let names: Vec<String> = self.clients.keys().cloned().collect();
        for name in names {
            self.expect_silence(&Line { number: 0, client: name, step: Step::Silent }).await;
        }
    }

    async fn perform(&mut self, line: &Line) {
        match &line.step {
            Step::Open { path, headers, hears_ready } => {
                self.open(line, path.as_deref(), headers).await;
                if *hears_ready {
                    let heard = self.client(line).heard().await;
                    self.expect_ready(line, &heard);
                }
            }
            Step::Say(texts) => {
                let texts: Vec<String> = texts.iter().map(|text| self.filled(line, text)).collect();
                let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
                self.client(line).send_together(&texts).await;
            }
            Step::HearJson(text) => {
                let heard = self.client(line).heard().await;
                self.expect_json(line, text, &heard);
            }
            Step::HearVerbatim(text) => {
                let expected = Heard::Text(self.filled(line, text).into_bytes());
                let heard = self.client(line).heard().await;
                self.expect(line, heard == expected, &expected, &heard);
            }
            Step::Acked(uuid) => {
                let expected = next(&self.filled(line, uuid)).to_string();
                let heard = self.client(line).heard().await;
                self.expect_json(line, &expected, &heard);
            }
            Step::Silent => self.expect_silence(line).await,
            Step::CloseIt(code) => self.client(line).close(*code).await,
            Step::Closed(code) => self.expect_closed(line, *code).await,
        }
    }

    async fn open(&mut self, line: &Line, path: Option<&str>, headers: &[(String, String)]) {
        let kind = line.client.trim_end_matches(|c: char| c.is_ascii_digit());
        let (part, mut hello) = match kind {
            "web" => (self.cast.web, Hello::web(path.unwrap_or("/"))),
            "php" => (self.cast.php, Hello::php(path)),
            "raw" => (self.cast.php.map(|part| Part::over(part.over)), Hello::bare()),
            _ => panic!("{}: clients are called web, php or raw and a number", self.at(line)),
        };
        for (name, value) in headers {
            hello = hello.header(name, value);
        }
        let Part { over, through } = part.expect("a cast for everybody");
        let client = match through {
            None => self.relay.open(over, hello).await,
            Some(library) => {
                let certificate = self.relay.certificate_file();
                self.relay.open_through(library, &certificate, over, &hello)
            }
        };
        self.clients.insert(line.client.clone(), client);
    }

    fn expect_ready(&mut self, line: &Line, heard: &Heard) {
        let uuid = ready_uuid(heard);
        self.expect(line, uuid.is_some(), &"a ready with an issued uuid, under 256 bytes", heard);
        self.variables.insert(line.client.clone(), uuid.unwrap_or_default());
    }

    fn expect_json(&mut self, line: &Line, expected: &str, heard: &Heard) {
        let pattern: Value = serde_json::from_str(&self.fill(line, expected, true))
            .unwrap_or_else(|error| panic!("{}: no JSON: {error}", self.at(line)));
        let Heard::Text(bytes) = heard else {
            return self.expect(line, false, &expected, heard);
        };
        let value: Option<Value> = serde_json::from_slice(bytes).ok();
        let fits = value.is_some_and(|value| self.fits(&pattern, &value));
        self.expect(line, fits, &pattern, heard);
    }

    /// Whether a value fits a pattern: `"*"` fits any text, a new variable fits any and keeps it.
    fn fits(&mut self, pattern: &Value, value: &Value) -> bool {
        match (pattern, value) {
            (Value::String(pattern), Value::String(_)) if pattern == "*" => true,
            (Value::String(pattern), Value::String(text)) if pattern.starts_with('$') => {
                self.variables.insert(pattern[1..].to_owned(), text.clone());
                true
            }
            (Value::Object(pattern), Value::Object(object)) => {
                pattern.len() == object.len()
                    && pattern.iter().all(|(key, pattern)| {
                        object.get(key).is_some_and(|value| self.fits(pattern, value))
                    })
            }
            _ => pattern == value,
        }
    }

    async fn expect_silence(&mut self, line: &Line) {
        let number = self.variables.len() + line.number;
        let mark = format!("{{\"opcode\":\"echo\",\"silence\":\"{} {number}\"}}", line.client);
        let client = self.client(line);
        client.send(&mark).await;
        let ack = client.heard().await;
        let heard = client.heard().await;
        let acked = opcode(&ack).as_deref() == Some("next");
        self.expect(line, acked, &"silence, then the ack of an echo", &ack);
        let silent = heard == Heard::Text(mark.into_bytes());
        self.expect(line, silent, &"silence, then an echo", &heard);
    }

    async fn expect_closed(&mut self, line: &Line, code: Option<u16>) {
        let client = self.client(line);
        if client.transport.is_websocket() {
            let heard = client.heard().await;
            let closed = match code {
                Some(_) => heard == Heard::Close(code),
                None => matches!(heard, Heard::Close(_)),
            };
            self.expect(line, closed, &format!("a Close frame with code {code:?}"), &heard);
        }
        let heard = self.client(line).heard().await;
        self.expect(line, heard == Heard::End, &Heard::End, &heard);
        self.clients.remove(&line.client);
    }

    fn client(&mut self, line: &Line) -> &mut Client {
        match self.clients.get_mut(&line.client) {
            Some(client) => client,
            None => panic!(
                "{}:{}: {} is not connected",
                self.dialogue.path.display(),
                line.number,
                line.client
            ),
        }
    }

    fn filled(&self, line: &Line, text: &str) -> String {
        self.fill(line, text, false)
    }

    /// Puts in variables and what stands in double braces.
    fn fill(&self, line: &Line, text: &str, may_be_new: bool) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['$', '{']) {
            let (before, from) = rest.split_at(at);
            filled.push_str(before);
            rest = if let Some(inner) = from.strip_prefix("{{") {
                let (inner, after) = inner.split_once("}}").expect("double braces that close");
                filled.push_str(&made(inner));
                after
            } else if let Some(name) = from.strip_prefix('$') {
                let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
                match self.variables.get(&name[..end]) {
                    Some(value) => filled.push_str(value),
                    None if may_be_new => filled.push_str(&from[..=end]),
                    None => panic!("{}: ${} is not known", self.at(line), &name[..end]),
                }
                &name[end..]
            } else {
                filled.push('{');
                &from[1..]
            };
        }
        filled + rest
    }

    fn expect(&self, line: &Line, fits: bool, expected: &dyn std::fmt::Display, heard: &Heard) {
        assert!(fits, "{}: {}: expected {expected}; heard {heard}", self.at(line), line.client);
    }

    fn at(&self, line: &Line) -> String {
        let place = Place { path: &self.dialogue.path, line: line.number };
        let cast = [("web", self.cast.web), ("backends", self.cast.php)];
        let cast = cast.iter().filter_map(|(kind, over)| Some(format!("{kind} over {}", (*over)?)));
        let cast: Vec<String> = cast.collect();
        match line.number {
            0 => format!("{place} (the end; {})", cast.join(", ")),
            _ => format!("{place} ({})", cast.join(", ")),
        }
    }
}

/// What `{{...}}` stands for: `TEXT*COUNT`, or text with the escapes of a JSON string.
fn made(inner: &str) -> String {
    if let Some((text, count)) = inner.rsplit_once('*')
        && let Ok(count) = count.parse()
    {
        return text.repeat(count);
    }
    serde_json::from_str(&format!("\"{inner}\"")).expect("escapes of a JSON string")
}
