//! A certificate, as people speak of it: its file, its names, its last day.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};

/// Names that a line tells; a certificate may be for a hundred.
const NAMES_TOLD_MAX: usize = 5;

/// The server's own certificate of a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub file: PathBuf,
    pub der: CertificateDer<'static>,
    /// The DNS names it is for, wildcards as they stand.
    pub names: Vec<String>,
    /// The end of its time, in seconds since 1970.
    pub not_after: u64,
    /// Why clients would refuse it today, if they would.
    pub trouble: Option<String>,
    /// Why some clients would refuse it on any day.
    pub doubt: Option<String>,
}

impl Certificate {
    pub fn is_none_of(&self, others: &[Certificate]) -> bool {
        others.iter().all(|other| other.der != self.der)
    }

    /// The whole days until it expires; 0 where it has.
    pub fn days_left(&self, now: UnixTime) -> u64 {
        self.not_after.saturating_sub(now.as_secs()) / 86_400
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        let told: Vec<&str> = self.names.iter().map(|name| &**name).take(NAMES_TOLD_MAX).collect();
        if !told.is_empty() {
            write!(f, " for {}", told.join(", "))?;
        }
        if self.names.len() > told.len() {
            write!(f, " and {} more", self.names.len() - told.len())?;
        }
        let last = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(self.not_after);
        let days = self.days_left(UnixTime::now());
        write!(f, ", good until {} ({days} more days)", last.date())
    }
}
