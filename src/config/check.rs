//! What types cannot say about a config: ranges, and values that contradict each other.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use tracing_subscriber::EnvFilter;

use super::error::{ConfigError, Origin, closest, dotted, quoted};
use super::keys::{Config, Limits};
use super::listen::{ListenAt, ListenUrl};
use super::sources::Layers;

/// Sizes end at 1 TiB and counts at 100 million, far above any machine, so that sums of them
/// cannot overflow; times end at a day, so that adding one to a clock cannot either.
const BYTES: RangeInclusive<u64> = 1..=1 << 40;
/// A VM without any script takes some 100 KiB.
const VM_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 40;
const COUNT: RangeInclusive<u64> = 1..=100_000_000;
/// What a rate may be: 0 is none.
const PER_SECOND: RangeInclusive<u64> = 0..=100_000_000;
const BYTES_PER_SECOND: RangeInclusive<u64> = 0..=1 << 40;
const MILLIS: RangeInclusive<u64> = 1..=86_400_000;
/// Into so many bursts a rate may be cut at most.
const BURSTS_PER_SECOND: usize = 100;
const MILLIS_OR_NEVER: RangeInclusive<u64> = 0..=86_400_000;

/// The mistakes in a merged config, each at the place its value was given. Of each kind but the
/// ranges, only the first is found.
pub fn check(config: &Config, layers: &Layers) -> Vec<ConfigError> {
    let checks = [
        check_queues,
        check_burst,
        check_listen,
        check_script,
        check_tls,
        check_log,
        check_origins,
    ];
    let problems = checks.iter().filter_map(|check| check(config));
    check_ranges(config).into_iter().chain(problems).map(|it| it.blame(layers)).collect()
}

struct Problem {
    /// The keys the problem is about, the most likely culprit first.
    keys: Vec<Vec<String>>,
    text: String,
}

impl Problem {
    fn blame(self, layers: &Layers) -> ConfigError {
        let Problem { keys, text } = self;
        // Where two keys contradict each other, the one somebody wrote is to blame.
        let origins = keys.iter().map(|key| (key, layers.origin_of(key)));
        let mut blamed = origins.filter(|(_, origin)| *origin != Origin::Default);
        let first = keys.first().map(|key| (key, Origin::Default));
        let (key, origin) = blamed.next().or(first).expect("every problem names a key");
        ConfigError { origin, key: Some(dotted(key)), problem: text }
    }
}

fn problem(keys: &[&str], text: impl Into<String>) -> Option<Problem> {
    let split = |key: &&str| key.split('.').map(str::to_owned).collect();
    Some(Problem { keys: keys.iter().map(split).collect(), text: text.into() })
}

