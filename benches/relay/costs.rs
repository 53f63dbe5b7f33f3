//! What is measured in other units: connecting, memory, latency, a reload under load.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::cases::{Extent, publishing, saturation};
use crate::client::Role;
use crate::generator::Generator;
use crate::limit::Limit;
use crate::load::{Pace, Run};
use crate::protocol::Work;
use crate::rig::Measure;
use crate::server::{Relay, Server, connections_max};
use crate::table::{NO_TARGETS, Table, Targets, Values};

const CONNECTS: usize = 2_000;

/// How long a server may take to see that connections are closed.
const SETTLE: Duration = Duration::from_millis(300);

/// Connections per second: those that came about, and those that a second of CPU time is enough for.
/// The first is bounded by the generator, too.
pub fn connects(extent: &Extent, table: &mut Table) -> io::Result<()> {
    let servers =
        [Server::limit(Work::Echo, Limit::PerMessage)?, Relay::default().start(&extent.scratch)?];
    let (mut per_second, mut per_cpu_second) = (vec![Vec::new(); 2], vec![Vec::new(); 2]);
    // The first round warms up.
    for round in 0..=extent.rounds {
        for (at, server) in servers.iter().enumerate() {
            // A new one has a source address of its own: ports that were used rest for a minute.
            let mut generator = Generator::start(server.addr, None)?;
            let before = server.cpu_nanos()?;
            let took = generator.connect(Role::WebSender, CONNECTS)?;
            let used = server.cpu_nanos()? - before;
            drop(generator);
            thread::sleep(SETTLE);
            if round > 0 {
                per_second[at].push(CONNECTS as f64 / took.as_secs_f64());
                per_cpu_second[at].push(CONNECTS as f64 * 1e9 / used as f64);
            }
        }
    }
    let targets = Targets { first: "≥ 0.6", goal: "≥ 0.95" };
    for (what, figures, targets) in
        [("second", &per_second, targets), ("second of CPU time", &per_cpu_second, NO_TARGETS)]
    {
        let ratio =
            Values::new(figures[1].iter().zip(&figures[0]).map(|(relay, limit)| relay / limit));
        let median = |at: usize| Values::new(figures[at].iter().copied()).median();
        let work = format!("connects per {what}: limit {:.0}, relay {:.0}", median(0), median(1));
        table.figure(&work, "limit", &ratio.to_string(), targets);
    }
    Ok(())
}

/// Resident memory of idle connections, fresh ones, beyond the kernel's.
pub fn memory(extent: &Extent, table: &mut Table) -> io::Result<()> {
    let ws = Targets { first: "≤ 12 KB", goal: "≤ 2 KB" };
    let wss = Targets { first: "≤ 40 KB", goal: "≤ 12 KB" };
    let most = connections_max()?;
    let mut cases =
        vec![(false, 10_000, ws), (true, if extent.full { 10_000 } else { 2_000 }, wss)];
    if extent.full {
        cases.push((false, most, ws));
    }
    for (tls, count, targets) in cases {
        let count = count.min(most);
        let server = Relay { tls, ..Relay::default() }.start(&extent.scratch)?;
        let before = server.resident_bytes()?;
        // As many generators as hold them: their descriptors are limited like the server's.
        let mut generators = Vec::new();
        for part in [count / 2, count - count / 2] {
            let mut generator = Generator::start(server.addr, server.certificate.clone())?;
            generator.connect(Role::WebSender, part)?;
            generators.push(generator);
        }
        thread::sleep(SETTLE);
        let each = (server.resident_bytes()? - before) as f64 / count as f64 / 1000.0;
        let scheme = if tls { "wss" } else { "ws" };
        let work = format!("resident memory of an idle {scheme} connection, {count} of them");
        table.figure(&work, "", &format!("{each:.1} KB"), targets);
    }
    Ok(())
}

/// From the moment a message was to be sent until a receiver has it, at half of what relay carries.
pub fn latency(extent: &Extent, table: &mut Table) -> io::Result<()> {
    let mut rig = publishing(&Relay::default(), extent)?;
    let rate = saturation(extent, &mut rig)? / 2.0;
    let run = extent.run(Work::Broadcast, 64, Pace::Open(rate));
    let mut measures = Vec::new();
    for _ in 0..extent.rounds {
        measures.push(rig.run(Run { millis: 2 * extent.millis, ..run })?);
    }
    let work =
        format!("latency p50, p99, p99.9 at half of saturation ({rate:.0} messages/s to 1000)");
    table.count_lost(&work, measures.iter());
    let figures: Vec<_> = (0..3).map(|at| format!("{} ms", late_millis(&measures, at))).collect();
    table.figure(&work, "", &figures.join(", "), NO_TARGETS);
    Ok(())
}

/// The script is saved once a second while 32 publishers send all they can.
pub fn reload(extent: &Extent, table: &mut Table) -> io::Result<()> {
    let script = extent.scratch.join("opcodes.lua");
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/opcodes.lua");
    fs::copy(shipped, &script)?;
    let relay = Relay { script: Some(script.clone()), ..Relay::default() };
    let mut rig = publishing(&relay, extent)?;
    let run = Run { millis: 3_000, ..extent.run(Work::Broadcast, 64, Pace::PerSender(1)) };
    rig.run(Run { millis: 500, ..run })?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..extent.rounds.div_ceil(2) {
        without.push(rig.run(run)?);
        let saving = Saving::start(&script);
        with.push(rig.run(run)?);
        drop(saving);
    }
    let log = fs::read_to_string(extent.scratch.join("relay.log"))?;
    let reloads = log.matches("script reloaded").count();
    let work = format!("p99 under full load, without and with a reload each second ({reloads})");
    table.count_lost(&work, without.iter().chain(&with));
    let targets = Targets { first: "+ 50 ms", goal: "+ 5 ms" };
    let figure = format!("{} ms, {} ms", late_millis(&without, 1), late_millis(&with, 1));
    table.figure(&work, "", &figure, targets);
    Ok(())
}

fn late_millis(measures: &[Measure], at: usize) -> Values {
    Values::new(measures.iter().map(|measure| measure.outcome.late_micros[at] as f64 / 1000.0))
}

/// Saves a script anew each second, until it is dropped.
struct Saving {
    over: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Saving {
    fn start(script: &Path) -> Saving {
        let over = Arc::new(AtomicBool::new(false));
        let (script, ends) = (script.to_owned(), Arc::clone(&over));
        let thread = thread::spawn(move || {
            let Ok(text) = fs::read_to_string(&script) else { return };
            for version in 0.. {
                thread::sleep(Duration::from_millis(500));
                // A save that fails is seen in the number of reloads.
                let _ = fs::write(&script, format!("{text}\n-- version {version}\n"));
                thread::sleep(Duration::from_millis(500));
                if ends.load(Ordering::Relaxed) {
                    break;
                }
            }
            let _ = fs::write(&script, text);
        });
        Saving { over, thread: Some(thread) }
    }
}

impl Drop for Saving {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to tell.
            let _ = thread.join();
        }
    }
}
