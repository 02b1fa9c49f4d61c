//! Connections that are there and do nothing: each is subscribed to a topic of its own, and answers heartbeats.

use std::{
    io::{self, Error},
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use carillon_benches::connection::{Connection, Target};
use carillon_wire::BrokerMessage;
use tokio::task::{AbortHandle, JoinSet};

/// Connections that are opened at once.
const AT_ONCE: usize = 32;
/// Of one source address; it has about 28,000 ports, of which some are still taken by what was before.
const OF_ADDRESS: usize = 5000;
/// Source addresses begin at 127.0.200.1, where nobody else connects from.
const NETWORK: u8 = 200;

/// They end when this is dropped.
#[derive(Default)]
pub(crate) struct Crowd {
    members: Vec<AbortHandle>,
    lost: Arc<AtomicUsize>,
}

impl Crowd {
    /// Opens so many more.
    pub(crate) async fn grow(&mut self, target: &Target, token: &Arc<str>, count: usize) -> io::Result<()> {
        let (first, last) = (self.members.len(), self.members.len() + count);
        let mut opening = JoinSet::new();
        let mut numbers = first..last;
        loop {
            while opening.len() < AT_ONCE
                && let Some(number) = numbers.next()
            {
                let (target, token) = (target.clone(), Arc::clone(token));
                opening.spawn(async move { open(&target, &token, number).await });
            }
            let Some(opened) = opening.join_next().await else { return Ok(()) };
            let opened = opened.map_err(Error::other)?;
            let member =
                opened.map_err(|error| Error::other(format!("an idle connection could not be opened: {error}")))?;
            let lost = Arc::clone(&self.lost);
            let idling = tokio::spawn(async move {
                if idle(member).await.is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                }
            });
            self.members.push(idling.abort_handle());
        }
    }

    /// How many have ended before they should.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for member in &self.members {
            member.abort();
        }
    }
}

async fn open(target: &Target, token: &str, number: usize) -> io::Result<Connection> {
    let last = u8::try_from(1 + number / OF_ADDRESS).unwrap_or(u8::MAX);
    let mut connection = target.connect_as(Ipv4Addr::new(127, 0, NETWORK, last), Some(token)).await?;
    connection.subscribe(&format!("bench.idle.{number}")).await?;
    Ok(connection)
}

/// Answers heartbeats until the connection is lost.
async fn idle(mut connection: Connection) -> io::Result<std::convert::Infallible> {
    loop {
        let mut heartbeat = None;
        connection
            .read(|message| {
                if let BrokerMessage::Heartbeat(number) = message {
                    heartbeat = Some(number);
                }
                Ok(())
            })
            .await?;
        if let Some(number) = heartbeat {
            connection.answer(number).await?;
        }
    }
}
