//! The handle of a client.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use carillon_wire::{Overflow, PatternBuf};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::{
    builder::{ClientBuilder, Settings},
    command::{Command, Commands, Publish, Subscribe},
    connection::{dial::Dial, establish},
    driver::Driver,
    error::{ConnectError, ConnectionLost, HistoryError, PublishError, SubscribeError},
    history::History,
    observer::{Counters, NoticeHandler, Observer},
    publication::{Ack, Publication},
    start::Start,
    subscription::Subscription,
};

/// A client of one broker. Clones share its connection.
///
/// A task of the tokio runtime that [`connect`](ClientBuilder::connect) was called in does the work. It ends after
/// [`close`](Self::close), when all handles and subscriptions were dropped (then it still sends what waits), or when the connection
/// is lost and the [`ReconnectPolicy`](crate::ReconnectPolicy) or the broker forbids another.
///
/// While there is no connection, publications wait in the send queue, and so does who publishes once that is full.
#[derive(Debug, Clone)]
pub struct Client {
    commands: Commands,
    shared: Arc<Shared>,
}

/// What handles and driver share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) observer: Arc<Observer>,
    /// Wakes the driver when a full subscription was taken from.
    pub(crate) drained: Arc<Notify>,
    /// Bytes that may still be put into the send queue.
    budget: Arc<Semaphore>,
    send_queue_bytes: u32,
    receive_queue_bytes: usize,
    last_key: AtomicU64,
    /// The broker's limit of the last welcome; 0 before the first.
    max_payload_bytes: AtomicU64,
    ended: OnceLock<ConnectionLost>,
}

impl Shared {
    fn new(settings: &Settings, handler: Option<NoticeHandler>) -> Self {
        // A semaphore counts at most so many permits, and one reservation is a u32.
        let most = Semaphore::MAX_PERMITS.min(u32::MAX as usize);
        let send_queue_bytes = u32::try_from(settings.send_queue_bytes.clamp(1, most)).unwrap_or(u32::MAX);
        Self {
            observer: Arc::new(Observer::new(handler)),
            drained: Arc::default(),
            budget: Arc::new(Semaphore::new(send_queue_bytes as usize)),
            send_queue_bytes,
            receive_queue_bytes: settings.receive_queue_bytes.max(1),
            last_key: AtomicU64::new(0),
            max_payload_bytes: AtomicU64::new(0),
            ended: OnceLock::new(),
        }
    }

    pub(crate) fn welcomed(&self, max_payload_bytes: u64) {
        self.max_payload_bytes.store(max_payload_bytes, Ordering::Relaxed);
    }

    /// Nothing can be asked of the client any more; who waits for room in the send queue is woken.
    pub(crate) fn end(&self, cause: ConnectionLost) {
        let _ = self.ended.set(cause);
        self.budget.close();
    }
}

