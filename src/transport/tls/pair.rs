//! A certificate chain and its key, read from PEM files and checked to belong together.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, RootCertStore};

use super::certificate::Certificate;
use super::words::{doubt, in_words};
use crate::watch::open;

/// A chain of certificates takes some 10 KiB; more than this is another file named by mistake.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// 9999-12-31T23:59:59Z.
const END_OF_TIME: Duration = Duration::from_secs(253_402_300_799);

/// Why TLS cannot be served. Each text names the file and, where one is known, the cure.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be opened or read.
    #[error("cannot read {path}: {error}")]
    Unreadable { path: PathBuf, error: io::Error },
    /// Others than the key's owner and its group have rights on its file.
    #[error("every user of this machine has access to {path} (mode {mode:o}): chmod 600 {path}")]
    KeyExposed { path: PathBuf, mode: u32 },
    /// A PEM file that is cut off or altered.
    #[error("{path} is damaged PEM: {error}")]
    DamagedPem { path: PathBuf, error: pem::Error },
    /// A file for the certificate without one.
    #[error("no certificate in {path}: {cure}")]
    NoCertificate { path: PathBuf, cure: String },
    /// A file for the key without one.
    #[error("no private key in {path}: {cure}")]
    NoKey { path: PathBuf, cure: String },
    /// A certificate that rustls cannot use.
    #[error("the certificate in {path} is not usable: {}", in_words(error))]
    BadCertificate { path: PathBuf, error: Error },
    /// A key that rustls cannot use.
    #[error("the private key in {path} is not usable: {}", in_words(error))]
    BadKey { path: PathBuf, error: Error },
    /// Certificate and key are not of one pair.
    #[error(
        "the key in {key} does not belong to the first certificate in {certificate}: name the two \
         files of one pair, and put the server's own certificate before its chain"
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
    /// One of these, about a file that this key of relay.toml names.
    #[error("{key}: {error}")]
    Named { key: String, error: Box<TlsError> },
    /// A new one that is no better than the one that is served.
    #[error("{0}")]
    OutOfDate(String),
    /// The development certificate cannot be made.
    #[error(
        "cannot make a development certificate in {directory}: {error}; let relay write there, \
         or set tls.certificate and tls.key"
    )]
    Development { directory: PathBuf, error: io::Error },
    /// rustls refused its settings, or the system has no random numbers.
    #[error("cannot set up TLS: {0}")]
    Setup(Error),
}

impl TlsError {
    /// The file that is wrong, where it is a single one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            TlsError::Unreadable { path, .. }
            | TlsError::KeyExposed { path, .. }
            | TlsError::DamagedPem { path, .. }
            | TlsError::NoCertificate { path, .. }
            | TlsError::NoKey { path, .. }
            | TlsError::BadCertificate { path, .. }
            | TlsError::BadKey { path, .. } => Some(path),
            TlsError::Named { error, .. } => error.path(),
            TlsError::Mismatch { .. }
            | TlsError::OutOfDate(_)
            | TlsError::Development { .. }
            | TlsError::Setup(_) => None,
        }
    }
}

/// A certificate chain with its key.
pub struct Pair {
    /// Ready to sign handshakes with.
    pub certified: Arc<CertifiedKey>,
    /// Where the chain was read from.
    pub certificate_file: PathBuf,
}

/// How a certificate's own dates stand to a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    Valid,
    /// For so many whole days.
    Expired {
        days: u64,
    },
    NotYet,
}

