//! What becomes of a relay that the system gives too few threads.

use std::process::Stdio;

use crate::process::Process;

/// However few threads the system gives: a start that needs one more ends with what lacks and what helps.
#[test]
fn a_start_without_threads_says_so_or_serves() {
    let flags = "--listen tcp://127.0.0.1:0 --script my.lua --set workers=1 --set control.socket=";
    let mut refused = Vec::new();
    for threads in 1..32 {
        // The bound is one of a user, and none for root: so whoever that is becomes another, who has
        // no way to the binary but a descriptor.
        let lines = format!(
            "echo 'function on.default() end' > my.lua; touch relay.toml; chmod 755 .; exec 9<\"$0\"
             run='ulimit -p {threads} 2> /dev/null || ulimit -u {threads}; exec /proc/self/fd/9 {flags}'
             test $(id -u) = 0 || exec sh -c \"$run\"
             exec setpriv --reuid 64123 --clear-groups sh -c \"$run\""
        );
        let mut relay = Process::under(&lines, &[], Stdio::null(), &[]);
        let serves = ["listening on ", "not printed what is listened on: no thread"];
        if !relay.ends_or_says(&serves) {
            // Without another one, what runs goes on.
            if relay.log().contains(serves[1]) {
                let config = "[script]\ncall_timeout_ms = 70\n";
                std::fs::write(relay.file("relay.toml"), config).expect("written");
                relay.signal("HUP");
                let rejected = ["still generation 1", "no thread for the watchdog"];
                assert!(!relay.ends_or_says(&rejected[1..]), "{}", relay.log());
                assert!(relay.log().contains(rejected[0]), "{}", relay.log());
                relay.signal("TERM");
                assert_eq!(relay.exit_code(), Some(0), "{}", relay.log());
            }
            break;
        }
        let (code, _, errors) = relay.output();
        assert_eq!(code, Some(71), "{threads} threads: {errors}");
        let said = errors.lines().last().unwrap_or_default();
        assert!(said.starts_with("relay: ") && said.contains("no thread for "), "{errors:?}");
        assert!(said.contains("ulimit -u, TasksMax="), "{errors:?}");
        refused.push(said.to_owned());
    }
    assert!(refused.first().is_some_and(|said| said.contains("for the log")), "{refused:?}");
}
