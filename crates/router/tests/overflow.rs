//! Full outboxes, case by case; `model` has the general rule.

#![expect(clippy::indexing_slicing, reason = "a test may")]

use carillon_router::{ConnectionKey, Limits, Outgoing, Router, SubscribeError};
use carillon_wire::{Id, Overflow, Pattern, Topic};

/// What a message of ten bytes counts for, with one match.
const MESSAGE_BYTES: usize = 10 + 16;
const LIMITS: Limits = Limits { max_subscriptions: 10, max_wildcards: 4, outbox_bytes: 1 << 20, outbox_messages: 3 };

struct Shard {
    router: Router,
    key: ConnectionKey,
}

impl Shard {
    fn new(limits: Limits) -> Self {
        let mut router = Router::new(limits);
        let key = router.connect();
        Self { router, key }
    }

    fn subscribe(&mut self, id: u32, pattern: &str, overflow: Overflow) {
        let pattern = Pattern::new(pattern).expect("a pattern");
        self.router.subscribe(self.key, Id::from(id), pattern, overflow).expect("a subscription");
    }

    /// Publishes ten bytes that begin with a number.
    fn publish(&mut self, topic: &str, number: u8) -> u64 {
        let topic = Topic::new(topic).expect("a topic");
        self.router.publish(topic, 0, || Box::new([number; 10])).dropped
    }

    /// What waits: `7` for a message, `-3 of 1` for a gap of subscription 1, `ok` for a reply.
    fn drain(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.router.next(self.key))
            .map(|outgoing| match outgoing {
                Outgoing::Message(message) | Outgoing::InStream(message) => message.bytes()[0].to_string(),
                Outgoing::Gap { subscription, count, .. } => format!("-{count} of {subscription}"),
                Outgoing::Reply(_) => "ok".to_owned(),
                Outgoing::Aside(taken) => format!("aside of {}", taken.aside.messages),
            })
            .collect()
    }
}

#[test]
fn oldest_are_dropped_and_the_gap_stands_where_they_were() {
    let mut shard = Shard::new(LIMITS);
    shard.subscribe(1, "a", Overflow::DropOldest);
    let dropped: Vec<u64> = (1..=5).map(|number| shard.publish("a", number)).collect();
    assert_eq!(dropped, [0, 0, 0, 1, 1]);
    assert_eq!(shard.drain(), ["-2 of 1", "3", "4", "5"]);
}

#[test]
fn bytes_are_bounded_and_a_gap_takes_some() {
    let mut shard = Shard::new(Limits { outbox_bytes: 3 * MESSAGE_BYTES, outbox_messages: 100, ..LIMITS });
    shard.subscribe(1, "a", Overflow::DropOldest);
    let dropped: Vec<u64> = (1..=5).map(|number| shard.publish("a", number)).collect();
    assert_eq!(dropped, [0, 0, 0, 2, 1], "the first gap takes the room of a message");
    assert_eq!(shard.drain(), ["-3 of 1", "4", "5"]);
}

#[test]
fn each_subscription_of_a_dropped_message_has_its_own_gap() {
    let mut shard = Shard::new(LIMITS);
    shard.subscribe(1, "a", Overflow::DropOldest);
    shard.subscribe(2, "*", Overflow::DropOldest);
    shard.publish("a", 1);
    shard.publish("b", 2);
    for number in 3..=5 {
        shard.publish("c", number);
    }
    assert_eq!(shard.drain(), ["-1 of 1", "-2 of 2", "3", "4", "5"]);
}

#[test]
fn losses_around_a_kept_message_are_told_on_their_sides_of_it() {
    let mut shard = Shard::new(LIMITS);
    shard.subscribe(1, ">", Overflow::DropOldest);
    shard.subscribe(2, "kept", Overflow::Close);
    shard.publish("a", 1);
    shard.publish("kept", 2);
    for number in 3..=6 {
        shard.publish("a", number);
    }
    assert_eq!(shard.drain(), ["-1 of 1", "2", "-2 of 1", "5", "6"]);
}

