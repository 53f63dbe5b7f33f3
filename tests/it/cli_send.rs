//! `relay send`: the real binary against a real relay, and what a script is told by its exit code.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::json;

use crate::client::{Door, Heard, Hello, Transport};
use crate::harness::{
    DEADLINE, Setup, TempDir, TestCertificate, TestRelay, relay_test, runtime, shipped,
};
use crate::process::Process;

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the command with this standard input to its end, with nothing of relay's in its environment.
pub async fn run(words: &[&str], stdin: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RELAY_") {
            command.env_remove(name);
        }
    }
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the relay's binary");
    let mut input = child.stdin.take().expect("piped");
    let stdin = stdin.to_owned();
    // It may end before it has read all of it.
    std::thread::spawn(move || input.write_all(stdin.as_bytes()));
    let output = end_of(child).await;
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Waits for the end of a command, which is killed at the deadline: nothing ends a thread that waits.
pub async fn end_of(child: Child) -> Output {
    let id = child.id();
    let mut ending = tokio::task::spawn_blocking(move || child.wait_with_output());
    let in_time = tokio::time::timeout(DEADLINE, &mut ending).await;
    if in_time.is_err() {
        let kill = Command::new("sh").args(["-c", &format!("kill -KILL {id}")]).status();
        panic!("expected the command to end in time; killed: {kill:?}; {:?}", ending.await);
    }
    in_time.expect("checked").expect("no panic").expect("our own child")
}

impl Ended {
    #[track_caller]
    fn expect(&self, code: i32, complaint: &str) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(self.stderr.contains(complaint), "expected {complaint:?}: {self:?}");
        let quiet = self.stderr.is_empty();
        assert!(!complaint.is_empty() || quiet, "expected no complaint: {self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
    }
}

/// The URL of a transport, and what it takes to trust the relay there.
fn at(relay: &TestRelay, transport: Transport) -> (String, Vec<String>) {
    let url = format!("{transport}://localhost:{}", relay.addr.port());
    match transport.is_tls() {
        true => (url, vec!["--cafile".to_owned(), relay.certificate_file().display().to_string()]),
        false => (url, Vec::new()),
    }
}

async fn send(relay: &TestRelay, transport: Transport, words: &[&str]) -> Ended {
    let (url, trust) = at(relay, transport);
    let trust: Vec<&str> = trust.iter().map(String::as_str).collect();
    run(&[&["send", &url], &trust[..], words].concat(), "").await
}

