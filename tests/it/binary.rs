//! The command itself: what it prints, what it takes, and how it ends.

use std::net::TcpListener;

use crate::client::{Door, Transport};
use crate::harness::{eventually, in_time, runtime, shipped};
use crate::process::Process;

/// Runs the relay to an end that it finds by itself, which is a mistake of its operator: one
/// message, and no trace of Rust's.
fn expect_mistake(mut process: Process, code: i32, named: &[&str]) {
    let ended = process.exit_code();
    let (_, stdout, stderr) = process.output();
    assert_eq!(ended, Some(code), "expected exit code {code}\n{stderr}");
    assert_eq!(stdout, "", "expected nothing on standard output");
    for part in named {
        assert!(stderr.contains(part), "expected {part:?} in the message: {stderr}");
    }
    for trace in ["panicked", "RUST_BACKTRACE", "stack backtrace", "src/"] {
        assert!(!stderr.contains(trace), "expected no {trace:?} in the message: {stderr}");
    }
}

#[test]
fn prints_a_line_for_each_bound_address() {
    let flags = ["any", "ws", "wss", "tcp", "ssl"].map(|scheme| format!("{scheme}://127.0.0.1:0"));
    let flags: Vec<&str> = flags.iter().flat_map(|url| ["--listen", url]).collect();
    let mut relay = Process::relay(&flags);
    let listening = relay.listening(5);
    let schemes: Vec<&str> = listening.iter().map(|(scheme, _)| scheme.as_str()).collect();
    assert_eq!(schemes, ["any", "ws", "wss", "tcp", "ssl"]);
    assert!(listening.iter().all(|(_, addr)| addr.ip().is_loopback() && addr.port() != 0));
    runtime().block_on(async {
        for index in [0, 1, 3] {
            let door = Door::new(listening[index].1, None);
            door.backend(Transport::Tcp).await.hears_nothing().await;
            door.web(Transport::Ws, "/").await.hears_nothing().await;
        }
    });
}

#[test]
fn names_and_ipv6_are_listened_on() {
    let mut relay = Process::relay(&["--listen", "tcp://localhost:0"]);
    // A name may stand for several addresses; there is one line for each.
    let first = relay.listening_at_least_one();
    runtime().block_on(async {
        Door::new(first, None).backend(Transport::Tcp).await.hears_nothing().await;
    });
    if TcpListener::bind("[::1]:0").is_err() {
        return println!("not tried: this machine has no IPv6");
    }
    let mut relay = Process::relay(&["--listen", "any://[::1]:0"]);
    let listening = relay.listening(1);
    assert!(listening[0].1.is_ipv6(), "{listening:?}");
    runtime().block_on(async {
        Door::new(listening[0].1, None).backend(Transport::Tcp).await.hears_nothing().await;
    });
}

#[test]
fn listens_where_the_config_says_and_flags_replace_it() {
    let config = "listen = ['tcp://127.0.0.1:0', 'ws://127.0.0.1:0']\n[script]\nfile = 'my.lua'\n";
    let script = "function on.default(client, msg) end";
    let files = [("relay.toml", config), ("my.lua", script)];
    let mut relay = Process::start(&["--config", "relay.toml"], &files);
    assert_eq!(relay.listening(2)[1].0, "ws");
    let mut relay = Process::start(&["--listen", "tcp://127.0.0.1:0"], &files);
    assert_eq!(relay.listening(1)[0].0, "tcp", "expected relay.toml of the current directory");
}

