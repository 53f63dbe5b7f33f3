//! TLS from the client's side: which certificates are trusted.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, InvalidMessage, RootCertStore};

use super::{ConnectArgs, Failure};
use crate::cli::{EXIT_UNTRUSTED, EXIT_USAGE};
use crate::transport::tls;

/// What these flags say: the system's authorities, one file's, or anybody.
pub fn config(args: &ConnectArgs) -> Result<Arc<ClientConfig>, Failure> {
    let provider = Arc::new(ring::default_provider());
    let roots = match &args.cafile {
        Some(file) => roots_of(file)?,
        // The certificate is not looked at, so nothing has to be there.
        None if args.insecure => RootCertStore::empty(),
        None => system_roots()?,
    };
    let failed = |error: &dyn std::fmt::Display| Failure::new(EXIT_USAGE, format!("TLS: {error}"));
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    let builder = if args.insecure {
        let anyone = Arc::new(tls::Anyone::new(&provider));
        builder.dangerous().with_custom_certificate_verifier(anyone)
    } else {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| failed(&error))?;
        builder.with_webpki_verifier(verifier)
    };
    let config = match own_pair(args)? {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| Failure::new(EXIT_USAGE, format!("--cert and --key: {error}")))?,
        None => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// The certificate to show, with its chain, and its key.
type OwnPair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn own_pair(args: &ConnectArgs) -> Result<Option<OwnPair>, Failure> {
    let (Some(certificate), Some(key)) = (&args.cert, &args.key) else { return Ok(None) };
    tls::read_pair(certificate, key)
        .map(Some)
        .map_err(|error| Failure::new(EXIT_USAGE, error.to_string()))
}

fn roots_of(file: &Path) -> Result<RootCertStore, Failure> {
    let wrong =
        |why: String| Failure::new(EXIT_USAGE, format!("--cafile {}: {why}", file.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|e| wrong(e.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(wrong("it holds no certificate (PEM)".to_owned())),
        false => Ok(roots),
    }
}

/// The authorities of this system, or of `SSL_CERT_FILE` and `SSL_CERT_DIR`.
fn system_roots() -> Result<RootCertStore, Failure> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Some systems ship certificates that no verifier takes: the others are as good as before.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        let text = format!(
            "this system has no certificate authorities{why}; name the relay's with --cafile"
        );
        return Err(Failure::new(EXIT_UNTRUSTED, text));
    }
    Ok(roots)
}

/// Whether a failed handshake failed for the sake of the certificate.
pub fn is_untrusted(error: &io::Error) -> bool {
    matches!(reason(error), Some(rustls::Error::InvalidCertificate(_)))
}

/// Whether what came back is something else than TLS.
pub fn is_plain(error: &io::Error) -> bool {
    matches!(reason(error), Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)))
}

/// What is wrong with the handshake; with a certificate that is just not known, what to do about it.
pub fn in_words(error: &io::Error) -> String {
    use rustls::{CertificateError::UnknownIssuer, Error::InvalidCertificate};
    match reason(error) {
        Some(error @ InvalidCertificate(UnknownIssuer)) => {
            format!("{} (--cafile names those who are)", tls::in_words(error))
        }
        Some(error) => tls::in_words(error),
        None => error.to_string(),
    }
}

fn reason(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}
