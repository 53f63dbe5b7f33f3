//! `relay tail`: what a web client hears, on standard output.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::client::{Client, ConnectArgs, Failure, Heard, Reason, RemoteUrl, Role};
use super::print::{Layout, opcode, told_error};
use super::{
    EXIT_LOST, EXIT_NO_RELAY, EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_USAGE, complain, seconds,
};

/// The time between two attempts to connect again: from the first, doubled up to the second.
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(15);
/// No JSON: the relay acknowledges it and does nothing else, whatever its script says.
const PROBE: &str = "ping";
/// How often it is asked whether a uuid is registered.
const PROBE_EVERY: Duration = Duration::from_millis(250);

const AFTER_HELP: &str = "\
Exit codes: 0 at --count, at INT or TERM, or at a message that nobody reads any more, 1 the uuid is
taken, 64 command line, 69 no relay answers, 75 the connection is lost or the relay is full (with
--once), 76 what answers is no relay, 77 its certificate is not trusted or it refuses this client

At a relay that is full tail tries again. A connection that is lost is opened again under the same uuid; what was sent meanwhile is missed.

Example, which prints the uuid on standard error and each message as a line:
  relay tail ws://127.0.0.1:8083 --opcode progress | jq .percent";

/// Print the messages that a web client receives
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(after_help = AFTER_HELP)]
pub struct TailArgs {
    /// The relay: ws:// or wss://HOST:PORT, with a path if need be
    pub url: RemoteUrl,

    /// Register under this uuid [default: one that the relay makes]
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub uuid: Option<String>,

    /// Print messages of this opcode only; may be repeated
    #[arg(long)]
    pub opcode: Vec<String>,

    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,

    /// End when the relay is full or the connection lost, rather than connect again
    #[arg(long)]
    pub once: bool,

    /// How messages are printed [default: pretty on a terminal, else lines]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<Layout>,

