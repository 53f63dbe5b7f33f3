use std::io::Write;

use super::*;

/// A socket whose peer reads nothing, filled to the brim behind the link's back.
pub fn full_socket() -> (tokio::net::TcpStream, std::net::TcpStream) {
    let (mut socket, peer) = socket();
    while socket.write(&[b'x'; 65536]).is_ok() {}
    (tokio::net::TcpStream::from_std(socket).expect("a runtime"), peer)
}

/// One whose peer reads nothing, but that takes something yet.
pub fn deaf_socket() -> (tokio::net::TcpStream, std::net::TcpStream) {
    let (socket, peer) = socket();
    (tokio::net::TcpStream::from_std(socket).expect("a runtime"), peer)
}

fn socket() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let peer = std::net::TcpStream::connect(listener.local_addr().expect("bound"));
    let (socket, _) = listener.accept().expect("a connection");
    socket.set_nonblocking(true).expect("a socket option");
    (socket, peer.expect("connected"))
}

#[tokio::test]
async fn the_stall_clock_runs_for_a_farewell_too() {
    let (socket, _peer) = full_socket();
    let id = SessionId { worker: 0, slot: 0, serial: 1 };
    let transport = Transport::plain(socket);
    let waiting = Waiting::of_workers(1).remove(0);
    let link = Link::new(id, ClientKind::Web, Encoding::WebSocket, transport, &waiting);
    assert!(!link.is_stalled(Duration::ZERO), "nothing waits");
    link.say_farewell(CloseReason::Quit);
    assert!(link.is_stalled(Duration::ZERO), "the farewell waits");
}

#[tokio::test]
async fn the_stall_clock_starts_anew_when_the_socket_takes_something() {
    let (socket, mut peer) = full_socket();
    let id = SessionId { worker: 0, slot: 0, serial: 1 };
    let transport = Transport::plain(socket);
    let waiting = Waiting::of_workers(1).remove(0);
    let link = Link::new(id, ClientKind::Web, Encoding::WebSocket, transport, &waiting);
    let limits = QueueLimits { bytes_max: usize::MAX, messages_max: usize::MAX };
    link.send_frame(Bytes::from(vec![b'y'; 64 << 20]), limits);
    let first = link.output.borrow().stalled_since.expect("it waits");
    let reader = std::thread::spawn(move || {
        std::io::Read::read_exact(&mut peer, &mut vec![0; 16 << 20]).map(|()| peer)
    });
    std::future::poll_fn(|cx| {
        let _ = link.poll_written(cx);
        match reader.is_finished() {
            true => Poll::Ready(()),
            false => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    })
    .await;
    assert!(link.output.borrow().stalled_since.expect("it still waits") > first);
    drop(reader.join());
}
