//! Certificates and keys of the TLS listeners, from files to what rustls serves with. Loading again
//! is the same call: the caller keeps the old [`Loaded`] when it fails.

mod anyone;
mod authority;
mod certificate;
mod development;
mod names;
mod pair;
mod words;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::NoServerSessionStorage;
use rustls::version::{TLS12, TLS13};

pub use anyone::Anyone;
pub use certificate::Certificate;
pub use development::{CERTIFICATE_FILE, KEY_FILE};
pub use pair::TlsError;
pub use words::in_words;

use crate::config::TlsConfig;
use names::ByName;
use pair::Pair;

/// What handshakes are served with at this moment. Shared by the listeners; a connection that
/// stands keeps what it began with.
pub struct Tls(RwLock<Arc<ServerConfig>>);

impl Tls {
    pub fn new(server_config: Arc<ServerConfig>) -> Tls {
        Tls(RwLock::new(server_config))
    }

    pub fn now(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The next handshake is served with this. Sessions begun before can not be resumed: their
    /// tickets are of the old one, and so is what a client proved then.
    pub fn replace(&self, server_config: Arc<ServerConfig>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = server_config;
    }
}

/// What a TLS listener serves with.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// For `tokio_rustls::TlsAcceptor::from`. rustls bounds what one connection buffers by
    /// `set_buffer_limit` on the connection (64 KiB each for plaintext and TLS), not here.
    pub server_config: Arc<ServerConfig>,
    /// The certificates in use; the first serves whoever asks for none of their names.
    pub certificates: Vec<Certificate>,
    /// Whether the development certificate was made by this call, so that clients which trusted
    /// an older one have to be told.
    pub made_now: bool,
    /// What the operator should know although relay can run: one sentence each.
    pub warnings: Vec<String>,
}

/// Loads the configured certificates and keys, or the development certificate when none is
/// configured; that one is made first when it is missing, unusable or expired.
///
/// # Errors
/// A file is missing, unreadable, over 1 MiB or not PEM; holds no certificate or no key; the key
/// does not belong to the certificate, or others than its owner and group may use it; the
/// development certificate cannot be written. Each names the file and the cure.
pub fn acceptor(config: &TlsConfig) -> Result<Loaded, TlsError> {
    let now = UnixTime::now();
    let mut made_now = false;
    let mut pairs = Vec::new();
    for (certificate, key) in config.own_files() {
        pairs.push(Pair::load(certificate, key)?);
    }
    if pairs.is_empty() {
        let (pair, made) = development::load_or_make(&config.directory, now)?;
        made_now = made;
        pairs.push(pair);
    }
    let (by_name, overlaps) = ByName::new(&pairs);
    let server_config = Arc::new(server_config(by_name, &config.client_ca)?);
    let certificates: Vec<_> = pairs.iter().map(|pair| pair.certificate(now)).collect();
    let troubles = certificates.iter().filter_map(|certificate| certificate.trouble.clone());
    let doubts = certificates.iter().filter_map(|certificate| certificate.doubt.clone());
    let warnings = troubles.chain(doubts).chain(overlaps).collect();
    Ok(Loaded { server_config, certificates, made_now, warnings })
}

/// The files that [`acceptor`] reads, the certificate first.
pub fn files(config: &TlsConfig) -> Vec<PathBuf> {
    let pairs = config.own_files();
    let mut files: Vec<PathBuf> =
        pairs.iter().flat_map(|(certificate, key)| [certificate, key]).map(PathBuf::from).collect();
    if pairs.is_empty() {
        files.extend([CERTIFICATE_FILE, KEY_FILE].map(|name| config.directory.join(name)));
    }
    files.extend(Some(&config.client_ca).filter(|file| !file.as_os_str().is_empty()).cloned());
    files
}

/// A pair of the operator's as far as it can be judged without serving, or all that is wrong with
/// the two files. Each mistake names the file it is about.
///
/// # Errors
/// As [`acceptor`].
pub fn examine(certificate: &Path, key: &Path) -> Result<Certificate, Vec<TlsError>> {
    let pair = Pair::load(certificate, key).map_err(|error| {
        // The certificate is read first: what is wrong with the key alone is still to be found.
        let of_key = pair::read_key(key).err();
        let same = |other: &TlsError| other.to_string() == error.to_string();
        let of_key = of_key.filter(|other| !same(other));
        std::iter::once(error).chain(of_key).collect::<Vec<_>>()
    })?;
    Ok(pair.certificate(UnixTime::now()))
}

/// Names that more than one of the operator's pairs is for, and which of them serves: one sentence
/// each. Pairs that do not load are passed over.
pub fn overlaps(config: &TlsConfig) -> Vec<String> {
    let load = |(certificate, key): (&Path, &Path)| Pair::load(certificate, key).ok();
    ByName::new(&config.own_files().into_iter().filter_map(load).collect::<Vec<_>>()).1
}

/// A certificate with its chain and its key, as a client shows them.
///
/// # Errors
/// A file is no such PEM file, or others may use the key.
pub fn read_pair(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    Ok((pair::read_chain(certificate)?, pair::read_key(key)?))
}

/// How many authorities for client certificates this file holds.
///
/// # Errors
/// It can not be read, or one of its certificates is none of an authority.
pub fn examine_authorities(client_ca: &Path) -> Result<usize, TlsError> {
    Ok(authority::roots(client_ca)?.len())
}

fn server_config(by_name: ByName, client_ca: &Path) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(TlsError::Setup)?;
    let builder = match client_ca.as_os_str().is_empty() {
        true => builder.with_no_client_auth(),
        false => builder.with_client_cert_verifier(authority::verifier(client_ca)?),
    };
    let mut config = builder.with_cert_resolver(Arc::new(by_name));
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
