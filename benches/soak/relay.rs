//! The relay under test: the binary with the shipped config, in a directory of its own.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::door::Door;
use crate::gauge::Sample;

pub struct Relay {
    process: Child,
    directory: PathBuf,
    url: String,
}

impl Relay {
    pub fn start() -> io::Result<Relay> {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR"));
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let directory = directory.join(format!("soak-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        fs::copy(shipped.join("scripts/opcodes.lua"), directory.join("opcodes.lua"))?;
        // Another build may be meant, as in the tests of the clients.
        let binary = std::env::var_os("RELAY_BIN");
        let binary = binary.unwrap_or_else(|| env!("CARGO_BIN_EXE_relay").into());
        let mut process = Command::new(binary)
            // To the relay itself it would be a key of the config.
            .env_remove("RELAY_BIN")
            .arg("--config")
            .arg(shipped.join("relay.toml"))
            .args(["--listen", "any://127.0.0.1:0"])
            .args(["--script", "opcodes.lua"])
            .args(["--set", "control.socket=", "--set", "tls.directory=."])
            // Slow readers and stalled handshakes are to end while it lasts, not after it.
            .args(["--set", "limits.handshake_timeout_ms=2000"])
            .args(["--set", "limits.queue_bytes_max=1048576"])
            .args(["--set", "limits.write_stall_timeout_ms=3000"])
            .current_dir(&directory)
            .stdout(Stdio::piped())
            .stderr(File::create(directory.join("relay.log"))?)
            .spawn()?;
        let stdout = process.stdout.take().ok_or_else(|| io::Error::other("no stdout"))?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        Ok(Relay { process, directory, url: line.trim_end().to_owned() })
    }

    pub fn door(&self) -> io::Result<Door> {
        let addr = self.url.rsplit_once("//").and_then(|(_, addr)| addr.parse().ok());
        let addr = addr.ok_or_else(|| io::Error::other(format!("no address: {:?}", self.url)))?;
        Door::new(addr, &self.directory.join("dev-cert.pem"))
    }

    pub fn sample(&self) -> io::Result<Sample> {
        Sample::of(self.process.id())
    }

    /// Writes the script anew, or sends a HUP; every fourth text is one that must be refused.
    pub fn reload(&self, number: usize) -> io::Result<()> {
        let script = self.directory.join("opcodes.lua");
        if number % 2 == 1 {
            let kill = format!("kill -HUP {}", self.process.id());
            return Command::new("sh").args(["-c", &kill]).status().map(drop);
        }
        let shipped = include_str!("../../scripts/opcodes.lua");
        let more = if number.is_multiple_of(4) { "this is no Lua" } else { "-- saved" };
        fs::write(script, format!("{shipped}\n{more} {number}\n"))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended by itself, and what is left over does no harm.
        let _ = self.process.kill();
        let _ = self.process.wait();
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}
