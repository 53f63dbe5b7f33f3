//! What is measured by comparing CPU time: fan-out, feedback, echo, TLS, two workers.

use std::io;
use std::path::PathBuf;

use crate::client::Role;
use crate::costs;
use crate::limit::Limit;
use crate::load::{Pace, Run};
use crate::protocol::Work;
use crate::rig::{Measure, Rig, interleave};
use crate::server::{Relay, Server};
use crate::table::{NO_TARGETS, Table, Targets};

const PUBLISHERS: usize = 32;
const BACKENDS: usize = 8;
const BACKEND_IN_FLIGHT: u64 = 8;
const ECHOING: usize = 100;

/// How much is measured, and what of it.
pub struct Extent {
    names: Vec<String>,
    pub full: bool,
    pub rounds: usize,
    pub millis: u64,
    /// For certificates, logs and scripts.
    pub scratch: PathBuf,
}

impl Extent {
    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|part| name.contains(part.as_str()))
    }

    pub fn run(&self, work: Work, bytes: usize, pace: Pace) -> Run {
        Run { work, bytes, millis: self.millis, pace }
    }
}

type Case = fn(&Extent, &mut Table) -> io::Result<()>;

const CASES: [(&str, Case); 9] = [
    ("fanout", fan_out),
    ("feedback", feedback),
    ("echo", echo),
    ("tls", tls),
    ("workers", workers),
    ("connects", costs::connects),
    ("memory", costs::memory),
    ("latency", costs::latency),
    ("reload", costs::reload),
];

/// Measures what is wanted and prints the table.
pub fn measure(names: Vec<&str>, full: bool) -> io::Result<()> {
    let scratch = std::env::temp_dir().join(format!("relay-bench-{}", std::process::id()));
    std::fs::create_dir_all(&scratch)?;
    let names = names.into_iter().map(str::to_owned).collect();
    let (rounds, millis) = if full { (15, 400) } else { (7, 250) };
    let extent = Extent { names, full, rounds, millis, scratch };
    let mut table = Table::begin();
    for (_, case) in CASES.iter().filter(|(name, _)| extent.wants(name)) {
        case(&extent, &mut table)?;
    }
    table.end();
    std::fs::remove_dir_all(&extent.scratch)
}

fn fan_out(extent: &Extent, table: &mut Table) -> io::Result<()> {
    let receivers: &[usize] = if extent.full { &[100, 1_000, 10_000] } else { &[1_000, 10_000] };
    let mut growth = Vec::new();
    for count in receivers {
        let one = one_in_flight(extent, table, *count)?;
        growth.push((*count, one));
        if extent.full || *count == 1_000 {
            under_load(extent, table, *count)?;
        }
    }
    let at = |wanted: usize| growth.iter().find(|(count, _)| *count == wanted).map(|(_, r)| *r);
    if let (Some(thousand), Some(ten)) = (at(1_000), at(10_000)) {
        let targets = Targets { first: "≤ 1.1", goal: "≤ 1.0" };
        let growth = format!("{:.2}", ten / thousand);
        let work = "cost of a delivery at 10,000 to that at 1,000, 64 B, one in flight";
        table.figure(work, "the limit's", &growth, targets);
    }
    Ok(())
}

fn sizes(extent: &Extent, receivers: usize) -> &'static [usize] {
    match (extent.full, receivers) {
        (true, _) => &[64, 1024, 16 * 1024],
        (false, 1_000) => &[64, 16 * 1024],
        (false, _) => &[64],
    }
}

/// Returns the ratio at 64 B.
fn one_in_flight(extent: &Extent, table: &mut Table, receivers: usize) -> io::Result<f64> {
    let clients = [(Role::Receiver, receivers), (Role::WebSender, 1)];
    let mut rigs = against_limit(extent, Work::Broadcast, Limit::PerMessage, &clients)?;
    let mut at_64 = f64::NAN;
    for bytes in sizes(extent, receivers) {
        let run = extent.run(Work::Broadcast, *bytes, Pace::OneInFlight);
        let measures = interleave(&mut rigs, run, extent.rounds)?;
        let targets = match (receivers, bytes) {
            (1_000, 64) => Targets { first: "≤ 1.35", goal: "≤ 1.12" },
            (1_000, 16_384) => Targets { first: "≤ 1.2", goal: "≤ 1.05" },
            _ => NO_TARGETS,
        };
        let work = format!("fan-out, {receivers} × {bytes} B, one in flight");
        let ratio = table.compare(&work, "limit", &measures[0], &measures[1], targets);
        if *bytes == 64 {
            at_64 = ratio;
        }
    }
    Ok(at_64)
}

