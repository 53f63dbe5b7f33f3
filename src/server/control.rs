//! The control socket: how `relay reload` reaches the relay that runs, and hears what came of it.
//!
//! One line asks (`reload`). The answer is a line with the exit code for whoever asked, then a text
//! for people up to the end of the stream.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream as Caller;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::reload::{OUTCOME_TIMEOUT, Rejected, Reloader};

/// Longest request.
const REQUEST_BYTES_MAX: u64 = 64;
/// Longest answer that is read: a rejection is some lines.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;
/// A caller that says nothing, or does not read, holds up the next one for this long only.
const TALK_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries, where the system takes no connection in.
const RETRY: Duration = Duration::from_secs(1);

/// A bound control socket. Its file goes with it.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    inode: u64,
}

impl Control {
    /// Binds the socket, for the owner of this process alone. A file left by a relay that was
    /// killed is replaced, the socket of one that lives is not.
    pub fn bind(path: &Path) -> io::Result<Control> {
        match fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::other("is there and no socket"));
            }
            Ok(_) if Caller::connect(path).is_ok() => {
                return Err(io::Error::other("another relay answers there"));
            }
            _ => {}
        }
        // Bound in a directory that nobody else can enter: so there is no moment at which others
        // could connect, and the rename puts it in place in one step.
        let aside = path.with_extension(format!("{}.new", std::process::id()));
        let _ = fs::remove_dir_all(&aside);
        DirBuilder::new().mode(0o700).create(&aside)?;
        let bound = Control::bind_in(&aside.join("s"), path);
        let _ = fs::remove_dir_all(&aside);
        bound
    }

    fn bind_in(aside: &Path, path: &Path) -> io::Result<Control> {
        let listener = UnixListener::bind(aside)?;
        fs::set_permissions(aside, Permissions::from_mode(0o600))?;
        let inode = fs::symlink_metadata(aside)?.ino();
        fs::rename(aside, path)?;
        Ok(Control { listener, path: path.to_owned(), inode })
    }

    /// Answers one caller after the other, until it is dropped.
    pub async fn serve(self, reloader: Reloader) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if let Err(error) = answer(stream, &reloader).await {
                        tracing::debug!("a caller of the control socket got no answer: {error}");
                    }
                }
                Err(error) => {
                    tracing::warn!("the control socket takes no connection: {error}");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        // Unless it is another relay's by now.
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

async fn answer(stream: UnixStream, reloader: &Reloader) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    let mut line = (&mut stream).take(REQUEST_BYTES_MAX);
    timeout(TALK_TIMEOUT, line.read_line(&mut request)).await??;
    let (code, text) = match request.trim_end() {
        "reload" => reload(reloader).await,
        other => (64, format!("unknown request {other:?}")),
    };
    let answer = format!("{code}\n{text}\n");
    timeout(TALK_TIMEOUT, stream.get_mut().write_all(answer.as_bytes())).await?
}

async fn reload(reloader: &Reloader) -> (u8, String) {
    match reloader.reload().await {
        Ok(reloaded) => (0, reloaded.to_string()),
        Err(rejected) => (exit_code(&rejected), rejected.to_string()),
    }
}

/// As for a start that is refused, from sysexits.h.
fn exit_code(rejected: &Rejected) -> u8 {
    match rejected {
        Rejected::Config(_) | Rejected::Start(_) => 64,
        Rejected::Script(_) => 65,
        Rejected::Stopping => 69,
        Rejected::Late => 70,
    }
}

/// Asks the relay behind this socket. Blocks until it has answered.
pub fn ask(path: &Path, request: &str) -> io::Result<(u8, String)> {
    let mut stream = Caller::connect(path)?;
    stream.set_read_timeout(Some(OUTCOME_TIMEOUT + TALK_TIMEOUT))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    let (code, text) = answer.split_once('\n').unwrap_or_default();
    let code = code.parse().map_err(|_| io::Error::other("the answer is cut off"))?;
    Ok((code, text.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::watch;

    use super::*;
    use crate::config::Config;
    use crate::script::Script;
    use crate::server::terms;

    fn directory(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("relay-control-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a temporary directory");
        path
    }

    async fn asked(path: &Path, request: &'static str) -> (u8, String) {
        let path = path.to_owned();
        tokio::task::spawn_blocking(move || ask(&path, request))
            .await
            .expect("no panic")
            .expect("answered")
    }

    #[tokio::test]
    async fn a_caller_is_told_the_outcome() {
        let directory = directory("outcome");
        let file = directory.join("opcodes.lua");
        fs::write(&file, "function on.default() end").expect("written");
        let (worker, _outlet) = tokio::sync::mpsc::channel(8);
        let mut config = Config::default();
        config.script.file = file.clone();
        let script = Script::start(terms(&config), vec![worker]).expect("started");
        let read = config.clone();
        let config = watch::Sender::new(Arc::new(config));
        let reloader = Reloader::new(move || Ok(read.clone()), config, None, script.reloader());
        let path = directory.join("relay.sock");
        let control = Control::bind(&path).expect("bound");
        assert_eq!(fs::metadata(&path).expect("there").mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(&directory).expect("readable").count(), 2);
        let serving = tokio::spawn(control.serve(reloader));
        let (code, text) = asked(&path, "reload").await;
        assert!(code == 0 && text.starts_with("unchanged: generation 1 ("), "{code} {text}");
        fs::write(&file, "function").expect("written");
        let (code, text) = asked(&path, "reload").await;
        assert_eq!(code, 65);
        assert!(text.starts_with("reload rejected, still generation 1 ("), "{text}");
        assert!(text.contains("opcodes.lua:1: "), "{text}");
        assert_eq!(asked(&path, "dance").await, (64, "unknown request \"dance\"\n".to_owned()));
        serving.abort();
        let _ = serving.await;
        assert!(!path.exists());
        tokio::task::spawn_blocking(move || script.stop()).await.expect("stopped");
        fs::remove_dir_all(&directory).expect("our own");
    }

    #[tokio::test]
    async fn only_what_a_dead_relay_left_is_replaced() {
        let directory = directory("stale");
        let path = directory.join("relay.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("bound"));
        assert!(path.exists());
        let living = Control::bind(&path).expect("replaced");
        let second = Control::bind(&path).err().expect("refused").to_string();
        assert_eq!(second, "another relay answers there");
        drop(living);
        assert!(!path.exists());
        fs::write(&path, "precious").expect("written");
        assert!(Control::bind(&path).is_err());
        assert_eq!(fs::read_to_string(&path).expect("untouched"), "precious");
        assert!(Control::bind(&directory.join("none").join("relay.sock")).is_err());
        fs::remove_dir_all(&directory).expect("our own");
    }

    #[test]
    fn nobody_there_is_an_error() {
        assert!(ask(Path::new("/nowhere/relay.sock"), "reload").is_err());
    }
}
