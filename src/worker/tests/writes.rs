use super::*;

const STALL: Duration = Duration::from_secs(10);
const LINGER: Duration = Duration::from_secs(2);

/// One client may be sent more than any socket takes.
fn roomy(config: &mut Config) {
    config.limits.queue_bytes_max = 1 << 30;
    // Who does not read says nothing either.
    config.limits.unregistered_timeout = Duration::ZERO;
    config.limits.ping_interval = Duration::ZERO;
}

/// Reads so much that the relay gets on, for a moment. A kernel that is short of memory may make room
/// for more some time after it seemed full, so the moment may have a sequel.
async fn take_some(stage: &mut Stage, peer: &mut Peer) {
    stage.until(|_| peer.read(1 << 20) && peer.heard.len() > 16 << 20).await;
    stage.until(|_| peer.takes_no_more()).await;
}

#[test]
fn a_write_that_stands_still_ends_its_client() {
    staged(roomy, async |stage| {
        let page = stage.web().await;
        stage.flood(&page).await;
        let slow = Some(CloseReason::SlowConsumer);
        stage.only_after(STALL, |stage| stage.end_of(&page) == slow).await;
        // It has a moment to take at least the rest of the frame.
        stage.only_after(LINGER, |_| page.is_over()).await;
    });
}

#[test]
fn who_takes_something_gets_all_the_time_again() {
    staged(roomy, async |stage| {
        let mut page = stage.web().await;
        stage.flood(&page).await;
        stage.pass(7 * SECOND).await;
        take_some(stage, &mut page).await;
        let slow = Some(CloseReason::SlowConsumer);
        stage.not_before(STALL, |stage| stage.end_of(&page) == slow).await;
    });
}

/// A farewell stands behind what waits, and has the same time.
#[test]
fn a_farewell_that_stands_still_is_given_up() {
    staged(roomy, async |stage| {
        let page = stage.web().await;
        stage.flood(&page).await;
        stage.close(&page);
        stage.settle().await;
        stage.only_after(STALL, |_| page.is_over()).await;
    });
}

/// It is looked at once in that time: who took something in between has as long once more.
#[test]
fn a_farewell_waits_for_a_slow_reader() {
    staged(roomy, async |stage| {
        let mut page = stage.web().await;
        stage.flood(&page).await;
        stage.close(&page);
        stage.settle().await;
        stage.pass(7 * SECOND).await;
        take_some(stage, &mut page).await;
        stage.pass(3 * SECOND).await;
        stage.not_before(STALL, |_| page.is_over()).await;
    });
}

/// A place and a queue are not held for ever by who takes a little now and then.
#[test]
fn a_farewell_has_an_end_for_a_slow_reader_too() {
    staged(roomy, async |stage| {
        let mut page = stage.web().await;
        for _ in 0..2 {
            stage.flood(&page).await;
        }
        stage.close(&page);
        stage.settle().await;
        for _ in 0..5 {
            stage.pass(7 * SECOND).await;
            take_some(stage, &mut page).await;
            page.heard.clear();
            stage.pass(3 * SECOND).await;
            assert!(!page.is_over());
        }
        stage.pass(7 * SECOND).await;
        take_some(stage, &mut page).await;
        stage.only_after(3 * SECOND, |_| page.is_over()).await;
    });
}

#[test]
fn who_was_told_goodbye_has_a_moment_to_go() {
    staged(roomy, async |stage| {
        let (mut stays, mut goes) = (stage.web().await, stage.web().await);
        for page in [&stays, &goes] {
            stage.close(page);
        }
        stage.until(|_| stays.has_end()).await;
        assert_eq!(stays.heard(), b"\x88\x02\x0f\xa0");
        assert!(!stays.is_over() && !goes.is_over());
        goes.hang_up();
        stage.until(|_| goes.is_over()).await;
        // What it goes on saying does not make it longer.
        stage.pass(SECOND).await;
        stays.say(frame(TEXT, "{}"));
        stage.settle().await;
        stage.only_after(LINGER - SECOND, |_| stays.is_over()).await;
    });
}
