//! What is wrong with a script, as a person reads it: file and line, the message, the source line,
//! and the way through the script that led there.

use std::fmt;

use mlua::Function;

use super::api::client::KNOWN;
use super::api::no_such_field;
use super::budget::{Failed, Kill};
use super::source::Source;
use crate::threads::NoThread;

/// Longest message kept: a script may raise an error with anything a peer sent in it.
const MESSAGE_CHARS_MAX: usize = 1_000;
/// Frames shown of a traceback; a deep recursion repeats itself.
const FRAMES_MAX: usize = 10;
/// Longest source line quoted.
const EXCERPT_CHARS_MAX: usize = 160;
const TRACEBACK: &str = "stack traceback:";

/// Why a script was not loaded.
#[derive(Clone, Debug)]
pub struct LoadError(Fault);

/// Why a handler failed.
#[derive(Clone, Debug)]
pub struct HandlerError(Fault);

/// One thing that is wrong. [`fmt::Display`] gives the whole block without a line feed at its end.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Path and line, where they are known.
    place: Option<(String, usize)>,
    message: String,
    excerpt: Option<String>,
    /// Script frames, innermost first.
    frames: Vec<String>,
    /// What ended the call, if it did not end by itself.
    kill: Option<Kill>,
    /// It is not the script's: the system gave no thread.
    of_system: bool,
}

impl Fault {
    /// A fault that has no place in the script.
    pub fn new(message: impl Into<String>) -> Fault {
        Fault {
            place: None,
            message: tame(&message.into()),
            excerpt: None,
            frames: Vec::new(),
            kill: None,
            of_system: false,
        }
    }

    /// A fault at a line of the script, if the line is known.
    pub fn at(source: &Source, line: Option<usize>, message: impl Into<String>) -> Fault {
        let mut fault = Fault::new(message);
        match line {
            Some(line) => {
                fault.excerpt = excerpt(source, line, &fault.message);
                fault.place = Some((source.path.clone(), line));
            }
            None => fault.message = format!("{}: {}", source.path, fault.message),
        }
        fault
    }

    /// What mlua reports, without its own prefixes and frames.
    pub fn from_lua(error: &mlua::Error, source: &Source) -> Fault {
        let (message, traceback) = plain(error);
        let message = without_guard(message);
        let modules = source.modules.all();
        let sources: Vec<(&Source, String)> = std::iter::once(source)
            .chain(modules.iter().map(|module| &**module))
            .map(|source| (source, format!("{}:", source.path)))
            .collect();
        let frames = script_frames(&traceback, &sources);
        let said = |(source, at): &(&'_ Source, String)| {
            split_line(&message, at).map(|(line, rest)| (line, rest, source.path.clone()))
        };
        let first = |(source, at): &(&'_ Source, String)| {
            let line = frames.first().and_then(|frame| split_frame(frame, at))?;
            Some((line, message.as_str(), source.path.clone()))
        };
        let found = sources.iter().find_map(said).or_else(|| sources.iter().find_map(first));
        let (line, message, path) = match found {
            Some((line, message, path)) => (Some(line), message, path),
            None => (None, message.as_str(), source.path.clone()),
        };
        let source =
            sources.iter().find(|(known, _)| known.path == path).map_or(source, |(s, _)| s);
        let mut fault = Fault::at(source, line, message);
        fault.frames = frames;
        fault
    }

    /// A load that was killed, or that failed.
    pub fn from_call((error, kill): Failed, source: &Source) -> Fault {
        Fault { kill, ..Fault::from_lua(&error, source) }
    }

    /// A call of this function that was killed, or that failed. Where nothing says which line it was,
    /// as without memory for a traceback, the place is that of the function.
    pub fn in_function(failed: Failed, source: &Source, function: &Function) -> Fault {
        let (error, kill) = failed;
        let fault = Fault { kill, ..Fault::from_lua(&error, source) };
        let defined = function.info();
        let path = defined.source.as_deref().and_then(|chunk| chunk.strip_prefix('@'));
        let modules = source.modules.all();
        let mut sources = std::iter::once(source).chain(modules.iter().map(|module| &**module));
        match sources.find(|source| Some(source.path.as_str()) == path) {
            Some(source) if fault.place.is_none() => {
                let message = without_guard(plain(&error).0);
                let message = format!("{message}, in a call of the function that begins here");
                Fault { kill, ..Fault::at(source, defined.line_defined, message) }
            }
            _ => fault,
        }
    }

