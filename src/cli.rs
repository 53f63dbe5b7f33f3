//! The command line: its definition, what it means as [`Sources`] of the config, and the commands
//! beside the relay itself, which end at once and return an [`Ending`].
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
mod init_editor;
mod reload;
mod test;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use check::{CheckArgs, check};
pub use init_editor::{InitEditorArgs, init_editor};
pub use reload::reload;
pub use test::{Format, TestArgs, test};

use crate::config::Sources;

/// The exit code for a command line or a config with a mistake in it (EX_USAGE of sysexits.h).
pub const EXIT_USAGE: u8 = 64;
/// The exit code for a mistake in the script (EX_DATAERR).
pub const EXIT_SCRIPT: u8 = 65;
/// The exit code where an address cannot be bound, or no relay answers (EX_UNAVAILABLE).
pub const EXIT_UNAVAILABLE: u8 = 69;

/// The whole command line.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(
    name = "relay",
    version,
    about,
    after_help = "Exit codes: 0 ended as asked, 64 command line or config, 65 script, 69 address in use; test: 1 a test failed"
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
    /// Have the relay that runs load its script again
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
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,

    /// Listen here instead of where the config says, as in any://0.0.0.0:8083; may be repeated
    #[arg(long, value_name = "URL", global = true)]
    pub listen: Vec<String>,

    /// Run this Lua script instead of the one in the config
    #[arg(long, value_name = "FILE", global = true)]
    pub script: Option<PathBuf>,

    /// Set any key of the config, as in limits.connections_max=500; may be repeated
    #[arg(long, value_name = "KEY=VALUE", global = true)]
    pub set: Vec<String>,
}

impl ConfigArgs {
    /// The flags as sources of the config, which judges their values.
    pub fn into_sources(self) -> Sources {
        Sources { config: self.config, listen: self.listen, script: self.script, set: self.set }
    }
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
