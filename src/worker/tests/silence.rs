//! Silence is counted in whole seconds from the first tick that hears nothing: a timeout of n
//! seconds comes with the tick after the nth.

use super::*;

const SERVER_PING: &[u8] = b"\x89\x00";

fn gone_for(reason: CloseReason, peer: &Peer) -> impl FnMut(&Stage) -> bool {
    move |stage| stage.end_of(peer).as_ref() == Some(&reason)
}

#[test]
fn a_silent_page_is_pinged_and_given_up_when_it_answers_none() {
    staged(
        |_| {},
        async |stage| {
            let mut page = stage.web().await;
            stage.register(&page);
            stage.only_after(26 * SECOND, |_| page.has_heard(SERVER_PING)).await;
            page.heard.clear();
            stage.only_after(25 * SECOND, |_| page.has_heard(SERVER_PING)).await;
            page.heard.clear();
            // Two may be missed.
            let gone = gone_for(CloseReason::Unresponsive, &page);
            stage.only_after(25 * SECOND, gone).await;
            // A Close 1001.
            stage.until(|_| page.heard().starts_with(b"\x88\x14\x03\xe9")).await;
        },
    );
}

#[test]
fn whatever_a_page_says_puts_its_ping_off() {
    staged(
        |_| {},
        async |stage| {
            let mut page = stage.web().await;
            stage.register(&page);
            for says in [frame(PONG, ""), frame(PING, "x"), frame(TEXT, "{}")] {
                stage.pass(25 * SECOND).await;
                assert!(!page.has_heard(SERVER_PING));
                page.say(says);
                stage.settle().await;
            }
            stage.only_after(26 * SECOND, |_| page.has_heard(SERVER_PING)).await;
            page.say(frame(PONG, ""));
            stage.settle().await;
            stage.pass(75 * SECOND).await;
            assert_eq!(stage.end_of(&page), None);
            stage.only_after(SECOND, gone_for(CloseReason::Unresponsive, &page)).await;
        },
    );
}

#[test]
fn an_owner_whose_name_is_claimed_has_to_answer() {
    staged(
        |config| config.limits.ping_interval = Duration::ZERO,
        async |stage| {
            let (mut alive, dead) = (stage.web().await, stage.web().await);
            for page in [&alive, &dead] {
                stage.register(page);
            }
            stage.pass(2 * SECOND).await;
            for page in [&alive, &dead] {
                stage.deliver(Delivery::Ask { to: page.id() });
            }
            stage.until(|_| alive.has_heard(b"\x89\x05claim")).await;
            // No answer to this question.
            alive.say([frame(PONG, ""), frame(PONG, "calm")].concat());
            stage.settle().await;
            assert_eq!(stage.heard_of(&alive), 0);
            // The first of its seconds is not a whole one.
            stage.pass(4 * SECOND).await;
            for _ in 0..2 {
                alive.say(frame(PONG, "claim"));
            }
            stage.until(|stage| stage.heard_of(&alive) == 1).await;
            stage.only_after(2 * SECOND, gone_for(CloseReason::Unresponsive, &dead)).await;
            stage.pass(60 * SECOND).await;
            assert_eq!((stage.end_of(&alive), stage.heard_of(&alive)), (None, 1));
        },
    );
}

#[test]
fn a_page_that_does_not_register_has_to_send_messages() {
    staged(
        |config| config.limits.ping_interval = Duration::ZERO,
        async |stage| {
            let mut page = stage.web().await;
            let registered = stage.web().await;
            stage.register(&registered);
            stage.pass(30 * SECOND).await;
            page.say(frame(TEXT, "{}"));
            stage.settle().await;
            // A message counts, anything else does not.
            for _ in 0..6 {
                stage.pass(10 * SECOND).await;
                page.say(frame(PONG, ""));
                stage.settle().await;
            }
            stage.only_after(SECOND, gone_for(CloseReason::Unregistered, &page)).await;
            // A Close 1008.
            stage.until(|_| page.has_heard(b"\x03\xf0not registered in time")).await;
            assert_eq!(stage.end_of(&registered), None);
        },
    );
}

/// Its reading is always delayed, and there is always more to read.
#[test]
fn pings_without_end_are_no_messages() {
    for (messages, bytes) in [(1, 0), (0, 60)] {
        let limited = |config: &mut Config| {
            config.limits.messages_per_second_max = messages;
            config.limits.messages_burst_max = 1;
            config.limits.bytes_per_second_max = bytes;
        };
        staged(limited, async |stage| {
            let mut page = stage.web().await;
            // Within a message that never ends, too.
            page.say([vec![TEXT, 0x80, 0, 0, 0, 0], frame(PING, "").repeat(1_000)].concat());
            stage.settle().await;
            stage.only_after(61 * SECOND, gone_for(CloseReason::Unregistered, &page)).await;
        });
    }
}

/// Nor is a delay a silence that needs a ping.
#[test]
fn whose_message_is_delayed_may_stay() {
    staged(
        |config| {
            config.limits.messages_per_second_max = 1;
            config.limits.messages_burst_max = 1;
        },
        async |stage| {
            let mut page = stage.web().await;
            page.say([frame(PING, "").repeat(50), frame(TEXT, "{}").repeat(50)].concat());
            stage.settle().await;
            stage.pass(110 * SECOND).await;
            assert_eq!(stage.end_of(&page), None);
            assert!(!page.has_heard(SERVER_PING));
        },
    );
}

#[test]
fn a_backend_may_be_idle_for_so_long_and_is_never_pinged() {
    staged(
        |_| {},
        async |stage| {
            let mut backend = stage.raw().await;
            stage.pass(200 * SECOND).await;
            // No message, but a sign of life.
            backend.say(" ");
            stage.settle().await;
            stage.pass(SECOND).await;
            assert!(backend.heard().is_empty());
            stage.only_after(300 * SECOND, gone_for(CloseReason::Idle, &backend)).await;
            stage.until(|_| backend.has_end()).await;
            assert_eq!(
                backend.heard(),
                br#"{"opcode":"close","error":"idle for too long","code":1001}"#
            );
        },
    );
}

/// The script takes its time: that is no silence.
#[test]
fn who_waits_for_the_script_is_not_silent() {
    staged(
        |_| {},
        async |stage| {
            let mut page = stage.web().await;
            page.say(frame(TEXT, "{}"));
            stage.undecided(110 * SECOND).await;
            assert!(!page.has_heard(SERVER_PING));
            stage.settle().await;
            assert_eq!(stage.end_of(&page), None);
        },
    );
}

/// While the script has no room for more, nobody is read from, and what a page says is not heard.
#[test]
fn who_is_not_listened_to_is_not_silent() {
    staged(
        |config| config.limits.script_queue_messages_max = 1,
        async |stage| {
            let (mut one, mut other) = (stage.web().await, stage.web().await);
            one.say(frame(TEXT, "{}"));
            stage.undecided(110 * SECOND).await;
            assert!(!other.has_heard(SERVER_PING));
            stage.settle().await;
            assert_eq!((stage.end_of(&one), stage.end_of(&other)), (None, None));
            stage.only_after(60 * SECOND, gone_for(CloseReason::Unregistered, &other)).await;
        },
    );
}
