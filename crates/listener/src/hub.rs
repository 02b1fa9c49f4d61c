//! What the sessions of one shard share: the router, the publications on their way to the other shards, and the counts.
//! It does no I/O and reads no clock.

use std::sync::Arc;

use carillon_metrics::{DropReason, ShardMetrics};
use carillon_router::{ConnectionKey, Encoded, Router, SubscribeError, UnsubscribeError};
use carillon_streams::{keeper::Submissions, stream::Durability};
use carillon_wire::{
    BrokerMessage, Id, PatternBuf, Start, Topic,
    broker_message::{Delivery, Ended},
    client_message::{History, Publish, Subscribe, Unsubscribe},
};

use crate::{
    clock::Moment,
    settings::Limits,
    shard::queue::Batch,
    streams::{NotStarted, Streams, Told},
};

/// The work of one turn, counted in subscriptions that got a message: about a millisecond. A quarter of it makes the
/// batches of 1,000 subscribers so small that a delivery at full speed costs more than twice as much.
const WORK_FOR_EACH_TURN: usize = 64 << 10;
/// The work of all connections that are busy, before those have their turn for whom something has just come.
const WORK_FOR_EACH_ROUND: usize = 2 * WORK_FOR_EACH_TURN;
const LEAST_WORK_FOR_A_TURN: usize = 4 << 10;
/// What a publication costs beside its deliveries, in the same measure; so a turn has 256 of them at most, far fewer than
/// an outbox holds.
const WORK_FOR_EACH_PUBLICATION: usize = 256;
/// What everything else costs that a client can send, in the same measure, so that none of it holds the others up for
/// long: a turn has a thousand small messages, and eight that are refused or carry credentials to be looked at.
const WORK_FOR_EACH_MESSAGE: usize = 64;
const WORK_FOR_EACH_SUBSCRIPTION: usize = 256;
const WORK_FOR_EACH_CONTROL_FRAME: usize = 1024;
const WORK_FOR_EACH_REFUSAL: usize = 8 << 10;
const WORK_FOR_CREDENTIALS: usize = 8 << 10;

/// What a connection does beside publishing, which counts by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Message,
    Subscription,
    ControlFrame,
    Refusal,
    Credentials,
}

/// What a connection has published, on its way.
pub(crate) struct Outgoing {
    /// For the other shards.
    pub(crate) batch: Option<Batch>,
    /// For the keeper of the streams.
    pub(crate) submissions: Vec<(Durability, Submissions)>,
}

/// The shard's part of the broker, without sockets.
pub(crate) struct Hub {
    pub(crate) router: Router,
    /// Where there are any.
    pub(crate) streams: Option<Streams>,
    pub(crate) metrics: Arc<ShardMetrics>,
    /// Publications for the other shards; none where there are none.
    batch: Option<Batch>,
    /// What is left of the turn's share of work.
    pub(crate) work_left: usize,
    /// Where a publication is encoded when there is no batch.
    scratch: Vec<u8>,
}

impl Hub {
    /// `has_peers`: whether there are other shards that need the publications too.
    pub(crate) fn new(limits: &Limits, metrics: Arc<ShardMetrics>, has_peers: bool, streams: Option<Streams>) -> Self {
        let router = Router::new(carillon_router::Limits {
            max_subscriptions: limits.max_subscriptions,
            max_wildcards: limits.max_wildcards,
            outbox_bytes: limits.outbox_bytes,
            outbox_messages: limits.outbox_messages,
        });
        Self { router, streams, metrics, batch: has_peers.then(Batch::default), work_left: 0, scratch: Vec::new() }
    }

    /// A turn begins, one of so many that want more than one: they share what others may have to wait for.
    pub(crate) fn begin_turn(&mut self, busy: usize) {
        self.work_left = (WORK_FOR_EACH_ROUND / busy.max(1)).clamp(LEAST_WORK_FOR_A_TURN, WORK_FOR_EACH_TURN);
    }

    /// Whether the turn has done its share, so that the others come next: those who wait for the shard, and those who
    /// have to empty the outboxes that this turn has filled.
    pub(crate) fn is_turn_over(&self) -> bool {
        self.work_left == 0
    }

    /// Counts what a connection does against its turn.
    pub(crate) fn spend(&mut self, work: Work) {
        let work = match work {
            Work::Message => WORK_FOR_EACH_MESSAGE,
            Work::Subscription => WORK_FOR_EACH_SUBSCRIPTION,
            Work::ControlFrame => WORK_FOR_EACH_CONTROL_FRAME,
            Work::Refusal => WORK_FOR_EACH_REFUSAL,
            Work::Credentials => WORK_FOR_CREDENTIALS,
        };
        self.work_left = self.work_left.saturating_sub(work);
    }

