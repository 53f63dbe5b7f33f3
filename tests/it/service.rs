//! The relay as a service: what it tells its service manager, and the sockets it gets from it.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use crate::client::{Door, Transport};
use crate::harness::{DEADLINE, TempDir, runtime};
use crate::process::Process;

/// A service manager's end of the notifications.
struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

impl Manager {
    fn new() -> Manager {
        let directory = TempDir::new();
        let socket = UnixDatagram::bind(directory.file("notify")).expect("a socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("a socket option");
        Manager { socket, directory }
    }

    fn address(&self) -> String {
        self.directory.file("notify").display().to_string()
    }

    /// The assignments of the next notification.
    fn told(&self) -> Vec<String> {
        let mut buffer = [0; 4096];
        let count = self.socket.recv(&mut buffer).expect("to be told something in time");
        let text = std::str::from_utf8(&buffer[..count]).expect("text");
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn it_tells_when_it_is_ready_reloads_and_stops() {
    let manager = Manager::new();
    let environment = [("NOTIFY_SOCKET", &*manager.address())];
    let mut relay = Process::relay_with(&["--listen", "tcp://127.0.0.1:0"], &environment);
    assert_eq!(manager.told(), ["READY=1"]);
    let addr = relay.listening(1)[0].1;
    runtime().block_on(async {
        Door::new(addr, None).backend(Transport::Tcp).await.hears_nothing().await;
    });
    relay.signal("HUP");
    let reloading = manager.told();
    assert_eq!(reloading[0], "RELOADING=1");
    assert!(reloading[1].starts_with("MONOTONIC_USEC="), "{reloading:?}");
    assert_eq!(manager.told(), ["READY=1"]);
    relay.signal("TERM");
    // As long as the drain may take, and time for the last words.
    assert_eq!(manager.told(), ["STOPPING=1", "EXTEND_TIMEOUT_USEC=15000000"]);
    assert_eq!(relay.output().0, Some(0));
}

#[test]
fn the_watchdog_is_fed() {
    let manager = Manager::new();
    let environment = [("NOTIFY_SOCKET", &*manager.address()), ("WATCHDOG_USEC", "200000")];
    let _relay = Process::relay_with(&["--listen", "tcp://127.0.0.1:0"], &environment);
    let told: Vec<_> = (0..4).flat_map(|_| manager.told()).collect();
    assert_eq!(told.iter().filter(|told| *told == "WATCHDOG=1").count(), 3, "{told:?}");
}

/// Its clients would wait, and nobody would know for what.
#[test]
fn a_socket_that_is_not_listened_on_is_told_of() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let relay = given(socket, "web", "any://127.0.0.1:0");
    runtime().block_on(relay.log_until(0, "add any://systemd:web to listen"));
}

/// A relay that gets this socket as systemd hands it over: as descriptor 3, by name.
fn given(socket: TcpListener, name: &str, url: &str) -> Process {
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
    let socket = Stdio::from(std::os::fd::OwnedFd::from(socket));
    Process::under(script, &["--listen", url], socket, &[("LISTEN_FDNAMES", name)])
}

#[test]
fn it_serves_on_a_socket_that_was_opened_for_it() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr: SocketAddr = socket.local_addr().expect("bound");
    let ours = socket.try_clone().expect("another descriptor");
    let mut relay = given(socket, "web", "any://systemd:web");
    assert_eq!(relay.listening(1), [("any".to_owned(), addr)]);
    runtime().block_on(async {
        let door = Door::new(addr, None);
        let mut page = door.web(Transport::Ws, "/web").await;
        relay.signal("TERM");
        page.expect_close(1001).await;
        assert_eq!(relay.output().0, Some(0));
        // Nobody is refused while there is no relay: the next one finds them waiting.
        let waiting = door.dial_tcp().await;
        let mut next = given(ours, "web", "any://systemd:web");
        next.listening(1);
        let stream = door.dial_over(waiting, Transport::Ws).await.expect("plain");
        crate::wire::Wire::new(stream).upgrade("/web").await;
    });
}

#[test]
fn a_socket_that_was_not_handed_over_exits_69() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (code, _, stderr) = given(socket, "other", "any://systemd:web").output();
    assert_eq!(code, Some(69), "{stderr}");
    assert!(stderr.contains("any://systemd:web") && stderr.contains("FileDescriptorName"));
}
