//! The relay's own binary, started as an operator starts it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{DEADLINE, TempDir, eventually, shipped};

/// What the shipped config puts beside itself belongs beside the process under test.
const IN_ITS_DIRECTORY: [&str; 4] =
    ["--set", "tls.directory=certs", "--set", "control.socket=relay.sock"];

/// A relay in a process of its own, in an empty directory. Killed at the end if it still runs.
pub struct Process {
    child: Child,
    stdout: Lines,
    stderr: Lines,
    flags: Vec<String>,
    directory: TempDir,
    _unread: Option<UnixStream>,
}

impl Process {
    /// The relay with the shipped config and these flags.
    pub fn relay(flags: &[&str]) -> Process {
        Process::relay_with(flags, &[])
    }

    /// The same with these variables in its environment.
    pub fn relay_with(flags: &[&str], environment: &[(&str, &str)]) -> Process {
        let directory = TempDir::new();
        let mut command = binary(&directory);
        command.envs(environment.iter().copied()).stdin(Stdio::null());
        Process::spawn(command, &with_shipped(flags), directory)
    }

    /// The same, started by these lines of a shell, which has the binary as `$0`, its flags as `$@`,
    /// and this standard input.
    pub fn under(
        lines: &str,
        flags: &[&str],
        stdin: Stdio,
        environment: &[(&str, &str)],
    ) -> Process {
        let directory = TempDir::new();
        let mut command = Command::new("sh");
        command.args(["-c", lines, env!("CARGO_BIN_EXE_relay")]).current_dir(directory.file("."));
        command.envs(environment.iter().copied()).stdin(stdin);
        Process::spawn(command, &with_shipped(flags), directory)
    }

    /// The relay with the shipped config and these flags, whose output nobody reads: it has no room for
    /// a byte.
    pub fn unread(flags: &[&str]) -> Process {
        let (output, reader) = UnixStream::pair().expect("a pair");
        output.set_nonblocking(true).expect("a socket");
        while (&output).write(&[b'x'; 4096]).is_ok() {}
        while (&output).write(b"x").is_ok() {}
        output.set_nonblocking(false).expect("a socket");
        let (directory, flags) = (TempDir::new(), with_shipped(flags));
        let mut command = binary(&directory);
        let stdout = output.try_clone().expect("a descriptor");
        command.args(&flags).stdin(Stdio::null());
        command.stdout(OwnedFd::from(stdout)).stderr(OwnedFd::from(output));
        let child = command.spawn().expect("the relay's binary");
        let (stdout, stderr) = (Lines::of(io::empty()), Lines::of(io::empty()));
        Process { child, stdout, stderr, flags, directory, _unread: Some(reader) }
    }

    /// The relay with these flags and files in its directory only.
    pub fn start(flags: &[&str], files: &[(&str, &str)]) -> Process {
        let directory = TempDir::new();
        for (name, text) in files {
            directory.write(name, text);
        }
        let mut command = binary(&directory);
        command.stdin(Stdio::null());
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Process::spawn(command, &flags, directory)
    }

    fn spawn(mut command: Command, flags: &[String], directory: TempDir) -> Process {
        command.args(flags).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the relay's binary");
        let stdout = Lines::of(child.stdout.take().expect("piped"));
        let stderr = Lines::of(child.stderr.take().expect("piped"));
        Process { child, stdout, stderr, flags: flags.to_vec(), directory, _unread: None }
    }

    /// Runs a command with the flags and in the directory of this relay; its exit code, output and
    /// errors.
    pub fn command(&self, command: &[&str]) -> (Option<i32>, String, String) {
        let output = binary(&self.directory).args(command).args(&self.flags).output();
        told(output.expect("the relay's binary"))
    }

    /// The same for a command of one word, while the caller's tasks go on.
    pub async fn command_async(&self, command: &str) -> (Option<i32>, String, String) {
        let mut started = binary(&self.directory);
        started.arg(command).args(&self.flags);
        let output = tokio::task::spawn_blocking(move || started.output()).await;
        told(output.expect("no panic").expect("the relay's binary"))
    }

