//! What a process holds, and whether that climbs.

use std::fmt;
use std::fs;
use std::io;
use std::time::Duration;

/// Of the samples this part is the warm-up: caches and arenas fill.
const WARM_UP: usize = 4;
/// A climb over all samples that is smaller than this is none: a page more here or there.
const RSS_NOISE: f64 = 2.0 * 1024.0 * 1024.0;
const DESCRIPTORS_NOISE: f64 = 8.0;

/// Memory and descriptors at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub rss_bytes: u64,
    pub descriptors: usize,
}

impl Sample {
    /// Of the process with this number.
    pub fn of(process: u32) -> io::Result<Sample> {
        let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup"))?;
        let rss = rollup.lines().find_map(|line| line.strip_prefix("Rss:")?.strip_suffix("kB"));
        let rss = rss.and_then(|rss| rss.trim().parse::<u64>().ok());
        let rss_bytes = rss.ok_or_else(|| io::Error::other("no Rss in smaps_rollup"))? * 1024;
        let descriptors = fs::read_dir(format!("/proc/{process}/fd"))?.count();
        Ok(Sample { rss_bytes, descriptors })
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.rss_bytes as f64 / (1024.0 * 1024.0);
        write!(f, "RSS {mib:6.2} MiB  {:4} descriptors", self.descriptors)
    }
}

/// All samples with their times.
#[derive(Default)]
pub struct Gauge(Vec<(f64, Sample)>);

impl Gauge {
    /// Returns how many there are now.
    pub fn add(&mut self, at: Duration, sample: Sample) -> usize {
        self.0.push((at.as_secs_f64(), sample));
        self.0.len()
    }

    /// Prints both slopes, and fails where one of them is none of chance.
    pub fn judge(&self) -> Result<(), String> {
        let samples = &self.0[self.0.len() / WARM_UP..];
        let line = |of: fn(&Sample) -> f64| {
            Line::through(samples.iter().map(|(at, sample)| (*at, of(sample))).collect())
        };
        let rss = line(|sample| sample.rss_bytes as f64);
        let descriptors = line(|sample| sample.descriptors as f64);
        let kib = 1024.0;
        println!(
            "slope of RSS: {:+.1} KiB an hour ({:+.1} KiB over these samples, which spread by {:.1})",
            rss.slope * 3600.0 / kib,
            rss.climb / kib,
            rss.spread / kib
        );
        println!(
            "slope of descriptors: {:+.2} an hour ({:+.2} over these samples, which spread by {:.2})",
            descriptors.slope * 3600.0,
            descriptors.climb,
            descriptors.spread
        );
        match (rss.climbs(RSS_NOISE), descriptors.climbs(DESCRIPTORS_NOISE)) {
            (false, false) => Ok(()),
            (true, _) => Err("the memory climbs".to_owned()),
            (_, true) => Err("the descriptors climb".to_owned()),
        }
    }
}

/// The straight line that fits best.
struct Line {
    /// Per second.
    slope: f64,
    /// From the first to the last sample.
    climb: f64,
    /// The standard deviation of the samples from the line.
    spread: f64,
}

impl Line {
    fn through(points: Vec<(f64, f64)>) -> Line {
        let count = points.len().max(1) as f64;
        let mean = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (middle, level) = (mean(&|(x, _)| *x), mean(&|(_, y)| *y));
        let covariance = mean(&|(x, y)| (x - middle) * (y - level));
        let variance = mean(&|(x, _)| (x - middle).powi(2)).max(f64::MIN_POSITIVE);
        let slope = covariance / variance;
        let spread = mean(&|(x, y)| (y - level - slope * (x - middle)).powi(2)).sqrt();
        let times = || points.iter().map(|(x, _)| *x);
        let span = times().fold(0.0, f64::max) - times().fold(f64::MAX, f64::min);
        Line { slope, climb: slope * span.max(0.0), spread }
    }

    /// Whether it climbs by more than chance: three times what the samples spread by.
    fn climbs(&self, noise: f64) -> bool {
        self.climb > noise.max(3.0 * self.spread)
    }
}
