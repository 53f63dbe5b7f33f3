//! Every key of the config with its built-in default. `relay.toml` in the repository holds the same
//! values with the reason for each; a test keeps the two equal.

mod tls;

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cidr::Cidrs;
use super::feedback::FeedbackConfig;
use super::health::HealthConfig;
use super::listen::{self, ListenUrl};
pub use tls::{PairConfig, TlsConfig};

/// The whole config. Serialised, it has the shape of `relay.toml`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The addresses to accept clients on; at least one.
    #[serde(deserialize_with = "listen::one_or_many")]
    pub listen: Vec<ListenUrl>,
    /// The proxies that are believed about whom they speak for: the PROXY protocol, `Forwarded` and
    /// `X-Forwarded-For`.
    pub trusted_proxies: Cidrs,
    /// Threads that own connections. 0: one per core.
    pub workers: usize,
    /// The script that decides.
    pub script: ScriptConfig,
    /// Certificate and key of the TLS listeners.
    pub tls: TlsConfig,
    /// How commands reach the relay that runs.
    pub control: ControlConfig,
    /// Where load balancers ask.
    pub health: HealthConfig,
    /// What is logged, and how.
    pub log: LogConfig,
    /// WebSocket clients.
    pub web: WebConfig,
    /// Raw socket clients.
    pub raw: RawConfig,
    /// Who may send feedback.
    pub feedback: FeedbackConfig,
    /// The bounds on everything a client can make grow.
    pub limits: Limits,
    /// What scripts keep in `relay.store`.
    pub store: StoreConfig,
    /// How the relay stops.
    pub drain: Drain,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: vec![ListenUrl::default()],
            trusted_proxies: Cidrs::default(),
            workers: 0,
            script: ScriptConfig::default(),
            tls: TlsConfig::default(),
            control: ControlConfig::default(),
            health: HealthConfig::default(),
            log: LogConfig::default(),
            web: WebConfig::default(),
            raw: RawConfig::default(),
            feedback: FeedbackConfig::default(),
            limits: Limits::default(),
            store: StoreConfig::default(),
            drain: Drain::default(),
        }
    }
}

/// `[script]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScriptConfig {
    /// The Lua file with the opcode handlers.
    pub file: PathBuf,
    /// Timers that a script may have at once.
    pub timers_max: usize,
    /// One call of a handler; it is killed then.
    #[serde(rename = "call_timeout_ms", with = "millis")]
    pub call_timeout: Duration,
    /// A call that takes longer is a warning.
    #[serde(rename = "call_warn_ms", with = "millis")]
    pub call_warn: Duration,
    /// The top level, and `on.load`, each.
    #[serde(rename = "load_timeout_ms", with = "millis")]
    pub load_timeout: Duration,
    /// The VM's memory, and that of what one call builds to be sent; at least 1 MiB.
    pub memory_bytes_max: usize,
    /// The longest JSON that is decoded for the script.
    pub decoded_bytes_max: usize,
    /// The most values (objects, arrays, strings, numbers ...) that such JSON may have.
    pub decoded_values_max: usize,
    /// What one call may ask for: sends, broadcasts, closes ...
    pub actions_max: usize,
    /// The kill of this number within a minute switches a handler off.
    pub kills_max: usize,
    /// A reload needs the tests beside the script to pass.
    pub test_before_reload: bool,
    /// Free for the script, which reads it as `relay.config`. TOML dates arrive as text; `inf` and
    /// `nan`, which JSON does not know, as null.
    pub settings: serde_json::Map<String, serde_json::Value>,
}

impl Default for ScriptConfig {
    fn default() -> Self {
        ScriptConfig {
            file: "scripts/opcodes.lua".into(),
            timers_max: 1_000,
            call_timeout: Duration::from_millis(50),
            call_warn: Duration::from_millis(10),
            load_timeout: Duration::from_secs(1),
            memory_bytes_max: 64 * 1024 * 1024,
            decoded_bytes_max: 1024 * 1024,
            decoded_values_max: 20_000,
            actions_max: 10_000,
            kills_max: 3,
            test_before_reload: false,
            settings: serde_json::Map::new(),
        }
    }
}