#[test]
fn message_of_two_policies_is_kept_whichever_matched_first() {
    for [first, second] in [[Overflow::DropOldest, Overflow::Close], [Overflow::Close, Overflow::DropOldest]] {
        let mut shard = Shard::new(LIMITS);
        shard.subscribe(1, "a", first);
        shard.subscribe(2, "a", second);
        shard.subscribe(3, "b", Overflow::DropOldest);
        shard.publish("a", 1);
        for number in 2..=5 {
            shard.publish("b", number);
        }
        assert_eq!(shard.drain(), ["1", "-2 of 3", "4", "5"]);
    }
}

#[test]
fn message_that_must_not_be_dropped_and_has_no_room_ends_the_connection() {
    let mut shard = Shard::new(LIMITS);
    shard.subscribe(1, "a", Overflow::Close);
    shard.subscribe(2, "b", Overflow::DropOldest);
    for number in 1..=3 {
        shard.publish("a", number);
    }
    assert_eq!(shard.publish("b", 4), 1, "this one may be dropped");
    assert!(!shard.router.is_overflowed(shard.key));
    shard.router.take_ready(&mut Vec::new());

    assert_eq!(shard.publish("a", 5), 4, "three that waited and this one");
    assert!(shard.router.is_overflowed(shard.key));
    let mut ready = Vec::new();
    shard.router.take_ready(&mut ready);
    assert_eq!(ready, [shard.key]);
    assert!(shard.drain().is_empty());
    let dropped = shard.router.take_dropped();
    assert_eq!((dropped.drop_oldest, dropped.slow_consumer, dropped.gaps), (1, 4, 1));
    assert!(!shard.router.would_match(Topic::new("a").expect("a topic")), "its subscriptions are gone");
    assert_eq!(shard.router.disconnect(shard.key), 0);
}

#[test]
fn full_connection_costs_its_neighbours_nothing() {
    let mut shard = Shard::new(LIMITS);
    shard.subscribe(1, "a", Overflow::Close);
    let neighbour = shard.router.connect();
    let pattern = Pattern::new("a").expect("a pattern");
    shard.router.subscribe(neighbour, Id::from(1), pattern, Overflow::Close).expect("a subscription");
    for number in 1..=6 {
        shard.publish("a", number);
        assert!(matches!(shard.router.next(neighbour), Some(Outgoing::Message(_))), "message {number}");
    }
    assert!(shard.router.is_overflowed(shard.key) && !shard.router.is_overflowed(neighbour));
}

#[test]
fn reply_to_unsubscribe_comes_behind_messages_and_gaps_and_the_id_is_free_with_it() {
    let mut shard = Shard::new(LIMITS);
    shard.subscribe(1, "a", Overflow::DropOldest);
    shard.subscribe(2, "b", Overflow::DropOldest);
    for number in 1..=4 {
        shard.publish("a", number);
    }
    shard.router.unsubscribe(shard.key, Id::from(1), b"ok".as_slice().into()).expect("it lives");
    assert_eq!(shard.publish("a", 5), 0);
    // Both take the room of messages for the subscription that has ended; that is told before the reply too.
    shard.publish("b", 6);
    shard.publish("b", 7);
    let pattern = Pattern::new("a").expect("a pattern");
    let again = shard.router.subscribe(shard.key, Id::from(1), pattern, Overflow::DropOldest);
    assert!(again.is_err(), "the reply still waits");
    assert_eq!(shard.drain(), ["-3 of 1", "4", "ok", "6", "7"]);
    shard.subscribe(1, "a", Overflow::DropOldest);
}

