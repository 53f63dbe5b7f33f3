use super::*;
use crate::script::stage::{DEFAULT_SCRIPT, terms};

/// A directory with these files, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str, files: &[(&str, &str)]) -> Directory {
        let path =
            std::env::temp_dir().join(format!("relay-testing-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        for (name, text) in files {
            std::fs::write(path.join(name), text).expect("written");
        }
        Directory(path)
    }

    fn suite(&self, file: &str) -> Suite {
        let mut suites = Suite::find(&self.0, None).expect("readable");
        suites.retain(|suite| suite.file.ends_with(file));
        suites.pop().expect("found")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How the body of a test ends, on the default script: `None` where it passes.
fn outcome(name: &str, body: &str) -> Option<String> {
    let test = format!("test('it', function(t)\n{body}\nend)");
    let files = [("opcodes.lua", DEFAULT_SCRIPT), ("opcodes_test.lua", test.as_str())];
    let directory = Directory::new(name, &files);
    let report = directory.suite("opcodes_test.lua").run(&terms()).expect("loads");
    report.failed().next().map(|(_, failure)| {
        assert!(
            failure.place().is_some_and(|(path, line)| path.ends_with("_test.lua") && line > 1)
        );
        assert!(failure.excerpt().is_some());
        failure.message().to_owned()
    })
}

#[test]
fn the_shipped_tests_pass_on_the_shipped_script() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let suites = Suite::find(&scripts, None).expect("readable");
    let report = suites[0].run(&terms()).expect("loads");
    let failed: Vec<String> =
        report.failed().map(|(name, failure)| format!("{name}: {failure}")).collect();
    assert_eq!(failed, [""; 0]);
    assert!(report.outcomes.len() > 10);
}

/// Each clause of the default script, broken: some test notices.
#[test]
fn the_shipped_tests_notice_every_change_of_the_shipped_script() {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let suite = &Suite::find(&scripts, None).expect("readable")[0];
    for (good, bad) in [
        ("os = \"Linux\", ", ""),
        ("uuid = client.issued_uuid", "uuid = 'x'"),
        ("client.path == \"/web\"", "false"),
        ("client.path == \"/web\"", "true"),
        ("client:register(msg.data.message)", "true"),
        ("client:error(why, \"not registered\")", "client:error(why)"),
        ("and why ~= \"pending\"", ""),
        ("not client.may_send_feedback", "false"),
        ("\"forbidden\", \"no feedback from here\"", "\"forbidden\""),
        ("relay.deliver(msg.uuid or", "relay.deliver(nil and"),
        ("or { ident = msg.ident }", ""),
        ("{ ident = msg.ident }, msg)", "{ ident = msg.ident }, msg.data)"),
        ("client:send(msg)", "client:send(msg.data)"),
        ("client:close()", "client:close(1001)"),
        ("client:broadcast(", "relay.broadcast("),
        ("client:broadcast(", "client:send("),
    ] {
        assert!(DEFAULT_SCRIPT.contains(good), "{good}");
        let script = Source::new("opcodes.lua", DEFAULT_SCRIPT.replace(good, bad));
        let noticed = match suite.run_on(&script, &terms()) {
            Ok(report) => report.failed().next().is_some(),
            Err(_) => true,
        };
        assert!(noticed, "nobody notices {bad} in place of {good}");
    }
}

