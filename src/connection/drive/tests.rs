use std::cell::Cell;
use std::future::poll_fn;
use std::sync::Arc;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::runtime::LocalOptions;

use super::reading::{FRAMES_PER_TURN, READS_PER_TURN};
use super::*;
use crate::config::{Config, Limits};
use crate::frame::Encoding;
use crate::headers::Headers;
use crate::hub::Delivery;
use crate::script::{Intake, Queue};
use crate::session::{ClientInfo, ClientKind, Issuer, Scheme};
use crate::transport::Transport;
use crate::waiting::Waiting;

/// A WebSocket client that is through its handshake, and its peer.
async fn connected(config: Config) -> (TcpStream, Rc<Link>, Drive) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    // What is accepted inherits it: some 200 KB may have come before the first read.
    socket2::SockRef::from(&listener).set_recv_buffer_size(1 << 20).expect("a socket option");
    let addr = listener.local_addr().expect("bound");
    let peer = TcpStream::connect(addr).await.expect("connected");
    let (tcp, addr) = listener.accept().await.expect("accepted");
    let decoder = Decoder::websocket(config.limits.message_bytes_max);
    let intake = Intake::new(Queue::default(), 1, &config.limits);
    let issuer = Arc::new(Issuer::new().expect("random numbers"));
    let waiting = Waiting::of_workers(1).remove(0);
    let home = Rc::new(Home::new(0, &config, intake, issuer, waiting));
    let transport = Transport::plain(tcp);
    let link = home.shard.borrow_mut().insert(
        ClientKind::Web,
        Encoding::WebSocket,
        transport,
        Box::default(),
    );
    let info = ClientInfo {
        id: link.id,
        kind: link.kind,
        scheme: Scheme::Ws,
        addr,
        ident: None,
        path: "/".to_owned(),
        headers: Headers::default(),
        issued_uuid: "".into(),
        may_send_feedback: true,
    };
    let membership = Membership::new(Rc::clone(&home), info);
    (peer, Rc::clone(&link), Drive::new(home, link, decoder, membership))
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    // A mask of zeros changes nothing.
    [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

/// In how many turns what the peer sends is read, up to its first message.
fn turns(sent: &[u8]) -> usize {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let (mut peer, link, mut drive) = connected(Config::default()).await;
        peer.write_all(sent).await.expect("room in the kernel");
        let mut turns = 0;
        poll_fn(|cx| {
            turns += 1;
            assert!(Pin::new(&mut drive).poll(cx).is_pending());
            if link.undecided() > 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        turns
    })
}

/// Others have their turn between, whatever the frames are.
#[test]
fn a_flood_that_needs_no_decision_is_read_in_turns() {
    const FRAMES: usize = 4_000;
    let (open, last) = (frame(0x01, b""), frame(0x80, b"{}"));
    let floods = [
        ("empty fragments", [open.clone(), frame(0x00, b"").repeat(FRAMES), last.clone()]),
        ("fragments of a byte", [open.clone(), frame(0x00, b" ").repeat(FRAMES), last.clone()]),
        ("pongs", [open, frame(0x8a, b"").repeat(FRAMES), last]),
    ];
    for (name, flood) in floods {
        let turns = turns(&flood.concat());
        assert!(turns >= FRAMES / FRAMES_PER_TURN, "{turns} turns for {FRAMES} {name}");
    }
    assert!(turns(&frame(0x81, b"{}")) <= 2);
}

/// And so they have when it is few frames, however large: a turn is as much as two reads take.
#[test]
fn what_is_large_is_read_in_turns() {
    const BYTES: usize = 32 * 1024;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let (mut peer, link, mut drive) = connected(Config::default()).await;
        let head = [&[0x81, 0xfe][..], &(BYTES as u16).to_be_bytes(), &[0; 4]].concat();
        let message = [head, vec![b' '; BYTES]].concat();
        peer.write_all(&message.repeat(6)).await.expect("room in the kernel");
        poll_fn(|cx| {
            assert!(Pin::new(&mut drive).poll(cx).is_pending());
            if link.undecided() > 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let read = link.undecided_bytes();
        assert!(read <= READS_PER_TURN * 64 * 1024, "{read} bytes in one turn");
    });
}

/// What is not decided yet is bounded, for each client and for all of a worker, in messages and in
/// bytes; what was read stays with the connection until there is room.
#[test]
fn no_more_is_read_than_may_wait_for_the_script() {
    let message = frame(0x81, br#"{"x":"0123456789"}"#);
    type Bound = (&'static str, usize, fn(&mut Limits));
    let bounds: [Bound; 4] = [
        ("undecided_messages_max", 3, |limits| limits.undecided_messages_max = 3),
        ("undecided_bytes_max", 4, |limits| limits.undecided_bytes_max = 18 * 3 + 1),
        // The start of the connection waits, too.
        ("script_queue_messages_max", 4, |limits| limits.script_queue_messages_max = 5),
        ("script_queue_bytes_max", 5, |limits| limits.script_queue_bytes_max = 18 * 4 + 1),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    for (key, count, set) in bounds {
        runtime.block_on(async {
            let mut config = Config::default();
            set(&mut config.limits);
            let (mut peer, link, mut drive) = connected(config).await;
            peer.write_all(&message.repeat(40)).await.expect("room in the kernel");
            poll_fn(|cx| {
                assert!(Pin::new(&mut drive).poll(cx).is_pending());
                if link.undecided() > 0 { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            for _ in 0..5 {
                poll_once(&mut drive).await;
                tokio::task::yield_now().await;
            }
            assert_eq!(link.undecided(), count, "{key}");
            let decided = Delivery::Decided { to: link.id, bytes: 18, ack: false };
            drive.home.shard.borrow_mut().apply(decided);
            drive.home.intake.give_back(18);
            poll_once(&mut drive).await;
            assert_eq!(link.undecided(), count, "{key}: as many as there is room for");
        });
    }
}

/// What arrives for others is noticed after a turn, not after as many as tokio takes in a row.
#[test]
fn who_gives_way_lets_the_sockets_be_asked() {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build_local(LocalOptions::default());
    let turns = runtime.expect("a runtime").block_on(async {
        let (peer, other) = UnixStream::pair().expect("a pair");
        let turns = Rc::new(Cell::new(0));
        let count = Rc::clone(&turns);
        let busy = tokio::task::spawn_local(poll_fn(move |cx| -> Poll<()> {
            count.set(count.get() + 1);
            // Behind the first turns, when the other waits.
            if count.get() == 10 {
                peer.try_write(b"x").expect("room");
            }
            give_way(cx);
            Poll::Pending
        }));
        other.readable().await.expect("a byte");
        busy.abort();
        turns.get() - 10
    });
    assert!(turns <= 2, "{turns} turns");
}

async fn poll_once(drive: &mut Drive) {
    poll_fn(|cx| {
        assert!(Pin::new(&mut *drive).poll(cx).is_pending());
        Poll::Ready(())
    })
    .await;
}

/// However slowly its peer reads on: it holds memory that others need.
#[test]
fn who_is_cut_while_it_closes_has_no_more_time_than_another() {
    const FRAME: usize = 16 << 20;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut config = Config::default();
        config.limits.queue_bytes_max = 1 << 30;
        let (mut peer, link, mut drive) = connected(config.clone()).await;
        let home = Rc::clone(&drive.home);
        for _ in 0..2 {
            // Two binary frames; the first has begun.
            let head = [&[0x82, 127][..], &(FRAME as u64).to_be_bytes()].concat();
            let frame = [head, vec![0; FRAME]].concat();
            home.shard.borrow().send_frame(&link, frame.into());
        }
        peer.write_all(&frame(0x88, b"")).await.expect("room in the kernel");
        poll_fn(|cx| {
            assert!(Pin::new(&mut drive).poll(cx).is_pending());
            if matches!(drive.phase, Phase::Deciding(_)) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let decided = Delivery::Decided { to: link.id, bytes: 0, ack: false };
        home.shard.borrow_mut().apply(decided);
        poll_once(&mut drive).await;
        assert!(matches!(drive.phase, Phase::Parting(CloseReason::ClosedByPeer(_), _)));

        config.limits.queues_bytes_max = FRAME;
        home.adopt(&config);
        home.shard.borrow_mut().tick(true);
        poll_once(&mut drive).await;
        assert!(matches!(drive.phase, Phase::Parting(CloseReason::SlowConsumer, 0)));
        let deadline = drive.timer.as_ref().expect("it runs").deadline();
        assert!(deadline <= tokio::time::Instant::now() + config.limits.linger_timeout);
    });
}

/// Its messages may wait for longer than its farewell, and its slot would go to another client.
#[test]
fn who_is_closed_keeps_its_seat_until_all_that_it_said_is_decided() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let (mut peer, link, mut drive) = connected(Config::default()).await;
        let home = Rc::clone(&drive.home);
        peer.write_all(&frame(0x81, b"{}")).await.expect("room in the kernel");
        poll_fn(|cx| {
            assert!(Pin::new(&mut drive).poll(cx).is_pending());
            if link.undecided() > 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        let close = Delivery::Close { to: link.id, reason: CloseReason::Quit };
        home.shard.borrow_mut().apply(close);
        home.shard.borrow_mut().flush();
        drop(peer);
        poll_fn(|cx| {
            assert!(Pin::new(&mut drive).poll(cx).is_pending());
            if matches!(drive.phase, Phase::Over(_)) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        // Its message, then its end.
        for left in [1, 0] {
            assert!(link.undecided() > left);
            poll_once(&mut drive).await;
            let decided = Delivery::Decided { to: link.id, bytes: 2 * left, ack: false };
            home.shard.borrow_mut().apply(decided);
        }
        assert_eq!(drive.await, CloseReason::Quit);
    });
}
