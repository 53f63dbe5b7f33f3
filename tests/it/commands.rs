//! The commands beside the relay itself, run as an operator runs them.

use std::fs;

use crate::cli_send::run;
use crate::harness::{TempDir, runtime, shipped};
use crate::process::Process;

const ECHO: &str = "function on.default(client, msg)\n  client:send(msg)\nend\n";
const LISTEN: [&str; 2] = ["--listen", "any://127.0.0.1:0"];

fn ran(flags: &[&str]) -> (Option<i32>, String, String) {
    Process::start(flags, &[]).output()
}

#[test]
fn reload_tells_the_outcome_and_hup_needs_no_answer() {
    let script = TempDir::new();
    let file = script.write("opcodes.lua", ECHO);
    let shown = file.display().to_string();
    let mut relay = Process::relay(&[&LISTEN[..], &["--script", &shown]].concat());
    relay.listening(1);
    runtime().block_on(async {
        let (code, output, errors) = relay.command(&["reload"]);
        assert_eq!((code, &*errors), (Some(0), ""));
        assert!(output.starts_with("unchanged: generation 1 ("), "{output}");

        fs::write(&file, "function on.default(\n").expect("written");
        let (code, output, errors) = relay.command(&["reload"]);
        assert_eq!((code, &*output), (Some(65), ""));
        assert!(errors.contains("reload rejected, still generation 1 ("), "{errors}");
        assert!(errors.contains("opcodes.lua:2: "), "{errors}");

        fs::write(&file, ECHO.replace("msg)\nend", "'two')\nend")).expect("written");
        let from = relay.log_lines();
        relay.signal("HUP");
        relay.log_until(from, "script reloaded").await;
        let (_, output, _) = relay.command(&["reload"]);
        assert!(output.starts_with("unchanged: generation 2 ("), "{output}");
    });
    relay.signal("TERM");
    assert_eq!(relay.exit_code(), Some(0));
    let (code, _, errors) = relay.command(&["reload"]);
    assert_eq!(code, Some(69), "{errors}");
    assert!(errors.contains("relay.sock"), "{errors}");
}

/// A reload of what runs already is how an operator has it switched on again.
#[test]
fn reload_tells_what_is_on_again() {
    let script = "function on.connect(client)\n\
                  client:send({ opcode = 'ready', uuid = client.issued_uuid }) end\n\
                  function opcodes.hang() while true do end end";
    let flags = ["--listen", "tcp://127.0.0.1:0", "--script", "my.lua", "--set"];
    let flags = [&flags[..], &["script.kills_max=1"]].concat();
    let mut relay = Process::start(&flags, &[("my.lua", script)]);
    let url = format!("tcp://{}", relay.listening(1)[0].1);
    let hang = || runtime().block_on(run(&["send", &url, r#"{"opcode":"hang"}"#], "")).stderr;
    assert!(hang().contains("handler_failed"));
    assert!(hang().contains("handler_disabled"));
    let (_, output, _) = relay.command(&["reload"]);
    assert!(output.contains("switched on again: opcodes.hang\n"), "{output}");
    assert!(relay.log().contains(output.trim()), "{}", relay.log());
    let (_, output, _) = relay.command(&["reload"]);
    assert!(!output.contains("on again"), "{output}");
    assert!(hang().contains("handler_failed"));
}

#[test]
fn check_says_what_a_start_would_do_and_binds_nothing() {
    let config = shipped("relay.toml").display().to_string();
    let check = ["check", "--config", &config, "--set", "tls.directory=certs"];
    let (code, output, errors) = ran(&check);
    assert_eq!((code, &*errors), (Some(0), ""));
    for said in ["any://127.0.0.1:8083", "echo feedback quit uuid", "limits.connections_max"] {
        assert!(output.contains(said), "expected {said:?}: {output}");
    }
    let (code, output, _) = ran(&[&check[..], &["--json"]].concat());
    let told: serde_json::Value = serde_json::from_str(&output).expect("JSON");
    assert_eq!((code, &told["mistakes"]), (Some(0), &serde_json::json!([])), "{told}");
}

#[test]
fn check_names_each_mistake_with_its_place() {
    let files = [
        (
            "relay.toml",
            "workers = 4096\n[script]\nfile = 'opcodes.lua'\n[limits]\nname_bytes_max = 0\n",
        ),
        ("opcodes.lua", "\nfunction on.conect() end\n"),
    ];
    let relay = Process::start(&["check"], &files);
    let (code, output, errors) = relay.output();
    let told = format!("{output}{errors}");
    for said in ["relay.toml:1:", "relay.toml:5:", "opcodes.lua:2:", "did you mean"] {
        assert!(told.contains(said), "expected {said:?}: {told}");
    }
    assert_eq!(code, Some(64), "{told}");
}

#[test]
fn test_runs_the_shipped_tests_and_fails_when_a_recipe_is_broken() {
    let config = shipped("relay.toml").display().to_string();
    let (code, output, errors) = ran(&["test", "--config", &config]);
    assert_eq!((code, &*errors), (Some(0), ""), "{output}");
    assert!(output.contains("\nok 14 - "), "{output}");
    assert!(!output.contains("not ok"), "{output}");

    let cookbook = TempDir::new();
    for entry in fs::read_dir(shipped("docs/cookbook")).expect("the cookbook") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        cookbook.write(&name, &fs::read_to_string(&path).expect("text"));
    }
    let directory = cookbook.file(".").display().to_string();
    let (code, output, _) = ran(&["test", &directory, "--format", "pretty"]);
    assert_eq!(code, Some(0), "{output}");
    let recipe = fs::read_to_string(cookbook.file("progress.lua")).expect("the recipe");
    let broken = recipe.replace("room = job", "room = 'elsewhere'");
    assert_ne!(recipe, broken);
    cookbook.write("progress.lua", &broken);
    let (code, output, _) = ran(&["test", &directory, "--format", "pretty"]);
    assert_eq!(code, Some(1), "{output}");
    assert!(output.contains("FAIL  those who watch hear each report"), "{output}");
    assert!(output.contains("progress_test.lua:"), "{output}");
    assert!(output.contains("1 failed"), "{output}");
}

#[test]
fn init_editor_writes_what_an_editor_needs() {
    let directory = TempDir::new();
    let place = directory.file(".").display().to_string();
    let (code, output, errors) = ran(&["init-editor", &place]);
    assert_eq!((code, &*errors), (Some(0), ""), "{output}");
    let definitions = fs::read_to_string(directory.file("relay.d.lua")).expect("written");
    assert!(definitions.starts_with("---@meta"), "{definitions}");
    assert!(definitions.contains("function client:send(what) end"));
    let settings = fs::read_to_string(directory.file(".luarc.json")).expect("written");
    serde_json::from_str::<serde_json::Value>(&settings).expect("JSON");
}
