//! The siege: the real relay with 10,000 clients that ask for an echo now and then, while 500
//! handshakes stall, one client never reads what it is sent, and one floods. `cargo bench --bench
//! siege` prints how long the others waited for their echoes before and during each flood, and the
//! relay's memory. By time nothing is asserted, because the machine may be busy; but it fails where a
//! connection of the others was lost, or the memory went over what is promised. `-- 1000` besieges
//! with so many others.

mod attackers;
mod others;
#[allow(dead_code, reason = "shared with the other benchmark")]
#[path = "../relay/process.rs"]
mod process;
#[allow(dead_code, reason = "shared with the other benchmark")]
#[path = "../relay/protocol.rs"]
mod protocol;

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use attackers::{Flood, Stalled, Starved, flood_phases};
use others::Others;
use relay::config::Limits;

const OTHERS: usize = 10_000;
const STALLED: usize = 500;
/// How long each phase lasts: every other one asks once or twice.
const PHASE: Duration = Duration::from_secs(10);

/// What is promised of the resident memory, in bytes.
const BASE: usize = 32_000_000;
const PER_CONNECTION: usize = 16 * 1024;
const PER_HANDSHAKE: usize = 64 * 1024;
/// Those that do not read: what waits for them is bounded for each.
const DEAF: usize = 2;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let count = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(OTHERS);
    rlimit::increase_nofile_limit((count + STALLED + 200) as u64)?;
    let mut relay = Relay::start(count + STALLED + 100)?;
    let others = Others::connect(relay.addr, count)?;
    let mut most = 0;
    println!("{count} others                 p50       p99     p99.9   echoes      RSS");
    others.begin("before the siege");
    most = most.max(relay.watch(PHASE)?);
    others.report(most);
    let stalled = Stalled::start(relay.addr, STALLED);
    let starved = Starved::start(relay.addr);
    for (name, bytes) in flood_phases() {
        let flood = Flood::start(relay.addr, bytes);
        others.begin(name);
        most = most.max(relay.watch(PHASE)?);
        drop(flood);
        others.report(most);
    }
    drop((stalled, starved));
    let lost = others.end();
    let queues = DEAF * Limits::default().queue_bytes_max;
    let promised = BASE + count * PER_CONNECTION + queues + STALLED * PER_HANDSHAKE;
    println!("RSS at most {:.1} MB, promised {:.1} MB", megabytes(most), megabytes(promised));
    println!("{lost} connections of the others lost");
    let _ = relay.process.kill();
    let held = lost == 0 && most <= promised;
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn megabytes(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}

/// Another address of this machine for each thousand clients, so that ports do not run out.
fn source(number: usize) -> SocketAddr {
    let last = u8::try_from(number / 1_000).unwrap_or(u8::MAX);
    (Ipv4Addr::new(127, 0, 3, last), 0).into()
}

/// The relay as it is shipped, with room for all.
struct Relay {
    process: Child,
    addr: SocketAddr,
}

impl Relay {
    fn start(connections: usize) -> Result<Relay, Box<dyn Error>> {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut process = Command::new(env!("CARGO_BIN_EXE_relay"))
            .arg("--config")
            .arg(shipped.join("relay.toml"))
            .args(["--listen", "ws://127.0.0.1:0", "--set", "control.socket="])
            .args(["--set", &format!("limits.connections_max={connections}")])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let addr = line.trim_end().rsplit_once("//").ok_or("no address")?.1.parse()?;
        Ok(Relay { process, addr })
    }

    /// Lets time pass; the most memory that it took meanwhile.
    fn watch(&mut self, time: Duration) -> Result<usize, Box<dyn Error>> {
        let (until, mut most) = (Instant::now() + time, 0);
        while Instant::now() < until {
            if let Some(status) = self.process.try_wait()? {
                return Err(format!("the relay has ended: {status}").into());
            }
            most = most.max(usize::try_from(process::resident_bytes(self.process.id())?)?);
            thread::sleep(Duration::from_millis(250));
        }
        Ok(most)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
