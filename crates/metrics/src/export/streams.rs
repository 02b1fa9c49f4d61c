//! The metrics of streams and of their store: names in Prometheus, and help for whoever is on call.
//!
//! Each stream has its series, so their number is that of the streams, which the configuration bounds.

use prometheus::Error;

use super::family::{
    Family, float, store_counter, store_gauge, stream_counter, stream_counter_by, stream_gauge, stream_histogram,
    stream_histogram_seconds,
};

pub(super) fn families() -> impl Iterator<Item = Result<Family, Error>> {
    [kept(), publications(), readers(), store()].into_iter().flatten()
}

fn kept() -> Vec<Result<Family, Error>> {
    vec![
        stream_gauge(("carillon_stream_messages", "Messages that each stream keeps."), |stream| {
            float(stream.messages.get())
        }),
        stream_gauge(
            ("carillon_stream_bytes", "Bytes of the messages that each stream keeps, as its max_bytes counts them."),
            |stream| float(stream.bytes.get()),
        ),
        stream_gauge(
            (
                "carillon_stream_first_sequence",
                "Sequence of the oldest message that each stream keeps; of the next one where it keeps none.",
            ),
            |stream| float(stream.first_sequence.get()),
        ),
        stream_gauge(
            (
                "carillon_stream_last_sequence",
                "Sequence of the newest message that each stream has had. 0 before the first.",
            ),
            |stream| float(stream.last_sequence.get()),
        ),
        stream_gauge(
            ("carillon_stream_topics", "Topics of which each stream keeps a message. Its max_topics bounds them."),
            |stream| float(stream.topics.get()),
        ),
        stream_gauge(
            (
                "carillon_stream_remembered_ids",
                "Message ids that each stream remembers, to keep what is published again once. Its dedup_ids bounds them.",
            ),
            |stream| float(stream.remembered_ids.get()),
        ),
    ]
}

fn publications() -> Vec<Result<Family, Error>> {
    vec![
        stream_counter(("carillon_stream_published_total", "Publications that each stream has kept."), |stream| {
            stream.published.get()
        }),
        stream_counter(
            (
                "carillon_stream_duplicates_total",
                "Publications that a stream had already, by their message id, and did not keep again.",
            ),
            |stream| stream.duplicates.get(),
        ),
        stream_counter_by(
            ("carillon_stream_refused_total", "Publications that a stream did not keep, by reason."),
            "reason",
            |stream| &stream.refused,
        ),
        stream_counter(
            (
                "carillon_stream_commits_total",
                "Groups of messages that were committed with one of the stream in them. Streams on disk share their groups.",
            ),
            |stream| stream.commits.get(),
        ),
        stream_histogram_seconds(
            (
                "carillon_stream_commit_seconds",
                "From the first message of a group to its commit. For streams on disk that includes the fsync, which all \
                 of a group share.",
            ),
            |stream| &stream.commit,
        ),
        stream_histogram(
            (
                "carillon_stream_group_messages",
                "Messages of the stream in one group. Groups grow by themselves where the disk is slow.",
            ),
            |stream| &stream.group_messages,
        ),
    ]
}

fn readers() -> Vec<Result<Family, Error>> {
    vec![
        stream_gauge(
            (
                "carillon_stream_lag_messages",
                "How many messages the furthest of each stream's connected readers is behind its newest one.",
            ),
            |stream| float(stream.furthest_lag()),
        ),
        stream_counter_by(
            (
                "carillon_stream_resumes_total",
                "Subscriptions that came back with a position in the stream, by what they were told.",
            ),
            "outcome",
            |stream| &stream.readers.resumes,
        ),
        stream_counter_by(
            (
                "carillon_stream_gaps_total",
                "Times that a reader of the stream was told of messages that are gone, by reason.",
            ),
            "reason",
            |stream| &stream.readers.gaps,
        ),
        stream_counter(
            (
                "carillon_stream_fell_behind_total",
                "Times that a subscription read too slowly for what is live and went on from the log. It loses nothing.",
            ),
            |stream| stream.readers.fell_behind.get(),
        ),
        stream_counter(
            ("carillon_stream_history_requests_total", "Requests for history of the stream without a subscription."),
            |stream| stream.readers.history_requests.get(),
        ),
        stream_counter(
            (
                "carillon_stream_history_deliveries_total",
                "Messages of the stream that came to a connection from the log, and not live.",
            ),
            |stream| stream.readers.history_deliveries.get(),
        ),
    ]
}

fn store() -> Vec<Result<Family, Error>> {
    vec![
        store_gauge(("carillon_store_bytes", "Bytes on disk of the log that keeps the streams."), |store| {
            float(store.bytes.get())
        }),
        store_gauge(("carillon_store_segments", "Files of the log that keeps the streams."), |store| {
            float(store.segments.get())
        }),
        store_gauge(
            (
                "carillon_store_failed",
                "1 while no stream on disk takes anything, because a write or an fsync has failed; the log says which.",
            ),
            |store| float(store.failed.get()),
        ),
        store_gauge(
            (
                "carillon_store_reserve_bytes",
                "Room that is held on the disk, so that retention can work when it is full. 0 while it could not be had.",
            ),
            |store| float(store.reserve_bytes.get()),
        ),
        store_gauge(
            (
                "carillon_store_damaged_messages",
                "Messages that were kept and cannot be read any more, because the disk has lost or changed them.",
            ),
            |store| float(store.damaged_messages.get()),
        ),
        store_counter(
            ("carillon_store_read_bytes_total", "Bytes that were read from the log for those who read history."),
            |store| store.read_bytes.get(),
        ),
        store_counter(
            ("carillon_store_page_cache_hits_total", "Pages of history that were in memory already."),
            |store| store.page_cache_hits.get(),
        ),
        store_counter(
            ("carillon_store_page_cache_misses_total", "Pages of history that had to be read from the log."),
            |store| store.page_cache_misses.get(),
        ),
    ]
}
