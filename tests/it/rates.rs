//! Limits on rates: who sends more than it may is slowed down, loses nothing, and slows nobody else.

use serde_json::json;

use crate::client::{Client, Transport};
use crate::harness::Setup;

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
