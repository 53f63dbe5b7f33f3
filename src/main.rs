//! The command: flags, exit codes, signals, and what is printed.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;
use relay::cli::{self, Cli};
use relay::config::{Config, LogConfig, LogFormat};
use relay::server::{Server, StartError};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

// From sysexits.h, as people who write service files know them.
const EXIT_CONFIG: u8 = 64;
const EXIT_SCRIPT: u8 = 65;
const EXIT_BIND: u8 = 69;
const EXIT_SOFTWARE: u8 = 70;
const EXIT_SYSTEM: u8 = 71;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to be done for a reader that has gone.
            let _ = error.print();
            return ExitCode::from(cli::exit_code(&error));
        }
    };
    let config = match Config::load(&cli.config.into_sources()) {
        Ok(config) => config,
        Err(error) => return fail(EXIT_CONFIG, &error),
    };
    start_log(&config.log);
    log_panics();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(EXIT_SYSTEM, &error),
    };
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> ExitCode {
    let server = match Server::bind(config).await {
        Ok(server) => server,
        Err(error) => return fail(exit_code(&error), &error),
    };
    let signals = Signals::new().and_then(|signals| Ok((signals, signal(SignalKind::hangup())?)));
    let (signals, hangup) = match signals {
        Ok(signals) => signals,
        Err(error) => return fail(EXIT_SYSTEM, &format!("cannot receive signals: {error}")),
    };
    tokio::spawn(reload_on(hangup, server.reloader()));
    announce(&server);
    match server.run(signals.stop()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_SOFTWARE, &format!("{error:#}")),
    }
}

/// One line for each bound address, for people and for programs that wait for it.
fn announce(server: &Server) {
    let mut out = io::stdout().lock();
    for listening in server.listeners() {
        // Whoever started the relay may have closed its output: it serves all the same.
        let _ = writeln!(out, "listening on {listening}");
    }
    let _ = out.flush();
}

/// The signals that end the process.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        let (terminate, interrupt) = (SignalKind::terminate(), SignalKind::interrupt());
        Ok(Signals { terminate: signal(terminate)?, interrupt: signal(interrupt)? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Completes at the first of them; a second one ends the process at once.
    async fn stop(mut self) {
        self.next().await;
        tokio::spawn(async move {
            self.next().await;
            tracing::warn!("stopped by a second signal");
            std::process::exit(0);
        });
    }
}

/// HUP: the script is loaded again if its bytes have changed.
async fn reload_on(mut hangup: Signal, reload: impl Fn()) {
    while hangup.recv().await.is_some() {
        reload();
    }
}

fn start_log(config: &LogConfig) {
    // The config was checked: the filter parses.
    let filter = EnvFilter::try_new(&config.level).unwrap_or_default();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match config.format {
        LogFormat::Text => {
            let color = io::IsTerminal::is_terminal(&io::stderr());
            log.with_target(false).with_ansi(color).init();
        }
        LogFormat::Json => log.json().init(),
    }
}

fn exit_code(error: &StartError) -> u8 {
    match error {
        StartError::Script(_) => EXIT_SCRIPT,
        StartError::Bind { .. } => EXIT_BIND,
        StartError::Tls(_) | StartError::Descriptors { .. } => EXIT_CONFIG,
        StartError::System(_) => EXIT_SYSTEM,
    }
}

/// A panic is a bug in relay: it goes where the log goes, in its format.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        tracing::error!(thread = thread.name(), "bug in relay: {panic}");
    }));
}

/// One readable message for the operator, never a backtrace.
fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "relay: {error}");
    ExitCode::from(code)
}