fn check_ranges(config: &Config) -> Vec<Problem> {
    let (limits, script) = (&config.limits, &config.script);
    let size = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let ranges = [
        ("workers", size(config.workers), 0..=1024),
        ("script.call_timeout_ms", millis(script.call_timeout), MILLIS),
        ("script.call_warn_ms", millis(script.call_warn), MILLIS),
        ("script.load_timeout_ms", millis(script.load_timeout), MILLIS),
        ("script.memory_bytes_max", size(script.memory_bytes_max), VM_BYTES),
        ("script.decoded_bytes_max", size(script.decoded_bytes_max), BYTES),
        ("script.decoded_values_max", size(script.decoded_values_max), COUNT),
        ("script.actions_max", size(script.actions_max), COUNT),
        ("script.kills_max", size(script.kills_max), COUNT),
        ("web.php_ready_delay_ms", millis(config.web.php_ready_delay), 10..=30),
        ("raw.pause_ms", millis(config.raw.pause), 20..=50),
        ("limits.connections_max", size(limits.connections_max), COUNT),
        ("limits.connections_per_ip_max", size(limits.connections_per_ip_max), COUNT),
        ("limits.handshake_timeout_ms", millis(limits.handshake_timeout), MILLIS),
        ("limits.handshakes_pending_max", size(limits.handshakes_pending_max), COUNT),
        ("limits.header_bytes_max", size(limits.header_bytes_max), BYTES),
        ("limits.message_bytes_max", size(limits.message_bytes_max), BYTES),
        ("limits.json_depth_max", size(limits.json_depth_max), 1..=127),
        ("limits.name_bytes_max", size(limits.name_bytes_max), BYTES),
        ("limits.opcode_bytes_max", size(limits.opcode_bytes_max), BYTES),
        ("limits.failed_claims_max", size(limits.failed_claims_max), COUNT),
        ("limits.claim_timeout_ms", millis(limits.claim_timeout), MILLIS),
        ("limits.rooms_per_client_max", size(limits.rooms_per_client_max), COUNT),
        ("limits.attributes_bytes_max", size(limits.attributes_bytes_max), BYTES),
        ("limits.queue_bytes_max", size(limits.queue_bytes_max), BYTES),
        ("limits.queue_messages_max", size(limits.queue_messages_max), COUNT),
        ("limits.queues_bytes_max", size(limits.queues_bytes_max), BYTES),
        ("limits.unfinished_bytes_max", size(limits.unfinished_bytes_max), BYTES),
        ("limits.write_stall_timeout_ms", millis(limits.write_stall_timeout), MILLIS),
        ("limits.messages_per_second_max", size(limits.messages_per_second_max), PER_SECOND),
        ("limits.messages_burst_max", size(limits.messages_burst_max), COUNT),
        ("limits.bytes_per_second_max", size(limits.bytes_per_second_max), BYTES_PER_SECOND),
        ("limits.broadcasts_per_second_max", size(limits.broadcasts_per_second_max), PER_SECOND),
        ("limits.undecided_messages_max", size(limits.undecided_messages_max), COUNT),
        ("limits.undecided_bytes_max", size(limits.undecided_bytes_max), BYTES),
        ("limits.script_queue_messages_max", size(limits.script_queue_messages_max), COUNT),
        ("limits.script_queue_bytes_max", size(limits.script_queue_bytes_max), BYTES),
        ("limits.ping_interval_ms", millis(limits.ping_interval), MILLIS_OR_NEVER),
        ("limits.pings_missed_max", size(limits.pings_missed_max), COUNT),
        ("limits.unregistered_timeout_ms", millis(limits.unregistered_timeout), MILLIS_OR_NEVER),
        ("limits.backend_idle_timeout_ms", millis(limits.backend_idle_timeout), MILLIS_OR_NEVER),
        ("limits.linger_timeout_ms", millis(limits.linger_timeout), MILLIS),
        ("script.timers_max", size(config.script.timers_max), COUNT),
        ("store.memory_bytes_max", size(config.store.memory_bytes_max), BYTES),
        ("drain.window_ms", millis(config.drain.window), MILLIS_OR_NEVER),
        ("drain.timeout_ms", millis(config.drain.timeout), MILLIS),
    ];
    let wrong = ranges.into_iter().filter(|(_, value, range)| !range.contains(value));
    wrong
        .filter_map(|(key, value, range)| {
            let text = format!("must be {} to {}, found {value}", range.start(), range.end());
            problem(&[key], text)
        })
        .collect()
}

/// What cannot hold one message of the largest size would never let it pass.
fn check_queues(config: &Config) -> Option<Problem> {
    let limits = &config.limits;
    let queues = [
        ("limits.queue_bytes_max", limits.queue_bytes_max),
        ("limits.queues_bytes_max", limits.queues_bytes_max),
        ("limits.script_queue_bytes_max", limits.script_queue_bytes_max),
        ("limits.unfinished_bytes_max", limits.unfinished_bytes_max),
    ];
    let (key, bytes) = queues.into_iter().find(|(_, bytes)| *bytes < limits.message_bytes_max)?;
    let text = format!(
        "a message (message_bytes_max = {}) must fit into {key} = {bytes}",
        limits.message_bytes_max
    );
    problem(&[key, "limits.message_bytes_max"], text)
}