    fn publish_here(&mut self, topic: Topic<'_>, accepted_nanos: u64, encode: impl FnOnce() -> Box<[u8]>) {
        let published = self.router.publish(topic, accepted_nanos, encode);
        self.take_fallen();
        let work = WORK_FOR_EACH_PUBLICATION + published.subscriptions as usize + published.nodes_visited as usize;
        self.work_left = self.work_left.saturating_sub(work);
    }

    pub(crate) fn connect(&mut self) -> ConnectionKey {
        self.router.connect()
    }

    /// Forgets a connection; what still waits for it is counted as dropped.
    pub(crate) fn disconnect(&mut self, key: ConnectionKey, reason: DropReason) {
        let waiting = self.router.disconnect(key);
        if let Some(streams) = &mut self.streams {
            streams.disconnect(key);
        }
        self.metrics.messages_dropped.of(reason).add(waiting);
    }

    /// Subscribes from now on.
    pub(crate) fn subscribe(&mut self, key: ConnectionKey, subscribe: &Subscribe<'_>) -> Result<(), SubscribeError> {
        self.router.subscribe(key, subscribe.id, subscribe.pattern, subscribe.overflow)
    }

    /// Subscribes with a start in a stream. The reply comes with [`Hub::on_reply`], where it is not returned.
    pub(crate) fn subscribe_from(
        &mut self,
        key: ConnectionKey,
        subscribe: &Subscribe<'_>,
        start: &Start<'_>,
    ) -> Result<Option<Told>, NotStarted> {
        let Self { router, streams, .. } = self;
        let streams = streams.as_mut().ok_or(NotStarted::NoStream)?;
        streams.subscribe(router, key, subscribe, start)
    }

    /// Asks for a page of what a stream keeps.
    pub(crate) fn history(&mut self, key: ConnectionKey, history: &History<'_>) -> Result<(), NotStarted> {
        let Self { router, streams, .. } = self;
        let streams = streams.as_mut().ok_or(NotStarted::NoStream)?;
        streams.history(router, key, history)
    }

    /// The reply is queued behind the subscription's last delivery. Tells whether the subscription itself has not been
    /// answered yet.
    pub(crate) fn unsubscribe(
        &mut self,
        key: ConnectionKey,
        unsubscribe: &Unsubscribe,
    ) -> Result<bool, UnsubscribeError> {
        let mut reply = Vec::new();
        BrokerMessage::ok(unsubscribe.id).encode(&mut reply);
        self.router.unsubscribe(key, unsubscribe.subscription, reply.into())?;
        Ok(self.forget_in_streams(key, unsubscribe.subscription))
    }

    fn forget_in_streams(&mut self, key: ConnectionKey, subscription: Id) -> bool {
        self.streams.as_mut().is_some_and(|streams| streams.forget(key, subscription))
    }

    /// The live subscriptions of a connection.
    pub(crate) fn subscriptions(&self, key: ConnectionKey) -> Vec<(Id, PatternBuf)> {
        self.router.subscriptions(key).collect()
    }

    /// Ends a subscription that its client did not ask to end; the client is told behind its last delivery. Tells whether
    /// the subscription itself has not been answered yet.
    pub(crate) fn end_subscription(&mut self, key: ConnectionKey, ended: &Ended<'_>) -> bool {
        let mut message = Vec::new();
        BrokerMessage::Ended(*ended).encode(&mut message);
        // One that has ended meanwhile needs no end.
        let _ = self.router.unsubscribe(key, ended.subscription, message.into());
        self.forget_in_streams(key, ended.subscription)
    }

    /// The stream that keeps a topic.
    pub(crate) fn stream_of(&self, topic: Topic<'_>) -> Option<u32> {
        self.streams.as_ref().and_then(|streams| streams.of_topic(topic))
    }

    /// Takes a publication into a stream, which is answered when it is kept.
    pub(crate) fn submit(&mut self, key: ConnectionKey, stream: u32, publish: &Publish<'_>, moment: Moment) {
        self.metrics.payload_bytes_received.add(publish.payload.len() as u64);
        self.work_left = self.work_left.saturating_sub(WORK_FOR_EACH_PUBLICATION);
        if let Some(streams) = &mut self.streams {
            streams.submit(key, stream, publish, moment);
        }
    }

    /// Gives a publication to this shard's subscribers, and keeps it for the other shards'.
    pub(crate) fn publish(&mut self, publish: &Publish<'_>, moment: Moment) {
        let delivery = BrokerMessage::Delivery(Delivery {
            topic: publish.topic,
            payload: publish.payload,
            time_us: moment.unix_us,
            headers: publish.headers,
            in_stream: None,
        });
        self.metrics.messages_received.inc();
        self.metrics.payload_bytes_received.add(publish.payload.len() as u64);
        // Taken out for the call, as the router is borrowed for it too.
        if let Some(mut batch) = self.batch.take() {
            if batch.is_empty() {
                batch.accepted_nanos = moment.nanos;
            }
            let bytes = batch.push(publish.topic.as_str(), |out| delivery.encode(out));
            self.publish_here(publish.topic, moment.nanos, || bytes.into());
            self.batch = Some(batch);
        } else {
            let mut scratch = std::mem::take(&mut self.scratch);
            self.publish_here(publish.topic, moment.nanos, || {
                scratch.clear();
                delivery.encode(&mut scratch);
                scratch.as_slice().into()
            });
            self.scratch = scratch;
        }
    }

