//! What the steps of a message's way cost by themselves: reading its head, splitting a raw stream,
//! decoding and encoding frames, and writing a turn to many sockets. `cargo bench --bench wire`.

use std::hint::black_box;
use std::io::Read;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use relay::config::Config;
use relay::frame::{Decoder, Encoding};
use relay::hub::{Delivery, Link, Payload, Shard};
use relay::message::{Message, MessageLimits};
use relay::session::ClientKind;
use relay::transport::Transport;
use relay::waiting::Waiting;

const SIZES: [usize; 3] = [64, 1024, 16 * 1024];
const BYTES_MAX: usize = 1024 * 1024;
const LINKS: usize = 100;

/// A broadcast of that length.
fn broadcast(bytes: usize) -> String {
    let head = r#"{"opcode":"broadcast","message":""#;
    format!("{head}{}\"}}", "x".repeat(bytes - head.len() - 2))
}

/// An object of that length with many small values, the worst case of a scan.
fn numbers(bytes: usize) -> String {
    let mut text = r#"{"opcode":"broadcast","message":[1"#.to_owned();
    while text.len() + 4 < bytes {
        text.push_str(",1");
    }
    text.push_str("]}");
    text
}

fn head(c: &mut Criterion) {
    let limits = MessageLimits { depth_max: 127, opcode_bytes_max: 128 };
    let mut group = c.benchmark_group("head");
    for (name, make) in [("string", broadcast as fn(usize) -> String), ("numbers", numbers)] {
        for size in SIZES {
            let bytes = Bytes::from(make(size));
            group.throughput(Throughput::Bytes(bytes.len() as u64));
            group.bench_function(format!("{name}/{size}B"), |b| {
                b.iter(|| Message::parse(black_box(bytes.clone()), limits).expect("a message"));
            });
        }
    }
    group.finish();
}

/// Ten messages in one segment, by the decoder of raw streams.
fn split(c: &mut Criterion) {
    let mut group = c.benchmark_group("split");
    for (name, make) in [("string", broadcast as fn(usize) -> String), ("numbers", numbers)] {
        for size in SIZES {
            let stream = make(size).repeat(10).into_bytes();
            group.throughput(Throughput::Bytes(stream.len() as u64));
            group.bench_function(format!("{name}/{size}B"), |b| {
                let mut decoder = Decoder::raw(BYTES_MAX);
                b.iter_batched_ref(
                    || stream.clone(),
                    |stream| decode_all(&mut decoder, stream),
                    BatchSize::SmallInput,
                );
            });
        }
    }
    group.finish();
}

/// Ten masked frames in one segment; a copy each time, because they are unmasked in place.
fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    for size in SIZES {
        let stream = masked_frame(broadcast(size).as_bytes()).repeat(10);
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(format!("{size}B"), |b| {
            let mut decoder = Decoder::websocket(BYTES_MAX);
            b.iter_batched_ref(
                || stream.clone(),
                |stream| decode_all(&mut decoder, stream),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn decode_all(decoder: &mut Decoder, stream: &mut [u8]) -> usize {
    let mut input = stream;
    let mut frames = 0;
    while let Ok(Some(frame)) = decoder.decode(&mut input) {
        black_box(frame);
        frames += 1;
    }
    assert_eq!(frames, 10, "all frames are whole");
    frames
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    for size in SIZES {
        let text = broadcast(size);
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(format!("{size}B"), |b| {
            let mut out = BytesMut::new();
            b.iter(|| {
                out.clear();
                Encoding::WebSocket.encode(black_box(text.as_bytes()), &mut out);
            });
        });
    }
    group.finish();
}

/// A turn of one broadcast and one of 32, written to a hundred sockets whose peers keep up; nearly
/// all of it is the kernel's.
fn flush(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let mut group = c.benchmark_group("flush");
    for (broadcasts, size) in [(1, 64), (32, 64), (1, 16 * 1024)] {
        let mut receivers = runtime.block_on(Receivers::connect());
        let text = broadcast(size);
        group.throughput(Throughput::Elements((broadcasts * LINKS) as u64));
        group.bench_function(format!("{broadcasts}x{size}B"), |b| {
            // In the runtime, which knows which sockets take something.
            b.iter_custom(|times| {
                runtime.block_on(async {
                    let turns = (0..times).map(|_| receivers.turn(&text, broadcasts));
                    turns.sum()
                })
            });
        });
    }
    group.finish();
}

struct Receivers {
    shard: Shard,
    /// The shard's own, held so that nobody else counts.
    _links: Vec<Rc<Link>>,
    peers: Vec<TcpStream>,
    buffer: Vec<u8>,
}

impl Receivers {
    async fn connect() -> Receivers {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let addr = listener.local_addr().expect("bound");
        let mut config = Config::default();
        config.limits.queue_bytes_max = 4 * BYTES_MAX;
        let mut shard = Shard::new(0, &config, Waiting::of_workers(1).remove(0));
        let (mut links, mut peers) = (Vec::new(), Vec::new());
        for number in 0..LINKS {
            let peer = TcpStream::connect(addr).expect("connected");
            peer.set_nonblocking(true).expect("set");
            let (stream, _) = listener.accept().expect("accepted");
            stream.set_nonblocking(true).expect("set");
            stream.set_nodelay(true).expect("set");
            let stream = tokio::net::TcpStream::from_std(stream).expect("registered");
            // Until then no write is tried.
            stream.writable().await.expect("connected");
            let transport = Transport::plain(stream);
            let link =
                shard.insert(ClientKind::Web, Encoding::WebSocket, transport, Box::default());
            let uuid = format!("page-{number}").into();
            shard.apply(Delivery::Register { to: link.id, uuid });
            links.push(link);
            peers.push(peer);
        }
        shard.flush();
        Receivers { shard, _links: links, peers, buffer: vec![0; BYTES_MAX] }
    }

    /// One turn; how long it took without the reading of its peers.
    fn turn(&mut self, text: &str, broadcasts: usize) -> Duration {
        let payload = Payload::forwarded(Bytes::copy_from_slice(text.as_bytes()));
        let began = Instant::now();
        for _ in 0..broadcasts {
            self.shard.apply(Delivery::Broadcast { text: payload.clone(), except: None });
        }
        self.shard.flush();
        let took = began.elapsed();
        for peer in &mut self.peers {
            let count = peer.read(&mut self.buffer).expect("written");
            assert!(count >= text.len() * broadcasts, "loopback delivers at once");
        }
        took
    }
}

fn masked_frame(text: &[u8]) -> Vec<u8> {
    let mask = [0x5a, 0xc3, 0x17, 0x99];
    let mut frame = vec![0x81];
    match text.len() {
        length @ 0..126 => frame.push(0x80 | length as u8),
        length => {
            frame.push(0x80 | 126);
            let length = u16::try_from(length).expect("short enough");
            frame.extend_from_slice(&length.to_be_bytes());
        }
    }
    frame.extend_from_slice(&mask);
    frame.extend(text.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

criterion_group!(benches, head, split, decode, encode, flush);
criterion_main!(benches);