    /// The line of this script that failed by itself: a killed one may be any.
    pub fn own_line<'a>(&self, source: &'a Source) -> Option<&'a str> {
        let (path, line) = self.place.as_ref().filter(|_| self.kill.is_none())?;
        source.line(*line).filter(|_| *path == source.path)
    }

    /// The same with more to say about it.
    pub fn adding(mut self, words: &str) -> Fault {
        self.message = tame(&format!("{}; {words}", self.message));
        self
    }

    /// The same fault, as what made a test fail.
    pub fn in_test(mut self, name: &str) -> Fault {
        self.message = tame(&format!("test '{name}' failed: {}", self.message));
        self
    }

    /// The message with its place, in one line.
    pub fn summary(&self) -> String {
        let message = self.message.lines().next().unwrap_or_default();
        match &self.place {
            Some((path, line)) => format!("{path}:{line}: {message}"),
            None => message.to_owned(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((path, line)) = &self.place {
            write!(f, "{path}:{line}: ")?;
        }
        f.write_str(&self.message.replace('\n', "\n  "))?;
        if let Some(excerpt) = &self.excerpt {
            write!(f, "\n{excerpt}")?;
        }
        for frame in &self.frames {
            write!(f, "\n  at {frame}")?;
        }
        Ok(())
    }
}

macro_rules! delegate_to_fault {
    ($($error:ident)*) => {$(
        impl $error {
            /// The fault in one line.
            pub fn summary(&self) -> String {
                self.0.summary()
            }

            /// Path and line, where they are known.
            pub fn place(&self) -> Option<(&str, usize)> {
                self.0.place.as_ref().map(|(path, line)| (path.as_str(), *line))
            }

            /// What is wrong, without its place.
            pub fn message(&self) -> &str {
                &self.0.message
            }

            /// The source line and a caret below it, where the place is known.
            pub fn excerpt(&self) -> Option<&str> {
                self.0.excerpt.as_deref()
            }
        }

        impl fmt::Display for $error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl std::error::Error for $error {}

        impl From<Fault> for $error {
            fn from(fault: Fault) -> $error {
                $error(fault)
            }
        }
    )*};
}

delegate_to_fault!(LoadError HandlerError);

impl HandlerError {
    /// What ended the call, if it did not end by itself.
    pub fn kill(&self) -> Option<Kill> {
        self.0.kill
    }

    /// A script is refused because of this test.
    pub fn in_test(self, name: &str) -> Fault {
        self.0.in_test(name)
    }
}

impl LoadError {
    /// Whether it is not the script's: the system gave no thread.
    pub fn is_of_system(&self) -> bool {
        self.0.of_system
    }
}

impl From<NoThread> for LoadError {
    fn from(error: NoThread) -> LoadError {
        LoadError(Fault { of_system: true, ..Fault::new(error.to_string()) })
    }
}

impl From<HandlerError> for LoadError {
    /// `on.load` failed.
    fn from(error: HandlerError) -> LoadError {
        LoadError(error.0)
    }
}

/// The message and the traceback of an error, each without what mlua adds.
fn plain(error: &mlua::Error) -> (String, String) {
    match error {
        // Of nested callbacks the innermost saw the whole stack.
        mlua::Error::CallbackError { traceback, cause } => {
            let (message, inner) = plain(cause);
            (message, if inner.is_empty() { traceback.clone() } else { inner })
        }
        mlua::Error::RuntimeError(text) | mlua::Error::MemoryError(text) => {
            match text.rsplit_once(&format!("\n{TRACEBACK}")) {
                Some((message, traceback)) => (told(message), traceback.to_owned()),
                None => (told(text), String::new()),
            }
        }
        mlua::Error::SyntaxError { message, .. } => (message.clone(), String::new()),
        mlua::Error::BadArgument { to, name, cause, .. } => {
            let function = to.as_deref().and_then(|to| to.split('.').next_back()).unwrap_or("?");
            match name.as_deref() {
                Some("self") => {
                    (format!("call it with a colon: client:{function}(...)"), String::new())
                }
                _ => (format!("{function}: {}", plain(cause).0), String::new()),
            }
        }
        other => (other.to_string(), String::new()),
    }
}

/// Of an error that is no text only its address is left, which tells nobody anything and is another
/// one each time.
fn told(message: &str) -> String {
    match ["table", "function", "userdata", "thread"]
        .iter()
        .find(|kind| message.strip_prefix(**kind).is_some_and(|rest| rest.starts_with(": 0x")))
    {
        Some(kind) => format!("the error is a {kind}: raise a text, which can be read in the log"),
        None => unknown_method(message).unwrap_or_else(|| message.to_owned()),
    }
}

/// What mlua says of a method that a client has not, in relay's words. It finds the methods without
/// asking relay, which is why they are fast.
fn unknown_method(message: &str) -> Option<String> {
    let (place, name) = message.split_once("attempt to call an unknown method '")?;
    let name = name.strip_suffix('\'')?;
    let wrong = match KNOWN.contains(&name) {
        true => format!("client.{name} is a value: write it without colon and brackets"),
        false => no_such_field("client", name, &KNOWN),
    };
    Some(format!("{place}{wrong}"))
}

/// A comparison within a guarded `sort` fails in relay's own lines, which mean nothing to anybody.
fn without_guard(message: String) -> String {
    match split_line(&message, "relay:") {
        Some((_, rest)) => rest.to_owned(),
        None => message,
    }
}

/// The message of an error that a script caught, with the place it was raised at.
pub fn caught(error: &mlua::Error, source: &Source) -> String {
    Fault::from_lua(error, source).summary()
}

/// The frames that are lines of the script and its modules.
fn script_frames(traceback: &str, sources: &[(&Source, String)]) -> Vec<String> {
    traceback
        .lines()
        .map(str::trim)
        .filter(|frame| sources.iter().any(|(_, at)| frame.starts_with(at)))
        .map(|frame| frame.replacen(": in ", " in ", 1))
        .take(FRAMES_MAX)
        .collect()
}

/// Splits `path:12: message` into the line and the message.
fn split_line<'a>(message: &'a str, at: &str) -> Option<(usize, &'a str)> {
    let (line, rest) = message.strip_prefix(at)?.split_once(':')?;
    Some((line.parse().ok()?, rest.trim_start()))
}

