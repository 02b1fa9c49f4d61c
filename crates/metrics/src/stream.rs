//! What is counted for each stream.

use crate::{
    CountHistogram, Counter, Gauge, Histogram, Labelled, ResumeOutcome, SharedCounter, StreamGapReason, StreamRefusal,
};

/// What is counted for one stream.
///
/// The fields are written by the one thread that commits the stream's messages, but for [`readers`](Self::readers) and
/// the lags, which the shards write. These have cache lines of their own.
#[derive(Debug)]
pub struct StreamMetrics {
    /// Messages that are kept. Write it with `set` or `set_unsigned` only, as all gauges here.
    pub messages: Gauge,
    /// The bytes that count for `max_bytes`.
    pub bytes: Gauge,
    /// The sequence of the oldest message that is kept, or of the next one where there is none.
    pub first_sequence: Gauge,
    /// The sequence of the newest message there was; 0 before the first.
    pub last_sequence: Gauge,
    /// Topics with a kept message.
    pub topics: Gauge,
    /// Message ids that are remembered, to find what is published again.
    pub remembered_ids: Gauge,
    /// Publications that were kept.
    pub published: Counter,
    /// Publications that were there already, by their message id.
    pub duplicates: Counter,
    /// Publications that were not kept.
    pub refused: Labelled<StreamRefusal, SharedCounter>,
    /// Groups of messages that were committed.
    pub commits: Counter,
    /// From the first message of a group to its commit: on disk, where the stream is kept there.
    pub commit: Histogram,
    /// Messages of this stream in one group.
    pub group_messages: CountHistogram,
    /// What the shards count of its readers.
    pub readers: ReaderMetrics,
    lags: Box<[Gauge]>,
    /// For shards beyond those that were announced, which are none.
    other_lag: Gauge,
}

/// What the shards count of a stream's readers: nothing that happens with each message, so that one count may be for all
/// shards.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct ReaderMetrics {
    /// Subscriptions that came back with a position.
    pub resumes: Labelled<ResumeOutcome, SharedCounter>,
    /// Gaps that readers were told.
    pub gaps: Labelled<StreamGapReason, SharedCounter>,
    /// Times that a subscription read too slowly and went on from the log.
    pub fell_behind: SharedCounter,
    /// Requests for history without a subscription.
    pub history_requests: SharedCounter,
    /// Messages that came from the log and not live. Add a whole page at once.
    pub history_deliveries: SharedCounter,
}

impl StreamMetrics {
    /// Starts counting for readers on this many shards.
    pub fn new(shards: usize) -> Self {
        Self {
            messages: Gauge::default(),
            bytes: Gauge::default(),
            first_sequence: Gauge::default(),
            last_sequence: Gauge::default(),
            topics: Gauge::default(),
            remembered_ids: Gauge::default(),
            published: Counter::default(),
            duplicates: Counter::default(),
            refused: Labelled::default(),
            commits: Counter::default(),
            commit: Histogram::default(),
            group_messages: CountHistogram::default(),
            readers: ReaderMetrics::default(),
            lags: (0..shards).map(|_| Gauge::default()).collect(),
            other_lag: Gauge::default(),
        }
    }

    /// How many messages the furthest reader of this shard is behind the newest one. The shard writes it once a second, with
    /// `set` or `set_unsigned` only.
    pub fn lag(&self, shard: usize) -> &Gauge {
        self.lags.get(shard).unwrap_or(&self.other_lag)
    }

    /// How many messages the furthest reader of all shards is behind the newest one.
    pub fn furthest_lag(&self) -> i64 {
        self.lags.iter().chain([&self.other_lag]).map(Gauge::get).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_shards_write_is_not_beside_what_is_written_for_each_group() {
        let stream = StreamMetrics::new(2);
        let place = |gauge: &Gauge| std::ptr::from_ref(gauge) as usize;
        let readers = std::ptr::from_ref(&stream.readers) as usize;
        assert_eq!((readers % 128, size_of::<ReaderMetrics>() % 128), (0, 0));
        let inside = std::ptr::from_ref(&stream) as usize..readers;
        assert!(!inside.contains(&place(stream.lag(0))) && !inside.contains(&place(stream.lag(1))));
    }

    #[test]
    fn furthest_reader_of_all_shards_counts() {
        let stream = StreamMetrics::new(2);
        assert_eq!(stream.furthest_lag(), 0);
        stream.lag(0).set(5);
        stream.lag(1).set(7);
        assert_eq!(stream.furthest_lag(), 7);
        stream.lag(1).set(0);
        assert_eq!(stream.furthest_lag(), 5);
        // A shard that nobody announced is seen all the same.
        stream.lag(2).set(9);
        assert_eq!(stream.furthest_lag(), 9);
    }
}
