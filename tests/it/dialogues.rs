//! Runs the conversations of tests/dialogues, the protocol's specification by example, over every
//! transport that their clients may have, and with clients that speak through the client libraries.
//! tests/dialogues/README.md documents the notation.

mod run;
mod text;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use crate::client::{Library, Transport};
use crate::harness::{Setup, shipped};

use run::Run;
use text::Dialogue;

/// relay.js in Node. The flag is for version 20; later ones do without it, and take it.
const RELAY_JS: Library = Library {
    name: "relay.js",
    plays: "web",
    command: &["node", "--experimental-websocket", "clients/web/test/adapter.js"],
};

/// The PHP client.
const RELAY_PHP: Library = Library {
    name: "relay/client",
    plays: "php",
    command: &["php", "clients/php/tests/adapter.php"],
};

/// What cannot be said through a library, and why. Each of these fails, or does not belong here.
const UNSPEAKABLE: &[(&str, &str, &str)] =
    &[("relay.js", "close", "a browser takes the close codes 1000 and 3000 to 4999 only, no 1001")];

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
        through! { relay_js RELAY_JS $($name)* }
        through! { relay_php RELAY_PHP $($name)* }
    };
}

/// The same tests with clients that speak through a library.
macro_rules! through {
    ($module:ident $library:ident $($name:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $name() {
                    super::Dialogue::read(stringify!($name)).run_through(super::$library);
                }
            )*
        }
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

/// Who plays the web clients and the backends of a run.
#[derive(Clone, Copy, Debug)]
struct Cast {
    web: Option<Part>,
    php: Option<Part>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    over: Transport,
    through: Option<Library>,
}

impl Part {
    fn over(over: Transport) -> Part {
        Part { over, through: None }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.through {
            Some(library) => write!(f, "{} through {}", self.over, library.name),
            None => self.over.fmt(f),
        }
    }
}

impl Dialogue {
    /// Over every transport.
    fn run_everywhere(&self) {
        for web in parts(&self.pages()) {
            for &php in &parts(&self.backends()) {
                self.run(Cast { web, php });
            }
        }
    }

    /// With the clients that a library plays, over each of their transports. Those that it does not
    /// play, and backends that do not greet, speak for themselves.
    fn run_through(&self, library: Library) {
        let plays_pages = library.plays == "web";
        let played = if plays_pages { self.pages() } else { self.backends() };
        let played = if self.has(library.plays) { played } else { Vec::new() };
        let casts = played.iter().map(|&over| {
            let part = Some(Part { over, through: Some(library) });
            let other = |transports: Vec<Transport>| transports.first().copied().map(Part::over);
            match plays_pages {
                true => Cast { web: part, php: other(self.backends()) },
                false => Cast { web: other(self.pages()), php: part },
            }
        });
        let unspeakable = UNSPEAKABLE.iter().find(|(name, dialogue, _)| {
            *name == library.name && self.path.file_stem().is_some_and(|stem| stem == *dialogue)
        });
        for cast in casts {
            let Some((_, _, why)) = unspeakable else {
                self.run(cast);
                continue;
            };
            let ran = catch_unwind(AssertUnwindSafe(|| self.run(cast)));
            assert!(ran.is_err(), "{cast:?}: this can be said after all, but was listed: {why}");
        }
    }

    fn run(&self, cast: Cast) {
        Setup::new().run(async |relay| Run::new(self, relay, cast).play().await);
    }

    fn has(&self, kind: &str) -> bool {
        self.lines.iter().any(|line| line.client.starts_with(kind))
    }

    fn pages(&self) -> Vec<Transport> {
        let transports = [Transport::Ws, Transport::Wss];
        if self.has("web") { transports.into() } else { Vec::new() }
    }

    fn backends(&self) -> Vec<Transport> {
        let all = [Transport::Tcp, Transport::Ssl, Transport::Ws, Transport::Wss];
        match &self.php_over {
            Some(transports) => transports.clone(),
            None if self.has("php") => all.into(),
            None if self.has("raw") => [Transport::Tcp, Transport::Ssl].into(),
            None => Vec::new(),
        }
    }
}

/// Each transport, or nobody once.
fn parts(transports: &[Transport]) -> Vec<Option<Part>> {
    match transports {
        [] => vec![None],
        _ => transports.iter().map(|&over| Some(Part::over(over))).collect(),
    }
}
