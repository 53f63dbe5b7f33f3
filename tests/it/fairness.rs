//! One client must not keep the others waiting, whichever worker they are on.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread::JoinHandle;

use crate::client::{Client, Transport};
use crate::harness::{Setup, in_time, relay_test};

/// Reads and drops whatever comes, until the client is dropped.
async fn read_all(mut client: Client) {
    loop {
        drop(client.heard().await);
    }
}

/// A raw client that broadcasts as fast as the relay takes it, in threads of its own.
struct Flood {
    socket: TcpStream,
    writer: JoinHandle<()>,
}

impl Flood {
    fn start(addr: SocketAddr, bytes: usize) -> Flood {
        let mut socket = TcpStream::connect(addr).expect("a relay");
        let (mut writing, mut reading) =
            (socket.try_clone().expect("a descriptor"), socket.try_clone().expect("a descriptor"));
        socket.write_all(b"php process\n\n").expect("a relay that listens");
        let message = format!("{{\"x\":\"{}\"}}", "x".repeat(bytes)).repeat(16);
        std::thread::spawn(move || while reading.read(&mut [0; 65536]).is_ok_and(|n| n > 0) {});
        let writer =
            std::thread::spawn(move || while writing.write_all(message.as_bytes()).is_ok() {});
        Flood { socket, writer }
    }

    fn goes_on(&self) -> bool {
        !self.writer.is_finished()
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        // Both threads end with their socket.
        drop(self.socket.shutdown(Shutdown::Both));
    }
}

/// A sender floods the pages, those of its own worker or of the other: a message there is still answered
/// and a connection still welcomed while the flood goes on, which is until both have happened.
fn a_flood_does_not_stop_the_others(workers: usize) {
    Setup::new().set(&format!("workers={workers}")).run(async |relay| {
        // Connections go to one worker after the other: pages to the first, the rest to the second.
        let mut readers = Vec::new();
        for _ in 0..20 {
            readers.push(tokio::spawn(read_all(relay.web(Transport::Ws, "/web").await)));
            readers.push(tokio::spawn(read_all(relay.backend(Transport::Tcp).await)));
        }
        let mut probe = relay.backend(Transport::Tcp).await;
        let flood = Flood::start(relay.addr, 3000);
        let others = async {
            for n in 0..10 {
                let echo = format!("{{\"opcode\":\"echo\",\"n\":{n}}}");
                probe.send(&echo).await;
                probe.acked("").await;
                probe.hears(echo.as_str()).await;
                drop(relay.backend(Transport::Tcp).await);
            }
        };
        in_time("answers during the flood", others).await;
        assert!(flood.goes_on(), "expected the flood to outlast the answers");
        for reader in readers {
            reader.abort();
        }
    });
}

#[test]
fn a_flood_does_not_stop_its_own_worker() {
    a_flood_does_not_stop_the_others(1);
}

#[test]
fn a_flood_from_one_worker_does_not_stop_the_other() {
    a_flood_does_not_stop_the_others(2);
}

/// A page that asks for a backend's name does not get it.
#[test]
fn an_ident_is_a_backends() {
    relay_test(async |relay| {
        let ident = |hello: crate::client::Hello| hello.header("Ident", "billing");
        let mut page = relay.open(Transport::Ws, ident(crate::client::Hello::web("/web"))).await;
        page.hears_ready().await;
        let mut billing =
            relay.open(Transport::Ws, ident(crate::client::Hello::php(Some("/")))).await;
        billing.hears_ready().await;
        let mut sender = relay.backend(Transport::Tcp).await;
        let invoice = r#"{"opcode":"feedback","ident":"billing","n":1}"#;
        sender.send(invoice).await;
        sender.acked("").await;
        billing.hears(invoice).await;
        page.hears_nothing().await;
    });
}
