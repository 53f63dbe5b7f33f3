//! Clients that speak through a client library: a process of the library's own adapter, which is
//! told and tells one JSON per line, as clients/web/test/adapter.js describes.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::{Heard, Tell};
use crate::harness::shipped;

/// A client library, by the command of its adapter, which is run in the repository's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Library {
    pub name: &'static str,
    /// The kind of clients it plays in dialogues: `web` or `php`.
    pub plays: &'static str,
    pub command: &'static [&'static str],
}

impl Library {
    /// Starts an adapter that trusts this certificate.
    pub(super) fn start(self, certificate: &Path) -> (Adapter, ChildStdout) {
        let (program, arguments) = self.command.split_first().expect("a command");
        let mut process = Command::new(program)
            .args(arguments)
            .current_dir(shipped(""))
            .env("NODE_EXTRA_CA_CERTS", certificate)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let input = process.stdin.take().expect("a pipe");
        let output = process.stdout.take().expect("a pipe");
        (Adapter { process, input }, output)
    }
}

/// The process that plays one client. It ends with the client.
pub(super) struct Adapter {
    process: Child,
    input: ChildStdin,
}

impl Adapter {
    pub(super) fn connect(&mut self, url: &str, headers: &[(String, String)], cafile: &Path) {
        let mut connect = json!({ "do": "connect", "url": url, "cafile": cafile });
        if !headers.is_empty() {
            connect["headers"] = headers.iter().cloned().collect();
        }
        self.tell(&connect);
    }

    pub(super) fn send(&mut self, text: &str) {
        self.tell(&json!({ "do": "send", "text": text }));
    }

    pub(super) fn close(&mut self, code: Option<u16>) {
        match code {
            Some(code) => self.tell(&json!({ "do": "close", "code": code })),
            None => self.tell(&json!({ "do": "close" })),
        }
    }

    /// An adapter reads whenever it is told something, so this waits for no peer.
    fn tell(&mut self, line: &Value) {
        writeln!(self.input, "{line}").expect("an adapter that listens");
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Tells what an adapter hears, until it ends.
pub(super) fn read_adapter(output: ChildStdout, is_websocket: bool, tell: Tell) {
    for line in BufReader::new(output).lines() {
        let line = line.unwrap_or_default();
        let event: Value = serde_json::from_str(&line).unwrap_or_default();
        let heard = match (event["event"].as_str(), event["text"].as_str()) {
            (Some("open"), _) => continue,
            (Some("message"), Some(text)) => vec![Heard::Text(text.into())],
            (Some("closed"), _) if is_websocket => closed(&event["code"]),
            (Some("closed"), _) => vec![Heard::End],
            _ => vec![Heard::Broken(line)],
        };
        for heard in heard {
            if tell.blocking_send(heard).is_err() {
                return;
            }
        }
    }
    // Whether the test still listens changes nothing.
    drop(tell.blocking_send(Heard::Broken("the end of the adapter".to_owned())));
}

/// The close code as WebSocket APIs give it: 1005 stands for a Close frame without one, and 1006
/// for an end without a Close frame.
fn closed(code: &Value) -> Vec<Heard> {
    match code.as_u64().map(u16::try_from) {
        None | Some(Ok(1005)) => vec![Heard::Close(None), Heard::End],
        Some(Ok(1006)) => vec![Heard::Broken("the end without a Close frame".to_owned())],
        Some(Ok(code)) => vec![Heard::Close(Some(code)), Heard::End],
        Some(Err(_)) => vec![Heard::Broken(format!("no close code: {code}"))],
    }
}