/// Delays end at whole milliseconds, so a rate is reached only by what may then come at once.
fn check_burst(config: &Config) -> Option<Problem> {
    let Limits { messages_per_second_max: rate, messages_burst_max: burst, .. } = config.limits;
    if burst >= rate.div_ceil(BURSTS_PER_SECOND) {
        return None;
    }
    let text = format!(
        "must be at least a hundredth of messages_per_second_max, which is {rate}; found {burst}"
    );
    problem(&["limits.messages_burst_max", "limits.messages_per_second_max"], text)
}

fn check_listen(config: &Config) -> Option<Problem> {
    if config.listen.is_empty() {
        return problem(
            &["listen"],
            "no address to listen on; write one, as in any://127.0.0.1:8083",
        );
    }
    let mut seen = HashSet::new();
    let twice = |url: &ListenUrl| match &url.at {
        ListenAt::Address { port: 0, .. } => false,
        at => !seen.insert(at.clone()),
    };
    let index = config.listen.iter().position(twice)?;
    let at = &config.listen[index].at;
    let text = format!("a second listener on {at}; any:// takes all kinds on one port");
    problem(&[&format!("listen.{index}")], text)
}

fn check_script(config: &Config) -> Option<Problem> {
    let empty = config.script.file.as_os_str().is_empty();
    if empty { problem(&["script.file"], "names no file") } else { None }
}

fn check_tls(config: &Config) -> Option<Problem> {
    let tls = &config.tls;
    match (tls.certificate.as_os_str().is_empty(), tls.key.as_os_str().is_empty()) {
        (false, true) => {
            problem(&["tls.certificate"], "a certificate without its key: set tls.key too")
        }
        (true, false) => {
            problem(&["tls.key"], "a key without its certificate: set tls.certificate too")
        }
        (true, true) if !tls.more.is_empty() => problem(
            &["tls.more"],
            "is for pairs besides tls.certificate and tls.key: set these first",
        ),
        _ => {
            let empty = |path: &PathBuf| path.as_os_str().is_empty();
            let half = tls.more.iter().position(|it| empty(&it.certificate) || empty(&it.key))?;
            problem(&[&format!("tls.more.{half}")], "needs both a certificate and a key")
        }
    }
}

fn check_log(config: &Config) -> Option<Problem> {
    let level = &config.log.level;
    if level.trim().is_empty() {
        return problem(&["log.level"], "names no level; off is the one that logs nothing");
    }
    if let Err(error) = EnvFilter::builder().parse(level) {
        return problem(&["log.level"], format!("{} is no log filter: {error}", quoted(level)));
    }
    // The filter takes any word for the name of a module, so a misspelt level would mute the log.
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    let words = level.split(',').map(str::trim).filter(|word| !word.contains(['=', '[', ':']));
    let mut wrong = words.filter(|word| !levels.contains(&&*word.to_ascii_lowercase()));
    let (word, meant) = wrong.find_map(|word| Some((word, closest(word, levels)?)))?;
    problem(&["log.level"], format!("unknown level {}; did you mean `{meant}`?", quoted(word)))
}

fn check_origins(config: &Config) -> Option<Problem> {
    let mut origins = config.web.allowed_origins.iter().enumerate();
    let (index, why) =
        origins.find_map(|(index, origin)| Some((index, origin_problem(origin)?)))?;
    let origin = quoted(&config.web.allowed_origins[index]);
    problem(&[&format!("web.allowed_origins.{index}")], format!("{origin} {why}"))
}

/// Why a client can never send this origin, or is refused whatever the list says.
fn origin_problem(origin: &str) -> Option<&'static str> {
    if origin.is_empty() || origin.trim() != origin {
        Some("is empty or has blanks around it")
    } else if origin == "null" {
        Some("is always refused")
    } else if origin.ends_with('/') {
        Some("ends in a slash, an origin does not: write https://example.org")
    } else {
        None
    }
}