#[test]
fn replies_that_wait_do_not_multiply_gaps() {
    const SUBSCRIPTIONS: u32 = 16;
    let mut shard = Shard::new(Limits { max_subscriptions: 2 * SUBSCRIPTIONS as usize, ..LIMITS });
    shard.subscribe(0, "kept", Overflow::Close);
    for id in 1..=SUBSCRIPTIONS {
        shard.subscribe(id, "a", Overflow::DropOldest);
    }
    for number in 1..=3 {
        shard.publish("kept", number);
    }
    for id in 1..=SUBSCRIPTIONS {
        assert_eq!(shard.publish("a", 4), 1);
        shard.router.unsubscribe(shard.key, Id::from(id), b"ok".as_slice().into()).expect("it lives");
    }
    let waiting = shard.router.waiting(shard.key).expect("it is connected");
    let replies_and_gaps = SUBSCRIPTIONS as usize * (b"ok".len() + 16 + 16);
    assert_eq!(waiting.bytes, 3 * MESSAGE_BYTES + replies_and_gaps, "one gap and one reply for each subscription");
    let drained = shard.drain();
    for (gap, id) in drained[3..].iter().filter(|it| it.starts_with('-')).zip(1..=SUBSCRIPTIONS) {
        assert!(gap.ends_with(&format!(" of {id}")), "{gap}");
    }
    assert_eq!(drained.iter().filter(|it| *it == "ok").count(), SUBSCRIPTIONS as usize);
}

#[test]
fn message_larger_than_the_whole_outbox_is_lost_like_any_that_finds_no_room() {
    let limits = Limits { outbox_bytes: MESSAGE_BYTES - 1, ..LIMITS };
    let mut shard = Shard::new(limits.clone());
    shard.subscribe(1, "a", Overflow::DropOldest);
    assert_eq!(shard.publish("a", 1), 1);
    assert_eq!(shard.drain(), ["-1 of 1"]);

    let mut shard = Shard::new(limits);
    shard.subscribe(1, "a", Overflow::Close);
    assert_eq!(shard.publish("a", 1), 1);
    assert!(shard.router.is_overflowed(shard.key));
}

#[test]
fn size_of_a_gap_is_that_of_the_largest_on_the_wire() {
    let gap = carillon_wire::broker_message::Gap {
        subscription: Id::MAX,
        reason: carillon_wire::GapReason::Other(u8::MAX),
        count: Id::MAX.get(),
        range: None,
    };
    let mut bytes = Vec::new();
    carillon_wire::BrokerMessage::Gap(gap).encode(&mut bytes);
    assert_eq!(bytes.len(), carillon_router::MAX_GAP_BYTES);
}

#[test]
fn one_connection_subscribes_to_one_pattern_sixteen_times_at_most() {
    let limits = Limits { max_subscriptions: 1_000, ..LIMITS };
    for pattern in ["a.b", "a.*", "a.>"] {
        let mut shard = Shard::new(limits.clone());
        // Others, of the same connection and to the same pattern, do not count.
        let other = shard.router.connect();
        for id in 0..100 {
            shard.subscribe(1_000 + id, &format!("x{id}.>"), Overflow::DropOldest);
            let name = Pattern::new(pattern).expect("a pattern");
            if id < 16 {
                shard.router.subscribe(other, Id::from(id), name, Overflow::DropOldest).expect("a subscription");
            }
        }
        let name = Pattern::new(pattern).expect("a pattern");
        for id in 0..16 {
            shard.subscribe(id, pattern, Overflow::DropOldest);
        }
        let before = shard.router.counts();
        let refused = shard.router.subscribe(shard.key, Id::from(16), name, Overflow::DropOldest);
        assert_eq!(refused, Err(SubscribeError::TooManyEqual { allowed: 16 }));
        assert_eq!(shard.router.counts(), before);
        // Nothing is left of the one that was refused: its id is free, and a message counts the others alone.
        let published = shard.router.publish(Topic::new("a.b").expect("a topic"), 0, || Box::new([0; 10]));
        assert_eq!((published.connections, published.subscriptions), (2, 32));
        shard.router.unsubscribe(shard.key, Id::from(3), Box::new([1; 2])).expect("it lives");
        shard.subscribe(16, pattern, Overflow::DropOldest);
    }
}
