//! Certificates that tests make, and a client that takes any.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use relay::transport::tls::Anyone;
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, SupportedProtocolVersion};

use crate::process::Process;

/// A certificate with its key.
pub struct Pair {
    pub der: CertificateDer<'static>,
    pub certificate: String,
    pub key: KeyPair,
}

impl Pair {
    pub fn of(names: &[&str]) -> Pair {
        Pair::made(names, |_| {})
    }

    pub fn made(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = params(names);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let made = params.self_signed(&key).expect("a certificate");
        Pair { der: made.der().clone(), certificate: made.pem(), key }
    }

    pub fn authority() -> Pair {
        Pair::made(&[], |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))
    }

    /// A certificate that this authority signs.
    pub fn signs(&self, name: &str) -> Pair {
        let mut its = params(&[]);
        its.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = Issuer::new(its, &self.key);
        let key = KeyPair::generate().expect("a key");
        let made = params(&[name]).signed_by(&key, &issuer).expect("a certificate");
        Pair { der: made.der().clone(), certificate: made.pem(), key }
    }

    pub fn write(&self, process: &Process, certificate: &str, key: &str) {
        write_key(&process.file(key), &self.key.serialize_pem());
        fs::write(process.file(certificate), &self.certificate).expect("written");
    }
}

fn params(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
        .expect("names")
}

pub fn write_key(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    fs::write(path, text).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("our own file");
}

/// A client that takes whatever is served: the test looks at what it was.
pub fn curious(version: &'static SupportedProtocolVersion, own: Option<&Pair>) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let anyone = Arc::new(Anyone::new(&provider));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("versions that ring has")
        .dangerous()
        .with_custom_certificate_verifier(anyone);
    match own {
        Some(pair) => {
            let key = PrivateKeyDer::try_from(pair.key.serialize_der()).expect("a key");
            builder.with_client_auth_cert(vec![pair.der.clone()], key).expect("a pair")
        }
        None => builder.with_no_client_auth(),
    }
}
