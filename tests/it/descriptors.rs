//! A run out of file descriptors: those who are here feel nothing of it, and it is over when it is.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::client::{Door, Transport};
use crate::harness::runtime;
use crate::process::Process;
use crate::wire::Wire;

/// How many files the process may have open from now on; how many it could before.
fn set_limit(relay: &Process, files: u64) -> u64 {
    let pid = i32::try_from(relay.pid()).ok().and_then(Pid::from_raw);
    // The same as ours, which it has inherited.
    let hard = rustix::process::getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: Some(files), maximum: hard };
    let before = prlimit(pid, Resource::Nofile, limit).expect("our own child");
    before.current.expect("a limit")
}

/// The processor time that the process has used, in clock ticks (proc(5): fields 14 and 15).
fn ticks(relay: &Process) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", relay.pid())).expect("it runs");
    let (_, behind_name) = stat.rsplit_once(')').expect("a name in brackets");
    let field = |at: usize| behind_name.split_whitespace().nth(at - 3)?.parse::<u64>().ok();
    field(14).zip(field(15)).map(|(user, system)| user + system).expect("numbers")
}

#[test]
fn a_run_out_of_descriptors_is_over_when_they_are_back() {
    let mut relay = Process::relay(&["--listen", "any://127.0.0.1:0", "--set", "workers=2"]);
    let door = Door::new(relay.listening(1)[0].1, None);
    runtime().block_on(async {
        let mut page = door.web(Transport::Ws, "/web").await;
        let mut backend = door.backend(Transport::Tcp).await;
        let from = relay.log_lines();
        // It keeps what it has, and gets no more.
        let before = set_limit(&relay, 8);
        let mut waiting = Vec::new();
        for _ in 0..50 {
            let mut wire = Wire::dial(&door, Transport::Tcp).await;
            wire.write(b"php process\n\n").await;
            waiting.push(wire);
        }
        relay.log_until(from, "no connection can be accepted").await;
        page.hears_nothing().await;
        backend.hears_nothing().await;
        let used = ticks(&relay);
        // The span that is measured: 200 ticks of one processor, if it spins.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let used = ticks(&relay) - used;
        assert!(used <= 20, "expected it to wait, but it worked for {used} ticks of 10 ms");
        page.hears_nothing().await;
        backend.hears_nothing().await;

        set_limit(&relay, before);
        for wire in &mut waiting {
            assert!(wire.read().await.starts_with(b"{\"opcode\":\"ready\""));
        }
        door.web(Transport::Ws, "/").await.hears_nothing().await;
        page.hears_nothing().await;
        let log = relay.log_until(from, "over: no connection can be accepted").await;
        assert_eq!(log.matches("no connection can be accepted").count(), 2, "{log}");
        // The watch may find the script unreadable, and readable again.
        assert!(log.lines().count() <= 4, "{log}");
    });
}

/// A relay that may have so many files open, at first and at the most, and is to have 150 clients.
fn limited(files: u64, at_most: u64) -> Process {
    let shell = format!("ulimit -Sn {files} && ulimit -Hn {at_most} && exec \"$0\" \"$@\"");
    let flags = ["--listen", "tcp://127.0.0.1:0", "--set", "workers=2"];
    let flags = [&flags[..], &["--set", "limits.connections_max=150"]].concat();
    Process::under(&shell, &flags, Stdio::null(), &[])
}

#[test]
fn as_many_descriptors_as_clients_are_asked_for_at_the_start() {
    let mut relay = limited(100, 300);
    let addr = relay.listening(1)[0].1;
    runtime().block_on(async {
        Door::new(addr, None).backend(Transport::Tcp).await.hears_nothing().await;
    });
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", relay.pid()));
    let limits = limits.expect("it runs");
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = files.and_then(|files| files.split_whitespace().next()?.parse::<u64>().ok());
    assert!(soft.is_some_and(|soft| soft > 150), "expected room for all clients: {limits}");
    relay.signal("TERM");
    assert_eq!(relay.exit_code(), Some(0));

    let (code, stdout, stderr) = limited(100, 180).output();
    assert_eq!((code, &*stdout), (Some(64), ""), "{stderr}");
    let told = "limits.connections_max is 150, but this process may open only 180 files";
    assert!(stderr.contains(told), "{stderr}");
}
