//! HUP and `relay reload`: what a start would read is read again while everything runs. It is adopted
//! whole or not at all, and what a start would refuse, this refuses too.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Mutex, watch};
use tokio::time::timeout;

use super::certificates::Certificates;
use super::start::{StartError, raise_descriptor_limit, read_certificates, terms};
use crate::config::{Config, ConfigError};
use crate::script::{self, Outcome};

/// A reload may have to run tests first.
pub const OUTCOME_TIMEOUT: Duration = Duration::from_secs(120);

/// Has config, certificates and script read again. Its clones do it one after the other.
#[derive(Clone)]
pub struct Reloader(Arc<Shared>);

struct Shared {
    read: Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>,
    config: watch::Sender<Arc<Config>>,
    certificates: Option<Certificates>,
    script: script::Reloader,
    one_at_a_time: Mutex<()>,
}

/// What came of a reload that was not refused.
#[derive(Debug)]
pub struct Reloaded {
    pub script: Outcome,
    /// The keys whose new values hold now.
    pub changed: Vec<String>,
    /// Those whose new values take a restart.
    pub restart: Vec<&'static str>,
}

/// Why everything goes on as it was.
#[derive(Debug, Error)]
pub enum Rejected {
    #[error("reload rejected, the config stays as it is: {0}")]
    Config(#[from] ConfigError),
    #[error("reload rejected, the config stays as it is: {0}")]
    Start(#[from] StartError),
    /// It says so itself.
    #[error("{0}")]
    Script(Outcome),
    #[error("no outcome within {OUTCOME_TIMEOUT:?}: see the log")]
    Late,
    #[error("the relay is stopping")]
    Stopping,
}

impl Reloader {
    pub(super) fn new(
        read: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
        config: watch::Sender<Arc<Config>>,
        certificates: Option<Certificates>,
        script: script::Reloader,
    ) -> Reloader {
        let (read, one_at_a_time) = (Box::new(read), Mutex::default());
        Reloader(Arc::new(Shared { read, config, certificates, script, one_at_a_time }))
    }

    /// Reads all of it again, and says in the log what came of it.
    ///
    /// # Errors
    /// The first thing that a start would refuse. Everything goes on as it was then.
    pub async fn reload(&self) -> Result<Reloaded, Rejected> {
        let _turn = self.0.one_at_a_time.lock().await;
        let outcome = self.0.reload().await;
        match &outcome {
            Ok(reloaded) => reloaded.log(),
            Err(error @ (Rejected::Config(_) | Rejected::Start(_))) => tracing::error!("{error}"),
            // The script thread has said what is to be said.
            Err(Rejected::Script(_) | Rejected::Late | Rejected::Stopping) => {}
        }
        outcome
    }
}

impl Shared {
    async fn reload(&self) -> Result<Reloaded, Rejected> {
        let running = Arc::clone(&self.config.borrow());
        let mut config = (self.read)()?;
        let restart = config.keep_until_restart(&running);
        raise_descriptor_limit(&config)?;
        let mut certificates = read_certificates(&config)?;
        if let (Some(served), Some(read)) = (&self.certificates, certificates.take()) {
            certificates = Some(served.refuse_worse(read).map_err(StartError::Tls)?);
        }
        let changed = config.differences(&running);
        // The script last: it is the one that adopts what it does not refuse.
        let terms = (config != *running).then(|| terms(&config));
        let script = match timeout(OUTCOME_TIMEOUT, self.script.reload(terms)).await {
            Ok(Ok(outcome @ Outcome::Rejected { .. })) => return Err(Rejected::Script(outcome)),
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => return Err(Rejected::Stopping),
            Err(_) => return Err(Rejected::Late),
        };
        // Before the config: it may want of backends what only these ask them for.
        if let (Some(served), Some(certificates)) = (&self.certificates, certificates) {
            served.adopt(certificates);
        }
        if config != *running {
            self.config.send_replace(Arc::new(config));
        }
        Ok(Reloaded { script, changed, restart })
    }
}

impl Reloaded {
    fn log(&self) {
        if !self.changed.is_empty() {
            tracing::info!("config reloaded: {}", self.changed.join(", "));
        }
        if !self.restart.is_empty() {
            tracing::warn!("takes a restart: {}", self.restart.join(", "));
        }
    }
}

impl fmt::Display for Reloaded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.script)?;
        if !self.changed.is_empty() {
            write!(f, "\nconfig reloaded: {}", self.changed.join(", "))?;
        }
        if !self.restart.is_empty() {
            write!(f, "\ntakes a restart: {}", self.restart.join(", "))?;
        }
        Ok(())
    }
}
