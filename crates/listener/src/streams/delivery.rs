//! What was committed goes to those who are live.

use std::sync::Arc;

use carillon_router::{Fallen, Router, StreamSequence};
use carillon_streams::{
    keeper::{Group, StreamBatch},
    stream::{Cursor, Epochs, Origin, Resumed, shared_topic},
};
use carillon_wire::{Pattern, Topic};

use super::{
    Known, Place, Streams, TAIL_BYTES,
    readers::{Reader, Stage},
};

/// How much of a group was delivered.
#[derive(Debug)]
pub(crate) struct Progress {
    group: Arc<Group>,
    batch: usize,
    message: usize,
}

impl Progress {
    pub(crate) fn of(group: Arc<Group>) -> Self {
        Self { group, batch: 0, message: 0 }
    }
}

impl Streams {
    /// A group begins: it is there for those who have nearly caught up, and no one has got anything of it.
    pub(crate) fn begin_group(&mut self, router: &mut Router, group: &Arc<Group>) {
        for batch in group.batches() {
            self.begin_batch(router, batch);
        }
        self.tail.push(group, TAIL_BYTES);
    }

    /// Delivers messages of a group while `go_on` says so, which is asked with what each has cost; whether there is more.
    pub(crate) fn deliver(
        &mut self,
        router: &mut Router,
        progress: &mut Progress,
        mut go_on: impl FnMut(usize) -> bool,
    ) -> bool {
        let group = Arc::clone(&progress.group);
        while let Some(batch) = group.batches().get(progress.batch) {
            if self.deliver_batch(router, batch, &mut progress.message, &mut go_on) {
                return true;
            }
            self.end_batch(batch.stream);
            progress.batch += 1;
            progress.message = 0;
        }
        false
    }

    /// Delivers a batch from its message `next` on; whether it was stopped.
    fn deliver_batch(
        &mut self,
        router: &mut Router,
        batch: &StreamBatch,
        next: &mut usize,
        go_on: &mut impl FnMut(usize) -> bool,
    ) -> bool {
        // What this shard began with may still be told.
        if self.known.get(batch.stream as usize).is_none_or(|known| known.is_newer_than(batch)) {
            return false;
        }
        for message in batch.messages_from(*next) {
            *next += 1;
            let Some(known) = self.known.get_mut(batch.stream as usize) else { break };
            if message.sequence <= known.delivered {
                continue;
            }
            known.delivered = message.sequence;
            let Ok(topic) = Topic::new(message.topic) else { continue };
            let at = StreamSequence { stream: batch.stream, sequence: message.sequence };
            let published = router.publish_in_stream(topic, at, message.accepted_nanos, || message.delivery.into());
            if router.has_fallen() {
                self.take_slow(router);
            }
            if !go_on(published.subscriptions as usize + published.nodes_visited as usize) {
                return true;
            }
        }
        false
    }

    /// Makes readers of the subscriptions that were too slow.
    pub(crate) fn take_slow(&mut self, router: &mut Router) {
        self.take_fallen(router, |known| known.metrics.readers.fell_behind.inc());
    }

    fn take_fallen(&mut self, router: &mut Router, count: impl Fn(&Known)) {
        let mut fallen = Vec::new();
        router.take_fallen(&mut fallen);
        for Fallen { connection: key, subscription, stream, position } in fallen {
            let (Some(known), Some(pattern)) = (self.known.get(stream as usize), router.pattern(key, subscription))
            else {
                continue;
            };
            let origin = known.origin(position);
            let (cursor, _) = Cursor::new(&origin, &known.newest());
            count(known);
            let place = Place { key, subscription, stream: known.name.as_str() };
            place.tell_behind(router);
            let reader = Reader { subscription, stream, pattern, stage: Stage::On(cursor), knows_log: true };
            self.readers.entry(key).or_default().behind.push_back(reader);
        }
    }

    fn begin_batch(&mut self, router: &mut Router, told: &StreamBatch) {
        let Some(known) = self.known.get(told.stream as usize).filter(|known| !known.is_newer_than(told)) else {
            return;
        };
        let before = told.batch.first.saturating_sub(1);
        if told.batch.epochs.is_newer_than(&known.epochs) {
            // Whoever is live leaves at the place that it has in the old epoch, and reads on in the new one.
            self.hold_live(router, told.stream);
            self.take_fallen(router, |_| {});
            self.go_on_from(told.stream, before, &told.batch.epochs);
        } else if before > known.delivered {
            // A store that was opened again had kept what was in flight when it failed. That is to be read.
            self.hold_live(router, told.stream);
            self.go_on_from(told.stream, before, &told.batch.epochs);
            self.take_fallen(router, |_| {});
        }
        if let Some(known) = self.known.get_mut(told.stream as usize) {
            known.bounds = told.batch.bounds;
        }
    }

    /// Lets everybody who is live on a stream fall behind at its place.
    fn hold_live(&self, router: &mut Router, stream: u32) {
        let definition = self.routes.definitions().get(stream as usize);
        if let (Some(known), Some(definition)) = (self.known.get(stream as usize), definition) {
            let meets = |pattern: Pattern<'_>| {
                definition.patterns.iter().any(|own| shared_topic(own.as_pattern(), pattern).is_some())
            };
            router.hold_stream(stream, known.delivered, meets);
        }
    }

    fn go_on_from(&mut self, stream: u32, delivered: u64, epochs: &Arc<Epochs>) {
        self.tail.clear(stream);
        if let Some(known) = self.known.get_mut(stream as usize) {
            (known.delivered, known.epochs) = (delivered, Arc::clone(epochs));
        }
    }

    /// The shard has come to where some of its readers may be already.
    fn end_batch(&mut self, stream: u32) {
        if let Some(known) = self.known.get_mut(stream as usize) {
            self.woken.extend(known.ahead.drain());
        }
    }
}

impl Known {
    /// Whether what is told is of an epoch that is over.
    fn is_newer_than(&self, told: &StreamBatch) -> bool {
        self.epochs.is_newer_than(&told.batch.epochs)
    }

    /// Behind a position of the epoch that this shard knows.
    pub(super) fn origin(&self, position: u64) -> Origin {
        Origin {
            epochs: Arc::clone(&self.epochs),
            position,
            last: self.delivered,
            last_by_topic_as_of: 0,
            resumed: Resumed::Fresh,
        }
    }
}
