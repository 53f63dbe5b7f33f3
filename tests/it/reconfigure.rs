//! The config is read again while everything runs, and is adopted whole or not at all.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Client, Door, Hello, Transport};
use crate::harness::{eventually, in_time, runtime, shipped};
use crate::process::Process;

/// The shipped script, which also tells the settings, and refuses one of them.
fn script() -> String {
    let shipped = fs::read_to_string(shipped("scripts/opcodes.lua")).expect("the shipped script");
    let more = "function opcodes.settings(client, msg)
        client:send({settings = relay.config})
    end
    function on.load()
        if relay.config.bad then error('no such setting') end
    end";
    format!("{shipped}\n{more}\n")
}

/// A relay with a config file of its own.
struct Subject {
    process: Process,
    door: Door,
}

impl Subject {
    fn start(config: &str, flags: &[&str]) -> Subject {
        let config = with_basics(config);
        let files = [("relay.toml", config.as_str()), ("opcodes.lua", &script())];
        let flags = [&["--config", "relay.toml"], flags].concat();
        let mut process = Process::start(&flags, &files);
        let door = Door::new(process.listening(1)[0].1, None);
        Subject { process, door }
    }

    /// Changes the config file.
    fn write(&self, config: &str) {
        fs::write(self.process.file("relay.toml"), with_basics(config)).expect("written");
    }

    /// Changes the config file and has it read; what the log says up to these words.
    async fn hup(&self, config: &str, until: &str) -> String {
        self.write(config);
        let from = self.process.log_lines();
        self.process.signal("HUP");
        self.process.log_until(from, until).await
    }

    async fn reload(&self, config: &str) -> (Option<i32>, String) {
        self.write(config);
        let (code, output, errors) = self.process.command_async("reload").await;
        (code, format!("{output}{errors}"))
    }

    fn ends_well(mut self) {
        self.process.signal("TERM");
        assert_eq!(self.process.exit_code(), Some(0));
    }
}

fn with_basics(config: &str) -> String {
    format!("listen = 'any://127.0.0.1:0'\nscript.file = 'opcodes.lua'\n{config}\n")
}

