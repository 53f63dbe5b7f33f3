//! Certificates that work, and each way in which they do not.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection, StreamOwned,
    SupportedProtocolVersion,
};

use super::*;

/// A directory of its own, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("relay-tls-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a temporary directory");
        Directory(path)
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
        path
    }

    /// The config for the development certificate, in a directory that does not exist yet.
    fn development(&self) -> TlsConfig {
        TlsConfig { directory: self.0.join("deep/certs"), ..TlsConfig::default() }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Certificate and key as PEM, valid from and to so many days from now.
fn made(from: i64, to: i64) -> (String, String) {
    let key = KeyPair::generate().expect("random numbers");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(UnixTime::now().as_secs());
    let shifted = |days: i64| {
        let time = Duration::from_secs(days.unsigned_abs() * 86_400 + 60);
        if days < 0 { now - time } else { now + time }
    };
    params.not_before = shifted(from);
    params.not_after = shifted(to);
    (params.self_signed(&key).expect("signed").pem(), key.serialize_pem())
}

fn load(certificate: &Path, key: &Path) -> Result<Loaded, TlsError> {
    acceptor(&TlsConfig {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        ..TlsConfig::default()
    })
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("there").permissions().mode() & 0o777
}

#[test]
fn a_good_pair_loads_without_a_word() {
    let directory = Directory::new();
    let (certificate, key) = made(-1, 1);
    let (extra, _) = made(-1, 1);
    let certificate = directory.write("c.pem", &format!("{certificate}{extra}"), 0o644);
    for mode in [0o600, 0o400, 0o640] {
        let key = directory.write("k.pem", &key, mode);
        let loaded = load(&certificate, &key).expect("a good pair");
        assert_eq!(loaded.warnings, [""; 0]);
        assert!(!loaded.made_now);
        assert_eq!(loaded.certificates[0].file, certificate);
    }
}

#[test]
fn a_certificate_out_of_its_dates_is_a_warning() {
    let directory = Directory::new();
    for ((from, to), part) in [((-9, -3), "expired 3 days ago"), ((1, 3), "not valid yet")] {
        let (certificate, key) = made(from, to);
        let certificate = directory.write("c.pem", &certificate, 0o644);
        let key = directory.write("k.pem", &key, 0o600);
        let warnings = load(&certificate, &key).expect("usable").warnings;
        assert_eq!(warnings.len(), 1);
        assert!(warnings[0].contains(part) && warnings[0].contains("c.pem"), "{warnings:?}");
    }
}

/// Of version 1, as `openssl x509 -req` makes them without extensions.
const OF_VERSION_1: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBJTCBywIUIdrIt2mMQKFUwW/EoIXQIJXut8swCgYIKoZIzj0EAwIwFDESMBAG\n\
A1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNjA1MTYyNVoYDzIxMjYxMTAyMDUxNjI1\n\
WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNC\n\
AAStZcCGkc3Ref9IOd5utUS56H+xQdOwgcokZzT0LUDIg3zIfFOwyVoO+HpXhJUU\n\
NQPRNDIjcORvaSfkqxk+76FYMAoGCCqGSM49BAMCA0kAMEYCIQDx0Dxhn4YnCJlm\n\
P+lUIEhWHwsHu3eN5angOCvM29Y8HgIhANfpbOdfZF+OdoAsvu8J3cn4PbtW2jIc\n\
kBxyf+ec0VIU\n\
-----END CERTIFICATE-----";

/// What openssl makes by itself, and rustls knows only by the name of a variant.
#[test]
fn what_is_wrong_with_a_certificate_is_told_in_words_and_with_its_cure() {
    let directory = Directory::new();
    let key = KeyPair::generate().expect("random numbers");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("signed").pem();
    let key = directory.write("k.pem", &key.serialize_pem(), 0o600);
    let old = directory.write("old.pem", OF_VERSION_1, 0o644);
    let error = load(&old, &key).expect_err("not usable").to_string();
    assert!(error.contains("old.pem is not usable: it is of an old version of X.509"), "{error}");
    assert!(error.contains("openssl req -x509") && !error.contains("Unsupported"), "{error}");
    // This one can be served, and some clients take it.
    let authority = directory.write("ca.pem", &authority, 0o644);
    let warnings = load(&authority, &key).expect("usable").warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    let told = "ca.pem is an authority's (CA:TRUE), which a server may not show as its own";
    assert!(warnings[0].contains(told) && warnings[0].contains("CA:FALSE"), "{warnings:?}");
}

#[test]
fn each_mistake_names_its_file_and_cure() {
    let directory = Directory::new();
    let (certificate_pem, key_pem) = made(-1, 1);
    let (_, other_key) = made(-1, 1);
    let damaged = certificate_pem.replacen("MII", "***", 1);
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let second_bad = format!("{certificate_pem}{garbage}");
    let bad_key = garbage.replace("CERTIFICATE", "PRIVATE KEY");
    let encrypted = garbage.replace("CERTIFICATE", "ENCRYPTED PRIVATE KEY");
    let long = "x".repeat(1024 * 1024 + 1);
    let (certificate, key) = (certificate_pem.as_str(), key_pem.as_str());
    for (certificate, key, key_mode, file, part) in [
        (certificate, key, 0o644, "k.pem", "(mode 644): chmod 600 "),
        (certificate, key, 0o602, "k.pem", "(mode 602): chmod 600 "),
        (certificate, &*other_key, 0o600, "k.pem", "does not belong to the first certificate"),
        (key, key, 0o600, "c.pem", "BEGIN CERTIFICATE is needed"),
        ("", key, 0o600, "c.pem", "BEGIN CERTIFICATE is needed"),
        ("0\u{1}", key, 0o600, "c.pem", "openssl x509 -in "),
        (&*damaged, key, 0o600, "c.pem", "damaged PEM"),
        (garbage, key, 0o600, "c.pem", "not usable"),
        (&*second_bad, key, 0o600, "c.pem", "not usable"),
        (&*long, key, 0o600, "c.pem", "larger than 1 MiB"),
        (certificate, certificate, 0o600, "k.pem", "BEGIN PRIVATE KEY is needed"),
        (certificate, &*encrypted, 0o600, "k.pem", "openssl pkey -in "),
        (certificate, &*bad_key, 0o600, "k.pem", "not usable"),
    ] {
        let certificate = directory.write("c.pem", certificate, 0o644);
        let key = directory.write("k.pem", key, key_mode);
        let error = load(&certificate, &key).expect_err(part).to_string();
        assert!(error.contains(file) && error.contains(part), "{error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let directory = Directory::new();
    let (certificate, key) = made(-1, 1);
    let certificate = directory.write("c.pem", &certificate, 0o644);
    let key = directory.write("k.pem", &key, 0o600);
    let missing = directory.0.join("missing.pem");
    for (certificate, key) in [(&missing, &key), (&certificate, &missing)] {
        let error = load(certificate, key).expect_err("missing").to_string();
        assert!(error.contains("missing.pem: No such file"), "{error}");
    }
}

#[test]
fn the_development_certificate_is_made_once() {
    let directory = Directory::new();
    let config = directory.development();
    let loaded = acceptor(&config).expect("made");
    assert!(loaded.made_now);
    assert_eq!(loaded.warnings, [""; 0]);
    assert_eq!(loaded.certificates[0].file, config.directory.join(CERTIFICATE_FILE));
    assert_eq!(mode(&config.directory.join(KEY_FILE)), 0o600);
    let text = fs::read(&loaded.certificates[0].file).expect("there");
    assert!(!acceptor(&config).expect("loaded").made_now);
    assert_eq!(fs::read(&loaded.certificates[0].file).expect("there"), text);
    let mut names: Vec<_> = fs::read_dir(&config.directory)
        .expect("there")
        .map(|entry| entry.expect("readable").file_name())
        .collect();
    names.sort();
    assert_eq!(names, [".lock", CERTIFICATE_FILE, KEY_FILE]);
}

#[test]
fn a_development_certificate_that_does_not_work_is_replaced() {
    let directory = Directory::new();
    let config = directory.development();
    acceptor(&config).expect("made");
    let (expired, its_key) = made(-9, -3);
    let (certificate_file, key_file) = ("deep/certs/dev-cert.pem", "deep/certs/dev-key.pem");
    let steps: [&dyn Fn(); 4] = [
        &|| drop(directory.write(key_file, "no key", 0o600)),
        &|| drop(directory.write(key_file, &its_key, 0o600)),
        &|| fs::remove_file(directory.0.join(certificate_file)).expect("there"),
        &|| {
            directory.write(key_file, &its_key, 0o600);
            directory.write(certificate_file, &expired, 0o644);
        },
    ];
    for (number, step) in steps.into_iter().enumerate() {
        step();
        assert!(acceptor(&config).expect("made").made_now, "step {number}");
        assert!(!acceptor(&config).expect("loaded").made_now, "step {number}");
    }
}

#[test]
fn an_exposed_development_key_is_not_replaced_silently() {
    let directory = Directory::new();
    let config = directory.development();
    acceptor(&config).expect("made");
    let key = config.directory.join(KEY_FILE);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("ours");
    assert!(matches!(acceptor(&config), Err(TlsError::KeyExposed { .. })));
}

#[test]
fn relays_that_start_at_once_agree_on_one_certificate() {
    let directory = Directory::new();
    let config = directory.development();
    let makers = thread::scope(|scope| {
        let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| acceptor(&config))).collect();
        let loaded = starts.into_iter().map(|start| start.join().expect("no panic"));
        loaded.filter(|loaded| loaded.as_ref().expect("loaded").made_now).count()
    });
    assert_eq!(makers, 1);
}

#[test]
fn a_directory_that_cannot_be_made_is_named_with_the_cure() {
    let directory = Directory::new();
    let file = directory.write("file", "", 0o644);
    let config = TlsConfig { directory: file.join("certs"), ..TlsConfig::default() };
    let error = acceptor(&config).expect_err("not a directory").to_string();
    assert!(error.contains("file/certs") && error.contains("tls.certificate"), "{error}");
}

/// One handshake with `hello` sent by the server behind it; what kind of handshake it was.
fn handshake(loaded: &Loaded, client: &Arc<ClientConfig>, name: &str) -> HandshakeKind {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let server_config = Arc::clone(&loaded.server_config);
    let server = thread::spawn(move || {
        let (socket, _) = listener.accept().expect("a client");
        let connection = ServerConnection::new(server_config).expect("a sound config");
        let mut stream = StreamOwned::new(connection, socket);
        stream.write_all(b"hello").expect("a client");
        stream.conn.send_close_notify();
        stream.flush().expect("a client");
    });
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connection = ClientConnection::new(Arc::clone(client), name).expect("a sound config");
    let socket = TcpStream::connect(address).expect("a server");
    let mut stream = StreamOwned::new(connection, socket);
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("hello");
    assert_eq!(text, "hello");
    server.join().expect("no panic");
    stream.conn.handshake_kind().expect("over")
}

fn client(loaded: &Loaded, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(&loaded.certificates[0].file).expect("PEM");
    roots.add(certificate).expect("a certificate");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

#[test]
fn clients_that_trust_the_development_certificate_connect_and_resume() {
    let directory = Directory::new();
    let loaded = acceptor(&directory.development()).expect("made");
    for version in [&TLS12, &TLS13] {
        for name in ["localhost", "127.0.0.1", "::1"] {
            let client = client(&loaded, version);
            assert_eq!(handshake(&loaded, &client, name), HandshakeKind::Full);
            assert_eq!(handshake(&loaded, &client, name), HandshakeKind::Resumed);
        }
    }
    assert!(!loaded.server_config.session_storage.can_cache());
}

/// Opening it would wait for somebody to write to it.
#[test]
fn a_pipe_is_no_certificate() {
    let directory = Directory::new();
    let pipe = directory.0.join("pipe.pem");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo").success());
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    thread::spawn(move || tell.send(load(&pipe, &pipe).map(drop)));
    let outcome = told.recv_timeout(Duration::from_secs(10)).expect("an answer");
    assert!(matches!(outcome, Err(TlsError::Unreadable { .. })), "{outcome:?}");
}
