//! A run out of file descriptors: those who are here feel nothing of it, and it is over when it is.

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
