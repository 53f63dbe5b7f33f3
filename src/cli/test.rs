//! `relay test`: runs the tests of a script and prints what came of them.

use std::fmt::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{EXIT_SCRIPT, EXIT_SYSTEM, EXIT_USAGE, Ending};
use crate::config::Config;
use crate::script::testing::{Report, Suite};
use crate::server::terms;

/// At least one test failed.
const EXIT_FAILED: u8 = 1;

/// Run the tests of a script (*_test.lua)
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct TestArgs {
    /// Directory with tests: X_test.lua tests X.lua beside it, or else opcodes.lua [default: the
    /// directory of the configured script]
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,

    /// How the outcome is printed [default: pretty on a terminal, else tap]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Format>,
}

/// How the outcome is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// The Test Anything Protocol, version 14, for programs.
    Tap,
    /// For people.
    Pretty,
}

/// Runs the tests. Their log goes where the process logs.
pub fn test(args: &TestArgs, config: &Config, is_terminal: bool) -> Ending {
    let script = &config.script.file;
    let (found, place) = match &args.directory {
        Some(directory) => (Suite::find(directory, None), directory),
        None => (Suite::of_script(script), script),
    };
    let suites = match found {
        Ok(suites) if suites.is_empty() => {
            return Ending::refused(
                EXIT_USAGE,
                format!("no tests (*_test.lua) for {}", place.display()),
            );
        }
        Ok(suites) => suites,
        Err(error) => return Ending::refused(EXIT_USAGE, format!("{}: {error}", place.display())),
    };
    let terms = terms(config);
    let mut reports = Vec::new();
    let mut broken = String::new();
    for suite in suites {
        match suite.run(&terms) {
            Ok(report) => reports.push(report),
            Err(error) if error.is_of_system() => {
                return Ending::refused(EXIT_SYSTEM, error.to_string());
            }
            Err(error) => {
                // Writing to a String does not fail.
                let _ = writeln!(broken, "relay: {error}");
            }
        }
    }
    let usual = if is_terminal { Format::Pretty } else { Format::Tap };
    let output = match args.format.unwrap_or(usual) {
        Format::Tap => tap(&reports, &broken),
        Format::Pretty => pretty(&reports),
    };
    let failed = reports.iter().any(|report| report.failed().next().is_some());
    let code = match (broken.is_empty(), failed) {
        (false, _) => EXIT_SCRIPT,
        (true, true) => EXIT_FAILED,
        (true, false) => 0,
    };
    Ending { code, output, errors: broken }
}

fn tap(reports: &[Report], broken: &str) -> String {
    let count: usize = reports.iter().map(|report| report.outcomes.len()).sum();
    let mut text = format!("TAP version 14\n1..{count}\n");
    let mut number = 0;
    for report in reports {
        let _ = writeln!(text, "# {} tests {}", report.file, report.script);
        for outcome in &report.outcomes {
            number += 1;
            let name = tap_name(&outcome.name);
            let Some(failure) = &outcome.failure else {
                let _ = writeln!(text, "ok {number} - {name}");
                continue;
            };
            let _ = writeln!(text, "not ok {number} - {name}\n  ---");
            // A JSON text is a YAML text.
            let _ = writeln!(text, "  message: {}", serde_json::Value::from(failure.message()));
            if let Some((file, line)) = failure.place() {
                let _ = writeln!(text, "  file: {}\n  line: {line}", serde_json::Value::from(file));
            }
            if let Some(excerpt) = failure.excerpt() {
                let _ = writeln!(text, "  source: |2\n{}", indented(excerpt, 4));
            }
            text.push_str("  ...\n");
        }
    }
    if !broken.is_empty() {
        text.push_str("Bail out! a file does not load\n");
    }
    text
}

