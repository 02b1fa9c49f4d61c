//! What matching costs, counted in visited nodes and in allocations, never in time.

#![expect(clippy::unwrap_used, reason = "a test may")]

use allocation_counter::measure;
use carillon_router::{Limits, Router, StreamSequence};
use carillon_wire::{Id, Overflow, Pattern, Topic, topic::MAX_TOKENS};

const LIMITS: Limits =
    Limits { max_subscriptions: 200_000, max_wildcards: 4, outbox_bytes: 1 << 20, outbox_messages: 1_000 };

fn subscribe_all(router: &mut Router, patterns: impl Iterator<Item = String>) {
    let key = router.connect();
    for (id, pattern) in (1..).zip(patterns) {
        router.subscribe(key, Id::from(id), Pattern::new(&pattern).unwrap(), Overflow::DropOldest).unwrap();
    }
}

#[test]
fn cost_of_a_match_does_not_depend_on_unrelated_subscriptions() {
    let visited = |unrelated: u32| {
        let mut router = Router::new(LIMITS);
        let patterns = ["orders.*.created", "orders.>", "*.eu.>", "orders.eu.created"];
        subscribe_all(&mut router, patterns.map(str::to_owned).into_iter());
        subscribe_all(
            &mut router,
            (0..unrelated).map(|n| match n % 4 {
                0 => format!("sensors.{n}.>"),
                1 => format!("orders.{n}.*"),
                2 => format!("*.{n}.*.created"),
                _ => format!("orders.eu.{n}"),
            }),
        );
        router.publish(Topic::new("orders.eu.created").unwrap(), 0, || [].into()).nodes_visited
    };
    let few = visited(10);
    assert!(few > 3);
    assert_eq!(few, visited(100_000));
}

#[test]
fn exact_subscriptions_are_found_without_a_walk() {
    let mut router = Router::new(LIMITS);
    subscribe_all(&mut router, (0..1_000).map(|n| format!("sensors.{n}")));
    let published = router.publish(Topic::new("sensors.500").unwrap(), 0, || [].into());
    assert_eq!((published.connections, published.nodes_visited), (1, 0));
}

/// Every pattern that has a given number of `*` at most among sixteen tokens, each a trap: it matches but for the last
/// token.
fn traps(max_wildcards: usize) -> impl Iterator<Item = String> {
    let choices = (0..1_u32 << (MAX_TOKENS - 1)).filter(move |bits| bits.count_ones() as usize <= max_wildcards);
    choices.map(|bits| {
        let tokens = (0..MAX_TOKENS - 1).map(|n| if bits >> n & 1 == 1 { "*." } else { "a." });
        tokens.chain(["b"]).collect()
    })
}

fn binomial(n: u32, k: u32) -> u32 {
    (0..k).fold(1, |product, i| product * (n - i) / (i + 1))
}

#[test]
fn worst_patterns_stay_within_the_documented_bound() {
    let topic = ["a"; MAX_TOKENS].join(".");
    for (max_wildcards, documented) in [(1, 153), (2, 833), (3, 3_213), (4, 9_401)] {
        let mut router = Router::new(Limits { max_wildcards, ..LIMITS });
        subscribe_all(&mut router, traps(max_wildcards));
        let published = router.publish(Topic::new(&topic).unwrap(), 0, || [].into());
        let bound: u32 = (0..=u32::try_from(max_wildcards).unwrap()).map(|k| binomial(17, k + 1)).sum();
        assert_eq!(bound, documented);
        assert_eq!(published.connections, 0);
        assert!(published.nodes_visited <= bound, "{} of {bound}", published.nodes_visited);
        assert!(published.nodes_visited > bound / 3, "the traps are not the worst any more");
    }
}

#[test]
fn delivery_allocates_nothing_of_its_own() {
    let mut router = Router::new(LIMITS);
    let keys: Vec<_> = (0..1_000_u32).map(|_| router.connect()).collect();
    for key in &keys {
        for (id, pattern) in [(1, "a.b"), (2, "a.*"), (3, "a.>")] {
            router.subscribe(*key, Id::from(id), Pattern::new(pattern).unwrap(), Overflow::DropOldest).unwrap();
        }
    }
    let mut ready = Vec::new();
    let mut sequence = 0;
    let mut turn = |router: &mut Router, is_in_stream: bool| {
        let (topic, encode) = (Topic::new("a.b").unwrap(), || [0; 100].into());
        let published = if is_in_stream {
            sequence += 1;
            router.publish_in_stream(topic, StreamSequence { stream: 0, sequence }, 0, encode)
        } else {
            router.publish(topic, 0, encode)
        };
        assert_eq!(published.connections, 1_000);
        router.take_ready(&mut ready);
        assert_eq!(ready.len(), 1_000);
        ready.clear();
        for key in &keys {
            assert!(router.next(*key).is_some());
            assert!(router.next(*key).is_none());
        }
    };
    for is_in_stream in [false, true] {
        turn(&mut router, is_in_stream);
        turn(&mut router, is_in_stream);
        let used = measure(|| turn(&mut router, is_in_stream));
        assert_eq!(used.count_total, 2, "the message and its bytes, for a thousand deliveries");
    }
}