/// Whether a message with an opcode of 100 bytes is taken.
async fn takes_a_long_opcode(client: &mut Client) -> bool {
    client.send(&json!({"opcode": "o".repeat(100)}).to_string()).await;
    client.acked("").await;
    client.send(r#"{"opcode":"echo"}"#).await;
    let answer = client.hears_text().await;
    if answer == br#"{"opcode":"next","uuid":"","fyi":""}"# {
        client.hears(r#"{"opcode":"echo"}"#).await;
        return true;
    }
    let answer: Value = serde_json::from_slice(&answer).expect("JSON");
    assert_eq!(answer["code"], "opcode_too_long", "{answer}");
    client.acked("").await;
    client.hears(r#"{"opcode":"echo"}"#).await;
    false
}

async fn settings(client: &mut Client) -> Value {
    client.send(r#"{"opcode":"settings"}"#).await;
    client.acked("").await;
    let answer: Value = serde_json::from_slice(&client.hears_text().await).expect("JSON");
    answer["settings"].clone()
}

/// The first line of the answer to a browser that opens the address.
async fn page(door: &Door) -> String {
    let mut tcp = door.dial_tcp().await;
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.expect("a relay that listens");
    let mut answer = Vec::new();
    in_time("the answer", tcp.read_to_end(&mut answer)).await.expect("whole");
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn limits_and_settings_change_for_connections_that_stand() {
    let relay = Subject::start("[script.settings]\nword = 'one'", &[]);
    runtime().block_on(async {
        let mut page = relay.door.web(Transport::Ws, "/").await;
        let mut backend = relay.door.backend(Transport::Tcp).await;
        assert!(takes_a_long_opcode(&mut page).await && takes_a_long_opcode(&mut backend).await);
        assert_eq!(settings(&mut page).await, json!({"word": "one"}));
        let config = "[limits]\nopcode_bytes_max = 50\n[script.settings]\nword = 'two'";
        let log = relay.hup(config, "config reloaded").await;
        assert!(log.contains("reloaded: limits.opcode_bytes_max, script.settings.word"), "{log}");
        for client in [&mut page, &mut backend] {
            eventually("the limit holds", async || !takes_a_long_opcode(client).await).await;
            assert_eq!(settings(client).await, json!({"word": "two"}));
        }
        // Back again, by the other way to ask, and told to whoever asks.
        let (code, said) = relay.reload("").await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.starts_with("reloaded: generation 3 ("), "{said}");
        assert!(said.contains("config reloaded: limits.opcode_bytes_max, "), "{said}");
        eventually("the limit is off", async || takes_a_long_opcode(&mut page).await).await;
        // Without a change nothing happens: the script keeps its generation.
        let (code, said) = relay.reload("").await;
        assert_eq!(code, Some(0), "{said}");
        assert!(
            said.starts_with("unchanged: generation 3 (") && said.lines().count() == 1,
            "{said}"
        );
    });
    relay.ends_well();
}

#[test]
fn a_shorter_patience_reaches_who_is_there() {
    let relay = Subject::start("", &[]);
    runtime().block_on(async {
        let mut page = relay.door.web(Transport::Ws, "/").await;
        let mut backend = relay.door.backend(Transport::Tcp).await;
        let config = "[limits]\nunregistered_timeout_ms = 1000\nbackend_idle_timeout_ms = 1000";
        relay.hup(config, "config reloaded").await;
        page.expect_close(1008).await;
        backend.expect_refusal(1001).await;
    });
    relay.ends_well();
}

#[test]
fn the_number_of_clients_changes() {
    let relay = Subject::start("[limits]\nconnections_max = 1", &[]);
    runtime().block_on(async {
        let mut first = relay.door.backend(Transport::Tcp).await;
        relay.door.open(Transport::Tcp, Hello::php(None)).await.expect_refusal(1013).await;
        relay.hup("[limits]\nconnections_max = 2", "config reloaded").await;
        let mut second = relay.door.backend(Transport::Tcp).await;
        // Who is here may stay.
        relay.hup("[limits]\nconnections_max = 1", "config reloaded").await;
        relay.door.open(Transport::Tcp, Hello::php(None)).await.expect_refusal(1013).await;
        first.hears_nothing().await;
        second.hears_nothing().await;
    });
    relay.ends_well();
}

#[test]
fn the_page_and_the_level_of_the_log_change() {
    let relay = Subject::start("", &[]);
    runtime().block_on(async {
        assert!(page(&relay.door).await.contains(" 200 "));
        relay.hup("web.test_page = false\nlog.level = 'debug'", "config reloaded").await;
        eventually("no page", async || page(&relay.door).await.contains(" 426 ")).await;
        relay.process.log_until(0, "refused").await;
        relay.hup("log.level = 'info'", "config reloaded").await;
        eventually("no debug lines", async || {
            let from = relay.process.log_lines();
            page(&relay.door).await;
            relay.door.backend(Transport::Tcp).await.hears_nothing().await;
            relay.process.log_lines() == from
        })
        .await;
    });
    relay.ends_well();
}

#[test]
fn what_a_start_would_refuse_changes_nothing() {
    let relay = Subject::start("[script.settings]\nword = 'one'", &[]);
    runtime().block_on(async {
        let mut client = relay.door.backend(Transport::Tcp).await;
        let mistakes = [
            (
                "[limits]\nopcode_bytes_max = 50\nname_bytes_max = 0",
                "relay.toml:5: limits.name_bytes_max: must be",
            ),
            (
                "[limits]\nopcode_bytes_max = 50\nopcode_byte_max = 1",
                "did you mean `opcode_bytes_max`",
            ),
            ("[limits]\nopcode_bytes_max = ", "relay.toml:4: not valid TOML"),
        ];
        for (config, said) in mistakes {
            let log = relay.hup(config, said).await;
            assert!(log.contains("reload rejected, the config stays as it is"), "{log}");
            assert!(takes_a_long_opcode(&mut client).await, "{config}");
        }
        // A script that does not take its settings keeps the rest from being adopted, too.
        let config = "[limits]\nopcode_bytes_max = 50\n[script.settings]\nbad = true";
        let (code, said) = relay.reload(config).await;
        assert_eq!(code, Some(65), "{said}");
        assert!(said.contains("no such setting"), "{said}");
        assert!(takes_a_long_opcode(&mut client).await);
        assert_eq!(settings(&mut client).await, json!({"word": "one"}));
        // A missing file is a mistake, not the defaults.
        fs::remove_file(relay.process.file("relay.toml")).expect("ours");
        let from = relay.process.log_lines();
        relay.process.signal("HUP");
        relay.process.log_until(from, "cannot read this config file").await;
        assert_eq!(settings(&mut client).await, json!({"word": "one"}));
    });
    relay.ends_well();
}

/// Opening the one would wait for ever, and reading the other would not end.
#[test]
fn a_config_that_is_no_file_changes_nothing() {
    let relay = Subject::start("[script.settings]\nword = 'one'", &[]);
    let file = relay.process.file("relay.toml");
    runtime().block_on(async {
        let mut client = relay.door.backend(Transport::Tcp).await;
        for command in ["mkfifo", "ln -s /dev/zero"] {
            fs::remove_file(&file).expect("ours");
            let mut words = command.split(' ');
            let mut made = Command::new(words.next().expect("a word"));
            assert!(made.args(words).arg(&file).status().expect("coreutils").success());
            let from = relay.process.log_lines();
            relay.process.signal("HUP");
            let log = relay.process.log_until(from, "is no regular file").await;
            assert!(log.contains("reload rejected, the config stays as it is"), "{log}");
            assert_eq!(settings(&mut client).await, json!({"word": "one"}));
            let (code, _, said) = relay.process.command_async("check").await;
            assert_eq!(code, Some(64), "{said}");
            assert!(said.contains("is no regular file"), "{said}");
        }
    });
    relay.ends_well();
}

#[test]
fn what_takes_a_restart_is_named_and_the_rest_is_adopted() {
    let relay = Subject::start("", &[]);
    runtime().block_on(async {
        let mut client = relay.door.backend(Transport::Tcp).await;
        let config = "workers = 3\nlog.format = 'json'\n[limits]\nopcode_bytes_max = 50";
        let log = relay.hup(config, "takes a restart").await;
        assert!(log.contains("takes a restart: workers, log.format"), "{log}");
        assert!(log.contains("config reloaded: limits.opcode_bytes_max"), "{log}");
        eventually("the limit holds", async || !takes_a_long_opcode(&mut client).await).await;
    });
    relay.ends_well();
}

#[test]
fn flags_stay_stronger_than_the_file() {
    let relay = Subject::start("", &["--set", "limits.opcode_bytes_max=50"]);
    runtime().block_on(async {
        let mut client = relay.door.backend(Transport::Tcp).await;
        assert!(!takes_a_long_opcode(&mut client).await);
        let config = "[limits]\nopcode_bytes_max = 128\n[script.settings]\nword = 'two'";
        relay.hup(config, "config reloaded: script.settings.word").await;
        assert_eq!(settings(&mut client).await, json!({"word": "two"}));
        assert!(!takes_a_long_opcode(&mut client).await);
    });
    relay.ends_well();
}

#[test]
fn another_file_of_the_script_is_loaded_and_watched() {
    let relay = Subject::start("", &[]);
    runtime().block_on(async {
        let mut client = relay.door.backend(Transport::Tcp).await;
        let other = |word: &str| {
            format!("function on.default(client) client:send({{word = '{word}'}}) end")
        };
        fs::write(relay.process.file("other.lua"), other("one")).expect("written");
        fs::write(
            relay.process.file("relay.toml"),
            "listen = 'any://127.0.0.1:0'\nscript.file = 'other.lua'\n",
        )
        .expect("written");
        let from = relay.process.log_lines();
        relay.process.signal("HUP");
        relay.process.log_until(from, "config reloaded: script.file").await;
        client.send("{}").await;
        client.acked("").await;
        client.hears(r#"{"word":"one"}"#).await;
        let from = relay.process.log_lines();
        fs::write(relay.process.file("other.lua"), other("two")).expect("written");
        relay.process.log_until(from, "script reloaded").await;
        client.send("{}").await;
        client.acked("").await;
        client.hears(r#"{"word":"two"}"#).await;
    });
    relay.ends_well();
}