impl Client {
    /// Sets a client up for a broker, as in `wss://broker.example.com:8443/ws`. The port is 443 and the path `/ws` where the URL
    /// has none.
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(url.into())
    }

    pub(crate) async fn start<D: Dial>(
        dialer: D,
        settings: Settings,
        handler: Option<NoticeHandler>,
    ) -> Result<Self, ConnectError> {
        // Boxed, because it is large and over soon.
        let first = Box::pin(establish(&dialer, &settings)).await?;
        let shared = Arc::new(Shared::new(&settings, handler));
        let (commands, receiver) = mpsc::unbounded_channel();
        let driver = Driver::new(dialer, settings, receiver, Arc::clone(&shared));
        tokio::spawn(driver.run(first));
        Ok(Self { commands, shared })
    }

    /// Publishes without asking for an acknowledgement: at most once.
    ///
    /// Returns when the message is in the send queue; waits while that is full. What one task publishes leaves in that order. A
    /// refusal that comes later is counted ([`counters`](Self::counters)) and told to
    /// [`on_notice`](ClientBuilder::on_notice).
    ///
    /// # Errors
    /// A topic that is not valid, a payload above the broker's limit, or a client that has ended.
    ///
    /// # Cancel safety
    /// When the future is dropped before it is done, nothing is sent.
    pub async fn publish(&self, topic: &str, payload: impl Into<Bytes>) -> Result<(), PublishError> {
        self.publication(topic, payload).send().await
    }

    /// Publishes, and waits until the broker has accepted the message.
    ///
    /// # Errors
    /// As [`publish`](Self::publish), and [`PublishError::Refused`] when nobody got it, and
    /// [`PublishError::OutcomeUnknown`] when the connection was lost before the reply came.
    ///
    /// # Cancel safety
    /// When the future is dropped, the message may or may not be published.
    pub async fn publish_acknowledged(&self, topic: &str, payload: impl Into<Bytes>) -> Result<Ack, PublishError> {
        self.publication(topic, payload).acknowledged().await
    }

    /// A message with headers, or one whose acknowledgement is awaited later.
    ///
    /// ```no_run
    /// # async fn example(client: carillon_client::Client) -> Result<(), carillon_client::PublishError> {
    /// let pending = client
    ///     .publication("orders.eu.created", r#"{"id":1}"#)
    ///     .header("content-type", "application/json")
    ///     .enqueue()
    ///     .await?;
    /// // ... more of them, and then:
    /// pending.await?;
    /// # Ok(()) }
    /// ```
    pub fn publication(&self, topic: &str, payload: impl Into<Bytes>) -> Publication<'_> {
        Publication::new(self, topic, payload.into())
    }

    /// Subscribes to all topics that a pattern matches, from now on or from a [start](SubscribeOptions::start) in the stream that
    /// keeps them; returns when the broker has accepted it.
    ///
    /// The subscription outlives the connection: when the client connects again, it is made again. With a start it resumes where
    /// it was, and [`Event::Resumed`](crate::Event::Resumed) tells how; without one, an
    /// [`Event::Reconnected`](crate::Event::Reconnected) stands where messages are missing.
    ///
    /// # Errors
    /// A pattern that is not valid, the broker's refusal, or a client that has ended. While the client reconnects it waits.
    ///
    /// # Cancel safety
    /// When the future is dropped, there is no subscription.
    pub async fn subscribe(&self, pattern: &str, options: SubscribeOptions) -> Result<Subscription, SubscribeError> {
        self.subscribe_many([pattern], options).await
    }

    /// Subscribes to several patterns as one stream, in which a message comes once, however many of the patterns match it.
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe); when one pattern is refused, there is no subscription to any of them. A subscription with
    /// a start has one pattern.
    ///
    /// # Cancel safety
    /// When the future is dropped, there is no subscription.
    pub async fn subscribe_many<'p>(
        &self,
        patterns: impl IntoIterator<Item = &'p str>,
        options: SubscribeOptions,
    ) -> Result<Subscription, SubscribeError> {
        let mut checked: Vec<PatternBuf> = Vec::new();
        for pattern in patterns {
            let valid = PatternBuf::new(pattern)
                .map_err(|source| SubscribeError::InvalidPattern { pattern: pattern.to_owned(), source })?;
            if !checked.contains(&valid) {
                checked.push(valid);
            }
        }
        if checked.is_empty() {
            return Err(SubscribeError::NoPattern);
        }
        if options.start.is_some() && checked.len() > 1 {
            return Err(SubscribeError::ManyPatternsWithStart { patterns: checked.len() });
        }
        let key = self.shared.last_key.fetch_add(1, Ordering::Relaxed);
        let drained = Arc::clone(&self.shared.drained);
        // Dropped on every way out but the last, and then it unsubscribes.
        let (commands, bound_bytes) = (self.commands.clone(), self.shared.receive_queue_bytes);
        let (mut subscription, sink) = Subscription::new(key, commands, options.start.as_ref(), bound_bytes, drained);
        let (reply, outcome) = oneshot::channel();
        let SubscribeOptions { overflow, start } = options;
        let subscribe = Subscribe { key, patterns: checked, overflow, start, sink, reply };
        self.command(Command::Subscribe(subscribe)).map_err(SubscribeError::Ended)?;
        let begins_at = outcome.await.unwrap_or_else(|_| Err(SubscribeError::Ended(self.end_cause())))?;
        subscription.begin_at(begins_at);
        Ok(subscription)
    }

    /// What the stream that keeps these topics has, from a start on, page by page and without a subscription. Nothing is asked
    /// before the first page is wanted.
    ///
    /// # Errors
    /// A pattern that is not valid.
    pub fn history(&self, pattern: &str, start: Start) -> Result<History, HistoryError> {
        let valid = PatternBuf::new(pattern)
            .map_err(|source| HistoryError::InvalidPattern { pattern: pattern.to_owned(), source })?;
        Ok(History::new(self.clone(), valid, start))
    }

    /// Waits until the broker has seen everything that was published through this client before: then all refusals of it are
    /// counted.
    ///
    /// # Errors
    /// The connection was lost meanwhile, so that publications without acknowledgement may be lost too.
    pub async fn flush(&self) -> Result<(), ConnectionLost> {
        self.ask(Command::Flush).await
    }

    /// Sends what waits, awaits the replies that are due, and closes the connection with the code 1000. Then all handles and
    /// subscriptions have ended. A second call gives the outcome of the end that there was.
    ///
    /// # Errors
    /// Not everything left or was answered: there was no connection, it was lost on the way, or the close timeout ran out.
    pub async fn close(&self) -> Result<(), ConnectionLost> {
        match self.ask(Command::Close).await {
            Err(ConnectionLost::ClosedByApplication) => Ok(()),
            outcome => outcome,
        }
    }

    /// What the client has counted since it was made.
    pub fn counters(&self) -> Counters {
        self.shared.observer.counters()
    }

    async fn ask(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), ConnectionLost>>) -> Command,
    ) -> Result<(), ConnectionLost> {
        let (reply, outcome) = oneshot::channel();
        self.command(command(reply))?;
        outcome.await.unwrap_or_else(|_| Err(self.end_cause()))
    }

    pub(crate) fn command(&self, command: Command) -> Result<(), ConnectionLost> {
        self.commands.send(command).map_err(|_| self.end_cause())
    }

    pub(crate) fn end_cause(&self) -> ConnectionLost {
        let stopped = || ConnectionLost::Broken { reason: "the client's runtime was stopped".to_owned() };
        self.shared.ended.get().cloned().unwrap_or_else(stopped)
    }

    pub(crate) fn check_size(&self, publish: &Publish) -> Result<(), PublishError> {
        let (bytes, max_bytes) =
            (publish.content_bytes() as u64, self.shared.max_payload_bytes.load(Ordering::Relaxed));
        if max_bytes != 0 && bytes > max_bytes { Err(PublishError::TooLarge { bytes, max_bytes }) } else { Ok(()) }
    }

    /// Waits for room in the send queue. What is larger than the whole queue waits until that is empty.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, PublishError> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.shared.send_queue_bytes);
        let permit = Arc::clone(&self.shared.budget).acquire_many_owned(bytes).await;
        permit.map_err(|_| PublishError::Ended(self.end_cause()))
    }
}

/// How a subscription is made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscribeOptions {
    /// What the broker does when this client takes messages too slowly: drop the oldest, which the subscription is told as a
    /// [`Gap`](crate::Gap) (the default), or close the connection, which shows as a reconnect. It is about messages that no stream
    /// keeps: of a stream nothing is dropped, the subscription falls behind and catches up.
    pub overflow: Overflow,
    /// Where in a stream it starts. Without one (the default) it gets what is published from now on, in any streams or none, and
    /// what is published while the connection is lost is missing.
    pub start: Option<Start>,
}

impl Default for SubscribeOptions {
    fn default() -> Self {
        Self { overflow: Overflow::DropOldest, start: None }
    }
}

impl SubscribeOptions {
    /// Sets [`overflow`](Self::overflow).
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// Sets [`start`](Self::start).
    #[must_use]
    pub fn start(mut self, start: Start) -> Self {
        self.start = Some(start);
        self
    }
}
