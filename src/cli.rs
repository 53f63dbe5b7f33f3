//! The command line: its definition, what it means as [`Sources`] of the config, and the commands
//! beside the relay itself. Most end at once and return an [`Ending`]; [`send`] and [`tail`] are
//! clients, talk while they run, and return their exit code.
//!
//! `main` parses with [`clap::Parser::try_parse`], not `parse`, which would end the process with
//! clap's own code 2:
//! ```no_run
//! use clap::Parser;
//! use relay::cli::{Cli, exit_code};
//!
//! let cli = match Cli::try_parse() {
//!     Ok(cli) => cli,
//!     Err(error) => {
//!         // Help and version go to stdout, errors to stderr; a closed pipe is no error of ours.
//!         let _ = error.print();
//!         std::process::exit(exit_code(&error).into());
//!     }
//! };
//! let sources = cli.config.into_sources();
//! ```
//! The flags of [`ConfigArgs`] are global, so a command takes them behind its name too.

mod check;
mod client;
mod compose;
mod init_editor;
mod print;
mod reload;
mod send;
mod tail;
mod test;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

pub use check::{CheckArgs, check};
pub use init_editor::{InitEditorArgs, init_editor};
pub use reload::reload;
pub use send::{SendArgs, send};
pub use tail::{TailArgs, tail};
pub use test::{Format, TestArgs, test};

use crate::config::Sources;

/// The exit code for a command line or a config with a mistake in it (EX_USAGE of sysexits.h).
pub const EXIT_USAGE: u8 = 64;
/// The exit code for a mistake in the script (EX_DATAERR).
pub const EXIT_SCRIPT: u8 = 65;
/// The exit code where an address cannot be bound, or no relay answers (EX_UNAVAILABLE).
pub const EXIT_UNAVAILABLE: u8 = 69;
/// The exit code where the system lacks something, as threads (EX_OSERR).
pub const EXIT_SYSTEM: u8 = 71;
/// `relay send` and `relay tail`: the relay refused a message, or a uuid.
const EXIT_REFUSED: u8 = 1;
/// What is to be sent is no JSON object (EX_DATAERR).
const EXIT_DATA: u8 = 65;
/// The relay did not answer, or the connection was lost: trying again may help (EX_TEMPFAIL).
const EXIT_LOST: u8 = 75;
/// What answers does not speak as a relay does (EX_PROTOCOL).
const EXIT_NO_RELAY: u8 = 76;
/// A certificate that is not trusted, or a relay that does not want this client (EX_NOPERM).
const EXIT_UNTRUSTED: u8 = 77;

/// The whole command line.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(
    name = "relay",
    version,
    about,
    after_help = "Exit codes: 0 ended as asked, 64 command line or config, 65 script, 69 address in use, 71 the system lacks something; test: 1 a test failed; send and tail: see their own help"
)]
pub struct Cli {
    /// What every command needs to find its config.
    #[command(flatten)]
    pub config: ConfigArgs,

    /// What to do instead of running the relay.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What the program does besides being a relay.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    Check(CheckArgs),
    Test(TestArgs),
    InitEditor(InitEditorArgs),
    Send(SendArgs),
    Tail(TailArgs),
    /// Have the relay that runs read its config and script again
    Reload,
}

/// How a command ends, and what it prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub code: u8,
    /// For standard output.
    pub output: String,
    /// For standard error.
    pub errors: String,
}

impl Ending {
    /// Nothing was done, for this reason.
    pub fn refused(code: u8, why: String) -> Ending {
        Ending { code, output: String::new(), errors: format!("relay: {why}\n") }
    }
}

/// The flags that say where the config comes from.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigArgs {
    /// Config file [default: relay.toml in this directory, if there is one]
    #[arg(long, value_name = "FILE", global = true, help_heading = "Config")]
    pub config: Option<PathBuf>,

    /// Listen here instead of where the config says, as in any://0.0.0.0:8083; may be repeated
    #[arg(long, value_name = "URL", global = true, help_heading = "Config")]
    pub listen: Vec<String>,

    /// Run this Lua script instead of the one in the config
    #[arg(long, value_name = "FILE", global = true, help_heading = "Config")]
    pub script: Option<PathBuf>,

    /// Set any key of the config, as in limits.connections_max=500; may be repeated
    #[arg(long, value_name = "KEY=VALUE", global = true, help_heading = "Config")]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// The flags as sources of the config, which judges their values.
    pub fn into_sources(self) -> Sources {
        Sources { config: self.config, listen: self.listen, script: self.script, set: self.set }
    }
}

/// Says what is wrong while a command goes on.
fn complain(what: &dyn std::fmt::Display) {
    // Nobody is left to be told where this fails; the exit code says it too.
    let _ = writeln!(std::io::stderr(), "relay: {what}");
}

/// A time of 1 ms to a day, as a person writes it.
fn seconds(text: &str) -> Result<Duration, String> {
    let time = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| (Duration::from_millis(1)..=Duration::from_secs(86_400)).contains(time))
        .ok_or_else(|| "a number of seconds, 0.001 to 86400, is needed".to_owned())
}

/// The code to exit with when parsing returned `error`, which `--help` and `--version` do too.
pub fn exit_code(error: &clap::Error) -> u8 {
    if error.use_stderr() { EXIT_USAGE } else { 0 }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(words: &str) -> Result<Sources, clap::Error> {
        let cli = Cli::try_parse_from(words.split_whitespace())?;
        Ok(cli.config.into_sources())
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_become_sources() {
        assert_eq!(parse("relay").expect("valid"), Sources::default());
        let all = "relay --config a.toml --listen ws://b:1 --set c=1 --listen ssl://d:2 \
                   --script e.lua --set f.g=h=i";
        let expected = Sources {
            config: Some("a.toml".into()),
            listen: vec!["ws://b:1".to_owned(), "ssl://d:2".to_owned()],
            script: Some("e.lua".into()),
            set: vec!["c=1".to_owned(), "f.g=h=i".to_owned()],
        };
        assert_eq!(parse(all).expect("valid"), expected);
    }

    #[test]
    fn only_mistakes_exit_with_a_code() {
        for (words, code) in [
            ("relay --help", 0),
            ("relay --version", 0),
            ("relay --confg x", EXIT_USAGE),
            ("relay --config", EXIT_USAGE),
            ("relay --config a --config b", EXIT_USAGE),
            ("relay stray", EXIT_USAGE),
        ] {
            assert_eq!(exit_code(&parse(words).expect_err(words)), code, "{words}");
        }
    }
}