fn under_load(extent: &Extent, table: &mut Table, receivers: usize) -> io::Result<()> {
    let clients = [(Role::Receiver, receivers), (Role::WebSender, PUBLISHERS)];
    let mut rigs = against_limit(extent, Work::Broadcast, Limit::PerTurn, &clients)?;
    for bytes in sizes(extent, receivers).iter().filter(|bytes| extent.full || **bytes == 64) {
        let run = extent.run(Work::Broadcast, *bytes, Pace::PerSender(1));
        let measures = interleave(&mut rigs, run, extent.rounds)?;
        let targets = match (receivers, bytes) {
            (1_000, 64) => Targets { first: "≤ 2.5", goal: "≤ 1.4" },
            _ => NO_TARGETS,
        };
        let work = format!("fan-out, {receivers} × {bytes} B, {PUBLISHERS} publishers");
        table.compare(&work, "limit, per turn", &measures[0], &measures[1], targets);
    }
    Ok(())
}

fn feedback(extent: &Extent, table: &mut Table) -> io::Result<()> {
    let clients = [(Role::NamedReceiver, 1_000), (Role::Backend, BACKENDS)];
    let mut rigs = against_limit(extent, Work::Feedback, Limit::PerMessage, &clients)?;
    let run = extent.run(Work::Feedback, 128, Pace::PerSender(BACKEND_IN_FLIGHT));
    let measures = interleave(&mut rigs, run, extent.rounds)?;
    let targets = Targets { first: "≤ 1.6", goal: "≤ 1.1" };
    let work = format!("feedback, {BACKENDS} backends × {BACKEND_IN_FLIGHT} in flight, 128 B");
    table.compare(&work, "limit with acks", &measures[0], &measures[1], targets);
    Ok(())
}

fn echo(extent: &Extent, table: &mut Table) -> io::Result<()> {
    let clients = [(Role::WebSender, ECHOING)];
    let mut rigs = against_limit(extent, Work::Echo, Limit::PerMessage, &clients)?;
    let run = extent.run(Work::Echo, 64, Pace::PerSender(1));
    let measures = interleave(&mut rigs, run, extent.rounds)?;
    let work = format!("echo, {ECHOING} clients, 64 B");
    table.compare(&work, "limit with acks", &measures[0], &measures[1], NO_TARGETS);
    Ok(())
}

fn tls(extent: &Extent, table: &mut Table) -> io::Result<()> {
    let clients = [(Role::Receiver, 1_000), (Role::WebSender, PUBLISHERS)];
    let mut rigs = Vec::new();
    for tls in [false, true] {
        let relay = Relay { tls, ..Relay::default() };
        rigs.push(Rig::new(relay.start(&extent.scratch)?, &clients)?);
    }
    for bytes in sizes(extent, 1_000) {
        for (pace, name) in [(Pace::OneInFlight, "one in flight"), (Pace::PerSender(1), "load")] {
            let run = extent.run(Work::Broadcast, *bytes, pace);
            let measures = interleave(&mut rigs, run, extent.rounds)?;
            let work = format!("wss: fan-out, 1000 × {bytes} B, {name}");
            table.compare(&work, "relay, ws", &measures[0], &measures[1], NO_TARGETS);
        }
    }
    Ok(())
}

/// On one core, which shows what a second worker costs, and on both, where it is of use; there the
/// generator takes a part of one of them.
fn workers(extent: &Extent, table: &mut Table) -> io::Result<()> {
    let clients = [(Role::Receiver, 1_000), (Role::WebSender, PUBLISHERS)];
    for (pinned, cores) in [(true, "one core"), (false, "both cores")] {
        let mut rigs = Vec::new();
        for workers in [1, 2] {
            let relay = Relay { workers, pinned, ..Relay::default() };
            rigs.push(Rig::new(relay.start(&extent.scratch)?, &clients)?);
        }
        for (pace, name) in
            [(Pace::OneInFlight, "one in flight"), (Pace::PerSender(1), "32 publishers")]
        {
            let run = extent.run(Work::Broadcast, 64, pace);
            let measures = interleave(&mut rigs, run, extent.rounds)?;
            let targets = Targets { first: "≤ 1.15", goal: "≤ 1.03" };
            let work = format!("two workers on {cores}: fan-out, 1000 × 64 B, {name}");
            table.compare(&work, "relay, one worker", &measures[0], &measures[1], targets);
        }
    }
    Ok(())
}

fn against_limit(
    extent: &Extent,
    work: Work,
    limit: Limit,
    clients: &[(Role, usize)],
) -> io::Result<[Rig; 2]> {
    let limit = Rig::new(Server::limit(work, limit)?, clients)?;
    Ok([limit, Rig::new(Relay::default().start(&extent.scratch)?, clients)?])
}

/// How much relay and its clients carry at most: messages per second of fan-out under load.
pub fn saturation(extent: &Extent, rig: &mut Rig) -> io::Result<f64> {
    let run = extent.run(Work::Broadcast, 64, Pace::PerSender(1));
    rig.run(run)?;
    let Measure { outcome, .. } = rig.run(run)?;
    Ok(outcome.messages as f64 * 1e9 / outcome.nanos as f64)
}

/// A relay with those who publish to 1,000 receivers.
pub fn publishing(relay: &Relay, extent: &Extent) -> io::Result<Rig> {
    let clients = [(Role::Receiver, 1_000), (Role::WebSender, PUBLISHERS)];
    Rig::new(relay.start(&extent.scratch)?, &clients)
}
