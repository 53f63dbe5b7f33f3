use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::script::budget::{Budget, Budgets};
use crate::script::outcome::{Reload, question};
use crate::script::stage::{DEFAULT_SCRIPT, budgets, info, message, terms_of, told};
use crate::session::ClientKind;

mod broadcasts;
mod budgets;
mod escapes;
mod isolation;
mod modules;
mod panics;
mod reloads;
mod runaways;
mod steps;
mod timers;

/// A script thread without its thread: what it decides is read from the worker's end.
struct Room {
    thread: ScriptThread,
    worker: mpsc::Receiver<Vec<Delivery>>,
    file: PathBuf,
    clock: Clock,
}

impl Room {
    fn new(name: &str, script: &str) -> Room {
        Room::within(Budgets { timers_max: 3, ..budgets() }, name, script)
    }

    fn within(budgets: Budgets, name: &str, script: &str) -> Room {
        // It stands: on a busy machine, too, nobody takes long.
        Room::by(Clock::standing_at(Duration::ZERO), budgets, name, script)
    }

    /// Where it is noticed who takes long.
    fn in_real_time(name: &str, script: &str) -> Room {
        Room::by(Clock::default(), budgets(), name, script)
    }

    fn by(clock: Clock, budgets: Budgets, name: &str, script: &str) -> Room {
        let dir = std::env::temp_dir().join(format!("relay-thread-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a temporary directory");
        let file = dir.join("opcodes.lua");
        std::fs::write(&file, script).expect("written");
        let source = Source::read(&file).expect("read");
        let (sender, worker) = mpsc::channel(100);
        let setup = Setup {
            source,
            terms: Terms { budgets, ..terms_of(&file) },
            workers: vec![sender],
            clock: clock.clone(),
            watched: Watched::default(),
            rehearse: None,
        };
        let thread = ScriptThread::new(setup).unwrap_or_else(|error| panic!("{error}"));
        Room { thread, worker, file, clock }
    }

    fn decide(&mut self, events: impl IntoIterator<Item = Event>) -> Vec<String> {
        self.thread.decide_all(&mut events.into_iter().collect::<VecDeque<_>>());
        while self.thread.waits() {
            self.thread.decide_all(&mut VecDeque::new());
        }
        self.took().concat()
    }

    /// Nobody is in the lane any more: on a busy machine, whoever it was may have been slow.
    fn empty_lane(&mut self) {
        self.thread.lane = Lane::new(self.thread.hub(), usize::MAX);
    }

    /// What the worker was handed, by hand-over.
    fn took(&mut self) -> Vec<Vec<String>> {
        std::iter::from_fn(|| self.worker.try_recv().ok())
            .map(|deliveries| deliveries.iter().map(told).collect())
            .collect()
    }

    fn save(&mut self, script: &str) -> Status {
        std::fs::write(&self.file, script).expect("written");
        self.thread.confined(Whom::Nobody, |thread| thread.reload(Reload::default()));
        self.status()
    }

    fn status(&self) -> Status {
        self.thread.status_mut(|status| status.clone())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.file.parent().expect("a directory"));
    }
}

fn id(serial: u64) -> SessionId {
    info(serial, ClientKind::Web, "/", None).id
}

fn connected(serial: u64) -> Event {
    Event::Connected(Box::new(info(serial, ClientKind::Web, "/", None)))
}

fn says(serial: u64, json: &str) -> Event {
    Event::Message { from: id(serial), message: message(json) }
}