#[test]
fn what_a_test_asserts_holds_or_is_told() {
    let cases: [(&str, Option<&str>); 27] = [
        ("t.equal({a = {1, 2.0}, b = 'x'}, {b = 'x', a = {1, 2}})", None),
        ("t.equal({a = {1, 2}}, {a = {1, 3}})", Some(".a[2]: expected 3, got 2")),
        ("t.equal({a = 1}, {b = 1})", Some(".a: expected nil, got 1\n.b: expected 1, got nil")),
        ("t.equal('1', 1)", Some("expected 1, got \"1\"")),
        ("t.equal(nil, {})", Some("expected {}, got nil")),
        ("t.ok(1)", None),
        ("t.ok(false)", Some("expected something, got false")),
        ("t.ok(nil, 'why')", Some("why")),
        ("t.nothing(t.web())", None),
        ("t.web():heard()", Some("client:heard: heard nothing")),
        ("local c = t.web() c:says{opcode = 'quit'} c:heard()", Some("it was closed with 1000")),
        ("local c = t.web() c:says{opcode = 'quit'} c:says('x')", Some("this client is gone")),
        ("local c = t.web() c:leaves() c:leaves()", Some("this client is gone")),
        ("local c = t.web() c:says{opcode = 'echo'} t.nothing(c)", Some("heard {\"opcode\":\"ec")),
        ("t.fails(function() error('no way') end, 'no way')", None),
        ("t.fails(function() error('no') end, 'way')", Some("expected \"way\" in the error")),
        ("t.fails(function() end, 'x')", Some("it did not fail")),
        (
            "t.web('u-1') t.web('u-1')",
            Some("\"u-1\" was not registered, it heard {\"opcode\":\"er"),
        ),
        ("t.backend{idnt = 'x'}", Some("unknown option 'idnt' (did you mean 'ident'?)")),
        ("t.equl(1, 1)", Some("t has no field 'equl' (did you mean 'equal'?)")),
        ("t.web():hears()", Some("client has no field 'hears' (did you mean 'heard'?)")),
        ("t.advance(-1)", Some("seconds must be 0.001 to 31536000 seconds, not -1")),
        ("io.open('/etc/passwd')", Some("attempt to index nil")),
        ("relay.json.encode(t)", Some("")),
        ("t.equal(relay.json.decode('[null]')[1], relay.json.null)", None),
        ("relay.deliver('u-1', 'x')", Some("relay has no field 'deliver'")),
        ("error({})", Some("")),
    ];
    for (number, (body, wanted)) in cases.iter().enumerate() {
        let told = outcome(&format!("assert-{number}"), body);
        match (wanted, &told) {
            (None, None) => {}
            (Some(wanted), Some(told)) => assert!(told.contains(wanted), "{body}: {told}"),
            _ => panic!("{body}: {told:?}"),
        }
    }
}

#[test]
fn each_test_has_a_relay_and_a_time_of_its_own() {
    let script = "local count = 0
        function on.connect(client) count += 1 end
        function opcodes.count(client) client:send({ n = count, now = relay.now() }) end";
    let tests = "local function count(t)
            local client = t.web()
            client:says{opcode = 'count'}
            local before = client:heard()
            t.advance(90.5)
            client:says{opcode = 'count'}
            local after = client:heard()
            t.equal(before.n, 1)
            t.equal(before.now, 1600000000)
            t.equal(after.now - before.now, 90.5)
        end
        test('one', count) test('two', count)";
    let directory = Directory::new("own", &[("a.lua", script), ("a_test.lua", tests)]);
    let report = directory.suite("a_test.lua").run(&terms()).expect("loads");
    assert_eq!(report.outcomes.len(), 2);
    assert!(report.failed().next().is_none(), "{report:?}");
}

#[test]
fn a_file_tests_the_script_of_its_name_or_the_usual_one() {
    let files = [("a.lua", ""), ("a_test.lua", ""), ("b_test.lua", ""), ("opcodes.lua", "")];
    let directory = Directory::new("names", &files);
    let at = |name: &str| directory.0.join(name);
    let suite = |file: &str, script: &str| Suite { file: at(file), script: at(script) };
    let found = Suite::find(&directory.0, None).expect("readable");
    assert_eq!(found, [suite("a_test.lua", "a.lua"), suite("b_test.lua", "opcodes.lua")]);
    let own = Suite::of_script(&at("opcodes.lua")).expect("readable");
    assert_eq!(own, [suite("b_test.lua", "opcodes.lua")]);
    let own = Suite::of_script(&at("live.lua")).expect("readable");
    assert_eq!(own, [suite("b_test.lua", "live.lua")]);
}

