//! Puts the relay together: certificates, script, listeners, workers; runs it, and drains it.
//! The only file that knows all others.

pub mod control;
mod drain;

use std::sync::Arc;
use std::thread::JoinHandle;

use thiserror::Error;
use tokio::sync::{mpsc, watch};

use crate::config::{Config, ListenUrl};
use crate::connection::Door;
use crate::hub::HubLimits;
use crate::listener::{self, Listener, Listening, Reception};
use crate::message::MessageLimits;
use crate::script::{Budgets, LoadError, Reloader, Script, Terms};
use crate::session::Issuer;
use crate::transport::tls::{self, TlsError};
use crate::worker::{self, Ended, INBOX_HAND_OVERS, Order, Plan};
use drain::Crew;

/// Descriptors beside those of connections: listeners, event queues, watches, logs, the script.
const DESCRIPTORS_BESIDE: u64 = 64;

/// A relay that listens but does not accept yet.
pub struct Server {
    config: Arc<Config>,
    listeners: Vec<Listener>,
    listening: Vec<Listening>,
    server_config: Option<Arc<rustls::ServerConfig>>,
    script: Script,
    reception: Reception,
    workers: Vec<JoinHandle<()>>,
    orders: watch::Sender<Order>,
    ended: mpsc::Receiver<Ended>,
}

/// Why the relay does not start.
#[derive(Debug, Error)]
pub enum StartError {
    #[error("{0}")]
    Script(LoadError),
    #[error("cannot listen on {url}: {error}")]
    Bind { url: String, error: std::io::Error },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(
        "limits.connections_max is {connections}, but this process may open only {descriptors} \
         files: raise the limit (ulimit -n, LimitNOFILE=) or lower limits.connections_max"
    )]
    Descriptors { connections: usize, descriptors: u64 },
    #[error("the system gives no thread, random numbers or event queue: {0}")]
    System(anyhow::Error),
}

impl Server {
    /// Loads certificates and script, and binds all listeners. Nothing is accepted before
    /// [`Server::run`].
    ///
    /// # Errors
    /// The first thing that is wrong; nothing is left running then.
    pub async fn bind(config: Config) -> Result<Server, StartError> {
        let config = Arc::new(config);
        raise_descriptor_limit(&config)?;
        let server_config = load_certificate(&config)?;
        let listeners = bind_all(&config.listen)?;
        let count = worker_count(config.workers);
        let (inboxes, outlets): (Vec<_>, Vec<_>) =
            (0..count).map(|_| mpsc::channel(INBOX_HAND_OVERS)).unzip();
        let of_script = &config.script;
        let tests = of_script.test_before_reload;
        let script = Script::start(&of_script.file, terms(&config), tests, inboxes)
            .map_err(StartError::Script)?;

        let issuer = Arc::new(Issuer::new().map_err(StartError::System)?);
        let (orders, _) = watch::channel(Order::Run);
        let (tell_end, ended) = mpsc::channel(count);
        let (mut arrivals, mut workers) = (Vec::new(), Vec::new());
        for (index, outlet) in (0u16..).zip(outlets) {
            let plan = Plan {
                config: Arc::clone(&config),
                issuer: Arc::clone(&issuer),
                queue: script.queue(),
                workers: count,
                orders: orders.subscribe(),
                ended: tell_end.clone(),
            };
            let worker =
                worker::start(index, plan, outlet).map_err(|e| StartError::System(e.into()))?;
            arrivals.push(worker.arrivals);
            workers.push(worker.thread);
        }
        let limits = &config.limits;
        let reception =
            Reception::new(arrivals, limits.connections_max, limits.handshakes_pending_max);
        let listening = listeners.iter().map(|listener| listener.listening).collect();
        Ok(Server {
            config,
            listeners,
            listening,
            server_config,
            script,
            reception,
            workers,
            orders,
            ended,
        })
    }

    /// The bound addresses, in the order of the configuration.
    pub fn listeners(&self) -> &[Listening] {
        &self.listening
    }

    /// Has the script loaded again while the relay serves.
    pub fn reloader(&self) -> Reloader {
        self.script.reloader()
    }

    /// Serves until `shutdown` completes, then drains: no new connections, every message that was
    /// taken is decided, every client gets its Close 1001. What is left at the deadline
    /// (`drain.timeout_ms`) is cut.
    ///
    /// # Errors
    /// Where a worker ended by itself, which is a bug in relay.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> anyhow::Result<()> {
        let served = self.listeners.into_iter().map(|listener| {
            let scheme = listener.listening.scheme;
            let tls = self.server_config.clone().filter(|_| scheme.tls());
            (listener, Door { plain: scheme.plain(), tls })
        });
        tokio::select! {
            () = shutdown => {}
            () = listener::accept(served.collect(), self.reception) => {}
            _ = self.ended.recv() => anyhow::bail!("a worker ended by itself"),
        }
        // The accepting has been dropped with its sockets: nobody gets in any more.
        let timeout = self.config.drain.timeout;
        tracing::info!(?timeout, "draining");
        let mut crew = Crew::new(self.orders, self.ended, self.workers.len());
        let stopped = crew.drain(timeout).await;
        drain::join(self.script, self.workers, stopped).await;
        Ok(())
    }
}

/// What the config says to the script, in the relay and in its tests.
pub fn terms(config: &Config) -> Terms {
    let limits = &config.limits;
    Terms {
        settings: config.script.settings.clone(),
        hub: HubLimits {
            name_bytes_max: limits.name_bytes_max,
            failed_claims_max: u32::try_from(limits.failed_claims_max).unwrap_or(u32::MAX),
            rooms_per_client_max: limits.rooms_per_client_max,
            attributes_bytes_max: limits.attributes_bytes_max,
            store_bytes_max: config.store.memory_bytes_max,
        },
        message: MessageLimits {
            depth_max: limits.json_depth_max,
            opcode_bytes_max: limits.opcode_bytes_max,
        },
        budgets: Budgets::from(&config.script),
    }
}

fn worker_count(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    }
}

fn load_certificate(config: &Config) -> Result<Option<Arc<rustls::ServerConfig>>, StartError> {
    if !config.listen.iter().any(|url| url.scheme.tls()) {
        return Ok(None);
    }
    let loaded = tls::acceptor(&config.tls)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    if loaded.made_now {
        let certificate = loaded.certificate.display();
        tracing::warn!(%certificate, "no certificate is configured: made one for localhost, for development");
    }
    Ok(Some(loaded.server_config))
}

fn bind_all(urls: &[ListenUrl]) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    for url in urls {
        let bound = listener::bind(url)
            .map_err(|error| StartError::Bind { url: url.to_string(), error })?;
        listeners.extend(bound);
    }
    Ok(listeners)
}

/// Every connection is a descriptor: as many as are configured must be possible.
fn raise_descriptor_limit(config: &Config) -> Result<(), StartError> {
    let connections = config.limits.connections_max;
    let needed = connections as u64 + DESCRIPTORS_BESIDE;
    let descriptors = rlimit::increase_nofile_limit(needed)
        .and_then(|_| rlimit::Resource::NOFILE.get_soft())
        .map_err(|error| StartError::System(error.into()))?;
    match descriptors >= needed {
        true => Ok(()),
        false => Err(StartError::Descriptors { connections, descriptors }),
    }
}