/// `[control]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ControlConfig {
    /// The Unix socket that `relay reload` speaks to. Empty: none.
    pub socket: PathBuf,
}

impl Default for ControlConfig {
    fn default() -> Self {
        ControlConfig { socket: "relay.sock".into() }
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogConfig {
    /// A level or a filter in the syntax of tracing's `EnvFilter`: `info,relay::script=debug`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// How a log line looks.
// Read through `String`: an enum as such would also take the number of a variant from figment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line, for programs.
    Json,
}

impl TryFrom<String> for LogFormat {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(format!("expected \"text\" or \"json\", found {text:?}")),
        }
    }
}

/// `[web]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebConfig {
    /// The origins a WebSocket client may come from, compared exactly. Empty: any, or none at all.
    pub allowed_origins: Vec<String>,
    /// A browser that opens the relay's address is shown the test page.
    pub test_page: bool,
    /// Web clients are acked with `next`.
    pub acks: bool,
    /// Wait between the 101 and `ready` for clients that say `Client-Type: php`, 10 to 30 ms.
    #[serde(rename = "php_ready_delay_ms", with = "millis")]
    pub php_ready_delay: Duration,
}

impl Default for WebConfig {
    fn default() -> Self {
        WebConfig {
            allowed_origins: Vec::new(),
            test_page: true,
            acks: true,
            php_ready_delay: Duration::from_millis(20),
        }
    }
}

/// `[raw]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct RawConfig {
    /// Silence after which bytes that start no JSON are judged, 20 to 50 ms.
    #[serde(rename = "pause_ms", with = "millis")]
    pub pause: Duration,
}

impl Default for RawConfig {
    fn default() -> Self {
        RawConfig { pause: Duration::from_millis(20) }
    }
}

