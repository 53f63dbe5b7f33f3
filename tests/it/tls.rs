//! TLS: versions, certificates, and what is no TLS.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use relay::server::Server;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Hello, Transport};
use crate::harness::{Setup, TempDir, TestCertificate, in_time, relay_test, runtime, trusting};
use crate::wire::{Wire, request};

#[test]
fn versions_1_2_and_1_3_are_spoken() {
    let relay = Setup::new().start();
    runtime().block_on(async {
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let door = relay.speaking(&[version]);
            for transport in [Transport::Wss, Transport::Ssl] {
                let mut client = door.client(transport).await;
                let text = format!(r#"{{"opcode":"echo","version":"{version:?}"}}"#);
                client.send(&text).await;
                client.acked("").await;
                client.hears(&text).await;
                client.send(r#"{"opcode":"quit"}"#).await;
                client.acked("").await;
                client.expect_close(1000).await;
            }
        }
    });
    relay.stop();
}

#[test]
fn older_versions_are_refused() {
    relay_test(async |relay| {
        // A ClientHello of TLS 1.0 with one cipher suite and nothing else.
        let body = [&[3, 1][..], &[7; 32], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
        let hello =
            [&[0x16, 3, 1, 0, body.len() as u8 + 4, 1, 0, 0, body.len() as u8][..], &body].concat();
        let mut wire = Wire::dial(relay, Transport::Tcp).await;
        wire.write(&hello).await;
        let answer = wire.read_to_end().await;
        // An alert (21) that is fatal (2), or nothing.
        let refused = answer.is_empty() || answer[0] == 21 && answer.get(5) == Some(&2);
        assert!(refused, "expected a fatal alert: {answer:?}");
        relay.backend(Transport::Ssl).await.hears_nothing().await;
    });
}

#[test]
fn a_listener_for_tls_takes_nothing_else() {
    for url in ["ssl://127.0.0.1:0", "wss://127.0.0.1:0"] {
        Setup::new().listen(url).run(async |relay| {
            for plain in [&*request("/", &[]), "hello"] {
                let mut wire = Wire::dial(relay, Transport::Tcp).await;
                wire.write(plain.as_bytes()).await;
                let response = wire.refusal().await;
                assert_eq!(response.status, 400, "{url}: {plain:?}: {}", response.head);
            }
            // In its own words.
            for raw in ["php process\n\n", "{\"opcode\":\"echo\"}"] {
                let mut wire = Wire::dial(relay, Transport::Tcp).await;
                wire.write(raw.as_bytes()).await;
                let said = String::from_utf8(wire.read_to_end().await).expect("UTF-8");
                let close = r#"{"opcode":"close","error":"this port speaks TLS: "#;
                assert!(said.starts_with(close), "{url}: {raw:?}: {said}");
            }
            relay.backend(Transport::Ssl).await.hears_nothing().await;
            relay.web(Transport::Wss, "/").await.hears_nothing().await;
        });
    }
}

#[test]
fn a_listener_without_tls_takes_no_tls() {
    for url in ["tcp://127.0.0.1:0", "ws://127.0.0.1:0"] {
        Setup::new().listen(url).run(async |relay| {
            let tcp = relay.dial_tcp().await;
            let connected = relay.dial_over(tcp, Transport::Ssl).await;
            assert!(connected.is_err(), "{url}: expected no TLS handshake");
            relay.backend(Transport::Tcp).await.hears_nothing().await;
            relay.web(Transport::Ws, "/").await.hears_nothing().await;
        });
    }
}

#[test]
fn a_client_that_speaks_no_tls_after_its_hello_harms_nobody() {
    relay_test(async |relay| {
        let mut other = relay.backend(Transport::Ssl).await;
        for bytes in
            [&b"\x16\x03\x01\x00\x05hello"[..], b"\x16\x03\xff\xff\xff", b"\x16\x03\x01\x00\x00"]
        {
            let mut wire = Wire::dial(relay, Transport::Tcp).await;
            wire.write(bytes).await;
            wire.finish().await;
            assert!(wire.ends().await, "expected the end: {bytes:?}");
        }
        // And one that breaks a session that stands.
        let tcp = relay.dial_tcp().await;
        let socket = socket2::SockRef::from(&tcp).try_clone().expect("a descriptor");
        let mut stream = relay.dial_over(tcp, Transport::Ssl).await.expect("a TLS handshake");
        stream.write_all(b"php process\n\n").await.expect("a relay that listens");
        stream.flush().await.expect("a relay that listens");
        let mut ready = [0; 256];
        let count = in_time("ready", stream.read(&mut ready)).await.expect("ready");
        assert!(count > 0, "expected ready");
        socket.send(b"no record at all").expect("a relay that listens");
        let rest = in_time("the end", stream.read(&mut ready)).await;
        assert!(rest.is_err() || rest.is_ok_and(|count| count == 0), "expected the end");
        other.hears_nothing().await;
    });
}

#[test]
fn the_end_is_announced_in_tls() {
    // The client would say "broken" where close_notify is missing.
    relay_test(async |relay| {
        let mut backend = relay.open(Transport::Ssl, Hello::php(None)).await;
        backend.hears_ready().await;
        backend.send(r#"{"opcode":"quit"}"#).await;
        backend.acked("").await;
        backend.expect_end().await;
    });
}

/// The development certificate in a directory.
fn development_certificate(directory: &Path) -> (CertificateDer<'static>, Vec<u8>) {
    let files = fs::read_dir(directory).expect("a directory that was made");
    let paths = files.map(|file| file.expect("an entry").path());
    let file = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "pem"))
        .find(|path| fs::read_to_string(path).is_ok_and(|text| text.contains("BEGIN CERTIFICATE")));
    let file = file.expect("a certificate that was made");
    (CertificateDer::from_pem_file(&file).expect("PEM"), fs::read(&file).expect("readable"))
}

#[test]
fn without_a_certificate_there_is_one_for_development() {
    let directory = TempDir::new();
    let certs = directory.file("certs");
    let setup = || {
        let set = format!("tls.directory={certs:?}");
        Setup::new().set("tls.certificate=\"\"").set("tls.key=\"\"").set(&set)
    };
    let mut before = None;
    // It is made at the first start and used again at the second.
    for start in 1..=2 {
        setup().run(async |relay| {
            let (certificate, text) = development_certificate(&certs);
            let door = relay.with_tls(trusting(&certificate, rustls::ALL_VERSIONS));
            door.web(Transport::Wss, "/").await.hears_nothing().await;
            door.backend(Transport::Ssl).await.hears_nothing().await;
            let before = before.get_or_insert_with(|| text.clone());
            assert_eq!(*before, text, "expected the same certificate at start {start}");
        });
    }
    for file in fs::read_dir(&certs).expect("a directory that was made") {
        let path = file.expect("an entry").path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        if text.contains("PRIVATE KEY") {
            let mode = fs::metadata(&path).expect("there").permissions().mode() & 0o777;
            assert_eq!(mode & 0o077, 0, "expected a key for its owner alone: {path:?} {mode:o}");
        }
    }
}

#[test]
fn a_plain_listener_needs_no_certificate() {
    let directory = TempDir::new();
    let certs = directory.file("certs");
    let set = format!("tls.directory={certs:?}");
    let setup = Setup::new().set("tls.certificate=\"\"").set("tls.key=\"\"").set(&set);
    setup.listen("tcp://127.0.0.1:0").run(async |relay| {
        relay.backend(Transport::Tcp).await.hears_nothing().await;
    });
    assert!(!certs.exists(), "expected no certificate to be made for a listener without TLS");
}

/// What a relay with this certificate and key says instead of starting.
fn bind_error(certificate: &Path, key: &Path) -> String {
    let set = [format!("tls.certificate={certificate:?}"), format!("tls.key={key:?}")];
    let setup = set.iter().fold(Setup::new(), |setup, set| setup.set(set));
    let bound = runtime().block_on(Server::bind(setup.config()));
    bound.err().expect("a refusal to start").to_string()
}

#[test]
fn a_mistake_with_certificates_is_a_message_that_names_the_file() {
    let (one, other) = (TestCertificate::new(), TestCertificate::new());
    let directory = TempDir::new();
    let missing = directory.file("missing.pem");
    let garbage = directory.write("garbage.pem", "no PEM");
    let exposed =
        directory.write("exposed.pem", &fs::read_to_string(one.key_file()).expect("a key"));
    fs::set_permissions(&exposed, fs::Permissions::from_mode(0o644)).expect("our own file");
    let cases = [
        ("no such certificate", missing.clone(), one.key_file(), "tls.certificate: cannot read "),
        ("no such key", one.certificate_file(), missing, "tls.key: cannot read "),
        ("no certificate in it", garbage.clone(), one.key_file(), "garbage.pem"),
        ("no key in it", one.certificate_file(), garbage, "garbage.pem"),
        ("the key of another", one.certificate_file(), other.key_file(), "key.pem"),
        ("a key that all can read", one.certificate_file(), exposed, "exposed.pem"),
    ];
    for (what, certificate, key, named) in cases {
        let error = bind_error(&certificate, &key);
        assert!(error.contains(named), "{what}: expected {named} in the message: {error}");
        assert!(!error.contains("PRIVATE KEY-----"), "{what}: expected no secret in it");
    }
}
