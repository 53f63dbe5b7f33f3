//! A server with its generator, and the measuring of several of them in turn.

use std::io;

use crate::client::Role;
use crate::generator::Generator;
use crate::load::{Outcome, Run};
use crate::server::Server;

/// A server with its clients.
pub struct Rig {
    pub server: Server,
    pub generator: Generator,
}

/// What one run of one server came to.
#[derive(Clone, Debug)]
pub struct Measure {
    pub outcome: Outcome,
    pub cpu_micros: f64,
}

impl Rig {
    pub fn new(server: Server, clients: &[(Role, usize)]) -> io::Result<Rig> {
        let mut generator = Generator::start(server.addr, server.certificate.clone())?;
        for (role, count) in clients {
            generator.connect(*role, *count)?;
        }
        Ok(Rig { server, generator })
    }

    pub fn run(&mut self, run: Run) -> io::Result<Measure> {
        let before = self.server.cpu_nanos()?;
        let outcome = self.generator.run(run)?;
        let cpu_micros = (self.server.cpu_nanos()? - before) as f64 / 1000.0;
        Ok(Measure { outcome, cpu_micros })
    }
}

impl Measure {
    /// CPU time for each delivery, or for each message where none is a delivery of its own.
    pub fn micros_per_unit(&self) -> f64 {
        self.cpu_micros / self.units()
    }

    pub fn units_per_second(&self) -> f64 {
        self.units() * 1e9 / self.outcome.nanos as f64
    }

    fn units(&self) -> f64 {
        self.outcome.deliveries.max(self.outcome.messages).max(1) as f64
    }
}

/// Runs the rigs one after the other, that many times; one list of measures for each rig. What is
/// compared is thus never more than a run apart.
pub fn interleave(rigs: &mut [Rig], run: Run, rounds: usize) -> io::Result<Vec<Vec<Measure>>> {
    let warm_up = Run { millis: run.millis.min(100), ..run };
    for rig in &mut *rigs {
        rig.run(warm_up)?;
    }
    let mut all = vec![Vec::new(); rigs.len()];
    for _ in 0..rounds {
        for (rig, measures) in rigs.iter_mut().zip(&mut all) {
            measures.push(rig.run(run)?);
        }
    }
    Ok(all)
}
