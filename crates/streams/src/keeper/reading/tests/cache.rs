//! The page cache by itself.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use proptest::{collection::vec, prelude::*};

use super::super::cache::{Key, LookedUp, PageCache};
use super::super::chunk::{Chunk, Message};
use super::*;

fn key(number: u32) -> Key {
    Key { number, epoch: epoch(0), pattern: None, last_by_topic_as_of: None, replaced: None }
}

/// One in which each message is one byte.
fn chunk(after: u64, through: u64) -> Arc<Chunk> {
    let messages = (after + 1..=through).zip(1..).map(|(sequence, end)| Message { sequence, end });
    Arc::new(Chunk::new(after, through, vec![0; as_index(through - after)].into(), messages.collect()))
}

/// Reads what is missing behind a position, `len` sequences at most; up to where. `None`: it was there.
fn read(cache: &PageCache, key: &Key, after: u64, len: u64) -> Option<u64> {
    match cache.look_up(key, after, u64::MAX, usize::MAX) {
        LookedUp::Chunks(_) => None,
        LookedUp::Missing(flight) => {
            let through = flight.through().min(after + len);
            flight.land([chunk(after, through)]);
            Some(through)
        }
    }
}

proptest! {
    #[test]
    fn chunks_never_overlap_and_are_found_wherever_they_are(
        reads in vec((0..3_u32, 0..300_u64, 1..40_u64), 1..80),
        max_bytes in 500..40_000_usize,
    ) {
        let cache = PageCache::new(max_bytes);
        let mut landed: Vec<(u32, u64)> = Vec::new();
        for (number, after, len) in reads {
            if read(&cache, &key(number), after, len).is_some() {
                landed.push((number, after));
            }
            prop_assert!(cache.size_bytes() <= max_bytes);
            for (number, after) in &landed {
                let chain = cache.chunks(&key(*number), *after, 1);
                if let Some(first) = chain.first() {
                    prop_assert!(first.after() <= *after && first.through() > *after);
                }
                let ends = chain.windows(2).all(|pair| pair[0].through() == pair[1].after());
                prop_assert!(ends, "a hole, or an overlap");
            }
        }
    }
}

#[test]
fn the_oldest_goes_first() {
    let cache = PageCache::new(2_000);
    for n in 0..20 {
        read(&cache, &key(1), n * 100, 100);
    }
    let is_there = |n: u64| !cache.chunks(&key(1), n * 100, 1).is_empty();
    assert!(is_there(19) && !is_there(0));
    let first = (0..20).find(|n| is_there(*n)).unwrap();
    assert!((first..20).all(is_there));
}

#[test]
fn what_is_larger_than_the_cache_is_not_kept() {
    let cache = PageCache::new(100);
    assert!(read(&cache, &key(1), 0, 1_000).is_some());
    assert_eq!(cache.size_bytes(), 0);
}

#[test]
fn another_number_epoch_or_pattern_shares_nothing() {
    let cache = PageCache::new(10_000);
    read(&cache, &key(1), 0, 10);
    let others = [
        key(2),
        Key { epoch: epoch(1), ..key(1) },
        Key { pattern: Some(pattern("a.*")), ..key(1) },
        Key { last_by_topic_as_of: Some(5), ..key(1) },
        Key { replaced: Some((1, 1)), ..key(1) },
    ];
    for other in others {
        assert!(cache.chunks(&other, 0, 1).is_empty(), "{other:?}");
    }
}

#[test]
fn what_many_want_at_once_is_read_once() {
    let cache = PageCache::new(10_000);
    let reads = AtomicUsize::new(0);
    thread::scope(|scope| {
        for n in 0..8 {
            let (cache, reads) = (&cache, &reads);
            scope.spawn(move || {
                if let LookedUp::Missing(flight) = cache.look_up(&key(1), n % 2, 100, usize::MAX) {
                    reads.fetch_add(1, Ordering::Relaxed);
                    // So that the others come meanwhile; if they do not, nothing fails.
                    thread::sleep(Duration::from_millis(20));
                    let after = n % 2;
                    let through = flight.through();
                    flight.land([chunk(after, through)]);
                }
            });
        }
    });
    assert!(reads.into_inner() <= 2, "from each position one");
}

#[test]
fn a_read_ends_where_others_have_read_or_are_reading() {
    let cache = PageCache::new(10_000);
    let through = |after| match cache.look_up(&key(1), after, 1_000, 1) {
        LookedUp::Missing(flight) => flight.through(),
        LookedUp::Chunks(chunks) => panic!("{chunks:?}"),
    };
    assert_eq!(through(10), 1_000);
    read(&cache, &key(1), 50, 10);
    assert_eq!(through(10), 50);
    let _elsewhere = cache.look_up(&key(1), 20, 30, 1);
    assert_eq!(through(10), 20);
}

#[test]
fn a_read_that_failed_lets_the_next_one_try() {
    let cache = PageCache::new(10_000);
    let LookedUp::Missing(flight) = cache.look_up(&key(1), 0, 100, 1) else { panic!() };
    drop(flight);
    assert!(read(&cache, &key(1), 0, 10).is_some());
}
