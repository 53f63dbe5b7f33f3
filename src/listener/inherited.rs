//! Listening sockets that the service manager opened (sd_listen_fds(3)). They stay open while the
//! relay restarts, so that clients wait instead of being refused.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;

/// The sockets that this process was started with.
pub struct Inherited {
    sockets: ListenFd,
    names: Vec<String>,
}

impl Inherited {
    /// Takes them out of the environment: a second call finds none.
    pub fn from_env() -> Inherited {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names = names.split(':').map(str::to_owned).collect();
        Inherited { sockets: ListenFd::from_env(), names }
    }

    /// All sockets of that name (`FileDescriptorName=`), each of them once.
    ///
    /// # Errors
    /// There is none, or one is no TCP socket.
    pub fn take(&mut self, name: &str) -> io::Result<Vec<TcpListener>> {
        let mut taken = Vec::new();
        for index in 0..self.names.len().min(self.sockets.len()) {
            if self.names[index] == name {
                taken.extend(self.sockets.take_tcp_listener(index)?);
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
}
