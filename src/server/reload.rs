//! HUP and `relay reload`: what a start would read is read again while everything runs. It is adopted
//! whole or not at all, and what a start would refuse, this refuses too.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Mutex, watch};

use super::certificates::Certificates;
use super::start::{StartError, raise_descriptor_limit, read_certificates, terms};
use crate::config::{Config, ConfigError};
use crate::script::{self, Outcome, Unanswered};

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
    #[error(
        "reload rejected, everything stays as it is: the script and its tests took longer than \
         {OUTCOME_TIMEOUT:?}"
    )]
    Late,
    #[error("the relay is stopping, or the log tells of a bug: nothing is reloaded")]
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
            Err(error @ (Rejected::Config(_) | Rejected::Start(_) | Rejected::Late)) => {
                tracing::error!("{error}");
            }
            // The script thread has said what is to be said.
            Err(Rejected::Script(_) | Rejected::Stopping) => {}
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
        // The script last: it is the one that adopts what it does not refuse, or not any more when it
        // is late.
        let terms = (config != *running).then(|| terms(&config));
        let script = match self.script.reload(terms).within(OUTCOME_TIMEOUT).await {
            Ok(outcome @ Outcome::Rejected { .. }) => return Err(Rejected::Script(outcome)),
            Ok(outcome) => outcome,
            Err(Unanswered::Ended) => return Err(Rejected::Stopping),
            Err(Unanswered::Late) => return Err(Rejected::Late),
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use tokio::time::sleep;

    use super::*;
    use crate::script::{Queue, Reload, Request};

    /// One whose config differs from what runs, and what the script thread is asked then.
    fn reloader() -> (Reloader, watch::Receiver<Arc<Config>>, Queue) {
        let (config, running) = watch::channel(Arc::new(Config::default()));
        let read = || {
            let mut config = Config::default();
            config.limits.queue_messages_max += 1;
            Ok(config)
        };
        let queue = Queue::default();
        let script = script::Reloader::new(queue.clone());
        (Reloader::new(read, config, None, script), running, queue)
    }

    fn asked(queue: &Queue) -> Reload {
        match queue.take(&mut VecDeque::new(), None).pop() {
            Some(Request::Reload(reload)) => reload,
            _ => panic!("expected a reload"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_that_comes_too_late_changes_nothing() {
        let (reloader, running, queue) = reloader();
        let rejected = reloader.reload().await.expect_err("no outcome");
        assert!(matches!(rejected, Rejected::Late), "{rejected}");
        assert!(rejected.to_string().contains("stays as it is"), "{rejected}");
        assert!(!running.has_changed().expect("a reloader"));
        assert!(!asked(&queue).begin(), "nobody may adopt it any more");
    }

    /// A load has a budget of its own.
    #[tokio::test(start_paused = true)]
    async fn what_is_being_adopted_is_waited_for() {
        let (reloader, running, queue) = reloader();
        let adopts = async {
            sleep(OUTCOME_TIMEOUT / 2).await;
            let reload = asked(&queue);
            assert!(reload.begin());
            sleep(OUTCOME_TIMEOUT).await;
            let outcome =
                Outcome::Unchanged { generation: 1, hash: String::new(), on_again: Vec::new() };
            reload.asked.expect("somebody").tell(outcome);
        };
        let (reloaded, ()) = tokio::join!(reloader.reload(), adopts);
        assert_eq!(reloaded.expect("adopted").changed.len(), 1);
        assert!(running.has_changed().expect("a reloader"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_without_an_outcome_is_told() {
        let (reloader, running, queue) = reloader();
        let ends = async {
            sleep(OUTCOME_TIMEOUT / 2).await;
            drop(asked(&queue));
        };
        let (reloaded, ()) = tokio::join!(reloader.reload(), ends);
        assert!(matches!(reloaded, Err(Rejected::Stopping)));
        assert!(!running.has_changed().expect("a reloader"));
    }
}