    /// How long the relay may take to let this client in, and to answer a ping that it gets when it has
    /// been silent for as long
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub timeout: Duration,

    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Prints until `stop` completes, and returns the exit code.
pub async fn tail(args: &TailArgs, stop: impl Future<Output = ()>) -> u8 {
    tokio::select! {
        () = stop => 0,
        ended = follow(args) => match ended {
            Ok(()) => 0,
            Err(failure) => {
                complain(&failure);
                failure.code
            }
        },
    }
}

/// Follows one connection after the other, up to the last message that is wanted.
async fn follow(args: &TailArgs) -> Result<(), Failure> {
    if !args.url.websocket() {
        let why = "tail needs ws:// or wss://: a raw client receives no broadcasts";
        return Err(Failure::new(EXIT_USAGE, why));
    }
    if args.connect.insecure {
        complain(&"the relay's certificate is not verified");
    }
    let mut printer = Printer {
        layout: args.format.unwrap_or_else(Layout::of_stdout),
        opcodes: &args.opcode,
        left: args.count,
    };
    let mut uuid = args.uuid.clone();
    let mut client = match enter(args, &mut uuid, &mut printer).await {
        // It is full, or stops: a relay that will be there again.
        Err(failure) if failure.code == EXIT_LOST && !args.once => {
            complain(&format!("{failure}; trying again"));
            enter_again(args, &mut uuid, &mut printer).await
        }
        entered => entered?,
    };
    while printer.left != Some(0) {
        let lost = loop {
            match client.heard_within(args.timeout).await {
                Ok(Heard::Message(message)) if printer.print(&message)? => {}
                Ok(Heard::Message(_)) => {
                    client.finish().await;
                    return Ok(());
                }
                Ok(Heard::Closed(reason)) => break closed(reason),
                Err(failure) => break failure,
            }
        };
        if args.once {
            return Err(lost);
        }
        complain(&format!("{lost}; connecting again"));
        client = enter_again(args, &mut uuid, &mut printer).await;
    }
    client.finish().await;
    Ok(())
}

/// Connects and registers, and says under which uuid.
async fn enter(
    args: &TailArgs,
    uuid: &mut Option<String>,
    printer: &mut Printer<'_>,
) -> Result<Client, Failure> {
    let entering = async {
        let mut client = Client::connect(&args.url, &args.connect, Role::Web).await?;
        // The name stays: who learnt it goes on reaching this command after a restart.
        let uuid = uuid.get_or_insert_with(|| client.issued_uuid.clone());
        register(&mut client, uuid, printer).await?;
        complain(&format!("listening as {uuid}"));
        Ok(client)
    };
    timeout(args.timeout, entering).await.unwrap_or_else(|_| {
        let text = format!("{} does not let this client in within {:?}", args.url, args.timeout);
        Err(Failure::new(EXIT_UNAVAILABLE, text))
    })
}

/// Tries to get in until it works, and says why it does not where that is something new.
async fn enter_again(
    args: &TailArgs,
    uuid: &mut Option<String>,
    printer: &mut Printer<'_>,
) -> Client {
    let (mut wait, mut told) = (RETRY_MIN, None);
    loop {
        // Not all clients of a relay that starts again come in the same moment.
        sleep(wait.mul_f64(0.5 + random() / 2.0)).await;
        match enter(args, uuid, printer).await {
            Ok(client) => return client,
            // Whatever it is, it may be mended: a relay that is being set up says many things.
            Err(failure) => {
                if told.as_ref() != Some(&failure) {
                    complain(&failure);
                    told = Some(failure);
                }
                wait = (wait * 2).min(RETRY_MAX);
            }
        }
    }
}

/// Claims a uuid. No message says that it worked, but from then on acks carry the uuid; while a
/// conflict is being decided, which may take seconds, they do not.
async fn register(
    client: &mut Client,
    uuid: &str,
    printer: &mut Printer<'_>,
) -> Result<(), Failure> {
    client.send(&json!({ "opcode": "uuid", "message": uuid }).to_string()).await?;
    acked(client, uuid, printer).await?;
    loop {
        client.send(PROBE).await?;
        if acked(client, uuid, printer).await? {
            return Ok(());
        }
        sleep(PROBE_EVERY).await;
    }
}

/// Waits for an ack, and says whether it is one of a client that is registered.
async fn acked(
    client: &mut Client,
    uuid: &str,
    printer: &mut Printer<'_>,
) -> Result<bool, Failure> {
    loop {
        let message = match client.heard().await? {
            Heard::Message(message) => message,
            Heard::Closed(reason) => return Err(closed(reason)),
        };
        let said: Value = serde_json::from_slice(&message).unwrap_or_default();
        match said["opcode"].as_str() {
            Some("next") => return Ok(said["uuid"] == uuid),
            Some("error") if said["ref"] == "uuid" && said["code"] != "pending" => {
                let text = format!("not registered: {}", told_error(&said));
                return Err(Failure::new(EXIT_REFUSED, text));
            }
            // At a path where clients are registered from the start, something may come already.
            _ => {
                printer.print(&message)?;
            }
        }
    }
}

struct Printer<'a> {
    layout: Layout,
    /// Those that are wanted; empty: all.
    opcodes: &'a [String],
    /// Messages still to be printed, where there is a bound.
    left: Option<u64>,
}

impl Printer<'_> {
    /// Prints what is wanted, and says whether more is. A reader that has gone wants nothing.
    fn print(&mut self, message: &[u8]) -> Result<bool, Failure> {
        let wanted = self.opcodes.is_empty()
            || opcode(message).is_some_and(|opcode| self.opcodes.contains(&opcode));
        if !wanted || self.left == Some(0) {
            return Ok(self.left != Some(0));
        }
        match self.layout.print(message) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(false),
            Err(error) => {
                return Err(Failure::new(EXIT_NO_RELAY, format!("standard output: {error}")));
            }
        }
        self.left = self.left.map(|left| left - 1);
        Ok(self.left != Some(0))
    }
}

fn closed(reason: Option<Reason>) -> Failure {
    let text = match reason {
        Some(Reason { code, text }) => format!("the relay closed: {code} {}", text.escape_debug()),
        None => "the relay closed".to_owned(),
    };
    Failure::new(EXIT_LOST, text)
}

/// A number from 0 to 1, good enough to spread what would else happen at once.
fn random() -> f64 {
    f64::from((RandomState::new().build_hasher().finish() >> 32) as u32) / f64::from(u32::MAX)
}