#[test]
fn what_does_not_load_is_told_with_its_place() {
    let good = "test('x', function() end)";
    for (name, script, tests, wanted) in [
        ("syntax", "function", good, "a.lua:1: "),
        ("on-load", "function on.default() end function on.load() error('late') end", good, "late"),
        ("tests", DEFAULT_SCRIPT, "\ntest(", "a_test.lua:2: "),
        ("none", DEFAULT_SCRIPT, "", "a_test.lua: no test in this file"),
        ("no-name", DEFAULT_SCRIPT, "test(function() end)", "a_test.lua:1: test: the name must be"),
        ("no-body", DEFAULT_SCRIPT, "test('x')", "a_test.lua:1: test: what to do must be"),
    ] {
        let directory = Directory::new(name, &[("a.lua", script), ("a_test.lua", tests)]);
        let error = directory.suite("a_test.lua").run(&terms()).expect_err(name).summary();
        assert!(error.contains(wanted), "{name}: {error}");
    }
}

#[test]
fn a_test_that_never_ends_is_told_with_its_line() {
    let load = |text| Tests::load(Source::new("a_test.lua", text), &terms(), TEST_TIMEOUT / 100);
    let tests = load(
        "local function wait()\n  while true do end\nend\n
        test('it', function(t)\n wait()\n end)",
    );
    let tests = tests.expect("loads");
    let script = Source::new("opcodes.lua", DEFAULT_SCRIPT);
    let room = Room::open(&script, &terms()).expect("loads");
    let failure = tests.run(&tests.found[0].1, room).expect_err("never ends").to_string();
    assert!(failure.starts_with("a_test.lua:2: not over within 100ms\n     2 | "), "{failure}");
    assert!(failure.ends_with("\n  at a_test.lua:6"), "{failure}");
    let error = load("\nwhile true do end").err().expect("never ends").summary();
    assert_eq!(error, "a_test.lua:2: not over within 100ms");
}

#[test]
fn a_rehearsal_names_the_test_its_file_and_its_line() {
    let tests =
        "test('fine', function() end)\ntest('the answer', function(t)\n  t.equal(1, 2)\nend)";
    let directory = Directory::new("rehearsal", &[("opcodes_test.lua", tests)]);
    let script = Source::new("opcodes.lua", DEFAULT_SCRIPT);
    let refused = rehearse(&script, &directory.0.join("opcodes.lua"), &terms());
    let summary = refused.expect_err("a test fails").summary();
    assert!(
        summary.ends_with("opcodes_test.lua:3: test 'the answer' failed: expected 2, got 1"),
        "{summary}"
    );
    std::fs::remove_file(directory.0.join("opcodes_test.lua")).expect("our own");
    assert!(rehearse(&script, &directory.0.join("opcodes.lua"), &terms()).is_ok());
}

#[test]
fn each_recipe_of_the_cookbook_passes_and_a_broken_one_does_not() {
    let cookbook = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/cookbook");
    let suites = Suite::find(&cookbook, None).expect("readable");
    assert!(suites.len() >= 8);
    for suite in suites {
        let report = suite.run(&terms()).unwrap_or_else(|error| panic!("{error}"));
        let failed: Vec<String> = report.failed().map(|(_, failure)| failure.to_string()).collect();
        assert_eq!(failed, [""; 0]);
        let broken = Source::new("broken.lua", "function on.default() end");
        let report = suite.run_on(&broken, &terms()).expect("loads");
        assert!(report.failed().next().is_some(), "{suite:?}");
    }
}

#[test]
fn a_handler_that_failed_unheard_fails_the_test() {
    let test = "\ntest('unheard', function(t) t.web():says{opcode = 'x'} end)
        test('heard', function(t)
          local c = t.web()
          c:says{opcode = 'x'}
          t.equal(c:heard().code, 'handler_failed')
        end)";
    let script = "function opcodes.x() error('here') end";
    let files = [("opcodes.lua", script), ("opcodes_test.lua", test)];
    let directory = Directory::new("unheard", &files);
    let report = directory.suite("opcodes_test.lua").run(&terms()).expect("loads");
    let failed: Vec<_> = report.failed().collect();
    assert_eq!(failed.len(), 1);
    let (name, failure) = failed[0];
    assert_eq!((name, failure.place().map(|(_, line)| line)), ("unheard", Some(2)));
    assert!(failure.message().contains("\"code\":\"handler_failed\""), "{}", failure.message());
}
