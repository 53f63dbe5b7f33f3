//! Limits on rates: who sends more than it may is slowed down, loses nothing, and slows nobody else.

use serde_json::{Value, json};

use crate::client::{Client, Transport};
use crate::harness::Setup;
use crate::wire::{Frame, PING, PONG, Wire};

const ALL: [Transport; 4] = [Transport::Ws, Transport::Wss, Transport::Tcp, Transport::Ssl];

/// Only acknowledged.
const MARK: &str = r#"{"opcode":"feedback","uuid":"nobody"}"#;

/// The sender sends all of this at once; as soon as another page hears the first of it, that one says
/// something of its own. How many of the sender's messages everybody heard before that.
async fn heard_before_another(sender: &mut Client, other: &mut Client, texts: &[String]) -> usize {
    let texts_of_all: Vec<&str> = texts.iter().map(String::as_str).collect();
    sender.send_together(&texts_of_all).await;
    other.hears(&texts[0]).await;
    let uuid = other.uuid.clone();
    // Among what the sender goes on sending there are its ack and nothing else.
    other.send(MARK).await;
    let (mut before, mut heard, mut acked) = (None, 1, false);
    while heard < texts.len() || !acked {
        let text = other.hears_text().await;
        if text == texts.get(heard).map_or(&b""[..], |text| text.as_bytes()) {
            heard += 1;
        } else {
            let ack: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
            assert_eq!(ack, crate::client::next(&uuid), "after {heard} messages in order");
            (before, acked) = (Some(heard), true);
        }
    }
    before.expect("an ack")
}

fn numbered(count: usize, bytes: usize) -> Vec<String> {
    let padding = "x".repeat(bytes);
    (0..count).map(|n| json!({ "n": n, "x": padding }).to_string()).collect()
}

