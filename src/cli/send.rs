//! `relay send`: one message, or a line each of standard input, to a relay; waits until it is taken.

use std::io::{self, BufRead, IsTerminal, Read};
use std::time::Duration;

use clap::Args;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::client::{Client, ConnectArgs, Failure, Heard, Reason, RemoteUrl, Role};
use super::compose::{Address, object};
use super::print::{Layout, opcode, told_error};
use super::{EXIT_DATA, EXIT_LOST, EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_USAGE, complain, seconds};

/// The longest line of standard input, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Lines that are read ahead.
const LINES_AHEAD: usize = 16;

const AFTER_HELP: &str = "\
Exit codes: 0 every message was taken, 1 the relay refused one, 64 command line, 65 no JSON object,
69 no relay answers (nothing was sent), 75 the relay is full (nothing was sent), or no answer to a
message (it may have been taken or not), 76 what answers is no relay, 77 its certificate is not trusted or it refuses this client

Examples:
  relay send tcp://127.0.0.1:8083 --uuid UUID text='50 %' percent:=50
  relay send wss://relay.example.org '{\"opcode\":\"broadcast\",\"text\":\"hello\"}'
  work --json | relay send tcp://127.0.0.1:8083 --opcode progress -";

/// Send messages to a relay
#[derive(Args, Clone, Debug, PartialEq, Eq)]
#[command(after_help = AFTER_HELP)]
pub struct SendArgs {
    /// The relay: ws://, wss://, tcp:// or ssl://HOST:PORT, the first two with a path if need be
    pub url: RemoteUrl,

    /// A JSON object, or its fields as key=text and key:=JSON; - or nothing: a JSON object per line
    /// of standard input
    #[arg(value_name = "JSON | KEY=VALUE")]
    pub message: Vec<String>,

    #[command(flatten)]
    pub address: Address,

    /// How long the relay may take: with a message given here in all, else to each line
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub timeout: Duration,

    /// Print what the relay says, one message per line
    #[arg(long, short)]
    pub verbose: bool,

    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Sends, and returns the exit code. What is wrong goes to standard error.
pub async fn send(args: &SendArgs) -> u8 {
    let deadline = Instant::now() + args.timeout;
    let outcome = match first_message(args) {
        Ok(Some(message)) => one(args, &message, deadline).await,
        Ok(None) => lines(args, deadline).await,
        Err(failure) => Err(failure),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            complain(&failure);
            failure.code
        }
    }
}

/// The message on the command line, if there is one.
fn first_message(args: &SendArgs) -> Result<Option<String>, Failure> {
    let usage = |why: String| Failure::new(EXIT_USAGE, why);
    let text = match &*args.message {
        [] if io::stdin().is_terminal() => {
            return Err(usage(
                "no message: write JSON or key=value, or - to type lines".to_owned(),
            ));
        }
        [] => return Ok(None),
        [dash] if dash == "-" => return Ok(None),
        [json] if json.trim_start().starts_with(['{', '[', '"']) => json.clone(),
        words => object(words).map_err(usage)?,
    };
    let message = args.address.put_on(&text);
    message.map(Some).map_err(|why| Failure::new(EXIT_DATA, format!("the message is wrong: {why}")))
}

async fn one(args: &SendArgs, message: &str, deadline: Instant) -> Result<u8, Failure> {
    let mut conversation = Conversation::start(args, deadline).await?;
    conversation.say(message, deadline).await?;
    conversation.finish(deadline).await
}

async fn lines(args: &SendArgs, deadline: Instant) -> Result<u8, Failure> {
    let mut conversation = Conversation::start(args, deadline).await?;
    let mut lines = read_lines();
    let mut count = 0_u64;
    let mut wrong = None;
    while let Some(line) = conversation.next_line(&mut lines).await? {
        count += 1;
        let message = line.and_then(|line| args.address.put_on(&line));
        match message {
            Ok(message) => conversation.say(&message, Instant::now() + args.timeout).await?,
            Err(why) => {
                wrong = Some(Failure::new(EXIT_DATA, format!("message {count}: {why}")));
                break;
            }
        }
    }
    // What was sent before the mistake is brought to its end.
    let code = conversation.finish(Instant::now() + args.timeout).await?;
    match wrong {
        Some(wrong) => Err(wrong),
        // A script whose input went missing does not want to hear that all is well.
        None if count == 0 => {
            Err(Failure::new(EXIT_USAGE, "no message: standard input has no line"))
        }
        None => Ok(code),
    }
}

