//! The certificates while the relay serves: read again when their files change, and warned of before
//! they expire.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::UnixTime;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use crate::config::{Config, TlsConfig};
use crate::transport::tls::{self, Certificate, Loaded, Tls, TlsError};
use crate::watch::{LookedAt, Watch, Watched, read_bytes};

/// Key and certificate are written one after the other: this long may pass until they are a pair.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks meanwhile, if nothing else is noticed.
const RETRY: Duration = Duration::from_millis(250);
/// How often the dates are looked at.
const DATES: Duration = Duration::from_secs(3600);
/// So many days before its end a certificate is warned of, once each.
const WARN_DAYS: [u64; 3] = [1, 7, 30];

/// What TLS is served with. Its clones are the same.
#[derive(Clone)]
pub struct Certificates(Arc<Shared>);

struct Shared {
    tls: Arc<Tls>,
    served: Mutex<Read>,
    watched: Watched,
    changed: Notify,
}

/// Certificates that were read, and are good.
pub struct Read {
    files: Vec<LookedAt>,
    loaded: Loaded,
}

impl Read {
    /// What a start with this config would serve with.
    ///
    /// # Errors
    /// What it would say.
    pub fn from(config: &TlsConfig) -> Result<Read, TlsError> {
        // Before the load: whatever is written meanwhile is a change that the watch sees.
        let look = |file: PathBuf| {
            let bytes = read_bytes(&file).ok();
            (file, bytes)
        };
        let look_at_all =
            || -> Vec<LookedAt> { tls::files(config).into_iter().map(look).collect() };
        let mut files = look_at_all();
        let named = |error: TlsError| match error.path().and_then(|path| config.key_of(path)) {
            Some(key) => TlsError::Named { key, error: Box::new(error) },
            None => error,
        };
        let loaded = tls::acceptor(config).map_err(named)?;
        if loaded.made_now {
            files = look_at_all();
        }
        Ok(Read { files, loaded })
    }

    fn log(&self, before: &[Certificate]) {
        for warning in &self.loaded.warnings {
            tracing::warn!("{warning}");
        }
        let certificates = &self.loaded.certificates;
        if let (true, Some(made)) = (self.loaded.made_now, certificates.first()) {
            let certificate = made.file.display();
            tracing::warn!(%certificate, "no certificate is configured: made one for localhost, for development");
        }
        for new in certificates.iter().filter(|it| it.is_none_of(before)) {
            tracing::info!("serving with the certificate {new}");
        }
    }
}

impl Certificates {
    /// Serves with these.
    pub fn new(read: Read) -> Certificates {
        read.log(&[]);
        let watched = Watched::default();
        watched.set(read.files.clone());
        Certificates(Arc::new(Shared {
            tls: Arc::new(Tls::new(Arc::clone(&read.loaded.server_config))),
            served: Mutex::new(read),
            watched,
            changed: Notify::new(),
        }))
    }

    pub fn tls(&self) -> Arc<Tls> {
        Arc::clone(&self.0.tls)
    }

    /// What of this a start would serve with, for want of a better one, and these do not go on with: a
    /// new certificate that clients would refuse.
    pub fn refuse_worse(&self, read: Read) -> Result<Read, TlsError> {
        let served = self.0.served();
        let new =
            read.loaded.certificates.iter().filter(|it| it.is_none_of(&served.loaded.certificates));
        match new.filter_map(|it| it.trouble.clone()).next() {
            Some(trouble) => Err(TlsError::OutOfDate(trouble)),
            None => Ok(read),
        }
    }

    /// Goes on with these, unless they are the same.
    pub fn adopt(&self, read: Read) {
        let mut served = self.0.served();
        if served.files != read.files {
            read.log(&served.loaded.certificates);
            self.0.tls.replace(Arc::clone(&read.loaded.server_config));
            self.0.watched.set(read.files.clone());
            *served = read;
            // A reload reads minutes before it adopts: what was written since is read again.
            self.0.changed.notify_one();
        }
    }

