//! The bounded queue through which a shard gets the other shards' publications, and what the keeper of the streams tells.
//!
//! What is bounded is bytes: a publishing connection that finds no room waits, and is not read on. The keeper's threads
//! wait as well, and with them those who publish into streams. A shard never waits.

use std::sync::Arc;

use carillon_streams::keeper::{Event, Found, Part};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Publications of one connection, encoded once, for one other shard after another.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    publications: Vec<Publication>,
    /// When the first was accepted, in nanoseconds since the broker's start.
    pub(crate) accepted_nanos: u64,
}

#[derive(Debug, Clone, Copy)]
struct Publication {
    topic_bytes: usize,
    delivery_bytes: usize,
}

impl Batch {
    /// An empty batch with room for as much as another one has.
    pub(crate) fn with_capacity_of(other: &Self) -> Self {
        Self {
            bytes: Vec::with_capacity(other.bytes.len()),
            publications: Vec::with_capacity(other.publications.len()),
            accepted_nanos: 0,
        }
    }

    /// Appends a publication; `encode` appends the delivery to what it is given.
    pub(crate) fn push(&mut self, topic: &str, encode: impl FnOnce(&mut Vec<u8>)) -> &[u8] {
        self.bytes.extend_from_slice(topic.as_bytes());
        let start = self.bytes.len();
        encode(&mut self.bytes);
        let delivery = self.bytes.get(start..).unwrap_or_default();
        self.publications.push(Publication { topic_bytes: topic.len(), delivery_bytes: delivery.len() });
        delivery
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.publications.is_empty()
    }

    /// What the batch weighs in a queue.
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes.len() + self.publications.len() * size_of::<Publication>()
    }

    /// Topic and delivery of each publication, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let mut rest = self.bytes.as_slice();
        self.publications.iter().map_while(move |publication| {
            let topic = rest.split_off(..publication.topic_bytes)?;
            let delivery = rest.split_off(..publication.delivery_bytes)?;
            Some((std::str::from_utf8(topic).ok()?, delivery))
        })
    }
}

/// Something for a shard.
pub(crate) enum Item {
    Publications(Arc<Batch>),
    Stream(Box<Event>),
}

impl Item {
    fn size_bytes(&self) -> usize {
        match self {
            Self::Publications(batch) => batch.size_bytes(),
            Self::Stream(event) => event_bytes(event),
        }
    }
}

fn event_bytes(event: &Event) -> usize {
    let held = match event {
        Event::Committed(committed) => {
            let answers: usize = committed.answers.iter().map(|answers| size_of_val(answers.answers.as_slice())).sum();
            committed.group.size_bytes() + answers
        }
        Event::Read(reply) => match &reply.found {
            Ok(Found::Page(page) | Found::History { page, .. }) => page.parts.iter().map(part_bytes).sum(),
            _ => 0,
        },
    };
    size_of_val(event) + held
}

fn part_bytes(part: &Part) -> usize {
    match part {
        Part::Messages { bytes, .. } => size_of_val(part) + bytes.len(),
        Part::Lost(_) => size_of_val(part),
    }
}

/// Something out of a queue.
pub(crate) struct Queued {
    pub(crate) item: Item,
    /// What it takes there until this is dropped.
    pub(crate) room: OwnedSemaphorePermit,
}

/// The sending end, one for all other shards.
#[derive(Clone)]
pub(crate) struct Sender {
    room: Arc<Semaphore>,
    capacity: usize,
    queue: mpsc::UnboundedSender<Queued>,
}

/// The receiving end, the shard's own.
pub(crate) struct Receiver {
    room: Arc<Semaphore>,
    capacity: usize,
    queue: mpsc::UnboundedReceiver<Queued>,
}

/// A queue that holds this many bytes.
pub(crate) fn bounded(capacity_bytes: usize) -> (Sender, Receiver) {
    let capacity = capacity_bytes.min(Semaphore::MAX_PERMITS).min(u32::MAX as usize);
    let room = Arc::new(Semaphore::new(capacity));
    // Unbounded in itself: no batch enters it without room.
    let (sender, receiver) = mpsc::unbounded_channel();
    (Sender { room: Arc::clone(&room), capacity, queue: sender }, Receiver { room, capacity, queue: receiver })
}

impl Sender {
    /// Puts something into the queue if there is room now, else gives it back.
    pub(crate) fn try_send(&self, item: Item) -> Result<(), Item> {
        match Arc::clone(&self.room).try_acquire_many_owned(self.weight(&item)) {
            Ok(room) => {
                self.push(item, room);
                Ok(())
            }
            Err(_) => Err(item),
        }
    }

    /// Waits for room, first come first served. Dropped before it is ready, it has sent nothing.
    pub(crate) async fn send(&self, item: Item) {
        // The semaphore is never closed.
        if let Ok(room) = Arc::clone(&self.room).acquire_many_owned(self.weight(&item)).await {
            self.push(item, room);
        }
    }

    /// What is larger than the whole queue takes all of it.
    fn weight(&self, item: &Item) -> u32 {
        u32::try_from(item.size_bytes().min(self.capacity)).unwrap_or(u32::MAX)
    }

    fn push(&self, item: Item, room: OwnedSemaphorePermit) {
        // A shard that is gone takes no connections' messages either: the broker is stopping.
        let _ = self.queue.send(Queued { item, room });
    }
}

impl Receiver {
    pub(crate) async fn receive(&mut self) -> Option<Queued> {
        self.queue.recv().await
    }

    /// Bytes that wait now.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.capacity - self.room.available_permits().min(self.capacity)
    }
}