/// `[limits]`: sizes in bytes, and counts, from 1; times from 1 ms to a day.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Clients connected at once.
    pub connections_max: usize,
    /// Clients connected at once from one address; of IPv6, from one /64.
    pub connections_per_ip_max: usize,
    /// Networks that `connections_per_ip_max` does not count.
    pub trusted: Cidrs,
    /// From accept to a client whose kind is known: TLS, first bytes and upgrade, on one clock
    /// that activity does not extend.
    #[serde(rename = "handshake_timeout_ms", with = "millis")]
    pub handshake_timeout: Duration,
    /// Connections at once whose handshake is not over.
    pub handshakes_pending_max: usize,
    /// The head of an HTTP request, and the greeting of a raw client.
    pub header_bytes_max: usize,
    /// One message, and one frame.
    pub message_bytes_max: usize,
    /// Nesting of a JSON message, 1 to 127 (serde_json goes no deeper).
    pub json_depth_max: usize,
    /// A client uuid or ident.
    pub name_bytes_max: usize,
    /// An opcode.
    pub opcode_bytes_max: usize,
    /// Claims of names that others hold before the client is closed with 1008.
    pub failed_claims_max: usize,
    /// How long the owner of a name that is claimed may not answer. In whole seconds.
    #[serde(rename = "claim_timeout_ms", with = "millis")]
    pub claim_timeout: Duration,
    /// Rooms that one client is in at once.
    pub rooms_per_client_max: usize,
    /// What the script notes about one client: the JSON of all values, and their keys.
    pub attributes_bytes_max: usize,
    /// One client's outbound queue, in bytes; at least `message_bytes_max`.
    pub queue_bytes_max: usize,
    /// One client's outbound queue, in messages.
    pub queue_messages_max: usize,
    /// All outbound queues together, in bytes; at least `message_bytes_max`.
    pub queues_bytes_max: usize,
    /// What has come of all messages whose rest has not, in bytes; at least `message_bytes_max`.
    pub unfinished_bytes_max: usize,
    /// How long a write to a client may make no progress.
    #[serde(rename = "write_stall_timeout_ms", with = "millis")]
    pub write_stall_timeout: Duration,
    /// Frames that one client may send per second, of whatever kind; 0: as many as it likes.
    pub messages_per_second_max: usize,
    /// Frames that it may send at once after a silence.
    pub messages_burst_max: usize,
    /// Bytes that one client may send per second, and at once; 0: as many as it likes.
    pub bytes_per_second_max: usize,
    /// Broadcasts per second, to all or to a room; 0: as many as the script wants.
    pub broadcasts_per_second_max: usize,
    /// Messages of one client that wait for the script; at the bound its reading pauses.
    pub undecided_messages_max: usize,
    /// Bytes of one client that wait for the script; beyond them its reading pauses.
    pub undecided_bytes_max: usize,
    /// Messages of all clients that wait for the script.
    pub script_queue_messages_max: usize,
    /// The same in bytes; at least `message_bytes_max`.
    pub script_queue_bytes_max: usize,
    /// A web client that has been silent for this long is pinged; 0: never. In whole seconds, as the
    /// two times below.
    #[serde(rename = "ping_interval_ms", with = "millis")]
    pub ping_interval: Duration,
    /// Pings in a row that may go unanswered; the next one would be one too many.
    pub pings_missed_max: usize,
    /// How long a web client that is not registered may send no message; 0: for ever.
    #[serde(rename = "unregistered_timeout_ms", with = "millis")]
    pub unregistered_timeout: Duration,
    /// How long a backend may be silent; 0: for ever.
    #[serde(rename = "backend_idle_timeout_ms", with = "millis")]
    pub backend_idle_timeout: Duration,
    /// How long a closing connection waits for its peer to close too.
    #[serde(rename = "linger_timeout_ms", with = "millis")]
    pub linger_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 10_000,
            connections_per_ip_max: 100,
            trusted: Cidrs::loopback(),
            handshake_timeout: Duration::from_secs(10),
            handshakes_pending_max: 1_000,
            header_bytes_max: 8 * 1024,
            message_bytes_max: 1024 * 1024,
            json_depth_max: 127,
            name_bytes_max: 128,
            opcode_bytes_max: 128,
            failed_claims_max: 5,
            claim_timeout: Duration::from_secs(5),
            rooms_per_client_max: 32,
            attributes_bytes_max: 16 * 1024,
            queue_bytes_max: 4 * 1024 * 1024,
            queue_messages_max: 4_096,
            queues_bytes_max: 256 * 1024 * 1024,
            unfinished_bytes_max: 128 * 1024 * 1024,
            write_stall_timeout: Duration::from_secs(10),
            messages_per_second_max: 0,
            messages_burst_max: 100,
            bytes_per_second_max: 0,
            broadcasts_per_second_max: 0,
            undecided_messages_max: 64,
            undecided_bytes_max: 262_144,
            script_queue_messages_max: 8_192,
            script_queue_bytes_max: 64 * 1024 * 1024,
            ping_interval: Duration::from_secs(25),
            pings_missed_max: 2,
            unregistered_timeout: Duration::from_secs(60),
            backend_idle_timeout: Duration::from_secs(300),
            linger_timeout: Duration::from_secs(2),
        }
    }
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreConfig {
    /// All keys and values with what keeping them costs.
    pub memory_bytes_max: usize,
}

impl Default for StoreConfig {
    fn default() -> Self {
        StoreConfig { memory_bytes_max: 64 * 1024 * 1024 }
    }
}

/// `[drain]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Drain {
    /// How long the goodbyes to many clients are spread at most, up to half of the timeout; 0: all at
    /// once.
    #[serde(rename = "window_ms", with = "millis")]
    pub window: Duration,
    /// From the signal to the end of the process, at the latest; 1 ms to a day.
    #[serde(rename = "timeout_ms", with = "millis")]
    pub timeout: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Drain { window: Duration::from_secs(5), timeout: Duration::from_secs(10) }
    }
}

/// A `Duration` written as a whole number of milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}
