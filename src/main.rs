//! The command: flags, exit codes, signals, and what is printed.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use clap::Parser;
use relay::cli::{
    self, Cli, Command, EXIT_SCRIPT, EXIT_SYSTEM, EXIT_UNAVAILABLE, EXIT_USAGE, Ending, TailArgs,
    TestArgs,
};
use relay::config::{self, Config, LogConfig, LogFormat, Sources};
use relay::log::Log;
use relay::server::control::Control;
use relay::server::reload::Reloader;
use relay::server::{Server, StartError, supervisor};
use relay::threads::NoThread;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, reload};

// From sysexits.h, as people who write service files know them; the others are in the library.
const EXIT_SOFTWARE: u8 = 70;

/// How long the end of the process waits for who reads the log, or why it ends.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The signals that end a process by default and say nothing about a bug of its own. Some come by
/// themselves: XFSZ when the log's file may not grow, XCPU for much work. The real-time ones besides.
const STRAY_SIGNALS: &[i32] = &[
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGXCPU,
    libc::SIGXFSZ,
    #[cfg(target_os = "linux")]
    libc::SIGPWR,
    #[cfg(all(target_os = "linux", not(any(target_arch = "mips", target_arch = "mips64"))))]
    libc::SIGSTKFLT,
];

fn main() -> ExitCode {
    let code = execute();
    relay::log::flush(LAST_WORDS);
    code
}

fn execute() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Nothing is left to be done for a reader that has gone.
            let _ = error.print();
            return ExitCode::from(cli::exit_code(&error));
        }
    };
    let sources = cli.config.into_sources();
    match &cli.command {
        // A config with mistakes in it is what this is for.
        Some(Command::Check(args)) => {
            return finish(&cli::check(args, &sources, std::env::vars_os()));
        }
        // Clients need none, so a broken one beside them does not stop them.
        Some(Command::Send(_) | Command::Tail(_)) if sources != Sources::default() => {
            return fail(
                EXIT_USAGE,
                &"a client has no config: --config, --listen, --script and --set are the relay's",
            );
        }
        Some(Command::Send(args)) => return run(cli::send(args)),
        Some(Command::Tail(args)) => return run(tail(args)),
        _ => {}
    }
    let config = match Config::load(&sources) {
        Ok(config) => config,
        Err(error) => return fail(EXIT_USAGE, &error),
    };
    match &cli.command {
        Some(Command::Test(args)) => return finish(&test(args, &config)),
        Some(Command::InitEditor(args)) => return finish(&cli::init_editor(args, &config)),
        Some(Command::Reload) => return finish(&cli::reload(&config)),
        Some(Command::Check(_) | Command::Send(_) | Command::Tail(_)) | None => {}
    }
    let log_level = match start_log(&config.log) {
        Ok(log_level) => log_level,
        Err(error) => return fail(EXIT_SYSTEM, &NoThread::to("the log")(error)),
    };
    relay::panics::log();
    run(serve(config, sources, log_level))
}

fn run<C: Into<ExitCode>>(task: impl Future<Output = C>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(task).into(),
        Err(error) => fail(EXIT_SYSTEM, &error),
    }
}

async fn tail(args: &TailArgs) -> ExitCode {
    match Signals::new() {
        Ok(mut signals) => cli::tail(args, signals.next()).await.into(),
        Err(error) => fail(EXIT_SYSTEM, &format!("cannot receive signals: {error}")),
    }
}

fn test(args: &TestArgs, config: &Config) -> Ending {
    // What the script logs and the tests print, without the relay's own life.
    let level = "error,relay::script=info,relay::script::thread=error".to_owned();
    if let Err(error) = start_log(&LogConfig { level, ..config.log.clone() }) {
        return Ending::refused(EXIT_SYSTEM, NoThread::to("the log")(error).to_string());
    }
    cli::test(args, config, io::IsTerminal::is_terminal(&io::stdout()))
}

fn finish(ending: &Ending) -> ExitCode {
    relay::log::flush(LAST_WORDS);
    // Nothing is left to be done for a reader that has gone.
    let _ = io::stdout().write_all(ending.output.as_bytes());
    let _ = io::stderr().write_all(ending.errors.as_bytes());
    ExitCode::from(ending.code)
}

async fn serve(config: Config, sources: Sources, log_level: LogLevel) -> ExitCode {
    for stranger in config::strangers(std::env::vars_os()) {
        tracing::warn!("{stranger}");
    }
    let socket = config.control.socket.clone();
    // Before the bind, which takes as long as the script does.
    let hangup = match ignore_signals().and_then(|()| signal(SignalKind::hangup())) {
        Ok(hangup) => hangup,
        Err(error) => return fail(EXIT_SYSTEM, &format!("cannot receive signals: {error}")),
    };
    let server = match Server::bind(config).await {
        Ok(server) => server,
        Err(error) => return fail(exit_code(&error), &error),
    };
    let signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => return fail(EXIT_SYSTEM, &format!("cannot receive signals: {error}")),
    };
    let reloader = server.reloader(move || Config::load(&sources));
    tokio::spawn(reload_at(hangup, reloader.clone()));
    tokio::spawn(log_as_configured(server.config(), log_level));
    let control = bind_control(&socket).map(|it| tokio::spawn(it.serve(reloader)));
    announce(&server);
    let ended = server.run(signals.stop()).await;
    if let Some(control) = control {
        control.abort();
        // Its file is gone when it has ended.
        let _ = control.await;
    }
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(EXIT_SOFTWARE, &format!("{error:#}")),
    }
}

