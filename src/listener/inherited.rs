//! Listening sockets that the service manager opened (sd_listen_fds(3)). They stay open while the
//! relay restarts, so that clients wait instead of being refused.

use std::collections::BTreeSet;
use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;

/// The sockets that this process was started with.
pub struct Inherited {
    sockets: ListenFd,
    /// Of each; `None` once it is taken.
    names: Vec<Option<String>>,
}

impl Inherited {
    /// Takes them out of the environment: a second call finds none.
    pub fn from_env() -> Inherited {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.split(':').map(|name| Some(name.to_owned()));
        let sockets = ListenFd::from_env();
        // What sd_listen_fds_with_names(3) calls those without one.
        let nameless = std::iter::repeat(Some("unknown".to_owned()));
        let names = names.filter(|name| name.as_deref() != Some("")).chain(nameless);
        Inherited { names: names.take(sockets.len()).collect(), sockets }
    }

    /// All sockets of that name (`FileDescriptorName=`), each of them once.
    ///
    /// # Errors
    /// There is none, or one is no TCP socket.
    pub fn take(&mut self, name: &str) -> io::Result<Vec<TcpListener>> {
        let mut taken = Vec::new();
        for (index, its_name) in self.names.iter_mut().enumerate() {
            if its_name.as_deref() == Some(name) {
                taken.extend(self.sockets.take_tcp_listener(index)?);
                *its_name = None;
            }
        }
        match taken.is_empty() {
            true => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "systemd handed over no socket of that name (FileDescriptorName= of its unit)",
            )),
            false => Ok(taken),
        }
    }

    /// The names of those that nobody has taken, each once.
    pub fn left(&self) -> BTreeSet<&str> {
        self.names.iter().flatten().map(String::as_str).collect()
    }
}
