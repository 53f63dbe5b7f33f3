//! The config: whatever a relay.toml holds, it is a config or a list of readable mistakes.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use relay::config::{Config, Sources};

/// One file per process, in memory where the system has such a directory.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let directory = if memory.is_dir() { memory } else { std::env::temp_dir() };
    directory.join(format!("relay-fuzz-{}.toml", std::process::id()))
});

fuzz_target!(|data: &[u8]| {
    std::fs::write(&*FILE, data).expect("a file");
    let sources = Sources { config: Some(FILE.clone()), ..Sources::default() };
    let examined = Config::examine(&sources, []);
    for mistake in &examined.mistakes {
        let told = mistake.to_string();
        assert!(!told.contains(char::is_control), "more than one line: {told:?}");
        assert!(told.contains("relay-fuzz-"), "the file is not named: {told:?}");
    }
    assert!(examined.config.is_some() || !examined.mistakes.is_empty(), "neither");
    // This reads everything once more, so it is not done for each input.
    if data.len().is_multiple_of(8) {
        let loaded = Config::load_with(&sources, []);
        assert_eq!(loaded.is_ok(), examined.mistakes.is_empty(), "load and examine disagree");
        if let Ok(config) = loaded {
            assert_eq!(Some(config), examined.config);
        }
    }
});
