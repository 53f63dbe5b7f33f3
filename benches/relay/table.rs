//! The table that is printed: medians, spread, and the targets beside them.

use std::fmt;

use crate::rig::Measure;

/// Values of one kind, one for each round.
#[derive(Clone, Debug)]
pub struct Values(Vec<f64>);

impl Values {
    pub fn new(values: impl IntoIterator<Item = f64>) -> Values {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Values(values)
    }

    pub fn median(&self) -> f64 {
        self.at(0.5)
    }

    /// The value that this share of the others is below, between two of them where it must be.
    fn at(&self, share: f64) -> f64 {
        let Some(last) = self.0.len().checked_sub(1) else { return f64::NAN };
        let place = share * last as f64;
        let (below, above) = (self.0[place.floor() as usize], self.0[place.ceil() as usize]);
        below + (above - below) * place.fract()
    }
}

/// The median, and in brackets the quartiles: between them is the middle half of all rounds.
impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.median() < 10.0 { 2 } else { 1 };
        write!(f, "{:.digits$}", self.median())?;
        write!(f, " ({:.digits$} to {:.digits$})", self.at(0.25), self.at(0.75))
    }
}

/// What relay has to reach: first, and in the end.
#[derive(Clone, Copy, Debug)]
pub struct Targets {
    pub first: &'static str,
    pub goal: &'static str,
}

pub const NO_TARGETS: Targets = Targets { first: "", goal: "" };

/// The rows so far. Each is printed when it is made: the whole takes minutes.
pub struct Table {
    lost: usize,
}

impl Table {
    pub fn begin() -> Table {
        println!(
            "| work | compared with | its CPU µs | relay's CPU µs | ratio | relay per s | first | goal |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        Table { lost: 0 }
    }

    /// CPU time of relay against that of something else; the median of the ratios.
    pub fn compare(
        &mut self,
        work: &str,
        with: &str,
        other: &[Measure],
        relay: &[Measure],
        targets: Targets,
    ) -> f64 {
        self.count_lost(work, other.iter().chain(relay));
        let micros = |measures: &[Measure]| {
            Values::new(measures.iter().map(Measure::micros_per_unit)).median()
        };
        let ratio = Values::new(
            other.iter().zip(relay).map(|(o, r)| r.micros_per_unit() / o.micros_per_unit()),
        );
        let rate = Values::new(relay.iter().map(Measure::units_per_second)).median();
        println!(
            "| {work} | {with} | {:.2} | {:.2} | {ratio} | {rate:.0} | {} | {} |",
            micros(other),
            micros(relay),
            targets.first,
            targets.goal
        );
        ratio.median()
    }

    /// A figure of another kind.
    pub fn figure(&self, work: &str, with: &str, figure: &str, targets: Targets) {
        println!("| {work} | {with} | | | {figure} | | {} | {} |", targets.first, targets.goal);
    }

    pub fn count_lost<'a>(&mut self, work: &str, measures: impl Iterator<Item = &'a Measure>) {
        let wrong: usize = measures.map(|measure| measure.outcome.wrong_counts).sum();
        if wrong > 0 {
            eprintln!("{work}: {wrong} clients did not receive what was due to them");
        }
        self.lost += wrong;
    }

    pub fn end(&self) {
        println!("\nClients that received more or less than was due to them: {}", self.lost);
    }
}
