//! Runs the conversations of tests/dialogues, the protocol's specification by example, over every
//! transport that their clients may have. tests/dialogues/README.md documents the notation.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::client::{Client, Heard, Hello, Transport, next, ready_uuid};
use crate::harness::{Setup, shipped};

/// A test for each file. Naming them here keeps the runner's report readable; another test makes
/// sure that none is forgotten.
macro_rules! dialogues {
    ($($name:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($name)),*];
        $(
            #[test]
            fn $name() {
                Dialogue::read(stringify!($name)).run_everywhere();
            }
        )*
    };
}

dialogues! {
    ack
    backends
    bare_json
    broadcast
    buffer
    buffer_raw
    close
    echo
    feedback
    feedback_ident
    feedback_nobody
    no_object
    no_object_raw
    not_json
    not_json_raw
    oldest_page
    one_segment
    opcodes
    page_2019
    page_2021
    php_raw
    php_websocket
    quit
    ready
    register
    rename
    resources
    uuid_invalid
    uuid_of_others
    uuid_taken
    verbatim
    web_path
}

#[test]
fn every_dialogue_is_run() {
    let files = std::fs::read_dir(shipped("tests/dialogues")).expect("the directory");
    let files = files.map(|file| file.expect("an entry").path());
    let texts = files.filter(|path| path.extension().is_some_and(|extension| extension == "txt"));
    let stem = |path: PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
    let mut names: Vec<String> = texts.map(stem).collect();
    names.sort_unstable();
    assert_eq!(names, NAMES, "expected one test for each file of tests/dialogues");
}

/// A conversation as it stands in its file.
struct Dialogue {
    path: PathBuf,
    lines: Vec<Line>,
    /// The transports of backends, where the file restricts them.
    php_over: Option<Vec<Transport>>,
}

struct Line {
    number: usize,
    client: String,
    step: Step,
}

enum Step {
    /// With the path and headers; `connects` also hears the `ready`.
    Open {
        path: Option<String>,
        headers: Vec<(String, String)>,
        hears_ready: bool,
    },
    /// Texts that go out in one write.
    Say(Vec<String>),
    HearJson(String),
    HearVerbatim(String),
    Acked(String),
    Silent,
    CloseIt(Option<u16>),
    Closed(Option<u16>),
}

/// Which transport the clients of a run have.
#[derive(Clone, Copy, Debug)]
struct Cast {
    web: Option<Transport>,
    php: Option<Transport>,
}

impl Dialogue {
    fn read(name: &str) -> Dialogue {
        let path = shipped("tests/dialogues").join(name).with_extension("txt");
        let text = std::fs::read_to_string(&path).expect("a dialogue");
        let mut dialogue = Dialogue { path, lines: Vec::new(), php_over: None };
        for (number, line) in (1..).zip(text.lines()) {
            if !line.trim().is_empty() && !line.starts_with('#') {
                dialogue.take(number, line);
            }
        }
        dialogue
    }

    fn take(&mut self, number: usize, line: &str) {
        let place = Place { path: &self.path, line: number };
        if let Some(transports) = line.strip_prefix("php over ") {
            self.php_over = Some(transports.split(' ').map(|word| place.transport(word)).collect());
            return;
        }
        if let Some(more) = line.strip_prefix(' ') {
            let before = self.lines.last_mut().map(|line| &mut line.step);
            let (Some(Step::Say(texts)), Some(text)) = (before, more.trim().strip_prefix("> "))
            else {
                panic!("{place}: an indented line goes on with what a client says: `> TEXT`");
            };
            return texts.push(text.to_owned());
        }
        let (client, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let step = match verb {
            ">" => Step::Say(vec![rest.to_owned()]),
            "<" => Step::HearJson(rest.to_owned()),
            "<=" => Step::HearVerbatim(rest.to_owned()),
            "acked" => Step::Acked(rest.to_owned()),
            "silent" => Step::Silent,
            "closes" => Step::CloseIt(place.code(rest)),
            "closed" => Step::Closed(place.code(rest)),
            "opens" | "connects" => place.opening(verb, rest),
            _ => panic!("{place}: unknown verb {verb:?}"),
        };
        self.lines.push(Line { number, client: client.to_owned(), step });
    }

    fn run_everywhere(&self) {
        let has = |kind: &str| self.lines.iter().any(|line| line.client.starts_with(kind));
        let webs = match has("web") {
            true => vec![Some(Transport::Ws), Some(Transport::Wss)],
            false => vec![None],
        };
        let phps: Vec<Option<Transport>> = match &self.php_over {
            Some(transports) => transports.iter().copied().map(Some).collect(),
            None if has("php") => {
                [Transport::Tcp, Transport::Ssl, Transport::Ws, Transport::Wss].map(Some).into()
            }
            None if has("raw") => [Transport::Tcp, Transport::Ssl].map(Some).into(),
            None => vec![None],
        };
        for web in webs {
            for &php in &phps {
                Setup::new().run(async |door| {
                    let variables = BTreeMap::new();
                    let cast = Cast { web, php };
                    Run { dialogue: self, door, cast, clients: BTreeMap::new(), variables }
                        .play()
                        .await;
                });
            }
        }
    }
}

/// A line of a file, for messages.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a Path,
    line: usize,
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        write!(f, "tests/dialogues/{name}:{}", self.line)
    }
}

impl Place<'_> {
    fn transport(self, word: &str) -> Transport {
        match word {
            "ws" => Transport::Ws,
            "wss" => Transport::Wss,
            "tcp" => Transport::Tcp,
            "ssl" => Transport::Ssl,
            _ => panic!("{self}: no transport: {word:?}"),
        }
    }

    fn code(self, text: &str) -> Option<u16> {
        let code = (!text.is_empty()).then(|| text.parse());
        code.transpose().unwrap_or_else(|_| panic!("{self}: no close code: {text:?}"))
    }

    fn opening(self, verb: &str, rest: &str) -> Step {
        let (path, headers) = rest.split_once(' ').unwrap_or((rest, ""));
        let headers = headers.split_terminator("; ").map(|header| {
            let (name, value) = header.split_once(": ").unwrap_or_else(|| {
                panic!("{self}: expected `Name: value`, found {header:?}");
            });
            (name.to_owned(), value.to_owned())
        });
        Step::Open {
            path: (!path.is_empty()).then(|| path.to_owned()),
            headers: headers.collect(),
            hears_ready: verb == "connects",
        }
    }
}

/// One performance of a dialogue.
struct Run<'a> {
    dialogue: &'a Dialogue,
    door: &'a crate::client::Door,
    cast: Cast,
    clients: BTreeMap<String, Client>,
    variables: BTreeMap<String, String>,
}

impl Run<'_> {
    async fn play(&mut self) {
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
        let (transport, mut hello) = match kind {
            "web" => (self.cast.web, Hello::web(path.unwrap_or("/"))),
            "php" => (self.cast.php, Hello::php(path)),
            "raw" => (self.cast.php, Hello::bare()),
            _ => panic!("{}: clients are called web, php or raw and a number", self.at(line)),
        };
        for (name, value) in headers {
            hello = hello.header(name, value);
        }
        let transport = transport.expect("a cast for everybody");
        let client = self.door.open(transport, hello).await;
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
        let acked = crate::client::opcode(&ack).as_deref() == Some("next");
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
