//! A connection that reads one stream through one subscription, and looks for holes and repeats.

use std::io::{self, Error};

use carillon_benches::connection::{Connection, Target};
use carillon_wire::{
    BrokerMessage, ClientMessage, Id, Overflow, Pattern, Start, broker_message::Delivery, client_message::Subscribe,
};

use crate::site::PATTERN;

/// What no request of a [`Connection`] itself has.
const SUBSCRIPTION: u32 = 1_000_000;

/// A subscription to the whole stream.
pub(crate) struct Reader {
    connection: Connection,
    /// Deliveries so far.
    pub(crate) deliveries: u64,
    /// The newest that came, or the position behind which it started.
    pub(crate) sequence: Option<u64>,
    /// It shares deliveries with others.
    pub(crate) is_live: bool,
    /// What its sequences mean, once it is live.
    pub(crate) epoch: String,
}

impl Reader {
    /// Connects, and does not subscribe yet.
    pub(crate) async fn connect(target: &Target, number: usize) -> io::Result<Self> {
        let connection = target.connect(number).await?;
        Ok(Self { connection, deliveries: 0, sequence: None, is_live: false, epoch: String::new() })
    }

    /// Asks for the whole stream from a start, and does not wait for the reply.
    pub(crate) async fn subscribe(&mut self, start: Start<'_>) -> io::Result<()> {
        let pattern = Pattern::new(PATTERN).map_err(Error::other)?;
        let subscribe =
            Subscribe { id: Id::from(SUBSCRIPTION), pattern, overflow: Overflow::DropOldest, start: Some(start) };
        self.connection.send(&ClientMessage::Subscribe(subscribe)).await
    }

    /// Waits for more, and looks at each delivery.
    pub(crate) async fn read(&mut self, mut look: impl FnMut(&Delivery<'_>)) -> io::Result<()> {
        let (deliveries, sequence) = (&mut self.deliveries, &mut self.sequence);
        let (is_live, epoch, mut heartbeat) = (&mut self.is_live, &mut self.epoch, None);
        self.connection
            .read(|message| {
                match message {
                    BrokerMessage::Delivery(delivery) => {
                        let found = delivery.in_stream.map(|place| place.sequence);
                        if sequence.is_some() && found != sequence.map(|sequence| sequence + 1) {
                            return Err(Error::other(format!("sequence {found:?} came behind {sequence:?}")));
                        }
                        *sequence = found;
                        *deliveries += 1;
                        look(&delivery);
                    }
                    BrokerMessage::Live(position) => {
                        if *sequence != Some(position.sequence) {
                            return Err(Error::other(format!(
                                "{sequence:?} had come, and it was told that up to {} had",
                                position.sequence
                            )));
                        }
                        *is_live = true;
                        position.epoch.clone_into(epoch);
                    }
                    BrokerMessage::Ok(ok) => *sequence = ok.sequence,
                    BrokerMessage::Heartbeat(number) => heartbeat = Some(number),
                    BrokerMessage::Marker(_) => *is_live = false,
                    BrokerMessage::Position(_) => {}
                    other => return Err(Error::other(format!("a reader was told {other:?}"))),
                }
                Ok(())
            })
            .await?;
        match heartbeat {
            Some(number) => self.connection.answer(number).await,
            None => Ok(()),
        }
    }

    /// Reads until it is live.
    pub(crate) async fn catch_up(&mut self) -> io::Result<()> {
        while !self.is_live {
            self.read(|_| {}).await?;
        }
        Ok(())
    }
}
