//! Subscriptions that fall behind on a stream, case by case; `streams` has the general rule.

#![expect(clippy::unwrap_used, reason = "a test may")]

use carillon_router::{Aside, ConnectionKey, Fallen, Limits, Outgoing, Router, StreamSequence};
use carillon_wire::{Id, Overflow, Pattern, Topic};

const LIMITS: Limits = Limits { max_subscriptions: 10, max_wildcards: 4, outbox_bytes: 1 << 20, outbox_messages: 3 };

struct Shard {
    router: Router,
    key: ConnectionKey,
}

impl Shard {
    fn new() -> Self {
        let mut router = Router::new(LIMITS);
        let key = router.connect();
        Self { router, key }
    }

    fn subscribe(&mut self, id: u32, pattern: &str, overflow: Overflow) {
        self.router.subscribe(self.key, Id::from(id), Pattern::new(pattern).unwrap(), overflow).unwrap();
    }

    fn publish_in_stream(&mut self, topic: &str, stream: u32, sequence: u8) {
        let at = StreamSequence { stream, sequence: sequence.into() };
        self.router.publish_in_stream(Topic::new(topic).unwrap(), at, 0, || Box::new([sequence; 10]));
    }

    fn publish(&mut self, topic: &str, number: u8) {
        self.router.publish(Topic::new(topic).unwrap(), 0, || Box::new([number; 10]));
    }

    /// Who has fallen behind, as `(subscription, stream, position)`.
    fn fallen(&mut self) -> Vec<(u64, u32, u64)> {
        let mut fallen: Vec<Fallen> = Vec::new();
        self.router.take_fallen(&mut fallen);
        assert!(fallen.iter().all(|it| it.connection == self.key));
        fallen.iter().map(|it| (it.subscription.get(), it.stream, it.position)).collect()
    }

    /// What waits: the first byte of a message, `-1` for a gap, `aside`, `ok` for a reply.
    fn drain(&mut self) -> Vec<String> {
        let name = |outgoing| match outgoing {
            Outgoing::Message(message) | Outgoing::InStream(message) => message.bytes().first().unwrap().to_string(),
            Outgoing::Gap { count, .. } => format!("-{count}"),
            Outgoing::Reply(_) => "ok".to_owned(),
            Outgoing::Aside(_) => "aside".to_owned(),
        };
        std::iter::from_fn(|| self.router.next(self.key)).map(name).collect()
    }
}

fn aside(bytes: usize) -> Aside {
    Aside { head: vec![0; bytes].into(), ..Aside::default() }
}

#[test]
fn message_without_room_makes_all_fall_that_wait_and_is_not_queued_for_anybody() {
    let mut shard = Shard::new();
    shard.subscribe(1, "a", Overflow::Close);
    shard.subscribe(2, "b", Overflow::DropOldest);
    shard.subscribe(3, "*", Overflow::Close);
    shard.publish_in_stream("a", 7, 5);
    shard.publish_in_stream("b", 8, 9);
    shard.publish_in_stream("b", 8, 10);
    assert!(!shard.router.has_fallen());

    shard.publish_in_stream("a", 7, 6);
    let mut fallen = shard.fallen();
    fallen.sort_unstable();
    assert_eq!(fallen, [(1, 7, 4), (2, 8, 8), (3, 7, 4), (3, 8, 8)]);
    assert!(!shard.router.is_overflowed(shard.key), "nobody is closed for what a stream has kept");
    assert!(shard.drain().is_empty());
    let dropped = shard.router.take_dropped();
    assert_eq!((dropped.messages(), dropped.gaps, dropped.fallen_behind), (0, 0, 4));

    shard.publish_in_stream("a", 7, 7);
    assert!(shard.drain().is_empty() && !shard.router.has_fallen(), "they are held, and it was told");
    shard.router.release(shard.key, Id::from(1), 7);
    shard.publish_in_stream("a", 7, 8);
    assert_eq!(shard.drain(), ["8"]);
}

#[test]
fn message_of_no_stream_takes_the_room_of_streams_before_it_drops_another() {
    let mut shard = Shard::new();
    shard.subscribe(1, "p", Overflow::Close);
    shard.subscribe(2, "a", Overflow::DropOldest);
    shard.publish("p", 100);
    shard.publish_in_stream("a", 0, 1);
    shard.publish_in_stream("a", 0, 2);
    shard.publish("p", 101);
    assert_eq!(shard.fallen(), [(2, 0, 0)]);
    assert_eq!(shard.drain(), ["100", "101"]);
}

#[test]
fn history_that_waits_costs_no_message_its_room() {
    let mut shard = Shard::new();
    shard.subscribe(1, "p", Overflow::Close);
    shard.subscribe(2, "a", Overflow::DropOldest);
    assert!(shard.router.push_aside(shard.key, aside(2 * LIMITS.outbox_bytes)));
    shard.publish("p", 100);
    shard.publish_in_stream("a", 0, 1);
    assert_eq!(shard.fallen(), [(2, 0, 0)], "what a stream has kept can wait there");
    shard.router.shrink_outboxes(1_000);
    assert!(!shard.router.is_overflowed(shard.key));
    assert_eq!(shard.router.waiting(shard.key).unwrap().asides, 1);
    assert_eq!(shard.drain(), ["aside", "100"]);
}

