use super::*;
use crate::script::outcome::Unanswered;

#[test]
fn a_good_version_takes_over_and_a_bad_one_changes_nothing() {
    let version = |text: &str| format!("function on.default(client) client:send('{text}') end");
    let mut room = Room::new("reload", &version("one"));
    room.decide([connected(1)]);
    let first = room.status();
    assert_eq!((first.generation, first.rejected.as_deref()), (1, None));
    assert_eq!(room.save(&version("two")).generation, 2);
    assert_eq!(room.decide([says(1, "{}")]), ["1 next", "1 < two"]);
    for (bad, why) in [
        ("function", ":1: "),
        ("x = nil + 1", ":1: attempt to perform arithmetic"),
        ("", ": no opcode handler"),
        (
            "function on.default() end function on.load() relay.broadcast('x') error('late') end",
            ":1: late",
        ),
    ] {
        let status = room.save(bad);
        assert_eq!(status.generation, 2, "{bad}");
        let rejected = status.rejected.expect(bad);
        assert!(rejected.contains(&format!("opcodes.lua{why}")), "{rejected}");
        assert_eq!(room.decide([says(1, "{}")]), ["1 next", "1 < two"]);
    }
    std::fs::remove_file(&room.file).expect("removed");
    room.thread.confined(Whom::Nobody, |thread| thread.reload(Reload::default()));
    assert!(room.status().rejected.expect("gone").contains("can not be read"));
    // Back to what runs: no new generation, and no doubt any more.
    let status = room.save(&version("two"));
    assert_eq!((status.generation, status.rejected), (2, None));
    assert_eq!(room.save(&version("three")).generation, 3);
}

#[test]
fn on_load_knows_a_reload_and_acts() {
    let mut room = Room::new("on-load", "function on.default() end");
    let script = "function on.load(info) relay.broadcast({info.reload, info.generation}) end
        function on.default() end";
    room.save(script);
    assert_eq!(room.took(), [["all < [true,2]"]]);
    let mut first = Room::new("on-load-first", script);
    assert_eq!(first.decide([]), ["all < [false,1]"]);
}

#[test]
fn a_client_stays_through_a_reload() {
    let mut room = Room::new("stays", DEFAULT_SCRIPT);
    room.decide([connected(1), says(1, r#"{"opcode":"uuid","message":"u-1"}"#)]);
    room.save("function on.default(client) client:send(client.uuid .. relay.count()) end");
    assert_eq!(room.decide([says(1, "{}")]), ["1 next", "1 < u-11"]);
}

#[test]
fn a_rejected_reload_is_one_block_that_names_what_still_runs() {
    let mut room = Room::new("block", DEFAULT_SCRIPT);
    let hash = room.status().hash[..6].to_owned();
    let path = room.file.display().to_string();
    let block = logged(|| {
        room.save("\nlocal x = nil + 1\n");
    });
    let expected = format!(
        "reload rejected, still generation 1 ({hash}): {path}:2: attempt to perform arithmetic \
         (add) on nil and number\n     2 | local x = nil + 1\n       | ^\n  at {path}:2"
    );
    assert!(block.contains(&expected), "{block}");
    assert_eq!(block.matches("ERROR").count(), 1, "{block}");
    let block = logged(|| {
        room.save("function on.default() end x = 1");
    });
    assert!(block.contains("script reloaded generation=2 hash="), "{block}");
    assert!(block.contains("'x' is a global"), "{block}");
    assert_eq!(
        logged(|| room.thread.confined(Whom::Nobody, |thread| thread.reload(Reload::default()))),
        ""
    );
}

#[test]
fn a_rejection_is_logged_once_and_an_unchanged_script_only_for_who_asks() {
    let mut room = Room::new("once", "function on.default() end");
    let lib = room.file.with_file_name("lib.lua");
    let write = |text: &str| std::fs::write(&lib, text).expect("written");
    write("");
    let status = room.save("require('lib') function on.default() end");
    let running = format!("generation 2 ({})", &status.hash[..6]);
    let mut logs = |asks: bool| {
        let (ask, answer) = question();
        let log = logged(|| {
            room.thread.confined(Whom::Nobody, |thread| {
                thread.reload(Reload { terms: None, asked: asks.then_some(ask) })
            })
        });
        (log, asks.then(|| answer.wait().to_string()))
    };
    assert_eq!(logs(false), (String::new(), None));
    let (log, answer) = logs(true);
    assert!(log.trim_end().ends_with(&format!(": unchanged: {running}")), "{log}");
    assert_eq!(answer, Some(format!("unchanged: {running}")));
    // Another version with the same mistake is another one.
    for text in ["error('no')", "error('no') --", "error('oh') --"] {
        write(text);
        let (first, _) = logs(false);
        assert_eq!(first.matches("ERROR").count(), 1, "{first}");
        assert_eq!(logs(false).0, "", "the same again");
        let (log, answer) = logs(true);
        let still = format!("unchanged: {running}, what is on disk is still rejected");
        assert!(log.trim_end().ends_with(&still) && log.lines().count() == 1, "{log}");
        assert!(answer.expect("asked").starts_with("reload rejected, still generation 2 ("));
    }
    // What was mended and is broken again is news.
    write("");
    assert!(logs(false).0.contains("again the one that runs"));
    write("error('oh') --");
    assert_eq!(logs(false).0.matches("ERROR").count(), 1);
}

/// Somebody asks for a reload under terms that allow one timer, and waits until they have given up.
fn given_up(room: &Room) -> Reload {
    let (asked, awaited) = question();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let outcome = runtime.expect("a runtime").block_on(awaited.within(Duration::ZERO));
    assert_eq!(outcome, Err(Unanswered::Late));
    Reload { asked: Some(asked), ..under_other_terms(room) }
}

fn under_other_terms(room: &Room) -> Reload {
    let mut terms = room.thread.terms.clone();
    terms.hub.name_bytes_max = 1;
    Reload { terms: Some(Box::new(terms)), asked: None }
}

/// Whoever asked has been told so, and keeps the rest of their config.
#[test]
fn what_comes_too_late_is_not_adopted_neither_the_text_nor_the_terms() {
    let mut room = Room::new("late", "function on.default(client) client:send('one') end");
    room.decide([connected(1)]);
    for text in ["function on.default(client) client:send('one') end", "function on.default() end"]
    {
        std::fs::write(&room.file, text).expect("written");
        let source = Source::read(&room.file).expect("there");
        let reload = given_up(&room);
        let log = logged(|| room.thread.rehearsed(source, Ok(()), reload));
        assert!(log.contains("nothing adopted"), "{log}");
        assert_eq!(room.thread.terms.hub.name_bytes_max, 128);
        assert_eq!(room.status().generation, 1);
        assert_eq!(room.decide([says(1, "{}")]), ["1 next", "1 < one"]);
    }
    // The next who asks has it.
    let source = Source::read(&room.file).expect("there");
    let reload = under_other_terms(&room);
    room.thread.rehearsed(source, Ok(()), reload);
    assert_eq!(room.thread.terms.hub.name_bytes_max, 1);
    assert_eq!(room.status().generation, 2);
    assert_eq!(room.decide([says(1, "{}")]), ["1 next"]);
}
