//! Starts real relays for tests and ends them.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use relay::config::{Config, Sources};
use relay::server::Server;
use tokio::sync::oneshot;

use crate::client::Door;

/// How long anything may take. Nothing is expected to come near it: it only ends a test that
/// would otherwise hang, on a machine that may be busy.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How long a relay may take to end: its drain deadline and some more.
const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// Runs a test body against a relay with the shipped config and script.
pub fn relay_test(body: impl AsyncFnOnce(&TestRelay)) {
    Setup::new().run(body);
}

/// Declares a test with a body that runs over all four transports, as four tests.
macro_rules! over_each_transport {
    ($(#[$doc:meta])* async fn $name:ident($relay:ident, $transport:ident) $body:block) => {
        $(#[$doc])*
        mod $name {
            #[allow(unused_imports, reason = "a body may need nothing of its module")]
            use super::*;
            use $crate::client::Transport;
            use $crate::harness::{TestRelay, relay_test};

            async fn body($relay: &TestRelay, $transport: Transport) $body

            #[test]
            fn ws() {
                relay_test(async |relay| body(relay, Transport::Ws).await);
            }

            #[test]
            fn wss() {
                relay_test(async |relay| body(relay, Transport::Wss).await);
            }

            #[test]
            fn tcp() {
                relay_test(async |relay| body(relay, Transport::Tcp).await);
            }

            #[test]
            fn ssl() {
                relay_test(async |relay| body(relay, Transport::Ssl).await);
            }
        }
    };
}

/// What a relay is started with: the shipped relay.toml, and what a test has to change in it.
pub struct Setup {
    sources: Sources,
    certificate: TestCertificate,
}

impl Setup {
    /// The shipped config, on one port of its own for all four transports, with two workers and a
    /// certificate of its own.
    pub fn new() -> Setup {
        let certificate = TestCertificate::new();
        let set = vec![
            "workers=2".to_owned(),
            format!("tls.certificate={:?}", certificate.certificate_file()),
            format!("tls.key={:?}", certificate.key_file()),
        ];
        let sources = Sources {
            config: Some(shipped("relay.toml")),
            listen: vec!["any://127.0.0.1:0".to_owned()],
            script: None,
            set,
        };
        Setup { sources, certificate }
    }

    /// Changes a key, as `--set` does.
    pub fn set(mut self, key_and_value: &str) -> Setup {
        self.sources.set.push(key_and_value.to_owned());
        self
    }

    pub fn listen(mut self, url: &str) -> Setup {
        self.sources.listen = vec![url.to_owned()];
        self
    }

    pub fn script(mut self, file: &Path) -> Setup {
        self.sources.script = Some(file.to_owned());
        self
    }

    /// The config. Without the environment of this process, which is not the test's.
    pub fn config(&self) -> Config {
        Config::load_with(&self.sources, []).expect("the shipped config with a test's changes")
    }

    pub fn start(self) -> TestRelay {
        TestRelay::start(self)
    }

    /// Runs the body against a relay with this config, then stops the relay, which must end
    /// cleanly. All sockets of the body are closed before that: they belong to its runtime.
    pub fn run(self, body: impl AsyncFnOnce(&TestRelay)) {
        let relay = self.start();
        runtime().block_on(body(&relay));
        relay.stop();
    }
}

/// A relay in a thread of its own. It reaches the clients' side through its [`Door`].
pub struct TestRelay {
    door: Door,
    shutdown: Mutex<Option<oneshot::Sender<()>>>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
    // Its files are removed when the relay is.
    certificate: TestCertificate,
}

impl TestRelay {
    fn start(setup: Setup) -> TestRelay {
        record_panics_of_the_relay();
        let config = setup.config();
        let (shutdown, asked) = oneshot::channel::<()>();
        let (bound, address) = mpsc::sync_channel::<SocketAddr>(1);
        let serve = move || {
            runtime().block_on(async move {
                let server = Server::bind(config).await?;
                let listening = server.listeners().first().map(|listening| listening.addr);
                bound
                    .send(listening.expect("as many addresses as listeners"))
                    .expect("the test waits");
                // A sender that is dropped asks too.
                server.run(async move { drop(asked.await) }).await
            })
        };
        let thread = thread::Builder::new().name("relay-under-test".to_owned()).spawn(serve);
        let thread = thread.expect("a thread");
        let Ok(address) = address.recv_timeout(DEADLINE) else {
            panic!("the relay did not start: {:?}", thread.is_finished().then(|| thread.join()));
        };
        TestRelay {
            door: Door::new(address, Some(setup.certificate.trusting(rustls::ALL_VERSIONS))),
            shutdown: Mutex::new(Some(shutdown)),
            thread: Some(thread),
            certificate: setup.certificate,
        }
    }

    /// The door for clients that speak these versions of TLS only.
    pub fn speaking(&self, versions: &[&'static rustls::SupportedProtocolVersion]) -> Door {
        self.door.with_tls(self.certificate.trusting(versions))
    }

    /// The certificate that its clients have to trust.
    pub fn certificate_file(&self) -> PathBuf {
        self.certificate.certificate_file()
    }

    /// Asks the relay to end, and does not wait for it.
    pub fn ask_to_stop(&self) {
        self.shutdown.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    pub fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Has the relay end, which it must do in time and without an error or a panic.
    pub fn stop(mut self) {
        self.ask_to_stop();
        let since = Instant::now();
        while !self.has_ended() {
            assert!(since.elapsed() < STOP_DEADLINE, "expected the relay to end when asked to");
            thread::sleep(Duration::from_millis(2));
        }
        let ended = self.thread.take().expect("stopped once").join();
        ended.expect("no panic in the relay's main task").expect("run() ends well");
        assert_no_panics();
    }
}

impl Deref for TestRelay {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.door
    }
}

/// A runtime for one thread.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Waits until the condition holds.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !condition().await {
        assert!(since.elapsed() < DEADLINE, "expected in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Limits a wait to the deadline.
pub async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, wait).await {
        Ok(value) => value,
        Err(_) => panic!("expected in time: {what}"),
    }
}

/// A file of the repository.
pub fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// A directory of its own, removed at the end.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("it-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a directory");
        TempDir(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file that only its owner may read.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt;

        let path = self.file(name);
        std::fs::write(&path, text).expect("a writable file");
        let owner_only = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, owner_only).expect("our own file");
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What is left over does no harm to any test.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A certificate for localhost with its key, in a directory of its own.
pub struct TestCertificate {
    directory: TempDir,
    der: rustls::pki_types::CertificateDer<'static>,
}

impl TestCertificate {
    pub fn new() -> TestCertificate {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
        let made = made.expect("a certificate");
        let directory = TempDir::new();
        directory.write("cert.pem", &made.cert.pem());
        directory.write("key.pem", &made.signing_key.serialize_pem());
        TestCertificate { directory, der: made.cert.der().clone() }
    }

    pub fn certificate_file(&self) -> PathBuf {
        self.directory.file("cert.pem")
    }

    pub fn key_file(&self) -> PathBuf {
        self.directory.file("key.pem")
    }

    /// What a client needs that trusts this certificate alone.
    pub fn trusting(
        &self,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<rustls::ClientConfig> {
        trusting(&self.der, versions)
    }
}

/// What a client needs that trusts one certificate alone.
pub fn trusting(
    certificate: &rustls::pki_types::CertificateDer<'static>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions that ring has")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// The panics of threads that are not tests. The relay confines a panic to one connection, so a
/// test could pass over it; here any of them fails the tests that run meanwhile.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn record_panics_of_the_relay() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            print(panic);
            // The runner names a test's thread by its path.
            let thread = thread::current();
            let of_a_test = thread.name().is_some_and(|name| name.contains("::") || name == "main");
            if !of_a_test {
                PANICS.lock().unwrap_or_else(PoisonError::into_inner).push(panic.to_string());
            }
        }));
    });
}

fn assert_no_panics() {
    let panics = PANICS.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(panics.is_empty(), "expected no panic in any relay of this process: {panics:#?}");
}