    /// Gives what another shard accepted to this shard's subscribers, as far as the turn goes; whether there is more.
    pub(crate) fn deliver<'b>(
        &mut self,
        publications: &mut impl Iterator<Item = (&'b str, &'b [u8])>,
        accepted_nanos: u64,
    ) -> bool {
        while !self.is_turn_over() {
            let Some((name, delivery)) = publications.next() else { return false };
            // It was checked where it was accepted; a second look costs little beside a wrong topic.
            if let Ok(topic) = Topic::new(name) {
                self.publish_here(topic, accepted_nanos, || delivery.into());
            }
        }
        true
    }

    /// Lets no connection keep more than so many bytes in its outbox.
    pub(crate) fn shrink_outboxes(&mut self, max_bytes: usize) {
        self.router.shrink_outboxes(max_bytes);
        self.take_fallen();
    }

    /// How much has been published in this turn, for the other shards and for streams.
    pub(crate) fn outgoing_bytes(&self) -> usize {
        let submitted = self.streams.as_ref().map_or(0, Streams::submitted_bytes);
        self.batch.as_ref().map_or(0, Batch::size_bytes) + submitted
    }

    /// Takes what has been published in this turn, if anything was, for the other shards and for streams.
    pub(crate) fn take_outgoing(&mut self) -> Option<Outgoing> {
        let batch = self.batch.as_mut().filter(|batch| !batch.is_empty()).map(|batch| {
            // The next one will be about as large.
            let next = Batch::with_capacity_of(batch);
            std::mem::replace(batch, next)
        });
        let submissions: Vec<_> =
            self.streams.as_mut().map(|streams| streams.take_submissions().collect()).unwrap_or_default();
        (batch.is_some() || !submissions.is_empty()).then_some(Outgoing { batch, submissions })
    }

    /// Bytes of streams' history that wait for a connection.
    pub(crate) fn page_bytes(&self, key: ConnectionKey) -> usize {
        self.router.waiting(key).map_or(0, |waiting| waiting.aside_bytes)
    }

    /// Size of the next thing in a connection's outbox, in bytes.
    pub(crate) fn next_bytes(&self, key: ConnectionKey) -> Option<usize> {
        self.router.next_bytes(key)
    }

    /// Takes the next thing out of a connection's outbox.
    pub(crate) fn next(&mut self, key: ConnectionKey) -> Option<carillon_router::Outgoing> {
        self.router.next(key)
    }

    /// Takes messages out of a connection's outbox as long as `take` does, where nothing else may come before one of them.
    pub(crate) fn take_run(&mut self, key: ConnectionKey, take: impl FnMut(&Encoded) -> bool) {
        self.router.take_run(key, take);
    }

    /// Whether the router gave a connection up, because a subscription asked for that rather than for a loss.
    pub(crate) fn is_overflowed(&self, key: ConnectionKey) -> bool {
        self.router.is_overflowed(key)
    }

    /// Connections that have something to write or are to be closed since the last call are appended; tells whether one
    /// of them, or another, has so much that it should not wait for more.
    pub(crate) fn take_ready(&mut self, ready: &mut Vec<ConnectionKey>) -> bool {
        self.router.take_ready(ready);
        self.router.take_pressing()
    }

    /// Connections that may have something to read on in a stream are appended.
    pub(crate) fn take_woken(&mut self, woken: &mut Vec<ConnectionKey>) {
        if let Some(streams) = &mut self.streams {
            streams.take_woken(woken);
        }
    }

    /// Whether a connection reads what a stream has kept, so that what was written makes room for more of it.
    pub(crate) fn reads_on(&self, key: ConnectionKey) -> bool {
        self.streams.as_ref().is_some_and(|streams| streams.reads_on(key))
    }

    /// Shows the router's own counts in the metrics.
    pub(crate) fn show_counts(&mut self) {
        let counts = self.router.counts();
        let metrics = &self.metrics;
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        metrics.subscriptions.set(gauge(counts.subscriptions));
        metrics.queued_bytes.set(gauge(counts.memory_bytes));
        metrics.outbox_bytes.set(gauge(counts.outbox_bytes));
        metrics.outbox_messages.set(gauge(counts.outbox_messages));
        let dropped = self.router.take_dropped();
        metrics.messages_dropped.of(DropReason::DropOldest).add(dropped.drop_oldest);
        metrics.messages_dropped.of(DropReason::SlowConsumer).add(dropped.slow_consumer);
    }
}
