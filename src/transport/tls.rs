//! Certificate and key of the TLS listeners, from files to what rustls serves with. Loading again
//! is the same call: the caller keeps the old [`Loaded`] when it fails.

mod development;
mod pair;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::UnixTime;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};

pub use development::{CERTIFICATE_FILE, KEY_FILE};
pub use pair::TlsError;

use crate::config::TlsConfig;
use pair::{Pair, Validity};

/// What a TLS listener serves with.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// For `tokio_rustls::TlsAcceptor::from`. rustls bounds what one connection buffers by
    /// `set_buffer_limit` on the connection (64 KiB each for plaintext and TLS), not here.
    pub server_config: Arc<ServerConfig>,
    /// The certificate file in use.
    pub certificate: PathBuf,
    /// Whether the development certificate was made by this call, so that clients which trusted
    /// an older one have to be told.
    pub made_now: bool,
    /// What the operator should know although relay can run: one sentence each.
    pub warnings: Vec<String>,
}

/// Loads the configured certificate and key, or the development certificate when none is
/// configured; that one is made first when it is missing, unusable or expired.
///
/// # Errors
/// A file is missing, unreadable, over 1 MiB or not PEM; holds no certificate or no key; the key
/// does not belong to the certificate, or others than its owner and group may use it; the
/// development certificate cannot be written. Each names the file and the cure.
pub fn acceptor(config: &TlsConfig) -> Result<Loaded, TlsError> {
    let now = UnixTime::now();
    let (pair, made_now) = match config.own_files() {
        Some((certificate, key)) => (Pair::load(certificate, key)?, false),
        None => development::load_or_make(&config.directory, now)?,
    };
    let warnings = warning(&pair, now).into_iter().collect();
    let server_config = Arc::new(server_config(&pair)?);
    Ok(Loaded { server_config, certificate: pair.certificate_file, made_now, warnings })
}

/// The operator's certificate as far as it can be judged without serving: how many days it is still
/// good for, or all that is wrong with the two files. Each mistake names the file it is about.
pub fn examine(certificate: &Path, key: &Path, now: UnixTime) -> Result<u64, Vec<TlsError>> {
    let pair = Pair::load(certificate, key).map_err(|error| {
        // The certificate is read first: what is wrong with the key alone is still to be found.
        let of_key = pair::read_key(key).err();
        let same = |other: &TlsError| other.to_string() == error.to_string();
        let of_key = of_key.filter(|other| !same(other));
        std::iter::once(error).chain(of_key).collect::<Vec<_>>()
    })?;
    Ok(pair.days_left(now))
}

fn warning(pair: &Pair, now: UnixTime) -> Option<String> {
    let file = pair.certificate_file.display();
    match pair.validity(now) {
        Validity::Valid => None,
        Validity::Expired { days } => Some(format!(
            "the certificate in {file} expired {days} days ago: clients will refuse it"
        )),
        Validity::NotYet => Some(format!(
            "the certificate in {file} is not valid yet: is this machine's clock right?"
        )),
    }
}

fn server_config(pair: &Pair) -> Result<ServerConfig, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(TlsError::Setup)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&pair.certified))));
    // Sessions are resumed by tickets that the client keeps, so a connection that is over leaves
    // nothing here; the alternative is a cache of sessions. One ticket instead of the usual two,
    // because it is sent to every client and a page opens one connection at a time.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ring::Ticketer::new().map_err(TlsError::Setup)?;
    config.send_tls13_tickets = 1;
    Ok(config)
}

#[cfg(test)]
mod tests;
