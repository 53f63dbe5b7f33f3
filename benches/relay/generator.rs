//! The load generator: a process of its own with one thread, which takes commands as lines of JSON.
//! It has to be much cheaper than any server, so it reads into one buffer and counts bytes.

use std::fs;
use std::io::{self, BufRead, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use rustls::client::Resumption;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};

use crate::client::{Client, Role};
use crate::load::{Outcome, Run, run};
use crate::process::{GENERATOR_CORE, spawn};

/// Connections at once that are in their handshake: below `limits.handshakes_pending_max`.
const HANDSHAKES: usize = 256;

/// A handshake that takes longer is a failed benchmark.
const PATIENCE: Duration = Duration::from_secs(20);

/// What the generator is asked to do.
#[derive(Debug, Serialize, Deserialize)]
pub enum Order {
    /// Connect so many clients more.
    Connect {
        role: Role,
        count: usize,
    },
    Run(Run),
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub enum Answer {
    Connected { nanos: u64 },
    Ran(Outcome),
}

/// Where a generator connects to and from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Plan {
    pub server: SocketAddr,
    pub source: IpAddr,
    /// The server's own certificate, if it speaks TLS.
    pub certificate: Option<PathBuf>,
}

/// A generator, as the benchmark sees it.
pub struct Generator {
    process: Child,
    orders: ChildStdin,
    answers: io::BufReader<ChildStdout>,
}

impl Generator {
    /// Starts one. Each has a source address of its own, so that ports do not run out.
    pub fn start(server: SocketAddr, certificate: Option<PathBuf>) -> io::Result<Generator> {
        let source = next_source();
        let plan = serde_json::to_string(&Plan { server, source, certificate })?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["generate", &plan]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = spawn(&mut command, Some(GENERATOR_CORE))?;
        let orders = process.stdin.take().ok_or_else(|| io::Error::other("no stdin"))?;
        let answers = process.stdout.take().ok_or_else(|| io::Error::other("no stdout"))?;
        Ok(Generator { process, orders, answers: io::BufReader::new(answers) })
    }

    /// Connects clients; how long it took.
    pub fn connect(&mut self, role: Role, count: usize) -> io::Result<Duration> {
        match self.ask(&Order::Connect { role, count })? {
            Answer::Connected { nanos } => Ok(Duration::from_nanos(nanos)),
            answer => Err(io::Error::other(format!("{answer:?}"))),
        }
    }

    pub fn run(&mut self, run: Run) -> io::Result<Outcome> {
        match self.ask(&Order::Run(run))? {
            Answer::Ran(outcome) => Ok(outcome),
            answer => Err(io::Error::other(format!("{answer:?}"))),
        }
    }

    fn ask(&mut self, order: &Order) -> io::Result<Answer> {
        writeln!(self.orders, "{}", serde_json::to_string(order)?)?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        serde_json::from_str(&line)
            .map_err(|_| io::Error::other(format!("the generator has ended at {order:?}")))
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn next_source() -> IpAddr {
    use std::sync::atomic::{AtomicU8, Ordering};
    static LAST: AtomicU8 = AtomicU8::new(1);
    let last = LAST.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, 0, 1 + last / 250, 2 + last % 250).into()
}

/// The generator's side.
pub struct Clients {
    pub poll: Poll,
    pub all: Vec<Client>,
    pub receivers: Vec<usize>,
    pub senders: Vec<usize>,
    pub buffer: Vec<u8>,
}

/// Obeys until its input ends.
pub fn generate(plan: &str) -> io::Result<()> {
    let plan: Plan = serde_json::from_str(plan)?;
    rlimit::increase_nofile_limit(u64::MAX)?;
    let tls = plan.certificate.as_ref().map(client_config).transpose()?;
    let mut clients = Clients {
        poll: Poll::new()?,
        all: Vec::new(),
        receivers: Vec::new(),
        senders: Vec::new(),
        buffer: vec![0; 1024 * 1024],
    };
    for line in io::stdin().lines() {
        let answer = match serde_json::from_str(&line?)? {
            Order::Connect { role, count } => {
                let began = Instant::now();
                clients.connect(&plan, tls.as_ref(), role, count)?;
                Answer::Connected { nanos: began.elapsed().as_nanos() as u64 }
            }
            Order::Run(settings) => Answer::Ran(run(&mut clients, &settings)?),
        };
        println!("{}", serde_json::to_string(&answer)?);
    }
    Ok(())
}

impl Clients {
    fn connect(
        &mut self,
        plan: &Plan,
        tls: Option<&Arc<ClientConfig>>,
        role: Role,
        count: usize,
    ) -> io::Result<()> {
        let first = self.all.len();
        let (mut begun, mut done) = (0, 0);
        let mut is_done = vec![false; count];
        let mut events = Events::with_capacity(HANDSHAKES);
        while done < count {
            while begun < count && begun - done < HANDSHAKES {
                let number = first + begun;
                let client = Client::connect(role, begun, plan.source, plan.server, tls);
                let mut client = client?;
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(client.stream(), Token(number), interest)?;
                self.all.push(client);
                match role {
                    Role::Receiver | Role::NamedReceiver => self.receivers.push(number),
                    Role::WebSender | Role::Backend => self.senders.push(number),
                }
                begun += 1;
            }
            self.poll.poll(&mut events, Some(PATIENCE))?;
            if events.is_empty() {
                return Err(io::Error::other(format!("{done} of {count} connected")));
            }
            for event in &events {
                let Token(number) = event.token();
                let client = &mut self.all[number];
                let is_new = number >= first && !is_done[number - first];
                if is_new && client.progress(&mut self.buffer)? {
                    is_done[number - first] = true;
                    done += 1;
                }
            }
        }
        Ok(())
    }
}

/// Trusts this certificate alone. Without resumption: each connection is a client's first.
fn client_config(certificate: &PathBuf) -> io::Result<Arc<ClientConfig>> {
    let pem = fs::read(certificate)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
    }
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}
