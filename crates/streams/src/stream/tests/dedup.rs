//! The window of message ids after the clock was ahead once.

use std::sync::Arc;

use carillon_wire::Topic;

use super::{definition, epoch, shared};
use crate::stream::{DedupWindow, Definition, EpochReason, Publication, Recovered, RecoveredId, Stream, Verdict};

const WINDOW_US: u64 = 120;
const AHEAD_US: u64 = 1_000_000;

fn defined() -> Arc<Definition> {
    shared(Definition { dedup: DedupWindow { time_us: WINDOW_US, ids: 100 }, ..definition("s", &[">"]) })
}

fn publish(stream: &mut Stream, now_us: u64, id: &str) -> Verdict {
    let topic = Topic::new("a").unwrap();
    let verdict = stream.publish(now_us, &Publication { topic, message_id: Some(id), expected_last: None, bytes: 1 });
    stream.commit(u64::MAX);
    verdict.verdict
}

fn is_new(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Append(_))
}

#[test]
fn an_id_from_ahead_of_the_clock_keeps_no_other_one_beyond_the_window() {
    let mut stream = Stream::new(defined(), epoch("e"), EpochReason::Created);
    assert!(is_new(&publish(&mut stream, AHEAD_US, "ahead")));
    stream.set_time_back(10);
    assert!(is_new(&publish(&mut stream, 10, "id")));
    assert!(!is_new(&publish(&mut stream, 9 + WINDOW_US, "id")));
    assert!(!is_new(&publish(&mut stream, 9 + WINDOW_US, "ahead")));
    assert!(is_new(&publish(&mut stream, 10 + WINDOW_US, "id")));
    assert!(is_new(&publish(&mut stream, 10 + WINDOW_US, "ahead")));
}

#[test]
fn after_a_restart_too() {
    let fresh = Stream::new(defined(), epoch("e"), EpochReason::Created);
    let id =
        |id: &str, sequence, time_us| RecoveredId { topic: super::topic("a"), id: id.to_owned(), sequence, time_us };
    let recovered = Recovered {
        epochs: Arc::clone(fresh.epochs()),
        bounds: crate::stream::Bounds { first: 1, last: 2, purged_through: 0 },
        last_time_us: 10,
        topics: vec![(super::topic("a"), 2)],
        ids: vec![id("id", 2, 10), id("ahead", 1, AHEAD_US)],
    };
    let mut stream = Stream::restore(defined(), recovered);
    assert_eq!(stream.remembered_ids(), 2);
    assert!(!is_new(&publish(&mut stream, 9 + WINDOW_US, "id")));
    assert!(is_new(&publish(&mut stream, 10 + WINDOW_US, "id")));
}
