use super::*;
use crate::hub::Payload;
use crate::hub::link::tests::{deaf_socket, full_socket};

const MAX: usize = 100_000;

/// A worker whose clients read nothing, and their peers.
struct Deaf {
    shard: Shard,
    links: Vec<Rc<Link>>,
    _peers: Vec<std::net::TcpStream>,
}

impl Deaf {
    fn new(kinds: &[(ClientKind, Encoding)], waiting: Waiting) -> Deaf {
        let mut config = Config::default();
        config.limits.queues_bytes_max = MAX;
        config.limits.unfinished_bytes_max = MAX;
        let mut shard = Shard::new(0, &config, waiting);
        let (mut links, mut peers) = (Vec::new(), Vec::new());
        for (kind, encoding) in kinds {
            let (socket, peer) = full_socket();
            links.push(shard.insert(*kind, *encoding, Transport::plain(socket), Box::default()));
            peers.push(peer);
        }
        Deaf { shard, links, _peers: peers }
    }

    fn send(&mut self, to: usize, bytes: usize) {
        let text = Payload::from("x".repeat(bytes));
        self.shard.apply(Delivery::Send { to: self.links[to].id, text });
        self.shard.flush();
    }

    /// So much has come of a message of this one.
    fn begins(&self, from: usize, bytes: usize) {
        self.shard.count_unfinished(&self.links[from], bytes);
    }

    fn cut(&self) -> Vec<bool> {
        self.links.iter().map(|link| link.ending().is_some()).collect()
    }
}

const WEB: (ClientKind, Encoding) = (ClientKind::Web, Encoding::WebSocket);

#[tokio::test]
async fn the_largest_queues_make_room_for_the_rest() {
    let waiting = Waiting::of_workers(1).remove(0);
    let mut deaf = Deaf::new(&[WEB; 4], waiting.clone());
    for (to, bytes) in [(0, 20_000), (1, 45_000), (2, 30_000)] {
        deaf.send(to, bytes);
    }
    assert_eq!(deaf.cut(), [false; 4], "{} fit", waiting.queues.in_all());
    deaf.send(3, 10_000);
    assert_eq!(deaf.cut(), [false, true, false, false]);
    deaf.send(0, 60_000);
    assert_eq!(deaf.cut(), [true, true, false, false]);
    // Even one that is closing already: its queue takes as much.
    deaf.send(3, 55_000);
    deaf.links[3].close(CloseReason::Quit);
    deaf.send(2, 10_000);
    assert_eq!(deaf.links[3].ending(), Some((CloseReason::SlowConsumer, true)));
    assert!(deaf.links[2].ending().is_none());
    assert!(waiting.queues.in_all() <= MAX);
}

/// A frame that has begun outlives the cut, and takes as much as the whole queue did.
#[tokio::test]
async fn a_begun_frame_is_not_paid_for_by_the_others() {
    let waiting = Waiting::of_workers(1).remove(0);
    let mut deaf = Deaf::new(&[WEB], waiting.clone());
    deaf.send(0, 10_000);
    let (socket, _peer) = deaf_socket();
    let transport = Transport::plain(socket);
    deaf.links.push(deaf.shard.insert(WEB.0, WEB.1, transport, Box::default()));
    deaf.send(1, 32 << 20);
    assert_eq!(deaf.cut(), [false, true]);
    assert!(waiting.queues.in_all() <= MAX, "{} wait", waiting.queues.in_all());
}

#[tokio::test]
async fn another_worker_makes_the_room_where_the_queues_are_its() {
    let mut waiting = Waiting::of_workers(2);
    let (mut other, mut large) =
        (Deaf::new(&[WEB], waiting.remove(1)), Deaf::new(&[WEB; 2], waiting.remove(0)));
    large.send(0, 70_000);
    large.send(1, 10_000);
    other.send(0, 25_000);
    assert_eq!((other.cut(), large.cut()), (vec![false], vec![false, false]));
    large.shard.tick(true);
    assert_eq!((other.cut(), large.cut()), (vec![false], vec![true, false]));
}

/// A backend that reads no acks is not the one to be cut for them.
#[tokio::test]
async fn acks_are_left_out_while_much_waits_in_all() {
    let waiting = Waiting::of_workers(1).remove(0);
    let mut deaf = Deaf::new(&[WEB, (ClientKind::Backend, Encoding::Raw)], waiting.clone());
    let ack = |deaf: &mut Deaf| {
        let before = waiting.queues.in_all();
        deaf.shard.apply(Delivery::Decided { to: deaf.links[1].id, bytes: 0, ack: true });
        deaf.shard.flush();
        waiting.queues.in_all() - before
    };
    assert!(ack(&mut deaf) > 0);
    deaf.send(0, MAX / 2);
    assert_eq!(ack(&mut deaf), 0);
}

/// As with the queues; and whoever holds the most may have fallen silent, so that it counts no more.
#[tokio::test]
async fn the_tick_gives_up_the_longest_unfinished_messages() {
    let mut waiting = Waiting::of_workers(2);
    let (other, large) = (waiting.remove(1), waiting.remove(0));
    let (other, large) = (Deaf::new(&[WEB], other), Deaf::new(&[WEB; 2], large));
    large.begins(0, 70_000);
    large.begins(1, 10_000);
    other.begins(0, 25_000);
    other.shard.tick(true);
    assert_eq!((other.cut(), large.cut()), (vec![false], vec![false, false]));
    large.shard.tick(true);
    assert_eq!((other.cut(), large.cut()), (vec![false], vec![true, false]));
    // It is asked, as what it said before is still to be decided.
    assert_eq!(large.links[0].ending(), Some((CloseReason::NoRoom, false)));
    // What it held is given up at once, so that nobody has to go for it as well.
    assert_eq!(large.links[0].unfinished_bytes(), 0);
    large.shard.tick(true);
    assert_eq!((other.cut(), large.cut()), (vec![false], vec![true, false]));
}
