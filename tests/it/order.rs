//! The order of things, and that nothing is lost or doubled: judged by an oracle.

use std::collections::HashMap;

use serde_json::Value;

use crate::client::{Client, Door, Heard, Transport};
use crate::harness::{Setup, in_time, relay_test};

/// What one receiver heard: sender and number of each message.
type Sequence = Vec<(usize, usize)>;

/// A load: so many receivers, and senders with so many messages each.
struct Load {
    receivers: usize,
    senders: usize,
    messages_each: usize,
}

impl Load {
    fn messages(&self) -> usize {
        self.senders * self.messages_each
    }

    fn text(sender: usize, number: usize) -> String {
        format!(r#"{{"opcode":"broadcast","from":{sender},"n":{number},"text":"é  🐎"}}"#)
    }
}

#[test]
fn a_thousand_clients_hear_a_thousand_broadcasts_in_one_order() {
    let load = Load { receivers: 1_000, senders: 8, messages_each: 125 };
    Setup::new().set("workers=2").run(async |relay| {
        // Receivers connect some at a time: a queue of a thousand handshakes proves nothing more.
        let mut receivers = Vec::new();
        for index in 0..load.receivers {
            let transport = match index % 10 {
                0 => Transport::Wss,
                _ => Transport::Ws,
            };
            receivers.push(relay.web(transport, "/web").await);
        }
        let count = load.messages();
        let receiving: Vec<_> =
            receivers.into_iter().map(|receiver| tokio::spawn(hear(receiver, count))).collect();
        // Half of the senders are web clients that receive as well, the other half backends.
        let mut sending = Vec::new();
        for sender in 0..load.senders {
            let client = match sender % 2 {
                0 => relay.web(Transport::Ws, "/web").await,
                _ => relay.backend(Transport::Tcp).await,
            };
            sending.push(client);
        }
        let sending: Vec<_> = sending
            .into_iter()
            .enumerate()
            .map(|(sender, client)| {
                let others = if sender % 2 == 0 { count - load.messages_each } else { 0 };
                tokio::spawn(send(client, sender, load.messages_each, others))
            })
            .collect();

        let mut heard = Vec::new();
        for task in receiving {
            heard.push(task.await.expect("a receiver that heard everything"));
        }
        let mut heard_by_senders = Vec::new();
        for task in sending {
            heard_by_senders.push(task.await.expect("a sender with all its acks"));
        }
        judge(&load, &heard, &heard_by_senders);
    });
}

/// Hears so many broadcasts, and then nothing.
async fn hear(mut receiver: Client, count: usize) -> Sequence {
    let mut sequence = Vec::with_capacity(count);
    for _ in 0..count {
        sequence.push(parse(&receiver.hears_text().await));
    }
    receiver.hears_nothing().await;
    sequence
}

/// Sends all without a pause, and hears the acks and the broadcasts of others as they come.
async fn send(mut client: Client, sender: usize, count: usize, others: usize) -> Sequence {
    let uuid = match client.transport.is_websocket() {
        true => client.uuid.clone(),
        false => String::new(),
    };
    for number in 0..count {
        client.send(&Load::text(sender, number)).await;
    }
    let (mut acks, mut sequence) = (0, Vec::new());
    while acks < count || sequence.len() < others {
        let text = client.hears_text().await;
        let message: Value = serde_json::from_slice(&text).expect("JSON");
        if message == crate::client::next(&uuid) {
            acks += 1;
        } else {
            sequence.push(parse(&text));
        }
    }
    client.hears_nothing().await;
    assert_eq!(acks, count, "expected one ack for each message of sender {sender}");
    sequence
}

/// Which message this is. Anything that is not byte for byte one of them fails.
fn parse(text: &[u8]) -> (usize, usize) {
    let message: Value = serde_json::from_slice(text).unwrap_or_default();
    let number = |key: &str| message[key].as_u64().map(|number| number as usize);
    let shown = String::from_utf8_lossy(text);
    let (Some(sender), Some(number)) = (number("from"), number("n")) else {
        panic!("expected a broadcast: {shown}");
    };
    assert_eq!(shown, Load::text(sender, number), "expected the sender's bytes");
    (sender, number)
}

/// The oracle: every receiver has all messages, once each, in the order of their senders, and in
/// the one order that all have; so have the senders that receive, but for their own.
fn judge(load: &Load, heard: &[Sequence], heard_by_senders: &[Sequence]) {
    let common = &heard[0];
    let mut next_of: HashMap<usize, usize> = HashMap::new();
    for &(sender, number) in common {
        let next = next_of.entry(sender).or_default();
        assert_eq!(number, *next, "expected each message of sender {sender} once and in order");
        *next += 1;
    }
    let all: HashMap<_, _> = (0..load.senders).map(|sender| (sender, load.messages_each)).collect();
    assert_eq!(next_of, all, "expected all messages of all senders");
    assert_eq!(heard.len(), load.receivers);
    for (receiver, sequence) in heard.iter().enumerate() {
        let differs = common.iter().zip(sequence).position(|(one, other)| one != other);
        assert_eq!(differs, None, "expected receiver {receiver} to have the order of receiver 0");
        assert_eq!(sequence.len(), common.len(), "expected receiver {receiver} to have everything");
    }
    for (sender, sequence) in heard_by_senders.iter().enumerate().filter(|(_, s)| !s.is_empty()) {
        let others: Sequence = common.iter().copied().filter(|(from, _)| *from != sender).collect();
        assert_eq!(*sequence, others, "expected sender {sender} to hear the others in that order");
    }
}

/// Sends numbered messages over one connection to one receiver.
async fn expect_order(door: &Door, from: Transport, to: Transport) {
    let mut page = door.web_named(to, "page").await;
    let mut client = door.client(from).await;
    let text = |n: usize| match n % 3 {
        0 => format!(r#"{{"opcode":"feedback","uuid":"page","n":{n}}}"#),
        1 => format!(r#"{{"opcode":"broadcast","n":{n},"x":"{}"}}"#, "x".repeat(n % 2000)),
        _ => format!("[{n}]"),
    };
    let texts: Vec<String> = (0..300).map(text).collect();
    for group in texts.chunks(7) {
        let group: Vec<&str> = group.iter().map(String::as_str).collect();
        client.send_together(&group).await;
    }
    for text in &texts {
        page.hears(text).await;
    }
    for _ in &texts {
        client.acked("").await;
    }
    client.hears_nothing().await;
    page.close(Some(1000)).await;
    page.expect_close(1000).await;
}

over_each_transport! {
    /// From one sender to one receiver: the order sent, whichever way each message goes.
    async fn one_sender_to_one_receiver(relay, transport) {
        expect_order(relay, transport, Transport::Ws).await;
        expect_order(relay, transport, Transport::Wss).await;
    }
}

#[test]
fn an_ack_comes_before_what_its_message_does_to_the_sender() {
    relay_test(async |relay| {
        for transport in [Transport::Ws, Transport::Wss] {
            let mut page = relay.web_named(transport, "me").await;
            for n in 0..200 {
                let text = format!(r#"{{"opcode":"feedback","uuid":"me","n":{n}}}"#);
                page.send(&text).await;
                page.acked("me").await;
                in_time("the message", page.hears(&text)).await;
            }
            page.close(None).await;
            assert!(matches!(page.heard().await, Heard::Close(_)));
        }
    });
}

#[test]
fn everything_acked_to_a_sender_that_leaves_is_delivered() {
    relay_test(async |relay| {
        let mut page = relay.web(Transport::Ws, "/web").await;
        for transport in [Transport::Ws, Transport::Wss, Transport::Tcp, Transport::Ssl] {
            for n in 0..50 {
                let mut client = relay.client(transport).await;
                let text = format!(r#"{{"over":"{transport}","n":{n}}}"#);
                client.send(&text).await;
                client.acked("").await;
                drop(client);
                page.hears(&text).await;
            }
        }
    });
}

over_each_transport! {
    /// Nobody waits for an ack, and the end comes in the same moment.
    async fn what_was_sent_before_the_end_is_delivered(relay, transport) {
        let mut page = relay.web(Transport::Ws, "/web").await;
        for round in 0..50 {
            let mut client = relay.client(transport).await;
            let text = |n: usize| format!(r#"{{"round":{round},"n":{n}}}"#);
            let texts: Vec<String> = (0..20).map(text).collect();
            client.send_together(&texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
            client.close(Some(1000)).await;
            for text in &texts {
                page.hears(text).await;
            }
        }
    }
}

#[test]
fn a_name_is_free_as_soon_as_its_owner_has_heard_the_close() {
    // The next claim may come at once, and on the other worker.
    Setup::new().set("workers=2").run(async |relay| {
        for transport in [Transport::Ws, Transport::Wss] {
            for round in 0..100 {
                let mut owner = relay.web_named(transport, "page").await;
                let mut claimant = relay.web(transport, "/").await;
                match round % 2 {
                    0 => owner.close(Some(1000)).await,
                    _ => {
                        owner.send(r#"{"opcode":"quit"}"#).await;
                        owner.acked("page").await;
                    }
                }
                let heard = owner.heard().await;
                assert_eq!(heard, Heard::Close(Some(1000)), "expected a Close frame");
                claimant.send(r#"{"opcode":"uuid","message":"page"}"#).await;
                claimant.acked("").await;
                claimant.hears_nothing().await;
                claimant.close(Some(1000)).await;
                claimant.expect_close(1000).await;
            }
        }
    });
}