/// The lines of standard input that are not empty, and why one cannot be read. In a thread, because
/// nothing else can wait for standard input; it ends with the process.
fn read_lines() -> mpsc::Receiver<Result<String, String>> {
    let (tell, lines) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        loop {
            let line = match next_line(&mut input) {
                Ok(Some(line)) if line.trim().is_empty() => continue,
                Ok(Some(line)) => Ok(line),
                Ok(None) => return,
                Err(error) => Err(error.to_string()),
            };
            let over = line.is_err();
            if tell.blocking_send(line).is_err() || over {
                return;
            }
        }
    });
    lines
}

fn next_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    match input.take(LINE_BYTES_MAX as u64 + 1).read_until(b'\n', &mut line)? {
        0 => Ok(None),
        _ if line.len() > LINE_BYTES_MAX => Err(io::Error::other("longer than 64 MiB")),
        _ => String::from_utf8(line).map(Some).map_err(|_| io::Error::other("no UTF-8")),
    }
}

/// A connection on which one message after the other is sent and acknowledged.
struct Conversation {
    client: Client,
    verbose: bool,
    /// Errors that the relay told.
    refused: bool,
}

impl Conversation {
    async fn start(args: &SendArgs, deadline: Instant) -> Result<Conversation, Failure> {
        if args.connect.insecure {
            complain(&"the relay's certificate is not verified");
        }
        // As a backend it hears no broadcasts, which could look like an answer.
        let connecting = Client::connect(&args.url, &args.connect, Role::Backend);
        match timeout_at(deadline, connecting).await {
            Ok(client) => {
                Ok(Conversation { client: client?, verbose: args.verbose, refused: false })
            }
            Err(_) => {
                let text = format!("{} does not answer in {:?}", args.url, args.timeout);
                Err(Failure::new(EXIT_UNAVAILABLE, text))
            }
        }
    }

    /// Sends a message and waits for its `next`.
    async fn say(&mut self, message: &str, deadline: Instant) -> Result<(), Failure> {
        let saying = async {
            self.client.send(message).await?;
            loop {
                match self.client.heard().await? {
                    Heard::Message(message) if opcode(&message).as_deref() == Some("next") => {
                        self.show(&message);
                        return Ok(());
                    }
                    Heard::Message(message) => self.note(&message),
                    Heard::Closed(reason) => return Err(closed(reason)),
                }
            }
        };
        timeout_at(deadline, saying).await.unwrap_or_else(|_| {
            Err(Failure::new(EXIT_LOST, "the relay does not acknowledge the message in time"))
        })
    }

    /// The next line; meanwhile the relay's pings are answered.
    async fn next_line(
        &mut self,
        lines: &mut mpsc::Receiver<Result<String, String>>,
    ) -> Result<Option<Result<String, String>>, Failure> {
        loop {
            tokio::select! {
                line = lines.recv() => return Ok(line),
                heard = self.client.heard() => match heard? {
                    Heard::Message(message) => self.note(&message),
                    Heard::Closed(reason) => return Err(closed(reason)),
                },
            }
        }
    }

    /// Says goodbye. The relay closes when it has decided everything, so what it has to say against
    /// a message has come before.
    async fn finish(mut self, deadline: Instant) -> Result<u8, Failure> {
        self.client.finish().await;
        let ending = async {
            // A connection that breaks now was of use: everything is acknowledged.
            while let Ok(Heard::Message(message)) = self.client.heard().await {
                self.note(&message);
            }
        };
        let _ = timeout_at(deadline, ending).await;
        Ok(if self.refused { EXIT_REFUSED } else { 0 })
    }

    fn note(&mut self, message: &[u8]) {
        if opcode(message).as_deref() == Some("error") {
            self.refused = true;
            let error = serde_json::from_slice(message).unwrap_or_default();
            complain(&format!("refused: {}", told_error(&error)));
        }
        self.show(message);
    }

    fn show(&self, message: &[u8]) {
        if self.verbose {
            // What matters is the sending; a reader that has gone wants to see no more.
            let _ = Layout::Lines.print(message);
        }
    }
}

/// Why the relay closes while an answer is due.
fn closed(reason: Option<Reason>) -> Failure {
    match reason {
        // For what this client did.
        Some(Reason { code: 0 | 1002 | 1003 | 1007..=1010, text }) if !text.is_empty() => {
            Failure::new(EXIT_REFUSED, format!("refused: {}", text.escape_debug()))
        }
        Some(Reason { code, text }) => {
            let text = text.escape_debug();
            Failure::new(EXIT_LOST, format!("the relay closes before its answer: {code} {text}"))
        }
        None => Failure::new(EXIT_LOST, "the relay closes before its answer"),
    }
}
