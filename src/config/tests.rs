//! The config as a whole: which source wins, and what it makes of paths and values.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use figment::value::Value;
use serde::Deserialize;

use super::*;

mod mistakes;

/// A config file in a directory of its own, removed at the end.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> File {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("relay-config-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        let path = directory.join("relay.toml");
        std::fs::write(&path, text).expect("a temporary file");
        File(path)
    }

    fn directory(&self) -> &Path {
        self.0.parent().expect("made with one")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.directory());
    }
}

fn load(file: &File, environment: &[(&str, &str)], flags: &[&str]) -> Result<Config, ConfigError> {
    let set = flags.iter().map(|flag| (*flag).to_owned()).collect();
    let sources = Sources { config: Some(file.0.clone()), set, ..Sources::default() };
    let pairs = environment.iter().map(|(name, value)| (name.into(), value.into()));
    Config::load_with(&sources, pairs)
}

#[test]
fn the_shipped_file_says_the_defaults_and_all_of_them() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("relay.toml");
    let document = document::Document::read(&shipped).expect("readable");
    let values = document.values();
    let read = Config::deserialize(&Value::from(values.clone())).expect("valid");
    assert_eq!(read, Config::default());

    let defaults = Value::serialize(Config::default()).expect("plain values");
    let defaults = defaults.into_dict().expect("a table");
    assert_eq!(layer::leaves(&values), layer::leaves(&defaults));
}

#[test]
fn the_fuzz_target_knows_every_key() {
    let words = include_str!("../../fuzz/dictionaries/config.dict");
    let missing: Vec<String> = layer::leaves(&layer::defaults())
        .into_iter()
        .flat_map(|path| {
            let (key, tables) = path.split_last().expect("a key");
            let table = (!tables.is_empty()).then(|| format!("\"[{}]\"\n", tables.join(".")));
            table.into_iter().chain([format!("\"{key} = \"\n")])
        })
        .filter(|word| !words.contains(word))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn later_sources_win() {
    let file = File::new("workers = 1\n[limits]\nname_bytes_max = 10\nopcode_bytes_max = 10");
    let environment = [
        ("RELAY_WORKERS", "2"),
        ("RELAY_LIMITS__NAME_BYTES_MAX", "20"),
        ("RELAY_LISTEN", "ws://localhost:1"),
        ("RELAYED", "not ours"),
        ("relay_workers", "not ours"),
    ];
    let config = load(&file, &environment, &["workers=3", "limits.failed_claims_max = 7"]);
    let config = config.expect("valid");
    assert_eq!(config.workers, 3);
    assert_eq!(config.limits.opcode_bytes_max, 10);
    assert_eq!(config.limits.name_bytes_max, 20);
    assert_eq!(config.limits.failed_claims_max, 7);
    assert_eq!(config.limits.queue_messages_max, 4096);
    assert_eq!(config.listen, ["ws://localhost:1".parse().expect("valid")]);
}

#[test]
fn flags_of_their_own_replace() {
    let file = File::new("listen = ['ws://a:1', 'ws://b:2']");
    let sources = Sources {
        config: Some(file.0.clone()),
        listen: vec!["tcp://c:3".to_owned()],
        script: Some("other.lua".into()),
        set: vec!["script.file = 'set.lua'".to_owned(), "listen = ['ws://d:4']".to_owned()],
    };
    let config = Config::load_with(&sources, []).expect("valid");
    assert_eq!(config.listen, ["tcp://c:3".parse().expect("valid")]);
    assert_eq!(config.script.file, Path::new("other.lua"));
}

#[test]
fn paths_start_where_they_were_written() {
    let text = "[tls]\ncertificate = 'a.pem'\nkey = '/b.pem'";
    let file = File::new(text);
    let config = load(&file, &[], &[]).expect("valid");
    assert_eq!(config.tls.certificate, file.directory().join("a.pem"));
    assert_eq!(config.tls.key, Path::new("/b.pem"));
    assert_eq!(config.tls.directory, file.directory().join("certs"));
    assert_eq!(config.script.file, file.directory().join("scripts/opcodes.lua"));

    let config = load(&file, &[("RELAY_TLS__DIRECTORY", "here")], &["tls.certificate='c.pem'"]);
    let config = config.expect("valid");
    assert_eq!(config.tls.certificate, Path::new("c.pem"));
    assert_eq!(config.tls.directory, Path::new("here"));

    let config = load(&File::new(""), &[], &[]).expect("valid");
    assert_eq!(config.tls.own_files(), []);
}

#[test]
fn settings_are_free() {
    let text = "[script.settings]\nrooms = ['a', 1]\nsince = 2020-01-01\nnested.deep = true";
    let flags = ["script.settings.\"a.b\"=1.5", "script.settings.word=some words"];
    let config = load(&File::new(text), &[("RELAY_SCRIPT__SETTINGS__X", "{y = 1}")], &flags);
    let expected = serde_json::json!({
        "rooms": ["a", 1], "since": "2020-01-01", "nested": {"deep": true},
        "a.b": 1.5, "word": "some words", "x": {"y": 1},
    });
    assert_eq!(serde_json::Value::Object(config.expect("valid").script.settings), expected);
}

#[test]
fn values_have_the_types_of_their_keys() {
    let text =
        "[log]\nformat = 'json'\n[web]\nphp_ready_delay_ms = 30\nallowed_origins = ['http://a']";
    let config = load(&File::new(text), &[("RELAY_LOG__LEVEL", "info,relay=debug")], &[]);
    let config = config.expect("valid");
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.log.level, "info,relay=debug");
    assert_eq!(config.web.php_ready_delay.as_millis(), 30);
    assert_eq!(config.web.allowed_origins, ["http://a"]);
}