/// The line of a frame `path:12 in function 'f'`.
fn split_frame(frame: &str, at: &str) -> Option<usize> {
    let rest = frame.strip_prefix(at)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The source line and a caret under what the message names, or under its first word.
fn excerpt(source: &Source, line: usize, message: &str) -> Option<String> {
    let text = source.line(line)?.replace('\t', "    ");
    let shown = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let text: String = text.chars().take(EXCERPT_CHARS_MAX).map(shown).collect();
    let named = message.split('\'').skip(1).step_by(2).find_map(|name| text.find(name));
    let at = named.unwrap_or_else(|| text.len() - text.trim_start().len());
    let column = text.get(..at).map_or(0, |before| before.chars().count());
    Some(format!("{line:>6} | {text}\n{:>6} | {:>column$}^", "", ""))
}

/// Cut to a readable length, and without control characters that would forge log lines.
pub fn tame(message: &str) -> String {
    let mut tamed = String::with_capacity(message.len().min(MESSAGE_CHARS_MAX));
    for (count, c) in message.chars().enumerate() {
        match c {
            _ if count == MESSAGE_CHARS_MAX => {
                tamed.push('…');
                break;
            }
            '\n' => tamed.push(c),
            c if c.is_control() => tamed.extend(c.escape_default()),
            c => tamed.push(c),
        }
    }
    tamed
}
