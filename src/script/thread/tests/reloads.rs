use super::*;
use crate::script::outcome::Unanswered;

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
