//! What load balancers and supervisors ask, in HTTP on an address of its own: `/ready`, whether to
//! send clients here, and `/health`, how the relay is. The listeners could not say it: they are
//! closed while the relay drains.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::frame::handshake::{Refusal, Request, parse_http};
use crate::script::StatusBoard;
use crate::worker::{Order, Pulse};

/// Who asks at once; others wait in the kernel's queue.
const ASKING_MAX: usize = 32;
/// The head of a question. Those of probes are some 200 bytes.
const HEAD_BYTES_MAX: usize = 4 * 1024;
/// One question with its answer, up to the end of the connection.
const TALK_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two tries, where the system takes no connection in.
const RETRY: Duration = Duration::from_secs(1);
/// A worker that was not heard of for so long hangs: it beats once a second.
const PULSE_AGE_MAX: Duration = Duration::from_secs(10);

/// The bound address.
pub struct Health {
    listener: TcpListener,
}

/// Where the answers come from.
#[derive(Clone)]
pub struct Vitals {
    pub orders: watch::Receiver<Order>,
    pub pulses: Vec<Arc<Pulse>>,
    pub script: StatusBoard,
    pub begun: Instant,
}

impl Health {
    /// # Errors
    /// The address cannot be bound.
    pub async fn bind(addr: SocketAddr) -> io::Result<Health> {
        Ok(Health { listener: TcpListener::bind(addr).await? })
    }

    pub fn addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until it is cancelled.
    pub async fn serve(self, vitals: Vitals) {
        let asking = Arc::new(Semaphore::new(ASKING_MAX));
        while let Ok(place) = Arc::clone(&asking).acquire_owned().await {
            match self.listener.accept().await {
                Ok((tcp, _)) => {
                    let vitals = vitals.clone();
                    tokio::spawn(async move {
                        // Who does not take its answer in time has lost nothing.
                        let _ = timeout(TALK_TIMEOUT, talk(tcp, &vitals)).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("the health address takes no connection: {error}");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }
}

async fn talk(mut tcp: TcpStream, vitals: &Vitals) -> io::Result<()> {
    let mut input = Vec::new();
    let answer = loop {
        match parse_http(&input, HEAD_BYTES_MAX) {
            Ok(Some((request, _))) => break vitals.answer(&request),
            Err(refusal) => break refusal.response(),
            Ok(None) if tcp.read_buf(&mut input).await? == 0 => return Ok(()),
            Ok(None) => {}
        }
    };
    tcp.write_all(&answer).await?;
    tcp.shutdown().await?;
    // Closing on unread input would take the answer back.
    while tcp.read(&mut [0; 512]).await? > 0 {}
    Ok(())
}

impl Vitals {
    /// Whether all workers take part in the life of the relay.
    pub fn all_beat(&self) -> bool {
        self.pulses.iter().all(|pulse| pulse.age() < PULSE_AGE_MAX)
    }

    fn answer(&self, request: &Request) -> Vec<u8> {
        let Request { method, head, .. } = request;
        if !matches!(&**method, "GET" | "HEAD") {
            return Refusal::new(405, "only GET is served").response();
        }
        let mut answer = match &*head.path {
            "/ready" if self.is_draining() => Refusal::new(503, "draining").response(),
            "/ready" => ok("text/plain; charset=utf-8", "ready"),
            "/health" if !self.all_beat() => {
                Refusal::new(503, "a worker hangs, by a bug in relay").response()
            }
            "/health" => ok("application/json", &self.health().to_string()),
            _ => Refusal::new(404, "there are /ready and /health").response(),
        };
        if method == "HEAD" {
            let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            answer.truncate(end.map_or(0, |end| end + 4));
        }
        answer
    }

    fn is_draining(&self) -> bool {
        *self.orders.borrow() != Order::Run
    }

    fn health(&self) -> serde_json::Value {
        let script = self.script.status();
        json!({
            "draining": self.is_draining(),
            "connections": self.pulses.iter().map(|pulse| pulse.clients()).sum::<usize>(),
            "generation": script.generation,
            "panics": self.pulses.iter().map(|pulse| pulse.panics()).sum::<usize>() + script.panics,
            "rejected": script.rejected,
            "uptime_s": self.begun.elapsed().as_secs(),
        })
    }
}

fn ok(content_type: &str, text: &str) -> Vec<u8> {
    // The line feed that ends the body counts.
    let length = text.len() + 1;
    format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: {content_type}\r\n\
         Content-Length: {length}\r\nCache-Control: no-store\r\n\r\n{text}\n"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Status;

    /// Of a relay whose script thread has dropped two events.
    fn vitals(pulses: Vec<Arc<Pulse>>) -> Vitals {
        let status = Status { generation: 1, hash: String::new(), rejected: None, panics: 2 };
        Vitals {
            orders: watch::channel(Order::Run).1,
            pulses,
            script: StatusBoard::showing(status),
            begun: Instant::now(),
        }
    }

    /// Who supervises the relay is told, and the watchdog of systemd is not fed.
    #[test]
    fn a_worker_that_hangs_is_no_good_health() {
        let asked = parse_http(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n", HEAD_BYTES_MAX);
        let (request, _) = asked.ok().flatten().expect("a whole request");
        for (age, is_good) in [(PULSE_AGE_MAX / 2, true), (PULSE_AGE_MAX, false)] {
            let vitals = vitals(vec![Arc::default(), Arc::new(Pulse::unheard_for(age))]);
            assert_eq!(vitals.all_beat(), is_good, "{age:?}");
            let status = vitals.answer(&request)[b"HTTP/1.1 ".len()..].first_chunk::<3>().copied();
            assert_eq!(status, Some(if is_good { *b"200" } else { *b"503" }));
        }
    }

    #[test]
    fn the_panics_of_the_script_thread_count() {
        assert_eq!(vitals(vec![Arc::default()]).health()["panics"], 2);
    }
}