impl Pair {
    /// Reads and checks both files.
    pub fn load(certificate_file: &Path, key_file: &Path) -> Result<Pair, TlsError> {
        let chain = read_chain(certificate_file)?;
        let key = read_key(key_file)?;
        let bad_certificate =
            |error| TlsError::BadCertificate { path: certificate_file.to_owned(), error };
        for certificate in &chain {
            ParsedCertificate::try_from(certificate).map_err(bad_certificate)?;
        }
        let key = ring::default_provider()
            .key_provider
            .load_private_key(key)
            .map_err(|error| TlsError::BadKey { path: key_file.to_owned(), error })?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            // "Unknown": a key that does not tell its public half. ring's all do.
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => {
                return Err(TlsError::Mismatch {
                    certificate: certificate_file.to_owned(),
                    key: key_file.to_owned(),
                });
            }
            Err(error) => return Err(bad_certificate(error)),
        }
        Ok(Pair { certified: Arc::new(certified), certificate_file: certificate_file.to_owned() })
    }

    /// Compares the dates of the server's own certificate with `now`.
    ///
    /// rustls shows no dates, so this asks its verifier about a server with this certificate, which
    /// it trusts for the occasion. The verifier looks at the dates first; whatever else it finds
    /// wrong is for clients to judge.
    pub fn validity(&self, now: UnixTime) -> Validity {
        match self.verify(now) {
            Some(CertificateError::ExpiredContext { time, not_after }) => {
                let seconds = time.as_secs().saturating_sub(not_after.as_secs());
                Validity::Expired { days: seconds / 86_400 }
            }
            Some(CertificateError::Expired) => Validity::Expired { days: 0 },
            Some(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
                Validity::NotYet
            }
            _ => Validity::Valid,
        }
    }

    /// What people are told of it at this time.
    pub fn certificate(&self, now: UnixTime) -> Certificate {
        let der = self.certified.cert.first().cloned().unwrap_or_else(|| Vec::new().into());
        Certificate {
            file: self.certificate_file.clone(),
            der,
            names: self.names(),
            not_after: self.not_after(),
            trouble: self.trouble(now),
            doubt: self.verify(now).as_ref().and_then(doubt).map(|what| {
                format!("the certificate in {} {what}", self.certificate_file.display())
            }),
        }
    }

    fn trouble(&self, now: UnixTime) -> Option<String> {
        let file = self.certificate_file.display();
        match self.validity(now) {
            Validity::Valid => None,
            Validity::Expired { days } => Some(format!(
                "the certificate in {file} expired {days} days ago: clients will refuse it"
            )),
            Validity::NotYet => Some(format!(
                "the certificate in {file} is not valid yet: is this machine's clock right?"
            )),
        }
    }

    /// The DNS names that it is for.
    pub fn names(&self) -> Vec<String> {
        let parsed = self.certified.cert.first().map(webpki::EndEntityCert::try_from);
        let names =
            parsed.and_then(Result::ok).map(|it| it.valid_dns_names().map(str::to_owned).collect());
        names.unwrap_or_default()
    }

    /// The end of its time, in seconds since 1970. rustls shows no dates, see above: but it says of a
    /// certificate that has expired when that was, and in the year 9999 each has (RFC 5280, section
    /// 4.1.2.5, has none that lasts longer).
    fn not_after(&self) -> u64 {
        match self.verify(UnixTime::since_unix_epoch(END_OF_TIME)) {
            Some(CertificateError::ExpiredContext { not_after, .. }) => not_after.as_secs(),
            _ => END_OF_TIME.as_secs(),
        }
    }

    fn verify(&self, now: UnixTime) -> Option<CertificateError> {
        let certificate = self.certified.cert.first()?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).ok()?;
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().ok()?;
        let name = ServerName::try_from("localhost").ok()?;
        match verifier.verify_server_cert(certificate, &[], &name, &[], now) {
            Err(Error::InvalidCertificate(error)) => Some(error),
            _ => None,
        }
    }
}

/// The certificates in a PEM file, one at least.
pub fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let (bytes, _) = read(path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| TlsError::DamagedPem { path: path.to_owned(), error })?;
    if !chain.is_empty() {
        return Ok(chain);
    }
    let cure = match bytes.first() {
        // The first byte of any certificate in DER, the other usual form.
        Some(0x30) => {
            format!("it looks like DER: openssl x509 -in {} -out NEW.pem", path.display())
        }
        _ => "a PEM file with BEGIN CERTIFICATE is needed".to_owned(),
    };
    Err(TlsError::NoCertificate { path: path.to_owned(), cure })
}

/// The private key in a PEM file.
pub fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let (bytes, mode) = read(path)?;
    if mode & 0o007 != 0 {
        return Err(TlsError::KeyExposed { path: path.to_owned(), mode });
    }
    let no_key = |cure: String| TlsError::NoKey { path: path.to_owned(), cure };
    // The word stands in the first line of PKCS#8 keys and in the second of older ones.
    if bytes.windows(9).any(|window| window == b"ENCRYPTED") {
        let cure = format!("it is encrypted: openssl pkey -in {} -out NEW.pem", path.display());
        return Err(no_key(cure));
    }
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            Err(no_key("a PEM file with BEGIN PRIVATE KEY is needed".to_owned()))
        }
        Err(error) => Err(TlsError::DamagedPem { path: path.to_owned(), error }),
    }
}

/// The bytes of a file, and its permission bits as they were when it was opened.
fn read(path: &Path) -> Result<(Vec<u8>, u32), TlsError> {
    let unreadable = |error| TlsError::Unreadable { path: path.to_owned(), error };
    let file = open(path).map_err(unreadable)?;
    let mode = mode_of(&file).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(unreadable(io::Error::other("larger than 1 MiB")));
    }
    Ok((bytes, mode))
}

#[cfg(unix)]
fn mode_of(file: &File) -> io::Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(file.metadata()?.permissions().mode() & 0o777)
}

/// Elsewhere rights are no bits, and nothing is known about them.
#[cfg(not(unix))]
fn mode_of(_: &File) -> io::Result<u32> {
    Ok(0)
}
