//! A whole client against a scripted broker, in memory and with a paused clock: waits take no time, and their length is exact.

mod credentials;
mod history;
mod kept;
mod peer;
mod publish;
mod reconnect;
mod refused;
mod resume;
mod silence;
mod subscribe;
mod tls;

use std::{sync::Mutex, time::Duration};

use tokio::{io::DuplexStream, sync::mpsc, task::JoinHandle};

use self::peer::Peer;
use crate::{
    backoff::ReconnectPolicy,
    builder::Settings,
    client::Client,
    connection::{Deadline, dial::Dial},
    endpoint::Endpoint,
    error::ConnectError,
    observer::{Notice, NoticeHandler},
    token::TokenSource,
};

/// Larger than anything that a test sends, unless it wants the pipe to be full.
const PIPE_BYTES: usize = 64 * 1024;

/// Hands the broker's end of each connection to the test.
struct Wire {
    ends: mpsc::UnboundedSender<DuplexStream>,
}

impl Dial for Wire {
    type Io = DuplexStream;

    async fn dial(&self, _deadline: Deadline) -> Result<DuplexStream, ConnectError> {
        let (here, there) = tokio::io::duplex(PIPE_BYTES);
        self.ends.send(there).map_err(|_| ConnectError::Tcp {
            address: "the test".to_owned(),
            source: std::io::ErrorKind::ConnectionRefused.into(),
        })?;
        Ok(here)
    }
}

/// The place where a client's connections arrive.
struct Broker {
    ends: mpsc::UnboundedReceiver<DuplexStream>,
}

impl Broker {
    async fn stream(&mut self) -> DuplexStream {
        self.ends.recv().await.unwrap()
    }

    async fn welcome(&mut self) -> Peer<DuplexStream> {
        Peer::welcome(self.stream().await).await.0
    }
}

fn settings() -> Settings {
    Settings {
        endpoint: Endpoint::parse("wss://broker.test").unwrap(),
        token: Some(TokenSource::Fixed("secret".to_owned())),
        name: None,
        connect_timeout: Duration::from_secs(10),
        close_timeout: Duration::from_secs(10),
        reconnect: ReconnectPolicy::default(),
        max_message_bytes: 16 * 1024,
        send_queue_bytes: 64 * 1024,
        receive_queue_bytes: 64 * 1024,
    }
}

fn start_with(
    settings: Settings,
    handler: Option<NoticeHandler>,
) -> (Broker, JoinHandle<Result<Client, ConnectError>>) {
    let (ends, incoming) = mpsc::unbounded_channel();
    let client = tokio::spawn(Client::start(Wire { ends }, settings, handler));
    (Broker { ends: incoming }, client)
}

/// A client that was welcomed.
async fn connected_with(settings: Settings) -> (Broker, Peer<DuplexStream>, Client) {
    let (mut broker, client) = start_with(settings, None);
    let peer = broker.welcome().await;
    (broker, peer, client.await.unwrap().unwrap())
}

async fn connected() -> (Broker, Peer<DuplexStream>, Client) {
    connected_with(settings()).await
}

/// Keeps notices for the test to look at.
#[derive(Default)]
struct Notices(Mutex<Vec<Notice>>);

impl Notices {
    fn handler(self: &std::sync::Arc<Self>) -> NoticeHandler {
        let kept = std::sync::Arc::clone(self);
        Box::new(move |notice| kept.0.lock().unwrap().push(notice.clone()))
    }

    fn take(&self) -> Vec<Notice> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}
