//! Certificates are replaced while everything runs, chosen by name, and wanted of backends.

mod pairs;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use rustls::SupportedProtocolVersion;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use serde_json::json;
use tokio_rustls::TlsConnector;

use pairs::{Pair, curious, write_key};

use crate::client::{Door, Hello, Transport};
use crate::harness::{eventually, in_time, runtime, shipped};
use crate::process::Process;
use crate::wire::{Wire, request};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A relay with one port for TLS and plain clients, and its certificates beside it.
struct Subject {
    process: Process,
    door: Door,
}

const ONE_PAIR: &str = "certificate = 'c.pem'\nkey = 'k.pem'";

impl Subject {
    fn start(tls: &str, pairs: &[(&Pair, &str, &str)], more: &[(&str, &str)]) -> Subject {
        let config = config(tls);
        let script = fs::read_to_string(shipped("scripts/opcodes.lua")).expect("the script");
        let keys: Vec<String> = pairs.iter().map(|(pair, ..)| pair.key.serialize_pem()).collect();
        let mut files = vec![("relay.toml", config.as_str()), ("opcodes.lua", &script)];
        for ((pair, certificate, key), key_pem) in pairs.iter().zip(&keys) {
            files.extend([(*certificate, pair.certificate.as_str()), (*key, key_pem.as_str())]);
        }
        files.extend(more);
        let mut process = Process::start(&["--config", "relay.toml"], &files);
        let door = Door::new(process.listening(1)[0].1, None);
        Subject { process, door }
    }

    /// What a client is served with that asks for this name; `None`: for none.
    async fn served(
        &self,
        version: &'static SupportedProtocolVersion,
        name: Option<&str>,
    ) -> CertificateDer<'static> {
        let mut config = curious(version, None);
        config.enable_sni = name.is_some();
        let name = ServerName::try_from(name.unwrap_or("localhost").to_owned()).expect("a name");
        let tcp = self.door.dial_tcp().await;
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, tcp);
        let stream = in_time("the handshake", connecting).await.expect("a TLS handshake");
        let chain = stream.get_ref().1.peer_certificates().expect("one is served");
        chain[0].clone().into_owned()
    }

    async fn serves(&self, pair: &Pair) -> bool {
        for version in VERSIONS {
            if self.served(version, Some("localhost")).await != pair.der {
                return false;
            }
        }
        true
    }

    async fn comes_to_serve(&self, pair: &Pair) {
        eventually("the new certificate", async || self.serves(pair).await).await;
    }

    /// A door for clients that show this certificate, if any.
    fn showing(&self, pair: Option<&Pair>) -> Door {
        self.door.with_tls(Arc::new(curious(&TLS13, pair)))
    }

    async fn hup(&self, said: &str) -> String {
        let from = self.process.log_lines();
        self.process.signal("HUP");
        self.process.log_until(from, said).await
    }

    fn ends_well(mut self) {
        self.process.signal("TERM");
        assert_eq!(self.process.exit_code(), Some(0));
    }
}

fn config(tls: &str) -> String {
    format!("listen = 'any://127.0.0.1:0'\nscript.file = 'opcodes.lua'\n[tls]\n{tls}\n")
}

