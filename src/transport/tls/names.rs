//! Which certificate a client is served with: by the name it asks for (SNI, RFC 6066 section 3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::pair::Pair;

/// Pairs by the names in their certificates.
#[derive(Debug)]
pub struct ByName {
    /// For whoever asks for no name, or for none of these.
    first: Option<Arc<CertifiedKey>>,
    /// In lower case; wildcards as they stand, `*.example.org`.
    names: HashMap<String, Arc<CertifiedKey>>,
}

impl ByName {
    /// Of two pairs for one name the earlier one serves, and a sentence says so.
    pub fn new(pairs: &[Pair]) -> (ByName, Vec<String>) {
        let (mut names, mut files, mut overlaps) = (HashMap::new(), HashMap::new(), Vec::new());
        for pair in pairs {
            let file = pair.certificate_file.display();
            for name in pair.names() {
                let name = name.to_ascii_lowercase();
                if let Some(first) = files.get(&name) {
                    overlaps.push(format!(
                        "the certificates in {first} and {file} are both for {name}: the first serves"
                    ));
                } else {
                    files.insert(name.clone(), file.to_string());
                    names.insert(name, Arc::clone(&pair.certified));
                }
            }
        }
        let first = pairs.first().map(|pair| Arc::clone(&pair.certified));
        (ByName { first, names }, overlaps)
    }

    /// A wildcard stands for one whole label, the left-most (RFC 6125, section 6.4.3).
    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        let name = name.to_ascii_lowercase();
        self.names.get(&name).or_else(|| {
            let (_, parent) = name.split_once('.')?;
            self.names.get(&format!("*.{parent}"))
        })
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let asked = hello.server_name().and_then(|name| self.find(name));
        asked.or(self.first.as_ref()).cloned()
    }
}
