//! What a start needs of the config: terms for the script, certificates, descriptors, sockets. A
//! reload takes it through the same.

use thiserror::Error;

use super::certificates::Read;
use super::health::Health;
use crate::admission::GOODBYES_MAX;
use crate::config::{Config, ListenUrl};
use crate::hub::HubLimits;
use crate::listener::{self, Inherited, Listener};
use crate::message::MessageLimits;
use crate::script::{Budgets, LoadError, Terms};
use crate::transport::tls::TlsError;

/// Descriptors beside those of connections and workers: listeners, watches, logs, the script.
const DESCRIPTORS_BESIDE: u64 = 64;
/// A worker's event queue, and what wakes it.
const DESCRIPTORS_OF_WORKER: u64 = 4;

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
    #[error("the system does not give what a relay needs: {0:#}")]
    System(anyhow::Error),
}

impl From<LoadError> for StartError {
    fn from(error: LoadError) -> StartError {
        match error.is_of_system() {
            true => StartError::System(error.into()),
            false => StartError::Script(error),
        }
    }
}

/// What the config says to the script, in the relay and in its tests.
pub fn terms(config: &Config) -> Terms {
    let limits = &config.limits;
    Terms {
        script: config.script.clone(),
        hub: HubLimits {
            name_bytes_max: limits.name_bytes_max,
            failed_claims_max: u32::try_from(limits.failed_claims_max).unwrap_or(u32::MAX),
            rooms_per_client_max: limits.rooms_per_client_max,
            attributes_bytes_max: limits.attributes_bytes_max,
            store_bytes_max: config.store.memory_bytes_max,
        },
        message: MessageLimits::from(limits),
        budgets: Budgets::from(&config.script),
        broadcasts_per_second_max: limits.broadcasts_per_second_max,
        aside_bytes_max: limits.script_queue_bytes_max,
    }
}

pub fn worker_count(configured: usize) -> usize {
    match configured {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    }
}

/// The certificates, where a listener takes TLS.
pub fn read_certificates(config: &Config) -> Result<Option<Read>, StartError> {
    let takes_tls = config.listen.iter().any(|url| url.scheme.tls());
    Ok(takes_tls.then(|| Read::from(&config.tls)).transpose()?)
}

pub fn bind_all(urls: &[ListenUrl]) -> Result<Vec<Listener>, StartError> {
    let (mut listeners, mut inherited) = (Vec::new(), Inherited::from_env());
    for url in urls {
        let bound = listener::bind(url, &mut inherited)
            .map_err(|error| StartError::Bind { url: url.to_string(), error })?;
        listeners.extend(bound);
    }
    for name in inherited.left() {
        tracing::warn!(
            "systemd opened a socket {name:?} that nobody accepts on, so its clients wait: add \
             any://systemd:{name} to listen, or take it out of the socket unit"
        );
    }
    Ok(listeners)
}

/// Every connection is a descriptor: as many as are configured must be possible.
pub fn raise_descriptor_limit(config: &Config) -> Result<(), StartError> {
    let connections = config.limits.connections_max;
    let workers = worker_count(config.workers) as u64;
    let beside = DESCRIPTORS_BESIDE + GOODBYES_MAX as u64 + workers * DESCRIPTORS_OF_WORKER;
    let needed = connections as u64 + beside;
    let descriptors = rlimit::increase_nofile_limit(needed)
        .and_then(|_| rlimit::Resource::NOFILE.get_soft())
        .map_err(|error| StartError::System(error.into()))?;
    match descriptors >= needed {
        true => Ok(()),
        false => Err(StartError::Descriptors { connections, descriptors }),
    }
}

/// Binds the address where the relay tells how it is.
pub async fn bind_health(config: &Config) -> Result<Option<Health>, StartError> {
    let Some(addr) = config.health.listen else { return Ok(None) };
    let bind_error = |error| StartError::Bind { url: format!("http://{addr}"), error };
    Health::bind(addr).await.map(Some).map_err(bind_error)
}