    /// Reads them again whenever their files change, until it is cancelled.
    pub async fn keep(self, config: watch::Receiver<Arc<Config>>) {
        let shared = Arc::clone(&self.0);
        let notice = move || shared.changed.notify_one();
        // Kept, because it ends when it is dropped.
        let _watch =
            Watch::start("tls-watch", self.0.watched.clone(), notice).inspect_err(|error| {
                tracing::warn!("changes of the certificates go unnoticed, but for HUP: {error:#}");
            });
        let (mut warned, mut refused) = (HashMap::new(), false);
        loop {
            self.warn_of_expiry(&mut warned);
            if timeout(DATES, self.0.changed.notified()).await.is_ok() {
                let renewed = self.renew(&config).await;
                if renewed && std::mem::take(&mut refused) {
                    tracing::info!("the certificate on disk is the one that serves again");
                }
                refused |= !renewed;
            }
        }
    }

    /// Whether what is on disk is what is served now.
    async fn renew(&self, config: &watch::Receiver<Arc<Config>>) -> bool {
        let since = Instant::now();
        loop {
            let tls = config.borrow().tls.clone();
            match Read::from(&tls).and_then(|read| self.refuse_worse(read)) {
                Ok(read) => {
                    self.adopt(read);
                    return true;
                }
                Err(_) if since.elapsed() < PATIENCE => {
                    // Whether it is a change or not.
                    let _ = timeout(RETRY, self.0.changed.notified()).await;
                }
                Err(error) => {
                    tracing::error!("serving with the old certificate still: {error}");
                    return false;
                }
            }
        }
    }

    fn warn_of_expiry(&self, warned: &mut HashMap<Vec<u8>, u64>) {
        let now = UnixTime::now();
        for certificate in &self.0.served().loaded.certificates {
            let said = warned.get(certificate.der.as_ref()).copied();
            if let Some(stage) = due(certificate.days_left(now), said) {
                warned.insert(certificate.der.to_vec(), stage);
                tracing::warn!("a certificate expires soon: {certificate}");
            }
        }
    }
}

impl Shared {
    /// Whoever panicked while it held the lock has left it as it was.
    fn served(&self) -> MutexGuard<'_, Read> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stage to warn of, if that was not done; `said` is the last one that was.
fn due(days_left: u64, said: Option<u64>) -> Option<u64> {
    let stage = WARN_DAYS.into_iter().find(|days| days_left < *days)?;
    said.is_none_or(|said| stage < said).then_some(stage)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    /// Writes a certificate and its key where the config looks for them.
    fn write_pair(directory: &Path) {
        let key = rcgen::KeyPair::generate().expect("random numbers");
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
        let certificate = params.self_signed(&key).expect("signed").pem();
        for (name, text) in [("new.key", key.serialize_pem()), ("new.pem", certificate)] {
            let file = directory.join(name);
            std::fs::write(&file, text).expect("writable");
            std::fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("ours");
        }
    }

    /// As a reload does whose script takes its time.
    #[tokio::test]
    async fn those_read_before_the_last_change_are_not_served_for_long() {
        let directory = std::env::temp_dir().join(format!("relay-renew-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        let (certificate, key) = (directory.join("new.pem"), directory.join("new.key"));
        let tls = TlsConfig { certificate, key, ..TlsConfig::default() };
        let config = watch::channel(Arc::new(Config { tls, ..Config::default() })).1;
        let read = || Read::from(&config.borrow().tls).expect("good ones");
        write_pair(&directory);
        let (certificates, of_reload) = (Certificates::new(read()), read());
        write_pair(&directory);
        certificates.renew(&config).await;
        let newest = certificates.0.served().files.clone();
        let due = async || timeout(Duration::ZERO, certificates.0.changed.notified()).await.is_ok();
        while due().await {
            certificates.renew(&config).await;
        }
        certificates.adopt(of_reload);
        assert!(certificates.0.served().files != newest);
        assert!(due().await, "they have to be read again");
        certificates.renew(&config).await;
        assert!(certificates.0.served().files == newest);
        let _ = std::fs::remove_dir_all(&directory);
    }

    #[test]
    fn each_stage_before_the_end_is_warned_of_once() {
        let mut said = None;
        let mut told = Vec::new();
        for days_left in (0..40).rev() {
            if let Some(stage) = due(days_left, said) {
                said = Some(stage);
                told.push(days_left);
            }
        }
        assert_eq!(told, [29, 6, 0]);
    }
}