over_each_transport! {
    async fn messages_arrive_byte_for_byte(relay, transport) {
        let mut page = relay.web_named(Transport::Ws, "page").await;
        let ended = send(relay, transport, &["b=1", "a:=[1, 2.0]", "text=50 % = \"half\""]).await;
        ended.expect(0, "");
        assert_eq!(ended.stdout, "");
        page.hears(r#"{"opcode":"broadcast","b":"1","a":[1, 2.0],"text":"50 % = \"half\""}"#).await;
        let text = r#"{ "n": 123456789012345678901234567890,"opcode":"x" }"#;
        send(relay, transport, &[text]).await.expect(0, "");
        page.hears(text).await;
        send(relay, transport, &["--uuid", "page", "p:=50"]).await.expect(0, "");
        page.hears(r#"{"opcode":"feedback","uuid":"page","p":50}"#).await;
        send(relay, transport, &["--opcode", "my own"]).await.expect(64, "standard input");
        send(relay, transport, &["--opcode", "my own", "{}"]).await.expect(0, "");
        page.hears(r#"{"opcode":"my own"}"#).await;
        page.hears_nothing().await;
    }
}

over_each_transport! {
    async fn answers_are_printed_when_asked_for(relay, transport) {
        let ended = send(relay, transport, &["-v", "--opcode", "echo", "a=\n"]).await;
        ended.expect(0, "");
        let next = json!({ "opcode": "next", "uuid": "", "fyi": "" }).to_string();
        let mut lines = ended.stdout.lines();
        let said = |line: Option<&str>| line.and_then(|l| serde_json::from_str(l).ok());
        assert_eq!(said(lines.next()), Some(serde_json::from_str::<serde_json::Value>(&next).expect("JSON")));
        assert_eq!(lines.next(), Some(r#"{"opcode":"echo","a":"\n"}"#));
        assert_eq!(lines.next(), None);
    }
}

over_each_transport! {
    async fn a_message_of_the_largest_size_passes_and_no_larger_one(relay, transport) {
        let mut page = relay.web_named(Transport::Ws, "page").await;
        // Through standard input: a word of a command line has at most 128 KiB.
        let (url, trust) = at(relay, transport);
        let words: Vec<&str> =
            ["send", &url].into_iter().chain(trust.iter().map(String::as_str)).collect();
        let message = |bytes: usize| {
            let empty = r#"{"opcode":"x","t":""}"#;
            empty.replace("\"\"", &format!("\"{}\"", "x".repeat(bytes - empty.len())))
        };
        run(&words, &message(1 << 20)).await.expect(0, "");
        page.hears(&message(1 << 20)).await;
        run(&words, &message((1 << 20) + 1)).await.expect(1, "1048576 bytes");
        page.hears_nothing().await;
    }
}

#[test]
fn a_backend_is_reached_by_its_name() {
    relay_test(async |relay| {
        let hello = Hello::php(Some("/")).header("Ident", "worker");
        let mut worker = relay.open(Transport::Ws, hello).await;
        worker.hears_ready().await;
        send(relay, Transport::Tcp, &["--ident", "worker", "a=b"]).await.expect(0, "");
        worker.hears(r#"{"opcode":"feedback","ident":"worker","a":"b"}"#).await;
    });
}

/// `next` comes before a handler's error, which must not get lost.
#[test]
fn an_error_is_told_on_every_transport() {
    let directory = TempDir::new();
    let script = "function opcodes.bad(client) client:error('no_money', 'pay first\\27[2J') end\n\
                  function opcodes.worse() error('x') end\n\
                  function on.default(client, msg) relay.broadcast(msg) end\n\
                  function on.connect(client)\n\
                  client:send({ opcode = 'ready', os = 'Linux', uuid = client.issued_uuid }) end\n\
                  function opcodes.uuid(client, msg) client:register(msg.data.message) end";
    let script = directory.write("script.lua", script);
    Setup::new().script(&script).run(async |relay| {
        let mut page = relay.web_named(Transport::Ws, "page").await;
        for transport in [Transport::Ws, Transport::Wss, Transport::Tcp, Transport::Ssl] {
            let ended = send(relay, transport, &["--opcode", "bad", "{}"]).await;
            ended.expect(1, "refused: no_money: pay first\\u{1b}[2J\n");
            // Its id is what the operator can find in the log.
            send(relay, transport, &["--opcode", "worse", "{}"]).await.expect(1, " (id ");
        }
        // What follows a refusal is sent all the same.
        let url = at(relay, Transport::Tcp).0;
        let lines = "{\"opcode\":\"bad\"}\n{\"opcode\":\"good\"}\n";
        run(&["send", &url], lines).await.expect(1, "no_money");
        page.hears(r#"{"opcode":"good"}"#).await;
    });
}

#[test]
fn lines_of_standard_input_are_messages() {
    relay_test(async |relay| {
        let mut page = relay.web_named(Transport::Ws, "page").await;
        let url = at(relay, Transport::Tcp).0;
        let lines: String = (0..200).map(|n| format!("{{\"n\":{n}}}\r\n \n")).collect();
        run(&["send", &url, "--opcode", "p", "-"], &lines).await.expect(0, "");
        for n in 0..200 {
            page.hears(&format!("{{\"opcode\":\"p\",\"n\":{n}}}")).await;
        }
        // The last line needs no line feed, and what came before a mistake is sent.
        let ended = run(&["send", &url], "{\"a\":1}\n[]\n{\"a\":2}").await;
        ended.expect(65, "message 2: no JSON object");
        page.hears(r#"{"opcode":"broadcast","a":1}"#).await;
        run(&["send", &url], "{\"a\":3}").await.expect(0, "");
        page.hears(r#"{"opcode":"broadcast","a":3}"#).await;
        run(&["send", &url], "\n\n").await.expect(64, "no line");
        page.hears_nothing().await;
    });
}

/// Whoever writes lines slowly stays connected: pings are answered meanwhile.
#[test]
fn each_line_is_sent_as_it_comes() {
    relay_test(async |relay| {
        let mut page = relay.web_named(Transport::Ws, "page").await;
        for transport in [Transport::Ws, Transport::Tcp] {
            let url = at(relay, transport).0;
            let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
            let mut child = command.args(["send", &url]).stdin(Stdio::piped()).spawn().expect("it");
            let mut input = child.stdin.take().expect("piped");
            for n in 0..3 {
                writeln!(input, "{{\"n\":{n}}}").expect("a command that reads");
                page.hears(&format!("{{\"opcode\":\"broadcast\",\"n\":{n}}}")).await;
            }
            drop(input);
            assert_eq!(end_of(child).await.status.code(), Some(0));
        }
    });
}

#[test]
fn a_mistake_is_found_before_anything_is_sent() {
    let cases: &[(&[&str], i32, &str)] = &[
        (&[], 64, "URL"),
        (&["localhost:1", "a=b"], 64, "no scheme"),
        (&["any://localhost:1", "a=b"], 64, "ws, wss, tcp or ssl"),
        (&["tcp://localhost:1", "word"], 64, "neither JSON nor key=value"),
        (&["tcp://localhost:1", "a=1", "a=2"], 64, "twice"),
        (&["tcp://localhost:1", "a:=x"], 64, "takes JSON"),
        (&["tcp://localhost:1", "--uuid", "", "a=b"], 64, "--uuid"),
        (&["tcp://localhost:1", "--uuid", "a", "--ident", "b", "a=b"], 64, "--ident"),
        (&["tcp://localhost:1", "--timeout", "0", "a=b"], 64, "seconds"),
        (&["ssl://localhost:1", "--cafile", "/nowhere", "a=b"], 64, "/nowhere"),
        (&["tcp://localhost:1", "--config", "relay.toml", "a=b"], 64, "no config"),
        (&["tcp://localhost:1", "{broken"], 65, "no JSON object"),
        (&["tcp://localhost:1", "[1]"], 65, "no JSON object"),
        (&["tcp://localhost:1", "--opcode", "x", r#"{"opcode":"y"}"#], 65, "its own opcode"),
    ];
    runtime().block_on(async {
        for (words, code, complaint) in cases {
            run(&[&["send"], *words].concat(), "").await.expect(*code, complaint);
        }
    });
}

/// A listener that hears a client out, says one thing and then nothing, or closes.
pub fn stranger(says: &'static str, closes: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("tcp://{}", listener.local_addr().expect("bound"));
    std::thread::spawn(move || {
        let mut silent: Vec<TcpStream> = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client");
            // What is not read would turn the close into a reset, which may overtake the answer.
            let heard = stream.read(&mut [0; 1024]).expect("a client that speaks");
            assert!(heard > 0, "expected a client that speaks first");
            stream.write_all(says.as_bytes()).expect("a client that listens");
            if !closes {
                silent.push(stream);
            }
        }
    });
    url
}

#[test]
fn who_does_not_answer_as_a_relay_has_codes_of_its_own() {
    const READY: &str = r#"{"opcode":"ready","os":"Linux","uuid":"u"}"#;
    let cases = [
        ("tcp://127.0.0.1:1".to_owned(), 69, "cannot connect"),
        ("tcp://nowhere.invalid:1".to_owned(), 69, "cannot connect"),
        (stranger("", false), 69, "does not answer in 3s"),
        (stranger("", true), 69, "closes without a word"),
        (stranger("", true).replace("tcp", "ws"), 69, "closes without a word"),
        (stranger(READY, false), 75, "does not acknowledge"),
        (stranger(READY, true), 75, "lost|closes"),
        (stranger("HTTP/1.1 400 Bad Request\r\n\r\n", true), 76, "is no relay"),
        (stranger(r#"{"opcode":"hello"}"#, false), 76, "no ready"),
        (stranger("HTTP/1.1 200 OK\r\n\r\n", true).replace("tcp", "ws"), 76, "200 OK"),
        (stranger("220 mail\r\n", true).replace("tcp", "wss"), 76, "no TLS"),
    ];
    runtime().block_on(async {
        let all = cases.map(|(url, code, complaint)| async move {
            let ended = run(&["send", &url, "--timeout", "3", "a=b"], "").await;
            assert_eq!(ended.code, Some(code), "{url}: {ended:?}");
            let said = complaint.split('|').any(|part| ended.stderr.contains(part));
            assert!(said, "{url}: expected {complaint}: {ended:?}");
        });
        // At once, because those that never answer take all of their time.
        futures_util::future::join_all(all).await;
    });
}

/// Later is not never: whoever sends may try again.
#[test]
fn a_full_relay_is_a_relay() {
    Setup::new().set("limits.connections_max=1").run(async |relay| {
        let _page = relay.web(Transport::Ws, "/").await;
        for transport in [Transport::Ws, Transport::Wss, Transport::Tcp, Transport::Ssl] {
            let ended = send(relay, transport, &["{}"]).await;
            ended.expect(75, "refuses for now: the relay is full\n");
        }
        let url = at(relay, Transport::Ws).0;
        run(&["tail", &url, "--once"], "").await.expect(75, "for now: the relay is full\n");
    });
}

/// Whatever the code, it is a relay, and the words are the script's: the code tells when to try again.
#[test]
fn who_is_turned_away_by_the_script_hears_why() {
    let cases = [
        ("nil", 77, "refuses: not here\n"),
        ("1003", 77, "refuses: not here\n"),
        ("1009", 77, "refuses: not here\n"),
        ("4000", 77, "refuses: not here\n"),
        ("1012", 75, "refuses for now: not here\n"),
        ("1002", 76, "refuses: not here\n"),
    ];
    let directory = TempDir::new();
    for (code, exit_code, said) in cases {
        let script = format!(
            "function on.default() end\n\
             function on.connect(client) client:close({code}, 'not here') end"
        );
        let script = directory.write("script.lua", &script);
        Setup::new().script(&script).run(async |relay| {
            for transport in [Transport::Ws, Transport::Tcp] {
                send(relay, transport, &["{}"]).await.expect(exit_code, said);
            }
        });
    }
}

#[test]
fn certificates_are_verified() {
    relay_test(async |relay| {
        for transport in [Transport::Wss, Transport::Ssl] {
            let (url, trust) = at(relay, transport);
            // Right for localhost, and for nothing else.
            let address = url.replace("localhost", "127.0.0.1");
            let other = TestCertificate::new().certificate_file().display().to_string();
            let other_kept = TestCertificate::new();
            let strange = other_kept.certificate_file().display().to_string();
            let readme = shipped("README.md").display().to_string();
            let cases: &[(&str, &[&str], i32, &str)] = &[
                (&url, &[], 77, "signed by nobody who is trusted here (--cafile"),
                (&url, &["--cafile", &strange], 77, "not trusted"),
                (
                    &address,
                    &[&trust[0], &trust[1]],
                    77,
                    "it is not for 127.0.0.1, but for: localhost\n",
                ),
                (&url, &["--insecure"], 0, "is not verified"),
                (&url, &["--cafile", &readme], 64, "no certificate"),
                (&url, &["--cafile", &other], 64, "No such file"),
            ];
            for (url, trust, code, complaint) in cases {
                let words = [&["send", url], *trust, &["--opcode", "echo", "{}"]].concat();
                run(&words, "").await.expect(*code, complaint);
            }
        }
    });
}

/// The system's authorities, where the operator put the relay's among them.
#[test]
fn the_systems_authorities_are_trusted() {
    relay_test(async |relay| {
        let (url, trust) = at(relay, Transport::Ssl);
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
        command.args(["send", &url, "a=b"]).env("SSL_CERT_FILE", Path::new(&trust[1]));
        let child = command.env_remove("SSL_CERT_DIR").spawn().expect("the relay's binary");
        assert_eq!(end_of(child).await.status.code(), Some(0));
    });
}

#[test]
fn an_origin_is_sent_where_one_is_needed() {
    Setup::new().set(r#"web.allowed_origins=["https://example.org"]"#).run(async |relay| {
        send(relay, Transport::Ws, &["a=b"]).await.expect(77, "403");
        let with = ["--origin", "https://example.org", "a=b"];
        send(relay, Transport::Ws, &with).await.expect(0, "");
    });
}

#[test]
fn a_config_in_the_directory_is_not_read() {
    let relay = Setup::new().start();
    let url = at(&relay, Transport::Tcp).0;
    let mut process = Process::start(&["send", &url, "a=b"], &[("relay.toml", "no config at all")]);
    assert_eq!(process.exit_code(), Some(0));
    relay.stop();
}

/// What is sent is not heard by the sender: it is no page.
#[test]
fn the_sender_receives_no_broadcasts() {
    relay_test(async |relay| {
        let door: &Door = relay;
        let url = format!("ws://{}/web", door.addr);
        let mut page = relay.web_named(Transport::Ws, "page").await;
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
        command.args(["send", &url, "-v"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the relay's binary");
        let mut input = child.stdin.take().expect("piped");
        writeln!(input, "{{\"from\":\"it\"}}").expect("a command that reads");
        page.hears(r#"{"opcode":"broadcast","from":"it"}"#).await;
        page.send(r#"{"opcode":"next","uuid":"spoofed"}"#).await;
        assert!(matches!(page.heard().await, Heard::Text(_)), "its own ack");
        drop(input);
        assert_eq!(
            end_of(child).await.stdout,
            b"{\"opcode\":\"next\",\"uuid\":\"\",\"fyi\":\"\"}\n"
        );
    });
}