#[test]
fn the_flags_set_and_script_are_used() {
    let script =
        "function opcodes.hello(client, msg)\n  client:send('{\"from\":\"my script\"}')\nend\n";
    let flags = [
        "--listen",
        "tcp://127.0.0.1:0",
        "--script",
        "my.lua",
        "--set",
        "limits.message_bytes_max=100",
        "--set",
        "workers=1",
    ];
    let config = shipped("relay.toml").display().to_string();
    let mut relay =
        Process::start(&[&["--config", &config][..], &flags].concat(), &[("my.lua", script)]);
    let door = Door::new(relay.listening(1)[0].1, None);
    runtime().block_on(async {
        let mut stream = crate::wire::Wire::dial(&door, Transport::Tcp).await;
        stream.write(br#"{"opcode":"hello"}"#).await;
        let mut heard = String::new();
        while !heard.contains(r#"{"from":"my script"}"#) {
            let read = stream.read().await;
            assert!(!read.is_empty(), "expected the script to answer: {heard}");
            heard.push_str(&String::from_utf8_lossy(&read));
        }
        stream.write(format!("{{\"x\":\"{}\"}}", "x".repeat(100)).as_bytes()).await;
        let heard = String::from_utf8_lossy(&stream.read_to_end().await).into_owned();
        assert!(heard.contains(r#""opcode":"close""#), "expected the limit to hold: {heard}");
    });
}

#[test]
fn a_mistake_in_the_config_file_exits_64_with_file_line_and_key() {
    let cases: &[(&str, &[&str])] = &[
        (
            "workers = 1\n[limits]\nqueue_byte_max = 5\n",
            &["relay.toml:3", "queue_byte_max", "queue_bytes_max"],
        ),
        ("\n\nworkers = 'many'\n", &["relay.toml:3", "workers"]),
        ("[limits]\n\nmessage_bytes_max = -1\n", &["relay.toml:3", "message_bytes_max"]),
        ("listen = ['http://127.0.0.1:80']\n", &["relay.toml:1", "listen", "http"]),
        ("listen = []\n", &["relay.toml:1", "listen"]),
        ("[limit]\nconnections_max = 5\n", &["relay.toml:1", "limit", "limits"]),
        ("workers = \n", &["relay.toml:1"]),
        ("workers = 1\nworkers = 2\n", &["relay.toml:2", "workers"]),
    ];
    for (config, named) in cases {
        let process = Process::start(&["--config", "relay.toml"], &[("relay.toml", config)]);
        expect_mistake(process, 64, named);
    }
}

#[test]
fn a_mistake_in_a_flag_exits_64_and_names_it() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["--set", "limits.queue_byte_max=5"], &["limits.queue_byte_max", "queue_bytes_max"]),
        (&["--set", "workers=many"], &["workers", "many"]),
        (&["--set", "no value"], &["no value"]),
        (&["--listen", "127.0.0.1:80"], &["127.0.0.1:80"]),
        (&["--listen", "any://127.0.0.1"], &["any://127.0.0.1"]),
        (&["--listen", "any://127.0.0.1:99999"], &["99999"]),
        (&["--confg", "relay.toml"], &["--confg", "--config"]),
        (&["--config", "missing.toml"], &["missing.toml"]),
        (&["stray"], &["stray"]),
    ];
    for (flags, named) in cases {
        expect_mistake(Process::start(flags, &[]), 64, named);
    }
}

#[test]
fn a_bad_script_exits_65_with_file_and_line() {
    let cases: &[(&str, &[&str])] = &[
        ("function opcodes.x(client, msg)\nend\nend\n", &["my.lua:3"]),
        ("\nerror('refused to load')\n", &["my.lua:2", "refused to load"]),
        ("function on.conect(client) end\n", &["my.lua", "conect", "connect"]),
        ("opcodes.x = 5\n", &["my.lua", "x"]),
        ("", &["my.lua"]),
    ];
    for (script, named) in cases {
        let flags = ["--listen", "tcp://127.0.0.1:0", "--script", "my.lua"];
        expect_mistake(Process::start(&flags, &[("my.lua", script)]), 65, named);
    }
    let flags = ["--listen", "tcp://127.0.0.1:0", "--script", "missing.lua"];
    expect_mistake(Process::start(&flags, &[]), 65, &["missing.lua"]);
}

/// As in any directory where somebody tries the command.
#[test]
fn a_start_that_fails_makes_no_certificate() {
    let mut process = Process::start(&[], &[]);
    assert_eq!(process.exit_code(), Some(65));
    assert!(!process.file("certs").exists());
    expect_mistake(process, 65, &["scripts/opcodes.lua"]);
}

#[test]
fn a_busy_port_exits_69_and_is_named() {
    let busy = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = busy.local_addr().expect("bound").to_string();
    let process = Process::relay(&["--listen", &format!("tcp://{addr}")]);
    expect_mistake(process, 69, &[&addr]);
}

#[test]
fn a_mistake_with_certificates_exits_64() {
    let process = Process::start(
        &[
            "--listen",
            "ssl://127.0.0.1:0",
            "--set",
            "tls.certificate=c.pem",
            "--set",
            "tls.key=k.pem",
            "--script",
            "my.lua",
        ],
        &[("c.pem", "nothing"), ("k.pem", "nothing"), ("my.lua", "function on.default() end")],
    );
    expect_mistake(process, 64, &["tls.certificate: ", "c.pem"]);
}

