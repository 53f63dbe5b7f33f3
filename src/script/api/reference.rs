//! Everything a script sees, described once: the definitions for editors and docs/scripting-reference.md
//! come from this table, and a test compares it with the objects of a VM.

use std::fmt::Write;

/// One field or function.
pub struct Entry {
    /// `client`, `msg`, or the name of a table. Functions of the first two are called with a colon.
    pub object: &'static str,
    pub name: &'static str,
    pub kind: Kind,
    /// One or two sentences.
    pub text: &'static str,
    /// The version of the API that brought it.
    pub since: u32,
}

/// Names and types of parameters.
type Params = &'static [(&'static str, &'static str)];

/// Types are written as LuaLS writes them.
pub enum Kind {
    Field(&'static str),
    /// A `?` behind a parameter's name says that it may be left out.
    Call {
        params: Params,
        returns: &'static str,
    },
}

use Kind::{Call, Field};

/// The objects in the order in which they are shown, each with what it is.
pub const OBJECTS: [(&str, &str); 7] = [
    ("client", "One connected client. Equal clients are equal objects."),
    ("msg", "The message that is being handled. Valid during its handler only."),
    ("relay", "Whom a message goes to, and who is there."),
    ("timer", "What relay.after and relay.every return. Ends with its generation."),
    ("relay.store", "Strings and numbers that outlive the generation, and end with the process."),
    ("relay.json", "JSON and tables. Works while the script loads."),
    ("relay.log", "The script's own lines in the log. Works while the script loads."),
];

/// The functions that a script defines: parameters, and when they are called.
pub const HOOKS: [(&str, Params, &str); 6] = [
    (
        "on.load",
        &[("info", "{reload: boolean, generation: number}")],
        "This version takes over. If it fails, the one before stays.",
    ),
    ("on.connect", &[("client", "client")], "A client is through its handshake."),
    ("on.disconnect", &[("client", "client"), ("why", "string")], "A client is gone."),
    (
        "on.default",
        &[("client", "client"), ("msg", "msg")],
        "A message whose opcode has no handler.",
    ),
    (
        "on.text",
        &[("client", "client"), ("msg", "msg")],
        "A message that is no JSON, of a WebSocket client or as a broken value of a raw one. Without it, such text is acked and dropped.",
    ),
    ("opcodes.NAME", &[("client", "client"), ("msg", "msg")], "A message with the opcode NAME."),
];

#[rustfmt::skip]
pub const ENTRIES: &[Entry] = &[
    Entry { object: "client", name: "id", kind: Field("number"), text: "The number of its session, never used again.", since: 1 },
    Entry { object: "client", name: "kind", kind: Field("\"web\"|\"backend\""), text: "A page, or a backend script.", since: 1 },
    Entry { object: "client", name: "transport", kind: Field("\"ws\"|\"wss\"|\"tcp\"|\"ssl\""), text: "How it reached the relay.", since: 1 },
    Entry { object: "client", name: "path", kind: Field("string"), text: "The path of its handshake, / where there was none.", since: 1 },
    Entry { object: "client", name: "addr", kind: Field("string"), text: "Its address and port; port 0 where a trusted proxy tells none.", since: 1 },
    Entry { object: "client", name: "ident", kind: Field("string?"), text: "The name a backend is addressed by.", since: 1 },
    Entry { object: "client", name: "headers", kind: Field("table<string, string>"), text: "The headers of its handshake, but for those that every upgrade has; names in lower case, read-only.", since: 1 },
    Entry { object: "client", name: "uuid", kind: Field("string?"), text: "The uuid it is registered under.", since: 1 },
    Entry { object: "client", name: "issued_uuid", kind: Field("string"), text: "The uuid that the relay made for it; a secret.", since: 1 },
    Entry { object: "client", name: "may_send_feedback", kind: Field("boolean"), text: "Whether [feedback] of relay.toml lets it send feedback; what follows is the script's to decide.", since: 1 },
    Entry { object: "client", name: "register", kind: Call { params: &[("name", "any")], returns: "boolean, string?" }, text: "Registers a web client under a uuid; false and a code where it can not have it. The first claim wins. \"pending\": another client has the name and is asked whether it is alive; relay then registers this one, or sends it the error.", since: 1 },
    Entry { object: "client", name: "send", kind: Call { params: &[("what", "msg|table|string")], returns: "boolean" }, text: "Sends to this client; false where it is closing or gone.", since: 1 },
    Entry { object: "client", name: "broadcast", kind: Call { params: &[("what", "msg|table|string"), ("room?", "string")], returns: "number" }, text: "Sends to all other registered pages, or to the other members of a room; returns to how many. A room that is nil is no room: it goes to everybody else.", since: 1 },
    Entry { object: "client", name: "error", kind: Call { params: &[("code", "string"), ("message?", "string")], returns: "boolean" }, text: "Sends an error that refers to what is being handled.", since: 1 },
    Entry { object: "client", name: "close", kind: Call { params: &[("code?", "number"), ("reason?", "string")], returns: "" }, text: "Closes the connection after what was sent before; 1000 by default.", since: 1 },
    Entry { object: "client", name: "join", kind: Call { params: &[("room", "string")], returns: "boolean, string?" }, text: "Takes a web client into a room; false where it was there already, or with a code where it can not be. Left with the connection.", since: 1 },
    Entry { object: "client", name: "leave", kind: Call { params: &[("room", "string")], returns: "boolean" }, text: "Takes it out of a room; false where it was not there.", since: 1 },
    Entry { object: "client", name: "get", kind: Call { params: &[("key", "string")], returns: "any" }, text: "An attribute as it was set, read-only; nil where there is none.", since: 1 },
    Entry { object: "client", name: "set", kind: Call { params: &[("key", "string"), ("value", "any")], returns: "" }, text: "Keeps an attribute with the connection, across reloads; nil takes it away. What JSON can say.", since: 1 },
    Entry { object: "msg", name: "opcode", kind: Field("string?"), text: "The opcode, where it is a string.", since: 1 },
    Entry { object: "msg", name: "uuid", kind: Field("string?"), text: "The uuid it is addressed to.", since: 1 },
    Entry { object: "msg", name: "ident", kind: Field("string?"), text: "The ident it is addressed to.", since: 1 },
    Entry { object: "msg", name: "size", kind: Field("number"), text: "Its length in bytes.", since: 1 },
    Entry { object: "msg", name: "raw", kind: Field("string"), text: "Its bytes as they came.", since: 1 },
    Entry { object: "msg", name: "data", kind: Field("any"), text: "The decoded JSON, read-only; decoded when it is first read. nil in on.text.", since: 1 },
    Entry { object: "relay", name: "api_version", kind: Field("number"), text: "The version of this API. Additions do not change it.", since: 1 },
    Entry { object: "relay", name: "config", kind: Field("table"), text: "The table [script.settings] of relay.toml; read-only.", since: 1 },
    Entry { object: "relay", name: "json", kind: Field("relay.json"), text: "JSON and tables.", since: 1 },
    Entry { object: "relay", name: "log", kind: Field("relay.log"), text: "Lines in the log, with the generation of the script.", since: 1 },
    Entry { object: "relay", name: "deliver", kind: Call { params: &[("name", "string|table|nil"), ("what", "msg|table|string")], returns: "boolean" }, text: "Sends to the page of this uuid, or to the backend of {ident = name}; false where nobody has it.", since: 1 },
    Entry { object: "relay", name: "broadcast", kind: Call { params: &[("what", "msg|table|string"), ("options?", "{except: client?, room: string?}")], returns: "number" }, text: "Sends to all registered pages, or to the members of a room; returns to how many. A room that is nil is no room: it goes to everybody.", since: 1 },
    Entry { object: "relay", name: "find", kind: Call { params: &[("name", "string|table|nil")], returns: "client?" }, text: "The client that relay.deliver would reach.", since: 1 },
    Entry { object: "relay", name: "count", kind: Call { params: &[("room?", "string")], returns: "number" }, text: "How many pages are registered, or in a room.", since: 1 },
    Entry { object: "relay", name: "now", kind: Call { params: &[], returns: "number" }, text: "Seconds since 1970, with a fraction.", since: 1 },
    Entry { object: "relay", name: "after", kind: Call { params: &[("seconds", "number"), ("calls", "fun()")], returns: "timer" }, text: "Calls a function once, 0.001 to 31536000 seconds from now.", since: 1 },
    Entry { object: "relay", name: "every", kind: Call { params: &[("seconds", "number"), ("calls", "fun()")], returns: "timer" }, text: "Calls a function again and again. A time that was missed is left out.", since: 1 },
    Entry { object: "relay", name: "store", kind: Field("relay.store"), text: "What outlives the generation.", since: 1 },
    Entry { object: "timer", name: "cancel", kind: Call { params: &[], returns: "boolean" }, text: "false where it would not have called any more.", since: 1 },
    Entry { object: "relay.store", name: "get", kind: Call { params: &[("key", "string")], returns: "string|number|nil" }, text: "The value, or nil.", since: 1 },
    Entry { object: "relay.store", name: "set", kind: Call { params: &[("key", "string"), ("value", "string|number"), ("options?", "{ttl: number?}")], returns: "" }, text: "Stores a value, for ttl seconds or for good. A full store is an error.", since: 1 },
    Entry { object: "relay.store", name: "delete", kind: Call { params: &[("key", "string")], returns: "boolean" }, text: "Whether there was a value.", since: 1 },
    Entry { object: "relay.store", name: "incr", kind: Call { params: &[("key", "string"), ("by?", "number")], returns: "number" }, text: "Adds 1 or so much; nothing counts as 0. Keeps the ttl. Returns the sum.", since: 1 },
    Entry { object: "relay.store", name: "cas", kind: Call { params: &[("key", "string"), ("expected", "string|number|nil"), ("value", "string|number"), ("options?", "{ttl: number?}")], returns: "boolean" }, text: "Stores the value if the present one is the expected one; nil expects none.", since: 1 },
    Entry { object: "relay.store", name: "expire", kind: Call { params: &[("key", "string"), ("ttl", "number")], returns: "boolean" }, text: "Gives a value so many seconds from now; false where there is none.", since: 1 },
    Entry { object: "relay.json", name: "null", kind: Field("any"), text: "The null of JSON: a nil would be left out.", since: 1 },
    Entry { object: "relay.json", name: "encode", kind: Call { params: &[("value", "any")], returns: "string" }, text: "The JSON text of a value; an error where it can not be JSON.", since: 1 },
    Entry { object: "relay.json", name: "decode", kind: Call { params: &[("text", "string")], returns: "any" }, text: "The value of a JSON text.", since: 1 },
    Entry { object: "relay.json", name: "array", kind: Call { params: &[("table?", "table")], returns: "table" }, text: "Marks a table as an array, so that an empty one is written [].", since: 1 },
    Entry { object: "relay.json", name: "copy", kind: Call { params: &[("value", "any")], returns: "any" }, text: "A copy that may be edited, as of msg.data.", since: 1 },
    Entry { object: "relay.log", name: "debug", kind: Call { params: &[("text", "any"), ("fields?", "table")], returns: "" }, text: "Writes a line at the level debug.", since: 1 },
    Entry { object: "relay.log", name: "info", kind: Call { params: &[("text", "any"), ("fields?", "table")], returns: "" }, text: "Writes a line at the level info.", since: 1 },
    Entry { object: "relay.log", name: "warn", kind: Call { params: &[("text", "any"), ("fields?", "table")], returns: "" }, text: "Writes a line at the level warn.", since: 1 },
    Entry { object: "relay.log", name: "error", kind: Call { params: &[("text", "any"), ("fields?", "table")], returns: "" }, text: "Writes a line at the level error.", since: 1 },
];

impl Entry {
    /// As it is written in a script: `client:send(what)`.
    fn usage(&self) -> String {
        match &self.kind {
            Field(_) => format!("{}.{}", self.object, self.name),
            Call { params, .. } => {
                let names: Vec<&str> = params.iter().map(|(name, _)| *name).collect();
                format!("{}{}{}({})", self.object, self.mark(), self.name, names.join(", "))
            }
        }
    }

