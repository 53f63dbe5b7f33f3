//! What a mistake looks like, from each source.

use super::*;

/// The message about `text` as a config file, from the line number on.
fn file_error(text: &str) -> String {
    let file = File::new(text);
    let message = load(&file, &[], &[]).expect_err(text).to_string();
    let place = file.0.display().to_string();
    message.strip_prefix(&place).expect("starts with the file").trim_start_matches(':').to_owned()
}

fn variable_error(name: &str, value: &str) -> String {
    load(&File::new(""), &[(name, value)], &[]).expect_err(name).to_string()
}

fn set_error(flag: &str) -> String {
    load(&File::new(""), &[], &[flag]).expect_err(flag).to_string()
}

#[test]
fn mistakes_in_the_file_have_a_line() {
    for (text, message) in [
        (
            "# one\n[limits]\nqueue_byte_max = 1",
            "3: limits.queue_byte_max: unknown key; did you mean `queue_bytes_max`?",
        ),
        (
            "message_bytes_max = 1",
            "1: message_bytes_max: unknown key; did you mean `limits.message_bytes_max`?",
        ),
        ("\n[limit]\nx = 1", "2: limit: unknown key; did you mean `limits`?"),
        ("colour = 1", "1: colour: unknown key"),
        ("limits.x.y = 1", "1: limits.x: unknown key"),
        ("workers = 'four'", "1: workers: expected a whole number from 0, found the text \"four\""),
        ("workers = -1", "1: workers: expected a whole number from 0, found the number -1"),
        ("workers = 1.5", "1: workers: expected a whole number from 0, found the number 1.5"),
        ("\n[raw]\npause_ms = true", "3: raw.pause_ms: expected a whole number from 0, found true"),
        ("tls = 1", "1: tls: expected a table, found a value"),
        ("tls = []", "1: tls: expected a table, found a value"),
        ("[[limits]]", "1: limits: expected a table, found a value"),
        ("script.settings = 1", "1: script.settings: expected a table, found a value"),
        ("[tls]\nkey = 1", "2: tls.key: expected text, found the number 1"),
        ("[log]\nlevel = {}", "2: log.level: expected text, found a table"),
        ("listen = 1", "1: listen: expected a list of URLs, found the number 1"),
        ("listen = [\n'ws://a:1',\n2]", "3: listen.1: expected text, found the number 2"),
        (
            "listen = [\n'ws://a:1',\n'http://b:1']",
            "3: listen.1: \"http://b:1\" has an unknown scheme; did you mean ws://?",
        ),
        (
            "web.allowed_origins = 'x'",
            "1: web.allowed_origins: expected a list, found the text \"x\"",
        ),
        ("[log]\nformat = 'xml'", "2: log.format: expected \"text\" or \"json\", found \"xml\""),
        ("[log]\nformat = 0", "2: log.format: expected text, found the number 0"),
    ] {
        assert_eq!(file_error(text), message, "{text}");
    }
    assert!(file_error("a = 1\nb = \n").starts_with("2: not valid TOML: "));
    // What the file says is shown so that it can do nothing to a terminal.
    let escape = file_error("[limits]\nconnections_max\u{1b}[31m = 1");
    assert!(!escape.contains(char::is_control), "{escape:?}");
}

/// Of a long key the message shows the beginning.
#[test]
fn a_key_too_long_to_be_shown_is_one_mistake_among_others() {
    let key = "\\t".repeat(81);
    let file = File::new(&format!("\"{key}\" = 1\nworkers = 'x'"));
    let sources = Sources { config: Some(file.0.clone()), ..Sources::default() };
    let mistakes = Config::examine(&sources, []).mistakes;
    let told: Vec<String> = mistakes.iter().map(|mistake| mistake.problem.clone()).collect();
    let expected = "expected a whole number from 0, found the text \"x\"";
    assert_eq!(told, ["unknown key", expected]);
}

#[test]
fn mistakes_elsewhere_name_the_variable_or_the_flag() {
    assert_eq!(
        variable_error("RELAY_LIMITS__QUEUE_BYTE_MAX", "1"),
        "environment variable RELAY_LIMITS__QUEUE_BYTE_MAX: limits.queue_byte_max: unknown key; \
         did you mean RELAY_LIMITS__QUEUE_BYTES_MAX?"
    );
    assert_eq!(
        variable_error("RELAY_WORKERS", "many"),
        "environment variable RELAY_WORKERS: workers: expected a whole number from 0, \
         found the text \"many\""
    );
    // Meant for relay, though like none of its keys.
    assert!(variable_error("RELAY_LIMITS__COLOUR", "1").ends_with("limits.colour: unknown key"));
    assert_eq!(
        set_error("limit.queue_bytes_max=1"),
        "flag --set limit.queue_bytes_max=1: limit: unknown key; did you mean `limits`?"
    );
    assert_eq!(
        set_error("workers=2000"),
        "flag --set workers=2000: workers: must be 0 to 1024, found 2000"
    );
    assert!(set_error("workers").starts_with("flag --set workers: there is no `=`; write --set"));
    assert!(set_error("a b=1").contains("no dotted key"));
    assert!(set_error("=1").contains("no dotted key"));
    let sources =
        Sources { listen: vec!["ws://a:1".into(), "ws://b".into()], ..Sources::default() };
    let error = Config::load_with(&sources, []).expect_err("no port").to_string();
    assert!(error.starts_with("flag --listen ws://b: listen.1: \"ws://b\" has no port"), "{error}");
}

