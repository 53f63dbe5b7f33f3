use super::*;

const HANDSHAKE: Duration = Duration::from_secs(10);

/// A listener with TLS, whose certificate nobody gets to see.
fn tls_door() -> Door {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .expect("a pair");
    door(Some(Arc::new(crate::transport::tls::Tls::new(Arc::new(config)))))
}

#[test]
fn who_says_nothing_is_cut_at_the_deadline() {
    staged(
        |_| {},
        async |stage| {
            let mut peer = stage.peer().await;
            stage.only_after(HANDSHAKE, |_| peer.is_over()).await;
            stage.until(|_| peer.has_end()).await;
            assert!(peer.heard().is_empty());
        },
    );
}

/// One clock over all of it: neither TLS nor a head that grows has another.
#[test]
fn activity_does_not_extend_it() {
    for begin in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"GET /", b"php process\n"]
    {
        staged(
            |_| {},
            async |stage| {
                let mut peer = stage.peer_at(tls_door()).await;
                peer.say(begin);
                for _ in 0..9 {
                    stage.pass(SECOND).await;
                    peer.say("x");
                    stage.settle().await;
                }
                stage.only_after(SECOND, |_| peer.is_over()).await;
                stage.until(|_| peer.has_end()).await;
            },
        );
    }
}

#[test]
fn it_ends_with_the_handshake() {
    staged(
        |config| config.limits.backend_idle_timeout = Duration::ZERO,
        async |stage| {
            let peer = stage.raw().await;
            assert!(peer.is_through());
            stage.pass(HANDSHAKE * 2).await;
            assert!(!peer.is_over());
        },
    );
}

#[test]
fn who_is_refused_has_a_moment_to_read_why() {
    staged(
        |_| {},
        async |stage| {
            let mut peer = stage.peer().await;
            peer.say("hello");
            stage.until(|_| peer.has_end()).await;
            assert!(peer.heard().starts_with(b"HTTP/1.1 400 "));
            // What it goes on saying does not make it longer.
            stage.pass(SECOND).await;
            peer.say("hello");
            stage.only_after(SECOND, |_| peer.is_over()).await;
        },
    );
}

#[test]
fn php_is_greeted_behind_its_delay() {
    staged(
        |_| {},
        async |stage| {
            let mut peer = stage.peer().await;
            peer.say(upgrade("Client-Type: php\r\n"));
            stage.until(|_| peer.heard().starts_with(b"HTTP/1.1 101 ")).await;
            stage.only_after(Duration::from_millis(20), |stage| stage.newest().is_some()).await;
        },
    );
}

#[test]
fn words_on_a_raw_socket_are_judged_when_it_has_paused() {
    staged(
        |_| {},
        async |stage| {
            let mut peer = stage.raw().await;
            peer.say("wor");
            stage.settle().await;
            stage.pass(Duration::from_millis(19)).await;
            // More of it begins the pause anew.
            peer.say("ds");
            stage.settle().await;
            let pause = Duration::from_millis(20);
            stage.only_after(pause, |stage| stage.heard_of(&peer) == 1).await;
            // JSON waits for nothing.
            peer.say("{}");
            stage.settle().await;
            assert_eq!(stage.heard_of(&peer), 2);
        },
    );
}
