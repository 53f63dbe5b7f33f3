//! What others notice while one handler runs away: the shipped script with every handler of
//! tests/runaways.lua beside it, one client that calls each of them once, and twenty that ask for an
//! echo all the time. `cargo bench --bench isolation` prints how long each handler ran, and the p99 of
//! the echoes that were under way meanwhile. Nothing is asserted: the machine may be busy.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const OTHERS: usize = 20;
/// Between two echoes of one client.
const PAUSE: Duration = Duration::from_millis(2);
const SCRIPT: &str = include_str!("../scripts/opcodes.lua");
const RUNAWAYS: &str = include_str!("../tests/runaways.lua");

/// When something began and ended.
type Span = (Instant, Instant);

fn main() {
    let names: Vec<&str> =
        RUNAWAYS.split("\n--- ").skip(1).map(|case| case.lines().next().unwrap_or(case)).collect();
    let (mut relay, addr) = start();
    let over = Arc::new(AtomicBool::new(false));
    let others: Vec<_> = (0..OTHERS)
        .map(|_| {
            let over = Arc::clone(&over);
            thread::spawn(move || echo_until(&over, addr))
        })
        .collect();
    let mut runaways = Vec::new();
    let mut client = Client::connect(addr);
    for number in 0..names.len() {
        thread::sleep(Duration::from_millis(100));
        runaways.push(client.ask(&format!(r#"{{"opcode":"r{number}"}}"#), "handler_failed"));
    }
    over.store(true, Ordering::Relaxed);
    let echoes: Vec<Span> =
        others.into_iter().flat_map(|other| other.join().expect("a client")).collect();
    let _ = relay.kill();
    report(&names, &runaways, &echoes);
}

fn report(names: &[&str], runaways: &[Span], echoes: &[Span]) {
    let mut rows: Vec<(Duration, Duration, &str)> = Vec::new();
    let mut all = Vec::new();
    for (name, (began, ended)) in names.iter().zip(runaways) {
        let meanwhile = echoes.iter().filter(|(from, to)| to >= began && from <= ended);
        let mut took: Vec<Duration> = meanwhile.map(|(from, to)| *to - *from).collect();
        all.extend_from_slice(&took);
        rows.push((p99(&mut took), *ended - *began, name));
    }
    rows.sort();
    println!("p99 of the others   until stopped   handler");
    for (others, ran, name) in rows.iter().rev().take(10) {
        println!("{:>13.1} ms {:>12.1} ms   {name}", millis(*others), millis(*ran));
    }
    let mut calm: Vec<Duration> = echoes
        .iter()
        .filter(|(from, to)| runaways.iter().all(|(began, ended)| to < began || from > ended))
        .map(|(from, to)| *to - *from)
        .collect();
    let longest = rows.iter().map(|row| row.1).max().unwrap_or_default();
    println!(
        "{} handlers, {} echoes meanwhile: p99 {:.1} ms; else {:.1} ms; longest handler {:.1} ms",
        rows.len(),
        all.len(),
        millis(p99(&mut all)),
        millis(p99(&mut calm)),
        millis(longest)
    );
}

fn p99(took: &mut [Duration]) -> Duration {
    took.sort();
    took.get(took.len() * 99 / 100).copied().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The real relay with its default budgets.
fn start() -> (Child, SocketAddr) {
    let directory = std::env::temp_dir().join(format!("relay-isolation-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    let file = directory.join("opcodes.lua");
    let mut script = SCRIPT.to_owned();
    for (number, case) in RUNAWAYS.split("\n--- ").skip(1).enumerate() {
        let (_, code) = case.split_once('\n').expect("code below the name");
        write!(script, "\nfunction opcodes.r{number}(client, msg)\n{code}\nend\n").expect("text");
    }
    std::fs::write(&file, script).expect("written");
    let mut relay = Command::new(env!("CARGO_BIN_EXE_relay"))
        .args(["--listen", "tcp://127.0.0.1:0", "--set", "control.socket=", "--script"])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the relay");
    let mut line = String::new();
    let stdout = relay.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("an address");
    let addr = line.trim_end().rsplit_once("//").expect("a URL").1.parse().expect("an address");
    (relay, addr)
}

fn echo_until(over: &AtomicBool, addr: SocketAddr) -> Vec<Span> {
    let mut client = Client::connect(addr);
    let mut echoes = Vec::new();
    while !over.load(Ordering::Relaxed) {
        echoes.push(client.ask(r#"{"opcode":"echo","text":"hello"}"#, "hello"));
        thread::sleep(PAUSE);
    }
    echoes
}

/// A raw backend.
struct Client {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Client {
    fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).expect("connected");
        stream.set_nodelay(true).expect("set");
        let mut client = Client { stream, heard: Vec::new() };
        client.ask("php process\n\n", "ready");
        client
    }

    /// Says something and reads until it hears this.
    fn ask(&mut self, text: &str, answer: &str) -> Span {
        let began = Instant::now();
        self.stream.write_all(text.as_bytes()).expect("written");
        self.heard.clear();
        let mut read = [0; 4096];
        while !String::from_utf8_lossy(&self.heard).contains(answer) {
            let count = self.stream.read(&mut read).expect("read");
            assert!(count > 0, "the relay has closed: {text}");
            self.heard.extend_from_slice(&read[..count]);
        }
        (began, Instant::now())
    }
}