#[test]
fn a_new_certificate_serves_new_handshakes_and_ends_no_connection() {
    let (first, second, third) =
        (Pair::of(&["localhost"]), Pair::of(&["localhost", "a.example"]), Pair::of(&["localhost"]));
    let relay = Subject::start(ONE_PAIR, &[(&first, "c.pem", "k.pem")], &[]);
    runtime().block_on(async {
        assert!(relay.serves(&first).await);
        let mut client = relay.showing(None).backend(Transport::Ssl).await;
        let from = relay.process.log_lines();
        // As certificate tools do: one after the other, each by a rename.
        for (name, text) in
            [("k.pem", second.key.serialize_pem()), ("c.pem", second.certificate.clone())]
        {
            write_key(&relay.process.file("new"), &text);
            fs::rename(relay.process.file("new"), relay.process.file(name)).expect("renamed");
        }
        relay.comes_to_serve(&second).await;
        let log = relay.process.log_until(from, "serving with the certificate").await;
        let told = "c.pem for localhost, a.example, good until 4096-01-01";
        assert!(log.contains(told) && !log.contains("still"), "{log}");
        // In place, in two halves.
        let (one, other) = third.certificate.split_at(third.certificate.len() / 2);
        write_key(&relay.process.file("k.pem"), &third.key.serialize_pem());
        fs::write(relay.process.file("c.pem"), one).expect("written");
        assert!(relay.serves(&second).await, "expected the old one while the new one is no pair");
        fs::write(relay.process.file("c.pem"), format!("{one}{other}")).expect("written");
        relay.comes_to_serve(&third).await;
        client.send(r#"{"opcode":"echo"}"#).await;
        client.acked("").await;
        client.hears(r#"{"opcode":"echo"}"#).await;
    });
    relay.ends_well();
}

#[test]
fn a_swapped_symlink_is_a_new_certificate() {
    let (first, second) = (Pair::of(&["localhost"]), Pair::of(&["localhost"]));
    let tls = "certificate = 'mount/tls.crt'\nkey = 'mount/tls.key'";
    // The volume is there before the relay: so it starts with another pair, and is told by HUP.
    let relay = Subject::start(ONE_PAIR, &[(&first, "c.pem", "k.pem")], &[]);
    let mount = relay.process.file("mount");
    for (version, pair) in [("v1", &first), ("v2", &second)] {
        let directory = mount.join(version);
        fs::create_dir_all(&directory).expect("made");
        fs::write(directory.join("tls.crt"), &pair.certificate).expect("written");
        write_key(&directory.join("tls.key"), &pair.key.serialize_pem());
    }
    symlink("v1", mount.join("..data")).expect("linked");
    for name in ["tls.crt", "tls.key"] {
        symlink(Path::new("..data").join(name), mount.join(name)).expect("linked");
    }
    runtime().block_on(async {
        fs::write(relay.process.file("relay.toml"), config(tls)).expect("written");
        relay.hup("config reloaded: tls.certificate, tls.key").await;
        assert!(relay.serves(&first).await);
        symlink("v2", mount.join("..data_new")).expect("linked");
        fs::rename(mount.join("..data_new"), mount.join("..data")).expect("swapped");
        relay.comes_to_serve(&second).await;
    });
    relay.ends_well();
}

#[test]
fn a_bad_certificate_never_replaces_a_good_one() {
    let (first, second) = (Pair::of(&["localhost"]), Pair::of(&["localhost"]));
    let expired = Pair::made(&["localhost"], |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let relay = Subject::start(ONE_PAIR, &[(&first, "c.pem", "k.pem")], &[]);
    runtime().block_on(async {
        // By itself, once it has had its time to become a pair.
        let from = relay.process.log_lines();
        fs::write(relay.process.file("c.pem"), &second.certificate).expect("written");
        let log = relay.process.log_until(from, "serving with the old certificate still").await;
        assert!(log.contains("k.pem does not belong to the first certificate in"), "{log}");
        assert!(relay.serves(&first).await);
        // What was said to be wrong is said to be mended, though nothing else is served.
        let from = relay.process.log_lines();
        fs::write(relay.process.file("c.pem"), &first.certificate).expect("written");
        relay.process.log_until(from, "on disk is the one that serves again").await;
        // By HUP, at once.
        fs::write(relay.process.file("c.pem"), "no PEM").expect("written");
        let log = relay.hup("reload rejected").await;
        assert!(log.contains("no certificate in") && log.contains("c.pem"), "{log}");
        assert!(relay.serves(&first).await);
        expired.write(&relay.process, "c.pem", "k.pem");
        let (code, _, errors) = relay.process.command_async("reload").await;
        assert_eq!(code, Some(64), "{errors}");
        assert!(errors.contains("c.pem expired "), "{errors}");
        assert!(relay.serves(&first).await);
        second.write(&relay.process, "c.pem", "k.pem");
        relay.comes_to_serve(&second).await;
    });
    relay.ends_well();
}

#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let first = Pair::of(&["localhost", "*.b.example"]);
    let a = Pair::of(&["a.example", "*.a.example"]);
    let b = Pair::of(&["deep.b.example", "A.example"]);
    let tls = format!(
        "{ONE_PAIR}\n[[tls.more]]\ncertificate = 'a.pem'\nkey = 'a-key.pem'\n\
         [[tls.more]]\ncertificate = 'b.pem'\nkey = 'b-key.pem'"
    );
    let pairs =
        [(&first, "c.pem", "k.pem"), (&a, "a.pem", "a-key.pem"), (&b, "b.pem", "b-key.pem")];
    let relay = Subject::start(&tls, &pairs, &[]);
    runtime().block_on(async {
        let expected = [
            (None, &first),
            (Some("localhost"), &first),
            (Some("elsewhere.example"), &first),
            (Some("a.example"), &a),
            (Some("x.a.example"), &a),
            (Some("X.A.EXAMPLE"), &a),
            // A wildcard is one label.
            (Some("y.x.a.example"), &first),
            (Some("x.b.example"), &first),
            // The whole name before the wildcard.
            (Some("deep.b.example"), &b),
        ];
        for version in VERSIONS {
            for (name, pair) in expected {
                let served = relay.served(version, name).await;
                assert!(served == pair.der, "{name:?} over {version:?}");
            }
        }
        let log = relay.process.log_until(0, "are both for a.example: the first serves").await;
        assert!(!log.contains("both for deep.b.example"), "{log}");
        // One of several is renewed.
        let renewed = Pair::of(&["a.example"]);
        renewed.write(&relay.process, "a.pem", "a-key.pem");
        let serves = async || relay.served(&TLS13, Some("a.example")).await == renewed.der;
        eventually("the new certificate", serves).await;
        assert!(relay.serves(&first).await);
    });
    relay.ends_well();
}

#[test]
fn a_backend_over_tls_shows_a_certificate_where_that_is_wanted() {
    let (server, authority, other) =
        (Pair::of(&["localhost"]), Pair::authority(), Pair::authority());
    let (good, bad) = (authority.signs("backend"), other.signs("backend"));
    let tls = format!("{ONE_PAIR}\nclient_ca = 'ca.pem'");
    let files = [("ca.pem", authority.certificate.as_str())];
    let relay = Subject::start(&tls, &[(&server, "c.pem", "k.pem")], &files);
    runtime().block_on(async {
        let with = relay.showing(Some(&good));
        with.backend(Transport::Ssl).await.hears_nothing().await;
        with.open(Transport::Wss, Hello::php(None)).await.hears_ready().await;
        with.open(Transport::Ssl, Hello::bare()).await.send(r#"{"opcode":"echo"}"#).await;
        with.web(Transport::Wss, "/").await.hears_nothing().await;
        // Without one: web clients alone, and backends where there is no TLS.
        let without = relay.showing(None);
        without.web(Transport::Wss, "/").await.hears_nothing().await;
        without.backend(Transport::Tcp).await.hears_nothing().await;
        let why = "a backend has to show a certificate here (tls.client_ca)";
        let mut refused = without.open(Transport::Ssl, Hello::php(None)).await;
        refused.hears(json!({"opcode": "close", "error": why, "code": 1008})).await;
        refused.expect_end().await;
        let mut wire = Wire::dial(&without, Transport::Wss).await;
        wire.write(request("/", &[("Client-Type", "php")]).as_bytes()).await;
        let response = wire.refusal().await;
        assert_eq!(response.status, 403, "{}", response.head);
        // Another authority's ends the handshake, at the latest with the first read.
        let tcp = relay.door.dial_tcp().await;
        let wrong = relay.showing(Some(&bad));
        if let Ok(stream) = wrong.dial_over(tcp, Transport::Ssl).await {
            assert!(Wire::new(stream).try_read().await.is_none_or(|read| read.is_empty()));
        }
        // The authorities are changed as certificates are.
        fs::write(relay.process.file("ca.pem"), &other.certificate).expect("written");
        eventually("the other authority", async || {
            let tcp = relay.door.dial_tcp().await;
            let Ok(stream) = wrong.dial_over(tcp, Transport::Ssl).await else { return false };
            let mut wire = Wire::new(stream);
            wire.try_write(b"php process\n\n").await
                && wire.try_read().await.is_some_and(|read| !read.is_empty())
        })
        .await;
        // And no longer wanted.
        fs::write(relay.process.file("relay.toml"), config(ONE_PAIR)).expect("written");
        relay.hup("config reloaded: tls.client_ca").await;
        eventually("no certificate is needed", async || {
            let mut wire = Wire::dial(&without, Transport::Ssl).await;
            wire.write(b"php process\n\n").await;
            wire.try_read().await.is_some_and(|read| read.starts_with(br#"{"opcode":"ready""#))
        })
        .await;
    });
    relay.ends_well();
}

#[test]
fn relay_send_shows_a_certificate() {
    let (server, authority) = (Pair::of(&["localhost"]), Pair::authority());
    let own = authority.signs("backend");
    let tls = format!("{ONE_PAIR}\nclient_ca = 'ca.pem'");
    let files = [("ca.pem", authority.certificate.as_str())];
    let pairs = [(&server, "c.pem", "k.pem"), (&own, "own.pem", "own-key.pem")];
    let mut relay = Subject::start(&tls, &pairs, &files);
    let url = format!("ssl://localhost:{}", relay.process.listening(1)[0].1.port());
    let path = |name: &str| relay.process.file(name).display().to_string();
    let (ca, own, key) = (path("c.pem"), path("own.pem"), path("own-key.pem"));
    let send = |more: &[&str]| {
        let message = r#"{"opcode":"echo"}"#;
        let flags = ["send", &url, message, "--cafile", &ca];
        Process::start(&[&flags[..], more].concat(), &[]).output()
    };
    let (code, _, errors) = send(&["--cert", &own, "--key", &key]);
    assert_eq!(code, Some(0), "{errors}");
    let (code, _, errors) = send(&[]);
    assert_eq!(code, Some(77), "{errors}");
    assert!(errors.contains("a backend has to show a certificate here"), "{errors}");
    relay.ends_well();
}