#[test]
fn asides_leave_in_their_turn() {
    let mut shard = Shard::new();
    shard.subscribe(1, ">", Overflow::DropOldest);
    shard.publish("p", 1);
    assert!(shard.router.push_aside(shard.key, aside(0)));
    shard.publish_in_stream("a", 0, 2);
    assert!(shard.router.push_aside(shard.key, aside(5)));
    assert_eq!(shard.router.waiting(shard.key).unwrap().messages, 2);
    shard.router.unsubscribe(shard.key, Id::from(1), b"ok".as_slice().into()).unwrap();
    assert!(shard.router.push_aside(shard.key, aside(5)));
    assert_eq!(shard.drain(), ["1", "aside", "2", "aside", "ok", "aside"]);
}

#[test]
fn connection_is_ready_with_its_first_aside_or_message_of_a_stream() {
    let mut shard = Shard::new();
    shard.subscribe(1, "a", Overflow::DropOldest);
    let mut ready = Vec::new();
    assert!(shard.router.push_aside(shard.key, aside(0)));
    assert!(shard.router.push_aside(shard.key, aside(0)));
    shard.router.take_ready(&mut ready);
    assert_eq!(ready, [shard.key]);
    assert_eq!(shard.router.next_bytes(shard.key), Some(0));
    assert_eq!(shard.drain(), ["aside", "aside"]);

    for sequence in 1..=4 {
        shard.publish_in_stream("a", 0, sequence);
    }
    shard.router.take_ready(&mut ready);
    assert_eq!(ready, [shard.key; 2]);
    assert!(shard.router.waiting(shard.key).unwrap().is_empty(), "all of it is to be read later");
    assert!(shard.router.push_aside(shard.key, aside(1)));
    shard.router.take_ready(&mut ready);
    assert_eq!(ready, [shard.key; 3]);
}

#[test]
fn subscription_that_is_held_loses_nothing_that_waited_before() {
    let mut shard = Shard::new();
    shard.subscribe(1, "a", Overflow::DropOldest);
    shard.publish_in_stream("a", 0, 1);
    shard.publish_in_stream("a", 0, 2);
    assert!(shard.router.hold(shard.key, Id::from(1), 0));
    assert!(shard.router.next(shard.key).is_some());
    shard.router.shrink_outboxes(0);
    assert_eq!(shard.fallen(), [(1, 0, 1)]);
    assert!(shard.router.hold(shard.key, Id::from(1), 0));
    shard.router.hold_stream(0, 2, |_| true);
    assert!(!shard.router.has_fallen(), "once is enough");
}

#[test]
fn what_has_ended_is_not_reported() {
    let full = || {
        let mut shard = Shard::new();
        shard.subscribe(1, "a", Overflow::DropOldest);
        shard.subscribe(2, "b", Overflow::Close);
        for sequence in 1..=4 {
            shard.publish_in_stream("a", 0, sequence);
        }
        assert!(shard.router.has_fallen());
        shard
    };
    let mut shard = full();
    shard.router.unsubscribe(shard.key, Id::from(1), b"ok".as_slice().into()).unwrap();
    assert_eq!(shard.fallen(), []);

    let mut shard = full();
    shard.router.disconnect(shard.key);
    assert_eq!(shard.fallen(), []);

    let mut shard = full();
    for number in 0..=3 {
        shard.publish("b", number);
    }
    assert!(shard.router.is_overflowed(shard.key));
    assert_eq!(shard.fallen(), []);
    assert!(!shard.router.push_aside(shard.key, aside(1)) && shard.drain().is_empty(), "nobody is there to read it");
}

#[test]
fn unsubscribed_before_it_was_sent_everything_is_no_fall() {
    let mut shard = Shard::new();
    shard.subscribe(1, "a", Overflow::DropOldest);
    shard.subscribe(2, "p", Overflow::DropOldest);
    shard.publish_in_stream("a", 0, 1);
    shard.router.unsubscribe(shard.key, Id::from(1), b"ok".as_slice().into()).unwrap();
    for number in 101..=103 {
        shard.publish("p", number);
    }
    assert_eq!(shard.fallen(), []);
    assert_eq!(shard.drain(), ["ok", "101", "102", "103"]);
    shard.subscribe(1, "a", Overflow::DropOldest);
    shard.publish_in_stream("a", 0, 2);
    assert_eq!(shard.drain(), ["2"], "the id begins anew");
}

#[test]
fn key_is_the_same_after_its_way_as_a_number() {
    let mut router = Router::new(LIMITS);
    let first = router.connect();
    router.disconnect(first);
    let second = router.connect();
    assert_eq!(first.index(), second.index());
    for key in [first, second] {
        assert_eq!(ConnectionKey::from_bits(key.to_bits()), key);
    }
    assert_ne!(first.to_bits(), second.to_bits());
}
