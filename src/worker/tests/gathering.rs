use super::*;
use crate::frame::Encoding;
use crate::hub::TURN_BYTES;
use crate::session::ClientKind;
use crate::transport::Transport;

/// So many that their writes are worth more passes than reading takes.
const MANY: usize = 4 * WRITES_PER_PASS;

fn broadcast() -> Delivery {
    Delivery::Broadcast { text: Payload::from("text".to_owned()), except: None }
}

/// A turn that begins with a broadcast to so many pages, while a message is with the script, which
/// may have decided it by the time that others had their turn. Returns whether all that was handed
/// over was written, as one turn.
fn gathers(pages: usize, is_decided: bool) -> bool {
    let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(async {
        let config = Arc::new(Config::default());
        let intake = Intake::new(Queue::default(), 1, &config.limits);
        let issuer = Arc::new(Issuer::new().expect("random numbers"));
        let waiting = Waiting::of_workers(1).remove(0);
        let home = Home::new(0, &config, intake, issuer, waiting);
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut far_ends = Vec::new();
        for _ in 0..pages {
            let addr = listener.local_addr().expect("bound");
            far_ends.push(Socket::connect(addr).expect("room"));
            let (tcp, _) = listener.accept().expect("a connection");
            tcp.set_nonblocking(true).expect("a socket option");
            let page = Transport::plain(TcpStream::from_std(tcp).expect("watched"));
            let (kind, encoding) = (ClientKind::Web, Encoding::WebSocket);
            let mut shard = home.shard.borrow_mut();
            let link = shard.insert(kind, encoding, page, Box::default());
            shard.apply(Delivery::Register { to: link.id, uuid: "u".into() });
            shard.flush();
        }
        let written = home.shard.borrow().flushes();
        let (script, outlet) = mpsc::channel(INBOX_HAND_OVERS);
        let mut inbox = Inbox::new(outlet);
        let from = SessionId { worker: 0, slot: 0, serial: 0 };
        home.intake.submit(Event::Noise { from }, 0);
        script.try_send(vec![broadcast()]).expect("room");
        let decided = vec![Delivery::Decided { to: from, bytes: 0, ack: true }, broadcast()];
        let answer = script.clone();
        tokio::task::spawn_local(async move {
            if is_decided {
                answer.try_send(decided).expect("room");
            }
        });
        turn(&home, &mut inbox).await;
        assert_eq!(home.shard.borrow().flushes(), written + 1);
        // What comes later is in the inbox then.
        tokio::task::yield_now().await;
        inbox.is_empty()
    })
}

#[test]
fn a_turn_to_many_carries_what_is_decided_meanwhile() {
    assert!(gathers(MANY, true));
    assert!(!gathers(1, true), "a turn to one does not wait");
}

#[test]
fn a_turn_does_not_wait_for_a_script_that_decides_nothing() {
    assert!(gathers(MANY, false));
}

#[test]
fn what_a_turn_can_not_write_stays_in_the_channel() {
    let intake = Intake::new(Queue::default(), 1, &Config::default().limits);
    let (script, outlet) = mpsc::channel(2 * INBOX_HAND_OVERS);
    let mut inbox = Inbox::new(outlet);
    for _ in 0..2 * INBOX_HAND_OVERS {
        script.try_send(vec![broadcast()]).expect("room");
    }
    inbox.take_all(&intake);
    assert_eq!(script.capacity(), INBOX_HAND_OVERS, "counted in hand-overs");
    while inbox.next().is_some() {}
    inbox.take_all(&intake);
    assert_eq!(script.capacity(), 2 * INBOX_HAND_OVERS);
    while inbox.next().is_some() {}
    for _ in 0..3 {
        let text = Payload::from("x".repeat(TURN_BYTES));
        script.try_send(vec![Delivery::Broadcast { text, except: None }]).expect("room");
    }
    inbox.take_all(&intake);
    assert_eq!(script.capacity(), 2 * INBOX_HAND_OVERS - 2, "counted in bytes");
}