#[test]
fn who_sends_too_many_messages_is_slowed_down_and_loses_none() {
    let setup = Setup::new().set("limits.messages_per_second_max=20");
    setup.set("limits.messages_burst_max=5").run(async |relay| {
        for transport in ALL {
            let mut other = relay.web(Transport::Ws, "/web").await;
            let mut sender = relay.client(transport).await;
            let texts = numbered(30, 0);
            let before = heard_before_another(&mut sender, &mut other, &texts).await;
            assert!(before < texts.len(), "over {transport}: expected the burst first: {before}");
            for _ in &texts {
                sender.acked("").await;
            }
            // Its end is seen behind all that it sent.
            sender.send_together(&[r#"{"opcode":"x"}"#, r#"{"opcode":"y"}"#]).await;
            sender.close(Some(1000)).await;
            other.hears(r#"{"opcode":"x"}"#).await;
            other.hears(r#"{"opcode":"y"}"#).await;
        }
    });
}

#[test]
fn who_sends_too_many_bytes_is_slowed_down_and_loses_none() {
    Setup::new().set("limits.bytes_per_second_max=65536").run(async |relay| {
        for transport in ALL {
            let mut other = relay.web(Transport::Ws, "/web").await;
            let mut sender = relay.client(transport).await;
            let texts = numbered(48, 4_000);
            let before = heard_before_another(&mut sender, &mut other, &texts).await;
            assert!(before < texts.len(), "over {transport}: expected a part first: {before}");
            for _ in &texts {
                sender.acked("").await;
            }
        }
    });
}

/// It is not read from for longer than a client may be silent.
#[test]
fn who_is_slowed_down_is_not_silent_and_hears_the_others() {
    let setup =
        Setup::new().set("limits.messages_per_second_max=1").set("limits.messages_burst_max=1");
    let setup = setup.set("limits.backend_idle_timeout_ms=2000").set("limits.pings_missed_max=1");
    let setup = setup.set("limits.ping_interval_ms=1000");
    setup.set("limits.unregistered_timeout_ms=2000").run(async |relay| {
        let (mut page, mut backend) =
            tokio::join!(relay.web(Transport::Ws, "/web"), relay.backend(Transport::Tcp));
        let mut news = relay.backend(Transport::Tcp).await;
        let echoes = [r#"{"opcode":"echo"}"#; 5];
        page.send_together(&echoes).await;
        backend.send_together(&echoes).await;
        let uuid = page.uuid.clone();
        page.acked(&uuid).await;
        page.hears(echoes[0]).await;
        news.send(r#"{"opcode":"news"}"#).await;
        page.hears(r#"{"opcode":"news"}"#).await;
        for _ in 1..5 {
            page.acked(&uuid).await;
            page.hears(echoes[0]).await;
        }
        for _ in 0..5 {
            backend.acked("").await;
            backend.hears(echoes[0]).await;
        }
    });
}

/// A message that takes its sender longer than it may be without one.
#[test]
fn a_page_whose_message_is_slowed_down_is_not_speechless() {
    let setup = Setup::new().set("limits.bytes_per_second_max=1000");
    setup.set("limits.unregistered_timeout_ms=2000").run(async |relay| {
        let mut page = relay.web(Transport::Ws, "/").await;
        let text = json!({ "opcode": "echo", "x": "x".repeat(4_500) }).to_string();
        page.send(&text).await;
        page.acked("").await;
        page.hears(&text).await;
    });
}

#[test]
fn broadcasts_are_limited_in_all_and_their_senders_alone_wait() {
    Setup::new().set("limits.broadcasts_per_second_max=10").run(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        let (mut one, mut two) =
            (relay.backend(Transport::Tcp).await, relay.web(Transport::Ws, "/").await);
        let texts = numbered(25, 0);
        let before = heard_before_another(&mut one, &mut page, &texts).await;
        assert!(before < texts.len(), "expected the burst first: {before}");
        for _ in &texts {
            one.acked("").await;
        }
        // What another one broadcasts counts together with that.
        let before = heard_before_another(&mut two, &mut page, &texts).await;
        assert!(before < texts.len(), "expected no burst: {before}");
    });
}

/// What 300 clients broadcast at one moment is more than the script's queue has room for, and than
/// once as much. Each of them is read from up to what one client may have undecided, behind which it
/// pings; and who broadcasts nothing is answered meanwhile.
#[test]
fn a_crowd_whose_broadcasts_wait_keeps_nobody_from_being_read() {
    Setup::new().set("limits.broadcasts_per_second_max=1").run(async |relay| {
        let (mut echoing, mut page) =
            (relay.backend(Transport::Tcp).await, relay.web(Transport::Ws, "/web").await);
        let mut crowd = Vec::new();
        for _ in 0..300 {
            let mut one = Wire::web(relay, Transport::Ws, "/").await;
            let texts = numbered(63, 0).iter().flat_map(|text| Frame::text(text).bytes()).collect();
            one.write(&[texts, Frame::new(PING, "all").bytes()].concat()).await;
            crowd.push(one);
        }
        for one in &mut crowd {
            while one.frame().await.expect("a pong").first != 0x80 | PONG {}
        }
        page.hears(r#"{"n":0,"x":""}"#).await;
        for n in 0..10 {
            let echo = json!({ "opcode": "echo", "n": n }).to_string();
            echoing.send(&echo).await;
            echoing.acked("").await;
            echoing.hears(echo.as_str()).await;
        }
    });
}

/// However it ends. What it said is still for everybody.
#[test]
fn the_name_of_a_client_that_has_gone_does_not_wait_for_its_broadcasts() {
    // The last is not read from up to its end.
    for (count, closes) in [(40, true), (40, false), (400, false)] {
        let setup = Setup::new().set("limits.broadcasts_per_second_max=2");
        setup.run(async |relay| {
            let mut other = relay.web(Transport::Ws, "/web").await;
            let mut page = relay.web_named(Transport::Ws, "page").await;
            let texts = numbered(count, 0);
            page.send_together(&texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
            other.hears(texts[0].as_str()).await;
            match closes {
                true => page.close(Some(1000)).await,
                false => drop(page),
            }
            // Whether its claim waits for the end of the other one or comes behind it.
            let mut again = relay.web(Transport::Ws, "/").await;
            again.send_together(&[r#"{"opcode":"uuid","message":"page"}"#, MARK]).await;
            let (named, mut others) = (crate::client::next("page"), 0);
            while serde_json::from_slice::<Value>(&again.hears_text().await).ok()
                != Some(named.clone())
            {
                others += 1;
                assert!(others < texts.len(), "expected the name first");
            }
            if count > 64 {
                return;
            }
            relay.ask_to_stop();
            for text in &texts[1..] {
                other.hears(text.as_str()).await;
            }
            other.expect_close(1001).await;
        });
    }
}

#[test]
fn whose_broadcasts_take_the_most_of_too_much_is_closed() {
    let setup = Setup::new().set("limits.broadcasts_per_second_max=1");
    let setup = setup.set("limits.message_bytes_max=65536");
    setup.set("limits.script_queue_bytes_max=262144").run(async |relay| {
        let mut other = relay.web(Transport::Ws, "/web").await;
        let (mut one, mut large) =
            (relay.web(Transport::Ws, "/").await, relay.web(Transport::Ws, "/").await);
        let texts = numbered(3, 0);
        one.send_together(&texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
        other.hears(texts[0].as_str()).await;
        let text = json!({ "x": "x".repeat(65_000) }).to_string();
        large.send_together(&[text.as_str(); 5]).await;
        large.expect_close(1008).await;
        other.hears(texts[1].as_str()).await;
        other.hears(texts[2].as_str()).await;
    });
}