#[test]
fn the_ack_precedes_the_effects() {
    let mut room = Room::new("ack", DEFAULT_SCRIPT);
    room.decide([connected(1)]);
    let took = room
        .decide([says(1, r#"{"opcode":"uuid","message":"u-1"}"#), says(1, r#"{"opcode":"echo"}"#)]);
    assert_eq!(took, ["1 next", "1 is u-1", "1 next", r#"1 < {"opcode":"echo"}"#]);
}

#[test]
fn noise_is_acknowledged_and_refusals_are_explained() {
    let mut room = Room::new("noise", DEFAULT_SCRIPT);
    room.decide([connected(1)]);
    let took = room.decide([
        Event::Noise { from: id(1) },
        Event::Refused { from: id(1), bytes: 9, code: "too_deep", text: "at most 127".to_owned() },
    ]);
    let refusal = r#"1 < {"opcode":"error","code":"too_deep","message":"at most 127"}"#;
    assert_eq!(took, ["1 next", "1 next", refusal]);
}

#[test]
fn what_a_closing_or_unknown_client_says_only_frees_its_room() {
    let mut room = Room::new("closing", DEFAULT_SCRIPT);
    room.decide([connected(1), connected(2)]);
    let refused = Event::Refused { from: id(1), bytes: 1, code: "x", text: String::new() };
    let took =
        room.decide([says(1, r#"{"opcode":"quit"}"#), says(1, r#"{"opcode":"b"}"#), refused]);
    assert_eq!(took, ["1 next", "1 closed 1000", "1 no next", "1 no next"]);
    assert_eq!(room.decide([says(7, r#"{"opcode":"b"}"#)]), ["7 no next"]);
}

#[test]
fn a_failed_handler_tells_the_sender_and_does_nothing_else() {
    let mut room =
        Room::new("failed", "function opcodes.x(client) client:send('a') error('no') end");
    room.decide([connected(1)]);
    let took = room.decide([says(1, r#"{"opcode":"x"}"#)]);
    assert_eq!(took.len(), 2, "{took:?}");
    let start = r#"1 < {"opcode":"error","code":"handler_failed","ref":"x","id":""#;
    assert!(took[1].starts_with(start), "{took:?}");
    assert_eq!(took[1].len(), start.len() + 8 + r#""}"#.len());
}

#[test]
fn a_failed_greeting_closes_and_a_failed_farewell_does_not_stop_it() {
    let script = "function on.connect(client) client:send('a') client.x() end
        function on.disconnect(client) client.x() end
        function on.default() end";
    let mut room = Room::new("greeting", script);
    let took = room.decide([connected(1)]);
    assert_eq!(took[0], "1 no next", "it is known before it is told anything");
    assert!(
        took[1]
            .starts_with(r#"1 < {"opcode":"error","code":"handler_failed","ref":"connect","id":"#)
    );
    assert_eq!(took[2..], ["1 closed 1011 handler failed"]);
    room.decide([Event::Disconnected { id: id(1), reason: CloseReason::Internal }]);
    assert_eq!(room.thread.hub.borrow().connected(), 0);
}

#[test]
fn a_farewell_no_longer_counts_the_client() {
    let script = "function on.connect(client) client:register(client.issued_uuid) end
        function on.disconnect(client, why)
          relay.broadcast({client.uuid, why, relay.count(), tostring(relay.find(client.uuid))})
        end
        function on.default() end";
    let mut room = Room::new("farewell", script);
    room.decide([connected(1), connected(2)]);
    let gone = Event::Disconnected { id: id(1), reason: CloseReason::EndOfStream };
    // The end is decided like a message: its connection waits for that with its farewell.
    assert_eq!(room.decide([gone]), [r#"all < ["i-1","end_of_stream",1,"nil"]"#, "1 no next"]);
    let again = Event::Disconnected { id: id(1), reason: CloseReason::EndOfStream };
    assert_eq!(room.decide([again]), ["1 no next"]);
}

#[test]
fn workers_get_their_share_at_least_every_64_events() {
    let mut room = Room::new("turns", DEFAULT_SCRIPT);
    room.decide((0..130).map(connected));
    let mut events = (0..130).map(|n| says(n, r#"{"opcode":"echo"}"#)).collect();
    room.thread.decide_all(&mut events);
    assert_eq!(room.took().iter().map(Vec::len).collect::<Vec<_>>(), [128, 128, 4]);
}

#[test]
fn a_worker_that_is_gone_stops_nobody() {
    let mut room = Room::new("gone", DEFAULT_SCRIPT);
    room.worker.close();
    assert_eq!(room.decide([connected(1), connected(2)]), [] as [String; 0]);
    assert_eq!(room.thread.hub.borrow().connected(), 2);
}

/// What is logged on this thread meanwhile, without colours and times.
fn logged(does: impl FnOnce()) -> String {
    use std::io::Write;
    use std::sync::OnceLock;
    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);
    impl Write for Paper {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("one thread").write(text)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    // With a single one of them, tracing asks the thread that comes to a line first, and that may
    // be one of another test, which logs nothing.
    static SECOND: OnceLock<tracing::Dispatch> = OnceLock::new();
    SECOND.get_or_init(|| tracing::Dispatch::new(tracing_subscriber::registry()));
    let paper = Paper::default();
    let ink = paper.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || ink.clone())
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .without_time()
        .finish();
    tracing::subscriber::with_default(subscriber, does);
    let text = paper.0.lock().expect("one thread").clone();
    String::from_utf8(text).expect("UTF-8")
}

#[test]
fn a_failed_handler_is_one_block_with_the_number_that_the_client_got() {
    let mut room = Room::new("failed-block", "function opcodes.x() error('no') end");
    room.decide([connected(1)]);
    let mut took = Vec::new();
    let block = logged(|| took = room.decide([says(1, r#"{"opcode":"x"}"#)]));
    let id = took[1].rsplit('"').nth(1).expect("an id");
    let fields = format!(r#"id="{id}" opcode="x" generation=1 session=1"#);
    assert!(block.contains(&fields), "{block}");
    assert!(block.contains("opcodes.lua:1: no\n     1 | function opcodes.x()"), "{block}");
    assert_eq!(block.matches("ERROR").count(), 1, "{block}");
}

#[test]
fn a_script_logs_with_its_generation() {
    let script = "function on.default(client)
        relay.log.warn('disk\\nfull', {free = 1, list = {}}) relay.log.debug('x') print('a', 1)
        relay.log.info('y', {f = print})
    end";
    let mut room = Room::new("log", script);
    room.decide([connected(1)]);
    let lines = logged(|| drop(room.decide([says(1, "{}")])));
    let lines: Vec<&str> = lines.lines().map(str::trim).collect();
    assert_eq!(
        lines,
        [
            r#"WARN relay::script: disk\nfull generation=1 fields="{\"free\":1,\"list\":{}}""#,
            "DEBUG relay::script: x generation=1",
            "INFO relay::script: a\t1 generation=1",
            r#"INFO relay::script: y generation=1 fields="(a function can not be JSON, at f)""#,
        ]
    );
}

#[test]
fn who_asks_for_an_ident_that_is_taken_is_told() {
    let mut room = Room::new("ident", DEFAULT_SCRIPT);
    let backend =
        |serial, ident| Event::Connected(Box::new(info(serial, ClientKind::Backend, "/", ident)));
    let took = room.decide([
        backend(1, Some("billing")),
        backend(2, Some("billing")),
        backend(3, Some("mailing")),
        backend(4, None),
    ]);
    assert_eq!(took.len(), 4 * 2 + 1, "{took:?}");
    let told = "2 < {\"opcode\":\"error\",\"code\":\"ident_taken\",";
    assert!(took[4].starts_with(told) && took[4].ends_with("\"ref\":\"connect\"}"), "{took:?}");
}