    /// A file in its directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.file(name)
    }

    /// The bound addresses, as it prints them.
    pub fn listening(&mut self, count: usize) -> Vec<(String, SocketAddr)> {
        let since = Instant::now();
        while self.stdout.get().len() < count {
            let ended = self.child.try_wait().expect("our own child");
            let log = self.stderr.text_from(0);
            assert!(ended.is_none(), "expected the relay to run: {ended:?}\n{log}");
            assert!(since.elapsed() < DEADLINE, "expected {count} addresses in time\n{log}");
            thread::sleep(Duration::from_millis(2));
        }
        let lines = self.stdout.get();
        assert_eq!(lines.len(), count, "expected a line for each address and no other: {lines:?}");
        let parse = |line: &String| {
            let url = line.strip_prefix("listening on ")?;
            let (scheme, addr) = url.split_once("://")?;
            Some((scheme.to_owned(), addr.parse().ok()?))
        };
        let parsed = lines.iter().map(|line| parse(line).unwrap_or_else(|| panic!("{line:?}")));
        parsed.collect()
    }

    /// The first of the bound addresses, where it is not known how many there are.
    pub fn listening_at_least_one(&mut self) -> SocketAddr {
        let since = Instant::now();
        while self.stdout.get().is_empty() {
            assert!(
                since.elapsed() < DEADLINE,
                "expected an address\n{}",
                self.stderr.text_from(0)
            );
            thread::sleep(Duration::from_millis(2));
        }
        let count = self.stdout.get().len();
        self.listening(count)[0].1
    }

    /// Waits for so many lines on its standard output, and returns them.
    pub async fn printed(&self, count: usize) -> Vec<String> {
        eventually(&format!("{count} lines"), async || self.stdout.get().len() >= count).await;
        self.stdout.get()
    }

    /// How many lines it has logged so far.
    pub fn log_lines(&self) -> usize {
        self.stderr.get().len()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.stderr.text_from(0)
    }

    /// What it logs from that line on, up to the line that says this.
    pub async fn log_until(&self, from: usize, said: &str) -> String {
        eventually(&format!("{said:?} in the log"), async || {
            self.stderr.text_from(from).contains(said)
        })
        .await;
        self.stderr.text_from(from)
    }

    /// How many files and sockets it has open.
    pub fn descriptors(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        open.expect("Linux, and a process that runs").count()
    }

    pub fn signal(&self, name: &str) {
        // The shell's own kill: the command may not be installed.
        let kill = format!("kill -{name} {}", self.child.id());
        let status = Command::new("sh").args(["-c", &kill]).status().expect("a shell");
        assert!(status.success(), "expected to be able to signal our own child");
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end; `None` where a signal ended it.
    pub fn exit_code(&mut self) -> Option<i32> {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status.code();
            }
            let log = self.stderr.text_from(0);
            assert!(since.elapsed() < 2 * DEADLINE, "expected the relay to end in time\n{log}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until it has ended, or has said one of these where it prints or logs; whether it has ended.
    pub fn ends_or_says(&mut self, said: &[&str]) -> bool {
        let since = Instant::now();
        loop {
            if self.child.try_wait().expect("our own child").is_some() {
                return true;
            }
            let told = self.stdout.text_from(0) + &self.stderr.text_from(0);
            if said.iter().any(|said| told.contains(said)) {
                return false;
            }
            assert!(since.elapsed() < DEADLINE, "expected an end, or one of {said:?}: {told}");
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Everything it wrote, once it has ended.
    pub fn output(mut self) -> (Option<i32>, String, String) {
        let code = self.exit_code();
        self.stdout.wait();
        self.stderr.wait();
        (code, self.stdout.text_from(0), self.stderr.text_from(0))
    }
}

/// These flags behind those that name the shipped config, whose paths would start from the
/// repository.
fn with_shipped(flags: &[&str]) -> Vec<String> {
    let config = shipped("relay.toml").display().to_string();
    let all = [&["--config", &config], &IN_ITS_DIRECTORY[..], flags].concat();
    all.into_iter().map(str::to_owned).collect()
}

fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The binary in this directory, without the settings of whoever runs the tests.
fn binary(directory: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relay"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RELAY_") {
            command.env_remove(name);
        }
    }
    command.current_dir(directory.file("."));
    command
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines of a pipe, as they come.
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Lines {
    fn of(pipe: impl Read + Send + 'static) -> Lines {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                shared.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        Lines { lines, reader: Some(reader) }
    }

    fn get(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn text_from(&self, line: usize) -> String {
        self.get().get(line..).unwrap_or_default().join("\n")
    }

    fn wait(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("no panic");
        }
    }
}
