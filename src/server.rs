//! Puts the relay together: certificates, script, listeners, workers; runs it, and drains it.
//! The only file that knows all others.

mod certificates;
pub mod control;
mod drain;
mod health;
pub mod reload;
mod start;
pub mod supervisor;

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::sync::{mpsc, watch};

use crate::admission::Admission;
use crate::config::{Config, ConfigError, Listening};
use crate::connection::Door;
use crate::listener::{self, Listener, Reception};
use crate::log::millis;
use crate::script::Script;
use crate::session::Issuer;
use crate::waiting::Waiting;
use crate::worker::{self, Ended, INBOX_HAND_OVERS, Order, Plan, Pulse};
use certificates::Certificates;
use drain::Crew;
use health::{Health, Vitals};
use reload::Reloader;
pub use start::{StartError, terms};
use start::{bind_all, bind_health, raise_descriptor_limit, read_certificates, worker_count};

/// A relay that listens but does not accept yet.
pub struct Server {
    config: watch::Sender<Arc<Config>>,
    listeners: Vec<Listener>,
    listening: Vec<Listening>,
    /// Where a listener takes TLS.
    certificates: Option<Certificates>,
    script: Script,
    reception: Reception,
    workers: Vec<JoinHandle<()>>,
    orders: watch::Sender<Order>,
    ended: mpsc::Receiver<Ended>,
    health: Option<Health>,
    vitals: Vitals,
}

impl Server {
    /// Loads certificates and script, and binds all listeners. Nothing is accepted before
    /// [`Server::run`].
    ///
    /// # Errors
    /// The first thing that is wrong; nothing is left running then.
    pub async fn bind(config: Config) -> Result<Server, StartError> {
        raise_descriptor_limit(&config)?;
        let listeners = bind_all(&config.listen)?;
        let health = bind_health(&config).await?;
        let count = worker_count(config.workers);
        let config = watch::Sender::new(Arc::new(config));
        let (inboxes, outlets): (Vec<_>, Vec<_>) =
            (0..count).map(|_| mpsc::channel(INBOX_HAND_OVERS)).unzip();
        let script = Script::start(terms(&config.borrow()), inboxes)?;
        // They may have to be made, of which a start that fails for its config, its script or an address
        // leaves no trace: so late. One that the system has no worker's thread for does.
        let certificates = read_certificates(&config.borrow())?.map(Certificates::new);

        let issuer = Arc::new(Issuer::new().map_err(StartError::System)?);
        let (orders, order) = watch::channel(Order::Run);
        let pulses: Vec<Arc<Pulse>> = (0..count).map(|_| Arc::default()).collect();
        let (tell_end, ended) = mpsc::channel(count);
        let (mut arrivals, mut workers) = (Vec::new(), Vec::new());
        let waiting = Waiting::of_workers(count);
        for ((index, outlet), waiting) in (0u16..).zip(outlets).zip(waiting) {
            let plan = Plan {
                config: config.subscribe(),
                issuer: Arc::clone(&issuer),
                queue: script.queue(),
                waiting,
                workers: count,
                orders: orders.subscribe(),
                ended: tell_end.clone(),
                pulse: Arc::clone(&pulses[usize::from(index)]),
            };
            let worker =
                worker::start(index, plan, outlet).map_err(|e| StartError::System(e.into()))?;
            arrivals.push(worker.arrivals);
            workers.push(worker.thread);
        }
        let admission = Arc::new(Admission::new(config.subscribe()));
        let reception = Reception::new(arrivals, admission);
        let (script_status, begun) = (script.status_board(), Instant::now());
        let vitals = Vitals { orders: order, pulses, script: script_status, begun };
        let listening = listeners.iter().map(|listener| listener.listening).collect();
        Ok(Server {
            config,
            listeners,
            listening,
            certificates,
            script,
            reception,
            workers,
            orders,
            ended,
            health,
            vitals,
        })
    }

    /// The bound addresses, in the order of the configuration.
    pub fn listeners(&self) -> &[Listening] {
        &self.listening
    }

    /// Has config, certificates and script read again while the relay serves. `read` reads the
    /// config from where it came from.
    pub fn reloader(
        &self,
        read: impl Fn() -> Result<Config, ConfigError> + Send + Sync + 'static,
    ) -> Reloader {
        Reloader::new(read, self.config.clone(), self.certificates.clone(), self.script.reloader())
    }

    /// The config that holds, for whoever follows its changes.
    pub fn config(&self) -> watch::Receiver<Arc<Config>> {
        self.config.subscribe()
    }

    /// Where `/ready` and `/health` are answered, if anywhere.
    pub fn health_addr(&self) -> Option<SocketAddr> {
        self.health.as_ref()?.addr().ok()
    }

    /// Serves until `shutdown` completes, then drains: no new connections, every message that was
    /// taken is decided, every client gets its Close 1001. What is left at the deadline
    /// (`drain.timeout_ms`) is cut.
    ///
    /// # Errors
    /// Where a worker ended by itself, which is a bug in relay.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let served = self.listeners.into_iter().map(|listener| {
            let listening = listener.listening;
            let tls = self.certificates.as_ref().filter(|_| listening.scheme.tls());
            let door = Door::new(listening, tls.map(Certificates::tls));
            (listener, door)
        });
        // Both go on to the end of the process.
        tokio::spawn(supervisor::feed_watchdog(self.vitals.clone()));
        if let Some(health) = self.health {
            tokio::spawn(health.serve(self.vitals));
        }
        supervisor::ready();
        let certificates = self.certificates.clone();
        let config = self.config.subscribe();
        let keep_certificates = async {
            match certificates {
                Some(certificates) => certificates.keep(config).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = keep_certificates => {}
            () = shutdown => {}
            () = listener::accept(served.collect(), self.reception) => {}
            _ = self.ended.recv() => anyhow::bail!("a worker ended by itself"),
        }
        // The accepting has been dropped with its sockets: nobody gets in any more.
        let timeout = self.config.borrow().drain.timeout;
        tracing::info!(timeout_ms = millis(timeout), "draining");
        self.script.drain();
        supervisor::stopping(timeout);
        let mut crew = Crew::new(self.orders, self.ended, self.workers.len());
        let stopped = crew.drain(timeout).await;
        drain::join(self.script, self.workers, stopped).await;
        Ok(())
    }
}