    fn mark(&self) -> char {
        if matches!(self.object, "client" | "msg" | "timer") { ':' } else { '.' }
    }
}

fn of(object: &str) -> impl Iterator<Item = &'static Entry> {
    ENTRIES.iter().filter(move |entry| entry.object == object)
}

/// The page docs/scripting-reference.md.
pub fn page() -> String {
    let mut page = "# What a script sees\n\nMade from the table in `src/script/api/reference.rs`; \
        `RELAY_WRITE_DOCS=1 cargo test --lib reference` writes it again.\n\n## Hooks and handlers\n\n\
        | defined by the script | called when |\n|---|---|\n".to_owned();
    // Writing to a String does not fail.
    for (name, params, text) in HOOKS {
        let names: Vec<&str> = params.iter().map(|(name, _)| *name).collect();
        let _ = writeln!(page, "| `{name}({})` | {text} |", names.join(", "));
    }
    for (object, text) in OBJECTS {
        let _ =
            write!(page, "\n## {object}\n\n{text}\n\n| | type | | since |\n|---|---|---|---|\n");
        for entry in of(object) {
            let returns = match &entry.kind {
                Field(of_type) => of_type,
                Call { returns, .. } => returns,
            };
            let shown = match returns.is_empty() {
                true => String::new(),
                false => format!("`{}`", returns.replace('|', "\\|")),
            };
            let _ = writeln!(
                page,
                "| `{}` | {shown} | {} | {} |",
                entry.usage(),
                entry.text,
                entry.since
            );
        }
    }
    page
}

