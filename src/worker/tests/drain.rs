use super::*;

const CLOSE_1001: &[u8] = b"\x88\x17\x03\xe9";

#[test]
fn everybody_is_told_in_turn_and_served_until_then() {
    staged(
        |_| {},
        async |stage| {
            let mut pages = [stage.web().await, stage.web().await, stage.web().await];
            stage.orders.send_replace(Order::Drain);
            stage.until(|_| pages[0].has_heard(CLOSE_1001)).await;
            for page in &mut pages[1..] {
                // Who has not been told is served as ever.
                page.say(frame(TEXT, r#"{"n":1}"#));
                stage.until(|_| page.has_heard(br#"{"opcode":"next","#)).await;
                // 500 a second.
                let pause = Duration::from_millis(2);
                stage.only_after(pause, |_| page.has_heard(CLOSE_1001)).await;
            }
            pages.iter_mut().for_each(Peer::hang_up);
            stage.until(|stage| stage.running.is_finished()).await;
            let partings = (&mut stage.running).await.expect("no panic");
            assert_eq!(partings, Partings { closed: 3, left: 0, cut: 0 });
            // However long others drain still, this one does not hang.
            assert_eq!((stage.pulse.age(), stage.pulse.clients()), (Duration::ZERO, 0));
        },
    );
}

/// It is through in a moment or not at all, and nobody is seated any more.
#[test]
fn who_is_shaking_hands_is_told_too() {
    staged(
        |_| {},
        async |stage| {
            let silent = stage.peer().await;
            let (mut page, mut backend) = (stage.peer().await, stage.peer().await);
            let request = upgrade("");
            let (begin, end) = request.split_at(20);
            page.say(begin);
            backend.say("php proc");
            stage.settle().await;
            stage.orders.send_replace(Order::Drain);
            stage.settle().await;
            page.say(end);
            backend.say("ess\n\n");
            stage.until(|_| page.has_heard(b"HTTP/1.1 101 ") && page.has_heard(CLOSE_1001)).await;
            stage.until(|_| backend.has_end()).await;
            assert_eq!(
                backend.heard(),
                br#"{"opcode":"close","error":"the relay is stopping","code":1001}"#
            );
            for peer in [&mut page, &mut backend] {
                peer.hang_up();
            }
            stage.only_after(Duration::from_millis(500), |_| silent.is_over()).await;
            stage.until(|stage| stage.running.is_finished()).await;
            assert_eq!(stage.newest(), None);
        },
    );
}

#[test]
fn many_share_the_window() {
    staged(
        |config| config.drain.window = Duration::from_millis(30),
        async |stage| {
            let mut pages = Vec::new();
            for _ in 0..30 {
                pages.push(stage.web().await);
            }
            stage.orders.send_replace(Order::Drain);
            stage.settle().await;
            let last = pages.last_mut().expect("some");
            stage.only_after(Duration::from_millis(29), |_| last.has_heard(CLOSE_1001)).await;
        },
    );
}

/// What became of each is told even where the time is over.
#[test]
fn how_they_parted_is_counted() {
    let roomy = |config: &mut Config| config.limits.queue_bytes_max = 1 << 30;
    staged(roomy, async |stage| {
        let (mut told, deaf) = (stage.raw().await, stage.web().await);
        let mut leaves = stage.web().await;
        stage.flood(&deaf).await;
        stage.orders.send_replace(Order::Drain);
        stage.settle().await;
        leaves.hang_up();
        stage.until(|stage| stage.end_of(&leaves).is_some()).await;
        stage.pass(10 * MILLI).await;
        stage.until(|_| told.has_end()).await;
        assert_eq!(
            told.heard(),
            br#"{"opcode":"close","error":"the relay is stopping","code":1001}"#
        );
        assert!(!stage.running.is_finished(), "two have not closed their side");
        stage.orders.send_replace(Order::Stop);
        let partings = (&mut stage.running).await.expect("no panic");
        assert_eq!(partings, Partings { closed: 1, left: 1, cut: 1 });
    });
}
