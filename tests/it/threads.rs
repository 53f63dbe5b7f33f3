//! What becomes of a relay that the system gives too few threads.

use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};

use crate::process::Process;

/// Further than any of them comes.
const THREADS_MAX: usize = 32;

const SCRIPT: &str = "function on.default() end";

/// One that may have so many threads. The bound is one of a user, and none for root: so whoever that is
/// becomes another, of its own for each test, who has no way to the binary but a descriptor.
fn relay_with(threads: usize, user: usize, script: &str, flags: &str) -> Process {
    let lines = format!(
        "echo '{script}' > my.lua; touch relay.toml; chmod 755 .; exec 9<\"$0\"
         echo 'test(\"nothing\", function() end)' > my_test.lua
         run='ulimit -p {threads} 2> /dev/null || ulimit -u {threads}; exec /proc/self/fd/9 {flags}'
         test $(id -u) = 0 || exec sh -c \"$run\"
         exec setpriv --reuid {user} --clear-groups sh -c \"$run\""
    );
    Process::under(&lines, &[], Stdio::null(), &[])
}

/// What it ended with, which is that it has no thread for something.
fn refused(relay: Process, threads: usize) -> String {
    let (code, _, errors) = relay.output();
    assert_eq!(code, Some(71), "{threads} threads: {errors}");
    let said = errors.lines().last().unwrap_or_default();
    assert!(said.contains("no thread for "), "{errors:?}");
    assert!(said.contains("ulimit -u, TasksMax="), "{errors:?}");
    said.to_owned()
}

/// That it came to its end at some number of threads. For a user who is not root the bound counts the
/// threads of all that is running, and how far it comes is not to be known.
#[track_caller]
fn expect_all(came_to_the_end: bool, refused: &[String]) {
    let root = std::fs::metadata("/proc/self").expect("Linux").uid() == 0;
    match root || came_to_the_end {
        true => assert!(came_to_the_end, "it came as far as {refused:#?}"),
        false => println!("not as root: it came as far as {refused:#?}"),
    }
}

/// However few threads the system gives: a start that needs one more ends with what lacks and what helps.
#[test]
fn a_start_without_threads_says_so_or_serves() {
    // By a way that the other user has, too: where the watch of the files is refused after its threads were
    // given, their number is nobody's to foretell.
    let flags = "--listen tcp://127.0.0.1:0 --script /proc/self/cwd/my.lua --set workers=1 --set control.socket=";
    let unprinted = "not printed what is listened on: no thread";
    let (mut all, mut said) = (false, Vec::new());
    for threads in 1..THREADS_MAX {
        let mut relay = relay_with(threads, 64_123, SCRIPT, flags);
        if relay.ends_or_says(&["listening on ", unprinted]) {
            said.push(refused(relay, threads));
            continue;
        }
        // It may do without a watch of its files, so this is not yet the last case.
        all = relay.log().contains(unprinted);
        if all {
            // Without another one, what runs goes on.
            let config = "[script]\ncall_timeout_ms = 70\n";
            std::fs::write(relay.file("relay.toml"), config).expect("written");
            relay.signal("HUP");
            let rejected = ["still generation 1", "no thread for the watchdog"];
            assert!(!relay.ends_or_says(&rejected[1..]), "{}", relay.log());
            assert!(relay.log().contains(rejected[0]), "{}", relay.log());
            relay.signal("TERM");
            assert_eq!(relay.exit_code(), Some(0), "{}", relay.log());
            break;
        }
    }
    assert!(said.iter().all(|said| said.starts_with("relay: ")), "{said:?}");
    assert!(said.first().is_some_and(|said| said.contains("for the log")), "{said:?}");
    expect_all(all, &said);
}

/// Nor is it a mistake of the script where it is looked at by a command.
#[test]
fn commands_without_threads_blame_no_script() {
    for (user, command) in [(64_124, "check"), (64_125, "test")] {
        let (mut all, mut said) = (false, Vec::new());
        for threads in 1..THREADS_MAX {
            let mut relay =
                relay_with(threads, user, SCRIPT, &format!("{command} --script my.lua"));
            all = relay.exit_code() == Some(0);
            if all {
                break;
            }
            said.push(refused(relay, threads));
        }
        assert!(!said.is_empty(), "expected {command} to need threads");
        expect_all(all, &said);
    }
}

/// The end of the process needs none, and waits for no handler at the deadline.
#[test]
fn an_end_without_threads_is_one_in_time() {
    let script = "function on.default() end function on.load() relay.after(0.01, function()
                  relay.log.info(\"hanging\") while true do end end) end";
    let flags = "--listen tcp://127.0.0.1:0 --script my.lua --set workers=1 --set control.socket= \
                 --set drain.timeout_ms=300 --set script.call_timeout_ms=60000";
    let mut relay = relay_with(10_000, 64_126, script, flags);
    assert!(!relay.ends_or_says(&["hanging"]), "{}", relay.log());
    let limit = format!("prlimit --nproc=1:1 --pid {}", relay.pid());
    let limit = format!("test $(id -u) = 0 || exec {limit}; exec setpriv --reuid 64126 {limit}");
    let limited = Command::new("sh").args(["-c", &limit]).status().expect("a shell");
    assert!(limited.success(), "expected the relay to be bound");
    relay.signal("TERM");
    assert_eq!(relay.exit_code(), Some(0));
    let (_, _, log) = relay.output();
    assert!(log.contains("a handler of the script does not return: left behind"), "{log}");
}
