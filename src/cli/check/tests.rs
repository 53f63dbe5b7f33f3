use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::*;
use crate::config::TlsConfig;

/// A relay's directory: config, script, two pairs of certificate and key; removed at the end.
struct Home(PathBuf);

const SCRIPT: &str =
    "function on.default(client, msg)\n  client:send(msg)\nend\nfunction on.connect() end\n";

impl Home {
    fn new(name: &str, config: &str, script: &str) -> Home {
        let path = std::env::temp_dir().join(format!("relay-check-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        for pair in ["one", "two"] {
            let directory = path.join(pair);
            // The development certificate is a pair like any other, and made at once.
            tls::acceptor(&TlsConfig { directory, ..TlsConfig::default() }).expect("made");
        }
        fs::write(path.join("relay.toml"), config).expect("written");
        fs::write(path.join("opcodes.lua"), script).expect("written");
        Home(path)
    }

    fn check(&self, json: bool) -> Ending {
        let sources = Sources { config: Some(self.0.join("relay.toml")), ..Sources::default() };
        let mut ending = check(&CheckArgs { json }, &sources, []);
        let here = format!("{}/", self.0.display());
        for text in [&mut ending.output, &mut ending.errors] {
            *text = text.replace(&here, "");
        }
        ending
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn with_certificate(certificate: &str, key: &str) -> String {
    format!("[script]\nfile = 'opcodes.lua'\n[tls]\ncertificate = '{certificate}'\nkey = '{key}'\n")
}

fn expose(home: &Path) {
    let mode = fs::Permissions::from_mode(0o644);
    fs::set_permissions(home.join("one/dev-key.pem"), mode).expect("our own");
}

/// Twelve mistakes, and what must be said about each: its file, its line where it has one.
#[test]
fn twelve_mistakes_are_each_named_with_their_file_and_line() {
    let plain = "[script]\nfile = 'opcodes.lua'\n";
    let config = |text: &str| format!("{plain}{text}");
    let (cert, key) = ("one/dev-cert.pem", "one/dev-key.pem");
    let cases: [(&str, String, &str, u8, &str); 12] = [
        (
            "unknown key",
            config("[limits]\nqueue_byte_max = 1"),
            SCRIPT,
            64,
            "relay.toml:4: limits.queue_byte_max: unknown key; did you mean `queue_bytes_max`?",
        ),
        (
            "wrong type",
            config("[limits]\nconnections_max = 'many'"),
            SCRIPT,
            64,
            "relay.toml:4: limits.connections_max: expected a whole number from 0, found the text",
        ),
        ("toml syntax", config("[limits\n"), SCRIPT, 64, "relay.toml:3: not valid TOML"),
        (
            "bad url",
            format!("listen = ['htp://127.0.0.1:1']\n{plain}"),
            SCRIPT,
            64,
            "relay.toml:1: listen",
        ),
        (
            "contradiction",
            config("[limits]\nqueue_bytes_max = 1000"),
            SCRIPT,
            64,
            "relay.toml:4: limits.queue_bytes_max: a message (message_bytes_max = 1048576) must fit",
        ),
        (
            "missing certificate",
            with_certificate("none.pem", key),
            SCRIPT,
            64,
            "relay.toml:4: tls.certificate: cannot read none.pem",
        ),
        (
            "no pem",
            with_certificate("opcodes.lua", key),
            SCRIPT,
            64,
            "relay.toml:4: tls.certificate: no certificate in opcodes.lua",
        ),
        (
            "mismatch",
            with_certificate(cert, "two/dev-key.pem"),
            SCRIPT,
            64,
            "relay.toml:4: tls.certificate: the key in two/dev-key.pem does not belong to",
        ),
        (
            "exposed key",
            with_certificate(cert, key),
            SCRIPT,
            64,
            "relay.toml:5: tls.key: every user of this machine has access to one/dev-key.pem",
        ),
        ("script syntax", config(""), "\nfunction on.default(", 65, "opcodes.lua:2: "),
        (
            "unknown hook",
            config(""),
            "\n\nfunction on.conect() end",
            65,
            "opcodes.lua:3: there is no hook on.conect (did you mean 'connect'?)",
        ),
        (
            "error at load",
            config(""),
            "local x\nx.y = 1",
            65,
            "opcodes.lua:2: attempt to index nil",
        ),
    ];
    for (name, config, script, code, wanted) in cases {
        let home = Home::new(&name.replace(' ', "-"), &config, script);
        if name == "exposed key" {
            expose(&home.0);
        }
        let ending = home.check(false);
        assert_eq!(ending.code, code, "{name}: {}", ending.errors);
        assert!(
            ending.errors.starts_with(&format!("error: {wanted}")),
            "{name}: {}",
            ending.errors
        );
        assert_eq!(ending.errors.matches("error: ").count(), 1, "{name}: {}", ending.errors);
        let told: Value = serde_json::from_str(&home.check(true).output).expect("JSON");
        assert_eq!(told["ok"], false, "{name}");
        assert_eq!(told["mistakes"].as_array().expect("a list").len(), 1, "{name}: {told}");
        assert!(told["mistakes"][0]["line"].is_u64(), "{name}: {told}");
    }
}

#[test]
fn all_mistakes_of_several_kinds_are_told_at_once() {
    let config = "colour = 1\nworkers = 'many'\n[script]\nfile = 'opcodes.lua'\n[limits]\n\
                  json_depth_max = 500\nconnections_max = 0\n[tls]\ncertificate = 'none.pem'\n\
                  key = 'one/dev-key.pem'\n[log]\nlevel = 'inof'\n";
    let home = Home::new("all", config, "function on.conect() end");
    expose(&home.0);
    let ending = home.check(false);
    let lines: Vec<&str> =
        ending.errors.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    let wanted = [
        "relay.toml:1: colour: unknown key",
        "relay.toml:2: workers: expected",
        "relay.toml:7: limits.connections_max: must be",
        "relay.toml:6: limits.json_depth_max: must be 1 to 127",
        "relay.toml:12: log.level: unknown level",
        "relay.toml:9: tls.certificate: cannot read none.pem",
        "relay.toml:10: tls.key: every user",
        "opcodes.lua:1: there is no hook",
    ];
    assert_eq!(lines.len(), wanted.len(), "{lines:#?}");
    for (line, wanted) in lines.iter().zip(wanted) {
        assert!(line.starts_with(wanted), "{line}\n{wanted}");
    }
    assert_eq!(ending.code, EXIT_USAGE);
}

#[test]
fn what_a_start_would_do_is_told_and_nothing_is_done() {
    let home = Home::new("good", &with_certificate("one/dev-cert.pem", "one/dev-key.pem"), SCRIPT);
    let ending = home.check(false);
    assert_eq!((ending.code, &*ending.errors), (0, ""));
    let told = |name: &str| {
        let mut lines = ending.output.lines().filter_map(|line| line.split_once(' '));
        let (_, value) = lines.find(|(its, _)| *its == name).unwrap_or_else(|| panic!("{name}"));
        value.trim().to_owned()
    };
    assert_eq!(told("listen"), "any://127.0.0.1:8083 (plain and TLS)");
    // 824 in the second in which it is made.
    let certificate = told("certificate");
    assert!(
        certificate.starts_with("one/dev-cert.pem for localhost, good until "),
        "{certificate}"
    );
    assert!(certificate.contains(" (82"), "{certificate}");
    assert!(told("script").starts_with("opcodes.lua ("));
    assert_eq!((told("opcodes"), told("hooks")), (String::new(), "connect default".to_owned()));
    assert_eq!(told("limits.connections_max"), "10000");
    assert!(ending.output.ends_with("no mistakes\n"));
    // Every key there is.
    let config = serde_json::to_value(Config::default()).expect("plain values");
    for (key, _) in leaves(&config) {
        told(&key);
    }
    let told: Value = serde_json::from_str(&home.check(true).output).expect("JSON");
    assert_eq!((&told["ok"], &told["script"]["hooks"][0]), (&json!(true), &json!("connect")));
    assert_eq!(told["config"]["limits"]["connections_max"], 10_000);
    assert_eq!(fs::read_dir(&home.0).expect("readable").count(), 4, "nothing was written");

    let home =
        Home::new("doubtful", "[script]\nfile = 'opcodes.lua'\n", &format!("x = 1 {SCRIPT}"));
    let ending = home.check(false);
    assert_eq!(ending.code, 0);
    assert!(ending.errors.starts_with("warning: opcodes.lua:1: 'x' is a global"));
    assert!(!home.0.join("certs").exists(), "no certificate was made");
}

/// What is noticed only when its line is run, or never.
#[test]
fn what_nothing_defines_is_a_warning_and_so_is_a_script_that_greets_nobody() {
    let config = "[script]\nfile = 'opcodes.lua'\n";
    let script = "function on.connect(client) end\n\
                  function opcodes.x(client, msg)\n  if msg.y then relay.brodcast(msg) end\nend\n";
    let ending = Home::new("undefined", config, script).check(false);
    let told =
        "warning: opcodes.lua:3: nothing defines 'relay.brodcast' (did you mean 'broadcast'?)\n";
    assert_eq!((ending.code, &*ending.errors), (0, told));
    let ending = Home::new("ungreeted", config, "function on.default() end").check(false);
    let told = "warning: opcodes.lua has no on.connect, so nobody is greeted: ";
    assert!(ending.code == 0 && ending.errors.starts_with(told), "{}", ending.errors);
    let ending = Home::new("misspelt", config, "\nfunction opcods.x() end\n").check(false);
    assert_eq!(ending.code, EXIT_SCRIPT);
    let told = "'opcods' (did you mean 'opcodes'?)\n     2 | function opcods.x() end\n";
    assert!(ending.errors.contains(told), "{}", ending.errors);
}

#[test]
fn tests_that_every_reload_has_to_pass_are_run() {
    let config = "[script]\nfile = 'opcodes.lua'\ntest_before_reload = true\n";
    let home = Home::new("rehearsed", config, SCRIPT);
    let test = |wanted: &str| {
        let text = format!(
            "test('echo', function(t)\n local c = t.web() c:says('[1]')\n \
             t.equal(c:heard_raw(), '{wanted}')\nend)"
        );
        fs::write(home.0.join("opcodes_test.lua"), text).expect("written");
        home.check(false)
    };
    assert_eq!(test("[1]").code, 0);
    let ending = test("[2]");
    assert_eq!(ending.code, EXIT_SCRIPT);
    assert!(ending.errors.contains("opcodes_test.lua:3: test 'echo' failed"), "{}", ending.errors);
}