#[test]
fn help_and_version_exit_0() {
    for (flag, said) in [("--help", "--listen"), ("--version", env!("CARGO_PKG_VERSION"))] {
        let (code, stdout, stderr) = Process::start(&[flag], &[]).output();
        assert_eq!(code, Some(0), "{flag}: {stderr}");
        assert!(stdout.contains(said), "{flag}: expected {said:?}: {stdout}");
    }
}

fn ends_well_on(signal: &str) {
    let mut relay = Process::relay(&["--listen", "tcp://127.0.0.1:0"]);
    let door = Door::new(relay.listening(1)[0].1, None);
    runtime().block_on(async {
        let mut page = door.web(Transport::Ws, "/web").await;
        let mut backend = door.backend(Transport::Tcp).await;
        backend.send(r#"{"opcode":"broadcast"}"#).await;
        backend.acked("").await;
        relay.signal(signal);
        page.hears(r#"{"opcode":"broadcast"}"#).await;
        page.expect_close(1001).await;
        backend.expect_refusal(1001).await;
    });
    let (code, stdout, stderr) = relay.output();
    assert_eq!(code, Some(0), "expected a good end: {stderr}");
    assert_eq!(stdout.lines().count(), 1, "expected no more on standard output: {stdout}");
    assert!(!stderr.contains("panicked") && !stderr.contains("backtrace"), "{stderr}");
    assert!(
        stderr.contains("drained closed=2 left=0 cut=0 took_ms="),
        "expected a verdict: {stderr}"
    );
}

#[test]
fn term_ends_it_well() {
    ends_well_on("TERM");
}

#[test]
fn int_ends_it_well() {
    ends_well_on("INT");
}

#[test]
fn a_second_term_ends_it_at_once() {
    let flags = ["--listen", "tcp://127.0.0.1:0", "--set", "drain.timeout_ms=60000", "--set"];
    let mut relay = Process::relay(&[&flags[..], &["limits.linger_timeout_ms=60000"]].concat());
    let door = Door::new(relay.listening(1)[0].1, None);
    runtime().block_on(async {
        // A client that does not answer the Close.
        let mut deaf = crate::wire::Wire::web(&door, Transport::Ws, "/").await;
        relay.signal("TERM");
        let close = deaf.frame().await.expect("a Close frame");
        assert_eq!(close.close_code(), Some(1001));
        relay.signal("TERM");
        // As long as it is there, nothing else ends the relay.
        assert_eq!(relay.exit_code(), Some(0));
        drop(deaf);
    });
    let (_, _, log) = relay.output();
    assert!(log.contains("stopped by a second signal") && !log.contains("drained"), "{log}");
}

#[test]
fn a_script_that_fails_at_run_time_ends_nothing_and_is_logged_with_its_line() {
    let script = "\nfunction opcodes.fail(client, msg)\n  local x = nil\n  return x.y\nend\n";
    let flags = ["--listen", "tcp://127.0.0.1:0", "--script", "my.lua"];
    let mut relay = Process::start(&flags, &[("my.lua", script)]);
    let door = Door::new(relay.listening(1)[0].1, None);
    runtime().block_on(async {
        let mut wire = crate::wire::Wire::dial(&door, Transport::Tcp).await;
        wire.write(br#"{"opcode":"fail"}"#).await;
        relay.log_until(0, "my.lua:4").await;
        let mut wire = crate::wire::Wire::dial(&door, Transport::Tcp).await;
        wire.write(br#"{"opcode":"fail"}"#).await;
        assert!(!wire.read().await.is_empty(), "expected the relay to go on");
    });
}

#[test]
fn peer_supplied_text_is_escaped_and_uuids_are_cut_in_the_log() {
    let flags = ["--listen", "tcp://127.0.0.1:0", "--set", "log.level=trace"];
    let mut relay = Process::relay(&flags);
    let door = Door::new(relay.listening(1)[0].1, None);
    let mut issued = String::new();
    runtime().block_on(async {
        let mut page = door.web_named(Transport::Ws, "a-secret-name-of-a-page").await;
        issued = page.uuid.clone();
        page.send(r#"{"opcode":"feedback","uuid":"another-secret-name","x":"\u001b[31m"}"#).await;
        page.acked("a-secret-name-of-a-page").await;
        page.send("\u{1b}[31mred\nsecond line").await;
        page.acked("a-secret-name-of-a-page").await;
        let mut thief = door.web(Transport::Ws, "/").await;
        thief.send(r#"{"opcode":"uuid","message":"a-secret-name-of-a-page"}"#).await;
        thief.acked("").await;
        assert_eq!(thief.hears_error("uuid").await, "uuid_taken");
        thief.close(Some(1000)).await;
        thief.expect_close(1000).await;
        page.close(Some(1000)).await;
        page.expect_close(1000).await;
    });
    relay.signal("TERM");
    let (code, _, log) = relay.output();
    assert_eq!(code, Some(0), "{log}");
    assert_eq!(log.matches("failed_claims=1").count(), 1, "expected the thief's end: {log}");
    for secret in [issued.as_str(), "a-secret-name-of-a-page", "another-secret-name"] {
        assert!(!log.contains(secret), "expected no whole uuid in the log: {log}");
    }
    assert!(!log.contains('\u{1b}'), "expected no control characters of a peer in the log: {log}");
}

/// A handler that does not return must not keep the process: not from its end at the deadline, and
/// not from hearing a second signal.
#[test]
fn term_ends_it_under_a_handler_that_does_not_return() {
    let script = "function opcodes.hang()\n  relay.log.info('hanging')\n  while true do end\nend\n";
    let flags = [
        "--listen",
        "tcp://127.0.0.1:0",
        "--script",
        "hang.lua",
        "--set",
        "drain.timeout_ms=300",
        // The budget would end it.
        "--set",
        "script.call_timeout_ms=60000",
    ];
    let mut relay = Process::start(&flags, &[("hang.lua", script)]);
    let door = Door::new(relay.listening(1)[0].1, None);
    runtime().block_on(async {
        let mut backend = door.open(Transport::Tcp, crate::client::Hello::php(None)).await;
        backend.send(r#"{"opcode":"hang"}"#).await;
        // Before that the relay may not have read it, and would end with a reset.
        relay.log_until(0, "hanging").await;
        relay.signal("TERM");
        backend.expect_end().await;
    });
    assert_eq!(relay.exit_code(), Some(0));
}

/// Whatever they were meant to do, to whichever process.
#[test]
fn stray_signals_end_nothing() {
    let mut relay = Process::relay(&["--listen", "tcp://127.0.0.1:0"]);
    let door = Door::new(relay.listening(1)[0].1, None);
    let names = "USR1 USR2 ALRM VTALRM PROF IO XCPU XFSZ PWR 16 CHLD CONT URG WINCH PIPE";
    // 16 is STKFLT, which not every shell knows.
    names.split(' ').for_each(|name| relay.signal(name));
    // The real-time ones that no C library keeps to itself.
    (35..=64).for_each(|number| relay.signal(&number.to_string()));
    runtime().block_on(async {
        door.backend(Transport::Tcp).await.hears_nothing().await;
    });
    relay.signal("TERM");
    assert_eq!(relay.exit_code(), Some(0));
}

/// Whoever started it may have forgotten it.
#[test]
fn output_that_nobody_reads_holds_up_nothing() {
    let mut relay = Process::unread(&["--listen", "tcp://127.0.0.1:0"]);
    runtime().block_on(async {
        // It takes its socket when it serves, and answers on the thread that accepts.
        eventually("the relay serves", async || relay.file("relay.sock").exists()).await;
        let reload = in_time("an answer", relay.command_async("reload")).await;
        assert_eq!(reload.0, Some(0), "{reload:?}");
    });
    relay.signal("TERM");
    assert_eq!(relay.exit_code(), Some(0));

    let mut refused = Process::unread(&["--set", "limits.connections_max=0"]);
    assert_eq!(refused.exit_code(), Some(64));
}

/// HUP asks for a reload; whether there is one or not, nobody is dropped.
#[test]
fn hup_ends_nothing() {
    let mut relay = Process::relay(&["--listen", "tcp://127.0.0.1:0"]);
    let door = Door::new(relay.listening(1)[0].1, None);
    runtime().block_on(async {
        let mut backend = door.backend(Transport::Tcp).await;
        for n in 0..3 {
            relay.signal("HUP");
            let echo = format!("{{\"opcode\":\"echo\",\"n\":{n}}}");
            backend.send(&echo).await;
            backend.acked("").await;
            backend.hears(echo.as_str()).await;
        }
    });
    relay.signal("TERM");
    assert_eq!(relay.exit_code(), Some(0));
}
