//! The besiegers, each with threads of its own: handshakes that stall, a client that never reads, one
//! that floods.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::protocol::{GREETING, claim, masked_frame, name, upgrade};

/// Runs until it is dropped.
struct Besieger {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Besieger {
    fn start(work: impl FnOnce(&AtomicBool) + Send + 'static) -> Besieger {
        let over = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&over);
        let thread = thread::spawn(move || work(&of_thread));
        Besieger { over, thread: Some(thread) }
    }
}

impl Drop for Besieger {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What an attacker ran into is no result.
            let _ = thread.join();
        }
    }
}

/// Connections that begin a handshake and do not go on; each that is cut is replaced.
pub struct Stalled(#[allow(dead_code, reason = "held as long as they stall")] Besieger);

impl Stalled {
    pub fn start(relay: SocketAddr, count: usize) -> Stalled {
        Stalled(Besieger::start(move |over| {
            let begin = |number: usize| -> std::io::Result<TcpStream> {
                let mut stream = TcpStream::connect(relay)?;
                stream.set_nonblocking(true)?;
                let beginnings = [&b""[..], b"GET / HTTP/1.1\r\nHost: ", b"php process\n"];
                stream.write_all(beginnings[number % beginnings.len()])?;
                Ok(stream)
            };
            let mut streams: Vec<_> = (0..count).filter_map(|number| begin(number).ok()).collect();
            while !over.load(Ordering::Relaxed) {
                for (number, stream) in streams.iter_mut().enumerate() {
                    let stalls = |error: std::io::Error| error.kind() == ErrorKind::WouldBlock;
                    if stream.read(&mut [0; 512]).is_err_and(stalls) {
                        continue;
                    }
                    if let Ok(again) = begin(number) {
                        *stream = again;
                    }
                }
                thread::sleep(Duration::from_millis(100));
            }
        }))
    }
}

/// A page that never reads and a backend that sends to it all the time, until the page is cut; then
/// another one.
pub struct Starved(#[allow(dead_code, reason = "held as long as it is sent to")] Besieger);

impl Starved {
    pub fn start(relay: SocketAddr) -> Starved {
        Starved(Besieger::start(move |over| {
            let text = format!(
                r#"{{"opcode":"feedback","uuid":"{}","x":"{}"}}"#,
                name(0),
                "x".repeat(16 * 1024)
            );
            while !over.load(Ordering::Relaxed) {
                // An attack that fails begins anew.
                let _ = starve(relay, text.as_bytes(), over);
            }
        }))
    }
}

fn starve(relay: SocketAddr, text: &[u8], over: &AtomicBool) -> std::io::Result<()> {
    let mut page = TcpStream::connect(relay)?;
    page.write_all(upgrade("/").as_bytes())?;
    page.write_all(&masked_frame(claim(0).as_bytes()))?;
    let mut backend = greeted(relay)?;
    let mut read = [0; 64 * 1024];
    // Three times what the kernel and its queue hold.
    for _ in 0..24 * 1024 * 1024 / text.len() {
        if over.load(Ordering::Relaxed) {
            break;
        }
        backend.write_all(text)?;
        // An ack for each, so that it is slowed down as anybody is.
        if backend.read(&mut read)? == 0 {
            break;
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// A raw backend that has read its `ready`.
fn greeted(relay: SocketAddr) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect(relay)?;
    stream.set_nodelay(true)?;
    stream.write_all(GREETING)?;
    let mut byte = [0];
    while byte != *b"}" {
        stream.read_exact(&mut byte)?;
    }
    Ok(stream)
}

/// What floods consist of: a name, what opens it, and what is said again and again.
type Bytes = (&'static [u8], Vec<u8>);

pub fn flood_phases() -> Vec<(&'static str, Bytes)> {
    // A mask of zeros changes nothing.
    let frame = |first: u8, payload: &[u8]| {
        [&[first, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
    };
    let open: &[u8] = &[0x01, 0x80, 0, 0, 0, 0];
    let small = masked_frame(br#"{"opcode":"feedback","uuid":"nobody"}"#);
    vec![
        ("empty fragments", (open, frame(0x00, b""))),
        ("pings", (b"", frame(0x89, b"x"))),
        ("pongs", (b"", frame(0x8a, b""))),
        ("small messages", (b"", small)),
        ("messages that are none", (b"", frame(0x81, b"x"))),
    ]
}

/// One client that sends as fast as the relay takes it, and reads what it gets.
pub struct Flood {
    stream: Option<TcpStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Flood {
    pub fn start(relay: SocketAddr, (open, again): Bytes) -> Flood {
        let connected = || -> std::io::Result<(TcpStream, TcpStream, TcpStream)> {
            let mut stream = TcpStream::connect(relay)?;
            stream.write_all(upgrade("/").as_bytes())?;
            Ok((stream.try_clone()?, stream.try_clone()?, stream))
        };
        let Ok((mut reading, mut writing, stream)) = connected() else {
            return Flood { stream: None, threads: Vec::new() };
        };
        let flood = again.repeat(64 * 1024 / again.len());
        let write = move || {
            let opened = writing.write_all(open);
            while opened.is_ok() && writing.write_all(&flood).is_ok() {}
        };
        let read = move || while reading.read(&mut [0; 65536]).is_ok_and(|count| count > 0) {};
        Flood { stream: Some(stream), threads: vec![thread::spawn(write), thread::spawn(read)] }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            // Both threads end with it.
            let _ = stream.shutdown(Shutdown::Both);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
