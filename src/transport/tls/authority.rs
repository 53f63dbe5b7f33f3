//! Who signs the certificates of clients.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{Error, RootCertStore};

use super::pair::{TlsError, read_chain};

/// The authorities in a PEM file.
pub fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(file)? {
        roots
            .add(certificate)
            .map_err(|error| TlsError::BadCertificate { path: file.to_owned(), error })?;
    }
    Ok(roots)
}

/// Judges a certificate that a client shows. It may show none: web clients need none, and who needs
/// one is known only after the handshake.
pub fn verifier(file: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let (roots, provider) = (Arc::new(roots(file)?), Arc::new(ring::default_provider()));
    WebPkiClientVerifier::builder_with_provider(roots, provider)
        .allow_unauthenticated()
        .build()
        .map_err(|error| TlsError::Setup(Error::General(error.to_string())))
}