/// Shells and clusters have variables of such names, too.
#[test]
fn variables_that_are_like_no_key_are_passed_over() {
    let strange = [
        ("RELAY_BIN", "no key of the config, passed over"),
        ("RELAY_URL", "no key of the config, passed over"),
        ("RELAY_", "no key of the config, passed over"),
        ("RELAY_SERVICE_HOST", "enableServiceLinks: false stops that"),
        ("RELAY_PORT_8083_TCP", "enableServiceLinks: false stops that"),
    ];
    for (name, said) in strange {
        load(&File::new(""), &[(name, "1")], &[]).expect(name);
        let told = strangers([(name.into(), "1".into())]);
        let told: Vec<_> = told.iter().map(ToString::to_string).collect();
        assert!(
            matches!(&told[..], [one] if one.contains(name) && one.ends_with(said)),
            "{told:?}"
        );
    }
    // Those that are keys, or should be.
    for name in ["RELAY_WORKERS", "RELAY_WORKER", "RELAY_LIMIT__X", "RELAY_SCRIPT__SETTINGS__X"] {
        assert_eq!(strangers([(name.into(), "1".into())]), [], "{name}");
    }
    assert!(variable_error("RELAY_WORKER", "1").contains("did you mean RELAY_WORKERS?"));
}

#[test]
fn a_mistake_that_a_higher_source_hides_is_found_all_the_same() {
    let error = load(&File::new("workers = 'x'"), &[], &["workers=1"]).expect_err("ill-typed");
    assert!(matches!(error.origin, Origin::File { line: Some(1), .. }));
}

#[test]
fn values_are_checked_against_their_range_and_each_other() {
    for (text, message) in [
        (
            "\nlisten = []",
            "2: listen: no address to listen on; write one, as in any://127.0.0.1:8083",
        ),
        (
            "listen = ['ws://a:1',\n'wss://a:1']",
            "2: listen.1: a second listener on a:1; any:// takes all kinds on one port",
        ),
        (
            "[limits]\n\nname_bytes_max = 0",
            "3: limits.name_bytes_max: must be 1 to 1099511627776, found 0",
        ),
        ("[limits]\njson_depth_max = 128", "2: limits.json_depth_max: must be 1 to 127, found 128"),
        (
            "[script]\nmemory_bytes_max = 1000",
            "2: script.memory_bytes_max: must be 1048576 to 1099511627776, found 1000",
        ),
        ("[script]\nkills_max = 0", "2: script.kills_max: must be 1 to 100000000, found 0"),
        ("[drain]\ntimeout_ms = 0", "2: drain.timeout_ms: must be 1 to 86400000, found 0"),
        (
            "[raw]\npause_ms = 9223372036854775807",
            "2: raw.pause_ms: must be 20 to 50, found 9223372036854775807",
        ),
        ("[web]\nphp_ready_delay_ms = 9", "2: web.php_ready_delay_ms: must be 10 to 30, found 9"),
        (
            "[limits]\nqueue_bytes_max = 1000",
            "2: limits.queue_bytes_max: a message (message_bytes_max = 1048576) must fit into \
             limits.queue_bytes_max = 1000",
        ),
        (
            "[limits]\nmessage_bytes_max = 5000000",
            "2: limits.message_bytes_max: a message (message_bytes_max = 5000000) must fit into \
             limits.queue_bytes_max = 4194304",
        ),
        (
            "[limits]\nunfinished_bytes_max = 1048575",
            "2: limits.unfinished_bytes_max: a message (message_bytes_max = 1048576) must fit into \
             limits.unfinished_bytes_max = 1048575",
        ),
        ("[tls]\nkey = 'k'", "2: tls.key: a key without its certificate: set tls.certificate too"),
        (
            "[tls]\ncertificate = 'c'",
            "2: tls.certificate: a certificate without its key: set tls.key too",
        ),
        ("[log]\nlevel = ' '", "2: log.level: names no level; off is the one that logs nothing"),
        ("[script]\nfile = ''", "2: script.file: names no file"),
        ("[log]\nlevel = 'inof'", "2: log.level: unknown level \"inof\"; did you mean `info`?"),
        (
            "[web]\nallowed_origins = [\n'http://a',\n'http://b/']",
            "4: web.allowed_origins.1: \"http://b/\" ends in a slash, an origin does not: write https://example.org",
        ),
    ] {
        assert_eq!(file_error(text), message, "{text}");
    }
    assert!(
        file_error("[log]\nlevel = 'relay=loud'")
            .starts_with("2: log.level: \"relay=loud\" is no log filter: ")
    );
}

#[test]
fn a_named_file_must_exist() {
    let sources = Sources { config: Some("no/such.toml".into()), ..Sources::default() };
    let error = Config::load_with(&sources, []).expect_err("missing").to_string();
    assert!(
        error.starts_with("no/such.toml: cannot read this config file: No such file"),
        "{error}"
    );
}

#[cfg(unix)]
#[test]
fn values_that_are_not_utf8_are_named() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let value = OsString::from_vec(vec![0xff]);
    let error = Config::load_with(&Sources::default(), [("RELAY_WORKERS".into(), value)]);
    let error = error.expect_err("not UTF-8").to_string();
    assert_eq!(error, "environment variable RELAY_WORKERS: workers: the value is not UTF-8");
}
