//! What the keeper tells of streams and their store, into metrics, readiness and log.

use std::{
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use carillon_metrics::{StoreMetrics, StreamMetrics, StreamRefusal};
use carillon_streams::{
    keeper::{Observer, ReadCounts, StoreStatus, StreamGauges},
    stream::Refusal,
};

use super::streams::Instruments;
use crate::admin::{NotReady, Readiness};

/// Counts for the metrics, and tells whoever has to know that the store has failed.
#[derive(Debug)]
pub(super) struct Counting {
    streams: Vec<Arc<StreamMetrics>>,
    store: Option<Arc<StoreMetrics>>,
    reserve_bytes: u64,
    readiness: Arc<Readiness>,
    /// What reading costs, once the keeper runs.
    read_counts: OnceLock<Arc<ReadCounts>>,
    told: Mutex<Told>,
}

/// What was told so far, to tell only what is new.
#[derive(Debug, Default)]
struct Told {
    status: StoreStatus,
    read_bytes: u64,
    page_hits: u64,
    page_misses: u64,
}

impl Counting {
    pub(super) fn new(instruments: &Instruments, reserve_bytes: u64, readiness: Arc<Readiness>) -> Self {
        Self {
            streams: instruments.streams.iter().map(|(_, metrics)| Arc::clone(metrics)).collect(),
            store: instruments.store.clone(),
            reserve_bytes,
            readiness,
            read_counts: OnceLock::new(),
            // Until it is known better, nothing is missing.
            told: Mutex::new(Told {
                status: StoreStatus { has_reserve: true, ..StoreStatus::default() },
                ..Told::default()
            }),
        }
    }

    /// Reads what reading costs from here on.
    pub(super) fn watch_reads(&self, counts: Arc<ReadCounts>) {
        // There is one keeper, so a second call brings nothing else.
        let _ = self.read_counts.set(counts);
    }

    fn stream(&self, index: u32) -> Option<&StreamMetrics> {
        self.streams.get(index as usize).map(|stream| &**stream)
    }

    fn tell(&self, before: &StoreStatus, now: &StoreStatus) {
        match (&before.failed, &now.failed) {
            (was, Some(reason)) if was.as_ref() != Some(reason) => {
                self.readiness.raise(NotReady::StoreFailed { reason: reason.clone() });
                tracing::error!(
                    %reason,
                    "the store has failed: streams on disk take no publications until `carillon stream reopen`, or a restart"
                );
            }
            (Some(_), None) => {
                self.readiness.clear(&NotReady::StoreFailed { reason: String::new() });
                tracing::info!("the store is open again, and streams on disk take publications");
            }
            _ => {}
        }
        if let Some(reason) =
            now.compaction_failed.as_ref().filter(|_| now.compaction_failed != before.compaction_failed)
        {
            tracing::warn!(%reason, "the store does not give back the room of messages that are gone; it tries again by itself");
        }
        if now.damaged_messages > before.damaged_messages {
            let messages = now.damaged_messages;
            tracing::error!(messages, "messages of streams on disk cannot be read any more; readers are told which");
        }
        if self.reserve_bytes > 0 && before.has_reserve != now.has_reserve {
            if now.has_reserve {
                tracing::info!("the room that retention needs on a full disk is held again");
            } else {
                tracing::warn!(
                    bytes = self.reserve_bytes,
                    "the disk has no room to hold for retention to work in when it is full (store.reserve_bytes)"
                );
            }
        }
    }

    fn count_reads(&self, store: &StoreMetrics, told: &mut Told) {
        let Some(counts) = self.read_counts.get() else { return };
        let (bytes, hits, misses) = (counts.disk_bytes(), counts.page_hits(), counts.page_misses());
        store.read_bytes.add(bytes.saturating_sub(told.read_bytes));
        store.page_cache_hits.add(hits.saturating_sub(told.page_hits));
        store.page_cache_misses.add(misses.saturating_sub(told.page_misses));
        (told.read_bytes, told.page_hits, told.page_misses) = (bytes, hits, misses);
    }
}

impl Observer for Counting {
    fn committed(&self, stream: u32, messages: u64, took: Duration) {
        let Some(stream) = self.stream(stream) else { return };
        stream.published.add(messages);
        stream.commits.inc();
        stream.commit.observe_nanos(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        stream.group_messages.observe(messages);
    }

    fn duplicate(&self, stream: u32) {
        if let Some(stream) = self.stream(stream) {
            stream.duplicates.inc();
        }
    }

    fn refused(&self, stream: u32, refusal: &Refusal) {
        let Some(metrics) = self.stream(stream) else { return };
        if let Some(reason) = reason_of(refusal) {
            metrics.refused.of(reason).inc();
        } else {
            tracing::error!(stream, %refusal, "a publication was refused for a reason that should not come up");
        }
    }

    fn kept(&self, stream: u32, gauges: &StreamGauges) {
        let Some(stream) = self.stream(stream) else { return };
        stream.messages.set_unsigned(gauges.totals.messages);
        stream.bytes.set_unsigned(gauges.totals.bytes);
        stream.first_sequence.set_unsigned(gauges.bounds.first);
        stream.last_sequence.set_unsigned(gauges.bounds.last);
        stream.topics.set_unsigned(gauges.topics as u64);
        stream.remembered_ids.set_unsigned(gauges.remembered_ids as u64);
    }

    fn store(&self, status: &StoreStatus) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = &self.store {
            store.bytes.set_unsigned(status.bytes);
            store.segments.set_unsigned(status.segments);
            store.failed.set(i64::from(status.failed.is_some()));
            store.reserve_bytes.set_unsigned(if status.has_reserve { self.reserve_bytes } else { 0 });
            store.damaged_messages.set_unsigned(status.damaged_messages);
            self.count_reads(store, &mut told);
        }
        self.tell(&told.status, status);
        told.status = status.clone();
    }
}

/// What the metrics call it. There is none for a defect of the broker.
fn reason_of(refusal: &Refusal) -> Option<StreamRefusal> {
    Some(match refusal {
        Refusal::UnexpectedLast { .. } => StreamRefusal::UnexpectedSequence,
        Refusal::TooManyTopics { .. } => StreamRefusal::TooManyTopics,
        Refusal::TooLarge { .. } => StreamRefusal::TooLarge,
        Refusal::MessageId { .. } => StreamRefusal::MessageId,
        Refusal::Stopped => StreamRefusal::Stopped,
        Refusal::NotKnown => StreamRefusal::NotKnown,
        Refusal::Exhausted => StreamRefusal::Exhausted,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use carillon_metrics::BrokerMetrics;

    use super::*;

    fn counting() -> Counting {
        let readiness = Arc::new(Readiness::starting(Arc::new(BrokerMetrics::new("0.0.0", Vec::new()))));
        readiness.clear(&NotReady::Starting);
        let instruments = Instruments {
            streams: vec![("a".to_owned(), Arc::new(StreamMetrics::new(1)))],
            store: Some(Arc::default()),
        };
        Counting::new(&instruments, 7, readiness)
    }

    #[test]
    fn failed_store_is_not_ready_until_it_is_open_again() {
        let counting = counting();
        let status = |failed: Option<&str>| StoreStatus {
            failed: failed.map(str::to_owned),
            has_reserve: true,
            ..StoreStatus::default()
        };
        let failed = || counting.store.as_ref().unwrap().failed.get();
        counting.store(&status(None));
        assert!(counting.readiness.reasons().is_empty());
        for reason in ["no space", "no space", "no power"] {
            counting.store(&status(Some(reason)));
            let expected = NotReady::StoreFailed { reason: reason.to_owned() };
            assert_eq!((counting.readiness.reasons(), failed()), (vec![expected], 1));
        }
        counting.store(&status(None));
        assert_eq!((counting.readiness.reasons(), failed()), (Vec::new(), 0));
    }

    #[test]
    fn streams_that_are_not_defined_count_nothing() {
        let counting = counting();
        counting.committed(0, 5, Duration::from_millis(1));
        counting.committed(1, 5, Duration::from_millis(1));
        counting.refused(0, &Refusal::Stopped);
        let stream = &counting.streams[0];
        assert_eq!((stream.published.get(), stream.commits.get(), stream.commit.count()), (5, 1, 1));
        assert_eq!(stream.refused.of(StreamRefusal::Stopped).get(), 1);
    }
}