/// A name in which nothing reads as a directive of TAP.
fn tap_name(name: &str) -> String {
    let mut escaped = String::new();
    for c in name.chars() {
        match c {
            '#' | '\\' => escaped.extend(['\\', c]),
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A name that moves no cursor.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn pretty(reports: &[Report]) -> String {
    let mut text = String::new();
    let (mut passed, mut failed) = (0, 0);
    for report in reports {
        let _ = writeln!(text, "{} tests {}", report.file, report.script);
        for outcome in &report.outcomes {
            let name = printable(&outcome.name);
            match &outcome.failure {
                None => {
                    passed += 1;
                    let _ = writeln!(text, "  ok    {name}");
                }
                Some(failure) => {
                    failed += 1;
                    let _ = writeln!(text, "  FAIL  {name}\n{}", indented(&failure.to_string(), 8));
                }
            }
        }
    }
    let _ = writeln!(text, "{passed} passed, {failed} failed");
    text
}

fn indented(text: &str, by: usize) -> String {
    text.lines().map(|line| format!("{:by$}{line}", "")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const SCRIPT: &str =
        "function opcodes.add(c, msg) c:send({ sum = msg.data.a + msg.data.b }) end";
    const TESTS: &str = "test('adds #1', function(t)
  local c = t.web()
  c:says { opcode = 'add', a = 1, b = 2 }
  t.equal(c:heard(), { sum = 3 })
end)
test('nothing', function(t) t.nothing(t.web()) end)";

    fn run(name: &str, script: &str, tests: Option<&str>, format: Format) -> Ending {
        let id = std::process::id();
        let directory = std::env::temp_dir().join(format!("relay-cli-test-{name}-{id}"));
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        std::fs::write(directory.join("opcodes.lua"), script).expect("written");
        if let Some(tests) = tests {
            std::fs::write(directory.join("opcodes_test.lua"), tests).expect("written");
        }
        let args = TestArgs { directory: Some(directory.clone()), format: Some(format) };
        let mut ending = test(&args, &Config::default(), false);
        let shown = format!("{}/", directory.display());
        ending.output = ending.output.replace(&shown, "");
        ending.errors = ending.errors.replace(&shown, "");
        std::fs::remove_dir_all(&directory).expect("our own");
        ending
    }

    #[test]
    fn tests_that_pass_are_listed() {
        let ending = run("pass", SCRIPT, Some(TESTS), Format::Tap);
        let expected = "TAP version 14\n1..2\n# opcodes_test.lua tests opcodes.lua\n\
                        ok 1 - adds \\#1\nok 2 - nothing\n";
        assert_eq!((ending.code, &*ending.output, &*ending.errors), (0, expected, ""));
        let ending = run("pass-pretty", SCRIPT, Some(TESTS), Format::Pretty);
        assert!(
            ending.output.ends_with("  ok    nothing\n2 passed, 0 failed\n"),
            "{}",
            ending.output
        );
    }

    #[test]
    fn a_test_that_fails_is_shown_with_its_line() {
        let script = SCRIPT.replace('+', "*");
        let ending = run("fail", &script, Some(TESTS), Format::Tap);
        let block = "not ok 1 - adds \\#1\n  ---\n  message: \".sum: expected 3, got 2\"\n  \
                     file: \"opcodes_test.lua\"\n  line: 4\n  source: |2\n         \
                     4 |   t.equal(c:heard(), { sum = 3 })\n           |   ^\n  ...\nok 2";
        assert_eq!(ending.code, 1);
        assert!(ending.output.contains(block), "{}\n{block}", ending.output);
        let ending = run("fail-pretty", &script, Some(TESTS), Format::Pretty);
        let block = "  FAIL  adds #1\n        opcodes_test.lua:4: .sum: expected 3, got 2\n";
        assert!(ending.output.contains(block), "{}", ending.output);
        assert!(ending.output.ends_with("1 passed, 1 failed\n"), "{}", ending.output);
    }

    #[test]
    fn what_can_not_be_tested_is_no_success() {
        let ending = run("bad", "function", Some(TESTS), Format::Tap);
        assert_eq!(ending.code, EXIT_SCRIPT);
        assert!(ending.errors.starts_with("relay: opcodes.lua:1: "), "{}", ending.errors);
        assert!(ending.output.ends_with("Bail out! a file does not load\n"));
        let ending = run("none", SCRIPT, None, Format::Tap);
        assert_eq!(ending.code, EXIT_USAGE);
        let nowhere = TestArgs { directory: Some(Path::new("/nowhere").into()), format: None };
        assert_eq!(test(&nowhere, &Config::default(), true).code, EXIT_USAGE);
    }
}
