//! The script is replaced while everything runs, or stays as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::client::{Client, Door, Heard, Transport};
use crate::harness::{DEADLINE, Setup, TempDir, shipped};
use crate::process::Process;

/// The shipped script with more behind it.
fn script_with(more: &str) -> String {
    let shipped = fs::read_to_string(shipped("scripts/opcodes.lua")).expect("the shipped script");
    format!("{shipped}\n{more}\n")
}

/// The shipped script with an opcode `version` that answers this.
fn script_of_version(version: &str) -> String {
    script_with(&format!(
        "function opcodes.version(client, msg)\n  client:send('{{\"version\":\"{version}\"}}')\nend"
    ))
}

/// Saves as a careful editor does: a new file takes the place of the old one.
fn save_by_rename(path: &Path, text: &str) {
    let new = path.with_extension("lua.new");
    fs::write(&new, text).expect("a writable directory");
    fs::rename(new, path).expect("a rename");
}

/// Saves as a plain editor does: the file is emptied and written again.
fn save_by_rewrite(path: &Path, text: &str) {
    fs::write(path, text).expect("a writable file");
}

/// Which version of the script answers; empty where it knows no `version`.
async fn version(client: &mut Client) -> String {
    client.send_together(&[r#"{"opcode":"version"}"#, r#"{"opcode":"echo"}"#]).await;
    let mut answer = String::new();
    loop {
        match client.heard().await {
            Heard::Text(text) if text == br#"{"opcode":"echo"}"# => return answer,
            Heard::Text(text) if text.starts_with(b"{\"version\":\"") => {
                answer = String::from_utf8_lossy(&text[12..text.len() - 2]).into_owned();
            }
            heard if crate::client::opcode(&heard).as_deref() == Some("next") => {}
            heard => panic!("expected an ack, a version or an echo; heard {heard}"),
        }
    }
}

/// Waits until this version answers; how long that took.
async fn becomes(client: &mut Client, expected: &str) -> Duration {
    let since = Instant::now();
    loop {
        let version = version(client).await;
        if version == expected {
            return since.elapsed();
        }
        assert!(
            since.elapsed() < DEADLINE,
            "expected version {expected:?} in time, not {version:?}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

struct Script {
    _directory: TempDir,
    file: PathBuf,
}

impl Script {
    fn new(text: &str) -> Script {
        let directory = TempDir::new();
        let file = directory.write("opcodes.lua", text);
        Script { _directory: directory, file }
    }
}

fn changes_the_behaviour_of_open_connections(save: fn(&Path, &str)) {
    let script = Script::new(&script_with(""));
    Setup::new().script(&script.file).run(async |relay| {
        let mut clients = Vec::new();
        for transport in [Transport::Ws, Transport::Wss, Transport::Tcp, Transport::Ssl] {
            let mut client = relay.client(transport).await;
            assert_eq!(version(&mut client).await, "", "expected no such opcode at first");
            clients.push(client);
        }
        let mut times = Vec::new();
        for number in 1..=5 {
            let expected = number.to_string();
            save(&script.file, &script_of_version(&expected));
            let (first, rest) = clients.split_first_mut().expect("four clients");
            times.push(becomes(first, &expected).await);
            for client in rest {
                let version = version(client).await;
                assert_eq!(version, expected, "expected the same for all from one moment on");
            }
        }
        // A machine that is busy may take longer now and then, but not each time.
        let fastest = times.iter().min().expect("five times");
        assert!(*fastest < Duration::from_secs(1), "expected a second at most: {times:?}");
    });
}

#[test]
fn a_script_saved_by_rename_changes_the_behaviour_of_open_connections() {
    changes_the_behaviour_of_open_connections(save_by_rename);
}

#[test]
fn a_script_saved_by_rewrite_changes_the_behaviour_of_open_connections() {
    changes_the_behaviour_of_open_connections(save_by_rewrite);
}

#[test]
fn a_script_behind_a_swapped_symlink_is_noticed() {
    // As config maps are mounted: the file is a link into a directory that is itself a link.
    let directory = TempDir::new();
    let version_in = |name: &str, version: &str| {
        fs::create_dir(directory.file(name)).expect("a directory");
        fs::write(directory.file(name).join("opcodes.lua"), script_of_version(version))
            .expect("a file");
    };
    version_in("one", "1");
    version_in("two", "2");
    std::os::unix::fs::symlink("one", directory.file("data")).expect("a link");
    std::os::unix::fs::symlink("data/opcodes.lua", directory.file("opcodes.lua")).expect("a link");
    Setup::new().script(&directory.file("opcodes.lua")).run(async |relay| {
        let mut client = relay.web(Transport::Ws, "/").await;
        assert_eq!(version(&mut client).await, "1");
        std::os::unix::fs::symlink("two", directory.file("data.new")).expect("a link");
        fs::rename(directory.file("data.new"), directory.file("data")).expect("a rename");
        becomes(&mut client, "2").await;
    });
}

#[test]
fn what_clients_have_survives_a_reload() {
    let script = Script::new(&script_of_version("1"));
    Setup::new().script(&script.file).run(async |relay| {
        let mut page = relay.web_named(Transport::Ws, "page").await;
        let mut other = relay.web(Transport::Wss, "/web").await;
        let mut backend = relay.backend(Transport::Tcp).await;
        // In the middle of a buffered message.
        for piece in ["bufferON", r#"{"opcode":"feedback","#] {
            backend.send(piece).await;
            backend.acked("").await;
        }
        save_by_rename(&script.file, &script_of_version("2"));
        becomes(&mut page, "2").await;
        let rest = r#""uuid":"page"}"#;
        for piece in [rest, "bufferOFF"] {
            backend.send(piece).await;
            backend.acked("").await;
        }
        page.hears(r#"{"opcode":"feedback","uuid":"page"}"#).await;
        page.send(r#"{"opcode":"broadcast"}"#).await;
        page.acked("page").await;
        other.hears(r#"{"opcode":"broadcast"}"#).await;
        page.send(r#"{"opcode":"quit"}"#).await;
        page.acked("page").await;
        page.expect_close(1000).await;
    });
}

#[test]
fn no_message_is_lost_while_scripts_change() {
    let script = Script::new(&script_of_version("0"));
    Setup::new().script(&script.file).run(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let mut sender = relay.backend(Transport::Tcp).await;
        let mut observer = relay.web(Transport::Ws, "/").await;
        let reloads = async {
            for number in 1..=10 {
                save_by_rename(&script.file, &script_of_version(&number.to_string()));
                becomes(&mut observer, &number.to_string()).await;
            }
        };
        tokio::pin!(reloads);
        let (mut n, mut over) = (0, false);
        while !over {
            let text = format!(r#"{{"opcode":"broadcast","n":{n}}}"#);
            let exchange = async {
                sender.send(&text).await;
                sender.acked("").await;
                page.hears(&text).await;
            };
            tokio::pin!(exchange);
            tokio::select! {
                () = &mut exchange => {}
                () = &mut reloads => {
                    over = true;
                    exchange.await;
                }
            }
            n += 1;
        }
        assert!(n > 10, "expected messages between the reloads, not {n}");
    });
}

/// Scripts that must not replace one that runs, and what the log says of each: a text in it.
fn broken_scripts() -> Vec<(&'static str, String, String)> {
    let line = |text: &str| format!("opcodes.lua:{}", text.lines().count());
    let syntax = script_with("function opcodes.version(client, msg) end end");
    let runtime = script_with("error('refused to load')");
    let unknown_hook = script_with("function on.conect(client) end");
    let no_function = script_with("opcodes.version = 'not a function'");
    vec![
        ("a syntax error", syntax.clone(), line(syntax.trim_end())),
        ("an error at load", runtime.clone(), line(runtime.trim_end())),
        ("a hook that does not exist", unknown_hook, "connect".to_owned()),
        ("an opcode that is no function", no_function, "version".to_owned()),
        ("an empty file", String::new(), "opcodes.lua".to_owned()),
        ("no text", "\u{0}\u{1}".to_owned(), "opcodes.lua".to_owned()),
    ]
}

#[test]
fn a_broken_script_changes_nothing_and_says_where_it_is_broken() {
    let script = Script::new(&script_of_version("good"));
    let file = script.file.display().to_string();
    let mut relay = Process::relay(&["--listen", "tcp://127.0.0.1:0", "--script", &file]);
    let door = Door::new(relay.listening(1)[0].1, None);
    crate::harness::runtime().block_on(async {
        let mut page = door.web(Transport::Ws, "/web").await;
        let mut backend = door.backend(Transport::Tcp).await;
        assert_eq!(version(&mut page).await, "good");
        for (save, how) in
            [(save_by_rename as fn(&Path, &str), "renamed"), (save_by_rewrite, "rewritten")]
        {
            for (what, text, said) in broken_scripts() {
                let from = relay.log_lines();
                save(&script.file, &text);
                let log = relay.log_until(from, &said).await;
                assert!(
                    log.contains("opcodes.lua"),
                    "{what}, {how}: expected the file's name: {log}"
                );
                assert_eq!(version(&mut page).await, "good", "{what}, {how}: {log}");
                assert_eq!(version(&mut backend).await, "good", "{what}, {how}: {log}");
                page.hears_nothing().await;
            }
        }
        // A good one replaces it again.
        save_by_rename(&script.file, &script_of_version("better"));
        becomes(&mut page, "better").await;
        // A file that is gone is no reason to stop.
        fs::remove_file(&script.file).expect("our own file");
        save_by_rename(&script.file.with_file_name("other.lua"), "not for us");
        assert_eq!(version(&mut page).await, "better");
        save_by_rename(&script.file, &script_of_version("best"));
        becomes(&mut page, "best").await;
    });
    relay.signal("TERM");
    assert_eq!(relay.exit_code(), Some(0));
}
