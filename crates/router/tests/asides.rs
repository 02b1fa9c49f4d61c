//! What asides count for in memory, where many of them have parts of the same bytes.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::{collections::VecDeque, ops::Range};

use bytes::Bytes;
use carillon_router::{Aside, ConnectionKey, Counts, Limits, Outgoing, Router, TakenAside};
use proptest::{collection::vec, prelude::*, sample::Index};

const LIMITS: Limits = Limits { max_subscriptions: 1, max_wildcards: 4, outbox_bytes: 1 << 20, outbox_messages: 1 };
const CONNECTIONS: usize = 4;
const CHUNKS: usize = 3;
const CHUNK_BYTES: usize = 100_000;
const HEAD_BYTES: usize = 10;
/// What an aside may count for beside its bytes.
const OVERHEAD_BYTES: usize = 100;
const BLOCK_BYTES: usize = 4 << 10;
/// A body of fewer bytes counts as if nobody shared it.
const SHARED_FROM_BYTES: usize = 4 * BLOCK_BYTES;

/// A part of a chunk.
#[derive(Debug, Clone)]
struct Slice {
    chunk: usize,
    range: Range<usize>,
}

#[derive(Debug, Clone)]
enum Step {
    Push(Index, Slice),
    /// The next aside of a connection is on its way out.
    Take(Index),
    /// The oldest one that is on its way out has left.
    Leave,
    Disconnect(Index),
}

fn steps() -> impl Strategy<Value = Step> {
    let slice = (0..CHUNKS, 0..CHUNK_BYTES, 0..CHUNK_BYTES)
        .prop_map(|(chunk, one, other)| Slice { chunk, range: one.min(other)..one.max(other) });
    prop_oneof![
        6 => (any::<Index>(), slice).prop_map(|(at, slice)| Step::Push(at, slice)),
        3 => any::<Index>().prop_map(Step::Take),
        2 => Just(Step::Leave),
        1 => any::<Index>().prop_map(Step::Disconnect),
    ]
}

/// The bytes that these parts are of, each once, and in how many places they lie.
fn union<'s>(slices: impl Iterator<Item = &'s Slice>) -> (usize, usize) {
    let mut sorted: Vec<_> = slices.map(|it| (it.chunk, it.range.start, it.range.end)).collect();
    sorted.sort_unstable();
    let (mut bytes, mut places, mut reached) = (0, 0, (0, 0));
    for (chunk, start, end) in sorted {
        if places == 0 || (chunk, start) > reached {
            places += 1;
            reached = (chunk, start);
        }
        bytes += end.saturating_sub(reached.1);
        reached.1 = reached.1.max(end);
    }
    (bytes, places)
}

fn assert_memory<'s>(router: &Router, slices: impl Iterator<Item = &'s Slice> + Clone) {
    let (large, small): (Vec<_>, Vec<_>) = slices.partition(|it| it.range.len() >= SHARED_FROM_BYTES);
    let alone: usize = small.iter().map(|it| it.range.len()).sum::<usize>() + (small.len() + large.len()) * HEAD_BYTES;
    let (shared, places) = union(large.iter().copied());
    let most = alone + shared + places * 2 * BLOCK_BYTES + (small.len() + large.len()) * OVERHEAD_BYTES;
    let counted = usize::try_from(router.counts().memory_bytes).unwrap();
    assert!((alone + shared..=most).contains(&counted), "{counted}, not {} to {most}", alone + shared);
}

proptest! {
    #[test]
    fn bytes_that_several_asides_have_count_once_until_the_last_has_left(steps in vec(steps(), 0..80)) {
        let chunks: Vec<_> = (0..CHUNKS).map(|_| Bytes::from(vec![0; CHUNK_BYTES])).collect();
        let mut router = Router::new(LIMITS);
        let mut waiting: Vec<(ConnectionKey, VecDeque<Slice>)> =
            (0..CONNECTIONS).map(|_| (router.connect(), VecDeque::new())).collect();
        let mut leaving: VecDeque<(Slice, TakenAside)> = VecDeque::new();
        for step in steps {
            match step {
                Step::Push(at, slice) => {
                    let (key, waiting) = at.get_mut(&mut waiting);
                    let body = chunks[slice.chunk].slice(slice.range.clone());
                    assert!(router.push_aside(*key, Aside { head: [0; HEAD_BYTES].into(), body, messages: 1 }));
                    waiting.push_back(slice);
                }
                Step::Take(at) => {
                    let (key, waiting) = at.get_mut(&mut waiting);
                    match (router.next(*key), waiting.pop_front()) {
                        (Some(Outgoing::Aside(taken)), Some(slice)) => leaving.push_back((slice, taken)),
                        (None, None) => {}
                        (next, slice) => panic!("{next:?} for {slice:?}"),
                    }
                }
                Step::Leave => drop(leaving.pop_front()),
                Step::Disconnect(at) => {
                    let (key, waiting) = at.get_mut(&mut waiting);
                    router.disconnect(*key);
                    (*key, *waiting) = (router.connect(), VecDeque::new());
                }
            }
            let held = waiting.iter().flat_map(|(_, slices)| slices);
            assert_memory(&router, held.chain(leaving.iter().map(|(slice, _)| slice)));
        }
        for (key, _) in waiting {
            router.disconnect(key);
        }
        drop(leaving);
        assert_eq!(router.counts(), Counts::default());
    }
}

#[test]
fn page_that_thousands_read_at_once_takes_its_memory_once() {
    const READERS: usize = 5_000;
    let page = Bytes::from(vec![0; 256 << 10]);
    let mut router = Router::new(LIMITS);
    for _ in 0..READERS {
        let key = router.connect();
        assert!(router.push_aside(key, Aside { body: page.clone(), messages: 1, ..Aside::default() }));
    }
    let most = page.len() + 2 * BLOCK_BYTES + READERS * OVERHEAD_BYTES;
    assert!(router.counts().memory_bytes <= most as u64, "{:?}", router.counts());
}
