//! The certificates: `[tls]`.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// `[tls]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// PEM file with the server's certificate first, then its chain. Empty: the development
    /// certificate. Set both this and `key`, or neither.
    pub certificate: PathBuf,
    /// PEM file with the certificate's private key. Empty: the development certificate's.
    pub key: PathBuf,
    /// Further pairs. A client is served with the one for the name it asks for (SNI), or with the
    /// pair above.
    pub more: Vec<PairConfig>,
    /// PEM file with the authorities that sign the certificates of backends. With it, a backend that
    /// comes over TLS has to show one. Empty: nobody has to.
    pub client_ca: PathBuf,
    /// The directory of the development certificate, which is made here when it is needed.
    pub directory: PathBuf,
}

/// `[[tls.more]]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PairConfig {
    /// As `tls.certificate`.
    pub certificate: PathBuf,
    /// As `tls.key`.
    pub key: PathBuf,
}

impl TlsConfig {
    /// The operator's certificates with their keys; none: the development certificate.
    pub fn own_files(&self) -> Vec<(&Path, &Path)> {
        if self.certificate.as_os_str().is_empty() {
            return Vec::new();
        }
        let more = self.more.iter().map(|pair| (&*pair.certificate, &*pair.key));
        std::iter::once((&*self.certificate, &*self.key)).chain(more).collect()
    }

    /// The key that names this file, with its table: `tls.key`, `tls.more.0.certificate`.
    pub fn key_of(&self, file: &Path) -> Option<String> {
        if file == self.client_ca {
            return Some("tls.client_ca".to_owned());
        }
        self.own_files().into_iter().enumerate().find_map(|(index, (certificate, key))| {
            let name = match file {
                file if file == certificate => "certificate",
                file if file == key => "key",
                _ => return None,
            };
            // The first pair has keys of its own.
            Some(match index.checked_sub(1) {
                None => format!("tls.{name}"),
                Some(index) => format!("tls.more.{index}.{name}"),
            })
        })
    }
}

impl Default for TlsConfig {
    fn default() -> Self {
        TlsConfig {
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            more: Vec::new(),
            client_ca: PathBuf::new(),
            directory: "certs".into(),
        }
    }
}