/// One line for each bound address, for people and for programs that wait for it. Nobody else does: a
/// reader that does not read holds up nothing.
fn announce(server: &Server) {
    let listening = server.listeners().iter().map(|at| format!("listening on {at}\n"));
    let health = server.health_addr().map(|addr| format!("health on http://{addr}\n"));
    if let Err(error) = say(io::stdout(), listening.chain(health).collect()) {
        tracing::warn!("it is not printed what is listened on: {error}");
    }
}

/// Says it from a thread of its own, because whoever reads may take its time. That it is said can be
/// waited for.
fn say(mut out: impl Write + Send + 'static, text: String) -> Result<Receiver<()>, NoThread> {
    let (tell, said) = sync_channel(1);
    let speaker = thread::Builder::new().name("speaker".to_owned());
    let speaks = speaker.spawn(move || {
        // Whoever started the relay may have closed its output: it serves all the same.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        let _ = tell.send(());
    });
    speaks.map(|_| said).map_err(NoThread::to("standard output"))
}

/// HUP: config, certificates and script are read again. The log tells the outcome.
async fn reload_at(mut hangup: Signal, reloader: Reloader) {
    while hangup.recv().await.is_some() {
        supervisor::reloading();
        let _ = reloader.reload().await;
        supervisor::ready();
    }
}

/// A relay without a control socket serves all the same.
fn bind_control(path: &Path) -> Option<Control> {
    if path.as_os_str().is_empty() {
        return None;
    }
    Control::bind(path)
        .inspect_err(|error| tracing::warn!("no control socket at {}: {error}", path.display()))
        .ok()
}

/// Those that mean nothing here would end the process by default. tokio's handler for a signal stays
/// when nobody listens any more.
fn ignore_signals() -> io::Result<()> {
    for number in STRAY_SIGNALS {
        drop(signal(SignalKind::from_raw(*number))?);
    }
    #[cfg(target_os = "linux")]
    for number in libc::SIGRTMIN()..=libc::SIGRTMAX() {
        drop(signal(SignalKind::from_raw(number))?);
    }
    Ok(())
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
            relay::log::flush(LAST_WORDS);
            std::process::exit(0);
        });
    }
}

/// Sets how much is logged.
type LogLevel = Box<dyn Fn(&str) + Send>;

fn start_log(config: &LogConfig) -> io::Result<LogLevel> {
    // The config was checked: the filter parses.
    let filter = |level: &str| EnvFilter::try_new(level).unwrap_or_default();
    let (filtered, handle) = reload::Layer::new(filter(&config.level));
    let lines = Log::to_stderr()?;
    let log = fmt::layer().with_writer(move || lines.clone());
    let log = match config.format {
        LogFormat::Text => {
            let color = io::IsTerminal::is_terminal(&io::stderr());
            log.with_target(false).with_ansi(color).boxed()
        }
        LogFormat::Json => log.json().boxed(),
    };
    tracing_subscriber::registry().with(filtered).with(log).init();
    Ok(Box::new(move |level| {
        // It fails where the log is gone, with the process.
        let _ = handle.reload(filter(level));
    }))
}

async fn log_as_configured(mut config: watch::Receiver<Arc<Config>>, log_level: LogLevel) {
    let mut level = config.borrow_and_update().log.level.clone();
    while config.changed().await.is_ok() {
        let now = config.borrow_and_update().log.level.clone();
        if now != level {
            log_level(&now);
            level = now;
        }
    }
}

fn exit_code(error: &StartError) -> u8 {
    match error {
        StartError::Script(_) => EXIT_SCRIPT,
        StartError::Bind { .. } => EXIT_UNAVAILABLE,
        StartError::Tls(_) | StartError::Descriptors { .. } => EXIT_USAGE,
        StartError::System(_) => EXIT_SYSTEM,
    }
}

/// One readable message for the operator, never a backtrace.
fn fail(code: u8, error: &dyn std::fmt::Display) -> ExitCode {
    relay::log::flush(LAST_WORDS);
    let text = format!("relay: {error}\n");
    match say(io::stderr(), text.clone()) {
        Ok(said) => drop(said.recv_timeout(LAST_WORDS)),
        // That may be what it ends for: said all the same, though it waits for who reads.
        Err(_) => drop(io::stderr().write_all(text.as_bytes())),
    }
    ExitCode::from(code)
}
