//! The servers under test, each a process of its own.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::limit::Limit;
use crate::process::{SERVER_CORE, cpu_nanos, resident_bytes, spawn};
use crate::protocol::Work;

/// A running server.
pub struct Server {
    process: Child,
    /// Open as long as a limit is to live.
    _input: Option<ChildStdin>,
    pub addr: SocketAddr,
    pub certificate: Option<PathBuf>,
}

/// How relay is started; otherwise its shipped config holds.
#[derive(Clone, Debug)]
pub struct Relay {
    pub workers: usize,
    pub tls: bool,
    /// On the server's core alone.
    pub pinned: bool,
    /// In place of the shipped script.
    pub script: Option<PathBuf>,
}

impl Default for Relay {
    fn default() -> Relay {
        Relay { workers: 1, tls: false, pinned: true, script: None }
    }
}

impl Relay {
    /// `scratch`: for its certificate and its log.
    pub fn start(&self, scratch: &Path) -> io::Result<Server> {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR"));
        let scheme = if self.tls { "wss" } else { "ws" };
        let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
        command
            .arg("--config")
            .arg(shipped.join("relay.toml"))
            .args(["--listen", &format!("{scheme}://127.0.0.1:0")])
            .args(["--set", &format!("workers={}", self.workers)])
            .args(["--set", &format!("limits.connections_max={}", connections_max()?)])
            // Receivers only listen here, and a ping among what they count would be one too many.
            .args([
                "--set",
                "limits.ping_interval_ms=0",
                "--set",
                "limits.unregistered_timeout_ms=0",
            ])
            .args(["--set", "control.socket="])
            .args(["--set", &format!("tls.directory={}", scratch.display())])
            .arg("--script")
            .arg(self.script.clone().unwrap_or_else(|| shipped.join("scripts/opcodes.lua")))
            .stderr(File::create(scratch.join("relay.log"))?);
        let certificate = self.tls.then(|| scratch.join("dev-cert.pem"));
        let core = self.pinned.then_some(SERVER_CORE);
        Server::start(&mut command, core, certificate)
    }
}

/// The connections that one process can hold beside its other descriptors, relay's goodbyes among them.
pub fn connections_max() -> io::Result<usize> {
    let hard = rlimit::Resource::NOFILE.get_hard()?;
    // More than that makes a benchmark of the kernel.
    Ok(usize::try_from(hard).unwrap_or(usize::MAX).min(100_000).saturating_sub(150))
}

impl Server {
    pub fn limit(work: Work, limit: Limit) -> io::Result<Server> {
        let mut command = Command::new(std::env::current_exe()?);
        let work = serde_json::to_string(&work)?;
        let limit = if limit == Limit::PerTurn { "per-turn" } else { "per-message" };
        command.args(["limit", &work, limit]).stdin(Stdio::piped());
        Server::start(&mut command, Some(SERVER_CORE), None)
    }

    fn start(
        command: &mut Command,
        core: Option<usize>,
        certificate: Option<PathBuf>,
    ) -> io::Result<Server> {
        let mut process = spawn(command.stdout(Stdio::piped()), core)?;
        let stdout = process.stdout.take().ok_or_else(|| io::Error::other("no stdout"))?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let addr = line.trim_end().rsplit_once("//").and_then(|(_, addr)| addr.parse().ok());
        let addr = addr.ok_or_else(|| io::Error::other(format!("no address in {line:?}")))?;
        Ok(Server { _input: process.stdin.take(), process, addr, certificate })
    }

    /// The CPU time that it has used.
    pub fn cpu_nanos(&self) -> io::Result<u64> {
        cpu_nanos(self.process.id())
    }

    pub fn resident_bytes(&self) -> io::Result<u64> {
        resident_bytes(self.process.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