/// The definitions for LuaLS, the language server that most editors speak to.
pub fn definitions() -> String {
    let mut text =
        "---@meta\n-- What relay gives to a script. Written by relay init-editor.\n".to_owned();
    for (object, about) in OBJECTS {
        let _ = write!(text, "\n---{about}\n---@class {object}\n");
        for entry in of(object) {
            if let Field(of_type) = entry.kind {
                let _ = writeln!(text, "---@field {} {of_type} {}", entry.name, entry.text);
            }
        }
        // Only relay and its tables are globals.
        let holder = object.replace('.', "_");
        let local = if object == "relay" { "" } else { "local " };
        let _ = writeln!(text, "{local}{holder} = {{}}");
        for entry in of(object) {
            let Call { params, returns } = &entry.kind else { continue };
            let _ = write!(text, "\n---{}\n", entry.text);
            for (name, of_type) in *params {
                let _ = writeln!(text, "---@param {name} {of_type}");
            }
            if !returns.is_empty() {
                let _ = writeln!(text, "---@return {returns}");
            }
            let names: Vec<&str> =
                params.iter().map(|(name, _)| name.trim_end_matches('?')).collect();
            let _ = writeln!(
                text,
                "function {holder}{}{}({}) end",
                entry.mark(),
                entry.name,
                names.join(", ")
            );
        }
    }
    text.push_str(
        "\n---@type table<string, fun(client: client, msg: msg)>\nopcodes = {}\n\n---@class on\n",
    );
    for (name, params, about) in HOOKS {
        if let Some(name) = name.strip_prefix("on.") {
            let params: Vec<String> =
                params.iter().map(|(name, of)| format!("{name}: {of}")).collect();
            let _ = writeln!(text, "---@field {name}? fun({}) {about}", params.join(", "));
        }
    }
    text.push_str("on = {}\n");
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::script::stage::Stage;

    fn described(object: &str) -> BTreeSet<String> {
        of(object).map(|entry| entry.name.to_owned()).collect()
    }

    #[test]
    fn the_table_is_what_a_script_sees() {
        // The objects without tables list their names themselves, and refuse all others.
        for (object, known) in [
            ("client", super::super::client::KNOWN.as_slice()),
            ("msg", &super::super::message::KNOWN),
            ("timer", &super::super::timer::KNOWN),
        ] {
            assert_eq!(
                described(object),
                known.iter().map(|name| (*name).to_owned()).collect(),
                "{object}"
            );
        }
        for object in ["relay", "relay.store", "relay.json", "relay.log"] {
            let code = format!("for name in pairs({object}) do client:send(name) end");
            let mut stage = Stage::with(&code);
            let client = stage.web("/");
            let sent = stage.says(&client, "{}").expect("no error");
            let real = sent.iter().map(|line| line.trim_start_matches("1 < ").to_owned()).collect();
            assert_eq!(described(object), real, "{object}");
        }
        // Each is there, and a function where the table says so.
        for entry in ENTRIES {
            let wanted = matches!(entry.kind, Call { .. });
            let code = format!(
                "local timer = relay.after(1, print)
                client:send(tostring(type({}.{}) == 'function'))",
                entry.object, entry.name
            );
            let mut stage = Stage::with(&code);
            let client = stage.web("/");
            let sent = stage.says(&client, r#"{"opcode":"x"}"#).expect("there");
            assert_eq!(sent, [format!("1 < {wanted}")], "{}", entry.usage());
        }
    }

    #[test]
    fn the_page_is_made_from_the_table() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/scripting-reference.md");
        if std::env::var_os("RELAY_WRITE_DOCS").is_some() {
            std::fs::create_dir_all(file.parent().expect("docs")).expect("made");
            std::fs::write(&file, page()).expect("written");
        }
        let written = std::fs::read_to_string(&file).expect("readable");
        assert!(written == page(), "write it again: RELAY_WRITE_DOCS=1 cargo test --lib reference");
    }

    #[test]
    fn the_definitions_are_lua_and_name_everything() {
        let text = definitions();
        mlua::Lua::new().load(&*text).exec().expect("Lua");
        for entry in ENTRIES {
            assert!(text.contains(entry.text), "{}", entry.usage());
        }
    }
}
