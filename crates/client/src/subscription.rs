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
    message::Event,
};

/// What an event is counted with beside its own bytes, so that empty messages cannot grow a queue without bound.
const EVENT_OVERHEAD_BYTES: usize = 128;

/// Live subscriptions to one or more patterns, as a stream of [`Event`]s. Made by
/// [`Client::subscribe`](crate::Client::subscribe).
///
/// Events wait in a queue until they are taken ([`receive_queue_bytes`](crate::ClientBuilder::receive_queue_bytes)). **While one
/// subscription's queue is full, the client stops reading its connection**, and so holds up all its subscriptions; the broker's
/// outbox then fills, and the overflow policy decides what happens. A subscription that may be slow is best given a client of its
/// own.
///
/// Dropping it unsubscribes. It keeps the client alive: a client ends when all its handles and subscriptions are gone.
#[derive(Debug)]
pub struct Subscription {
    events: mpsc::UnboundedReceiver<Event>,
    level: Arc<Level>,
    key: SubscriptionKey,
    commands: Commands,
}

impl Subscription {
    pub(crate) fn new(
        key: SubscriptionKey,
        commands: Commands,
        bound_bytes: usize,
        drained: Arc<Notify>,
    ) -> (Self, Sink) {
        let level = Arc::new(Level { bytes: AtomicUsize::new(0), bound_bytes, drained });
        let (sender, events) = mpsc::unbounded_channel();
        (Self { events, level: Arc::clone(&level), key, commands }, Sink { events: sender, level })
    }

    /// The next event, or `None` after the last.
    ///
    /// Cancel safe: when the future is dropped, no event is lost.
    pub async fn next(&mut self) -> Option<Event> {
        std::future::poll_fn(|context| self.poll_event(context)).await
    }

    /// The next event if one waits already.
    pub fn try_next(&mut self) -> Option<Event> {
        let event = self.events.try_recv().ok()?;
        self.level.lower(&event);
        Some(event)
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let event = ready!(self.events.poll_recv(context));
        if let Some(event) = &event {
            self.level.lower(event);
        }
        Poll::Ready(event)
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
    events: mpsc::UnboundedSender<Event>,
    level: Arc<Level>,
}

impl Sink {
    pub(crate) fn push(&self, event: Event) {
        self.level.bytes.fetch_add(cost_bytes(&event), Ordering::Relaxed);
        // The application may have dropped the subscription a moment ago.
        let _ = self.events.send(event);
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
    fn lower(&self, taken: &Event) {
        let before = self.bytes.fetch_sub(cost_bytes(taken), Ordering::Relaxed);
        if before >= self.bound_bytes {
            self.drained.notify_one();
        }
    }
}

fn cost_bytes(event: &Event) -> usize {
    EVENT_OVERHEAD_BYTES
        + match event {
            Event::Message(message) => message.size_bytes(),
            Event::Gap(_) | Event::Reconnected(_) | Event::Ended(_) => 0,
        }
}
