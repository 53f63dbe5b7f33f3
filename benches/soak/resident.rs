//! Clients that stay connected all the while, and hear everything.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::door::{Door, Stream};

/// The last thing that all of them hear.
const LAST: &str = r#"{"opcode":"any","last":true}"#;
/// How long the last thing may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// How many broadcasts, and a hash of them in their order.
type Heard = (u64, u64);

pub struct Resident {
    listens: JoinHandle<io::Result<Heard>>,
    /// What it is asked to say.
    says: mpsc::Sender<Message>,
}

impl Resident {
    /// Every second one over TLS. Reachable as `resident-` and its number.
    pub async fn connect(door: &Door, number: usize) -> io::Result<Resident> {
        let mut websocket = door.web("/", number % 2 == 1, false).await?;
        let name = format!(r#"{{"opcode":"uuid","message":"resident-{number}"}}"#);
        websocket.send(Message::text(name)).await.map_err(io::Error::other)?;
        while !hear(&mut websocket).await?.contains("\"next\"") {}
        let (says, said) = mpsc::channel(1);
        Ok(Resident { listens: spawn_local(listen(websocket, said)), says })
    }
}

async fn hear(websocket: &mut WebSocketStream<Stream>) -> io::Result<String> {
    loop {
        match websocket.next().await {
            Some(Ok(Message::Text(text))) => return Ok(text.to_string()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            other => return Err(io::Error::other(format!("a resident's connection: {other:?}"))),
        }
    }
}

async fn listen(
    mut websocket: WebSocketStream<Stream>,
    mut said: mpsc::Receiver<Message>,
) -> io::Result<Heard> {
    let (mut count, mut hash) = (0, DefaultHasher::new());
    loop {
        let text = tokio::select! {
            text = hear(&mut websocket) => text?,
            Some(message) = said.recv() => {
                websocket.send(message).await.map_err(io::Error::other)?;
                continue;
            }
        };
        if text == LAST {
            return Ok((count, hash.finish()));
        }
        // What is for it alone is no broadcast.
        if text.starts_with(r#"{"opcode":"any""#) {
            count += 1;
            text.hash(&mut hash);
        }
    }
}

/// Ends all of them; how many broadcasts each has heard, the same for all but the one who says the last.
pub async fn same(mut residents: Vec<Resident>) -> io::Result<u64> {
    let Some(speaker) = residents.pop() else { return Ok(0) };
    speaker.says.send(Message::text(LAST)).await.map_err(io::Error::other)?;
    let mut all: Option<Heard> = None;
    for resident in residents {
        let heard = tokio::time::timeout(DEADLINE, resident.listens).await?;
        let heard = heard.map_err(io::Error::other)??;
        if *all.get_or_insert(heard) != heard {
            return Err(io::Error::other(format!("residents heard {all:?} and {heard:?}")));
        }
    }
    Ok(all.map_or(0, |(count, _)| count))
}
