//! A conversation as it stands in its file.

use std::path::{Path, PathBuf};

use crate::client::Transport;
use crate::harness::shipped;

/// A conversation as it stands in its file.
pub struct Dialogue {
    pub path: PathBuf,
    pub lines: Vec<Line>,
    /// The transports of backends, where the file restricts them.
    pub php_over: Option<Vec<Transport>>,
}

pub struct Line {
    pub number: usize,
    pub client: String,
    pub step: Step,
}

pub enum Step {
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

impl Dialogue {
    pub fn read(name: &str) -> Dialogue {
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
}

/// A line of a file, for messages.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub path: &'a Path,
    pub line: usize,
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
