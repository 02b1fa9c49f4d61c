//! A subscription: the stream of what happens on its topics, and the queue behind it.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures_core::Stream;
use tokio::sync::{Notify, mpsc};

use crate::{
    command::{Command, Commands, SubscriptionKey},
    event::{Event, Missing},
    message::Message,
    position::{Position, Progress},
    start::Start,
};

/// What an event is counted with beside its own bytes, so that empty messages cannot grow a queue without bound.
const EVENT_OVERHEAD_BYTES: usize = 128;

/// Live subscriptions to one or more patterns, as a stream of [`Event`]s. Made by
/// [`Client::subscribe`](crate::Client::subscribe).
///
/// One with a [start](crate::SubscribeOptions::start) has a [position](Self::position) in its stream. When the connection is
/// lost, it resumes there by itself: no message comes twice, and what is lost comes as an event.
///
/// Events wait in a queue until they are taken ([`receive_queue_bytes`](crate::ClientBuilder::receive_queue_bytes)). **While one
/// subscription's queue is full, the client stops reading its connection**, and so holds up all its subscriptions; the broker's
/// outbox then fills, and the overflow policy decides what happens. A subscription that may be slow is best given a client of its
/// own.
///
/// Dropping it unsubscribes. It keeps the client alive: a client ends when all its handles and subscriptions are gone.
#[derive(Debug)]
pub struct Subscription {
    events: mpsc::UnboundedReceiver<Item>,
    level: Arc<Level>,
    /// Told by the events that were taken; none without a start.
    progress: Option<Progress>,
    key: SubscriptionKey,
    commands: Commands,
}

/// What waits in the queue.
#[derive(Debug)]
pub(crate) enum Item {
    Event(Event),
    /// Complete up to here, with nothing for the application to know of.
    Position(Position),
}

impl Subscription {
    pub(crate) fn new(
        key: SubscriptionKey,
        commands: Commands,
        start: Option<&Start>,
        bound_bytes: usize,
        drained: Arc<Notify>,
    ) -> (Self, Sink) {
        let level = Arc::new(Level { bytes: AtomicUsize::new(0), bound_bytes, drained });
        let (sender, events) = mpsc::unbounded_channel();
        let progress = start.map(|_| Progress::from_start(start));
        (Self { events, level: Arc::clone(&level), progress, key, commands }, Sink { events: sender, level })
    }

    /// The broker told where it begins.
    pub(crate) fn begin_at(&mut self, position: Option<Position>) {
        if let (Some(progress), Some(position)) = (&mut self.progress, position) {
            progress.reach(&position.epoch_shared(), position.sequence());
        }
    }

    /// The next event, or `None` after the last.
    ///
    /// Cancel safe: when the future is dropped, no event is lost.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    /// The next event if one waits already.
    pub fn try_next(&mut self) -> Option<Event> {
        loop {
            let item = self.events.try_recv().ok()?;
            if let Some(event) = self.take(item) {
                return Some(event);
            }
        }
    }

    /// The next message, for who needs no more: but what says that messages are missing comes as an error at its place, and the
    /// next call goes on behind it. What loses nothing is passed over. `None` after the last.
    ///
    /// Cancel safe: when the future is dropped, nothing is lost.
    pub async fn next_message(&mut self) -> Option<Result<Message, Missing>> {
        loop {
            if let Some(outcome) = self.next().await?.into_message() {
                return Some(outcome);
            }
        }
    }

    /// The position of a subscription with a start: everything up to here was taken with [`next`](Self::next), or is not for
    /// this subscription. It moves while `next` is awaited, also without an event, so that a reader of a rare topic does
    /// not read the whole stream again. `None` without a start, and with [`Start::LastByTopic`](crate::Start::LastByTopic) before
    /// the first message.
    ///
    /// Keep it where the application's state is kept, and come back with [`Start::Behind`](crate::Start::Behind).
    pub fn position(&self) -> Option<&Position> {
        self.progress.as_ref().and_then(Progress::position)
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        while let Some(item) = ready!(self.events.poll_recv(context)) {
            if let Some(event) = self.take(item) {
                return Poll::Ready(Some(event));
            }
        }
        Poll::Ready(None)
    }

    fn take(&mut self, item: Item) -> Option<Event> {
        self.level.lower(&item);
        if let Some(progress) = &mut self.progress {
            progress.on_item(&item);
        }
        match item {
            Item::Event(event) => Some(event),
            Item::Position(_) => None,
        }
    }
}

impl Stream for Subscription {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.get_mut().poll_event(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // A client that has ended has nothing to unsubscribe.
        let _ = self.commands.send(Command::Unsubscribe(self.key));
        self.level.drained.notify_one();
    }
}

/// The client's end of the queue.
///
/// It takes everything: the client asks [`Sink::is_full`] before it reads on, so that a queue exceeds its bound by what was in one
/// WebSocket message at most.
#[derive(Debug)]
pub(crate) struct Sink {
    events: mpsc::UnboundedSender<Item>,
    level: Arc<Level>,
}

impl Sink {
    pub(crate) fn push(&self, item: Item) {
        self.level.bytes.fetch_add(cost_bytes(&item), Ordering::Relaxed);
        // The application may have dropped the subscription a moment ago.
        let _ = self.events.send(item);
    }

    /// Whether the queue holds `times` its bound and is still wanted.
    pub(crate) fn is_full(&self, times: usize) -> bool {
        let held = self.level.bytes.load(Ordering::Relaxed);
        held >= self.level.bound_bytes.saturating_mul(times) && !self.events.is_closed()
    }
}

/// How full a queue is.
#[derive(Debug)]
struct Level {
    bytes: AtomicUsize,
    bound_bytes: usize,
    /// Told whenever a queue at or above its bound loses an event.
    drained: Arc<Notify>,
}

impl Level {
    fn lower(&self, taken: &Item) {
        let before = self.bytes.fetch_sub(cost_bytes(taken), Ordering::Relaxed);
        if before >= self.bound_bytes {
            self.drained.notify_one();
        }
    }
}

fn cost_bytes(item: &Item) -> usize {
    EVENT_OVERHEAD_BYTES
        + match item {
            Item::Event(Event::Message(message)) => message.size_bytes(),
            // Patterns, names and words in it are bounded by the protocol, and these are rare.
            Item::Event(_) | Item::Position(_) => 0,
        }
}
