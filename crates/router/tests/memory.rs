//! What subscriptions and idle connections hold, in bytes asked of the allocator.

#![expect(clippy::unwrap_used, reason = "a test may")]

use std::fmt::Write;

use allocation_counter::measure;
use carillon_router::{Aside, Limits, Router, StreamSequence};
use carillon_wire::{Id, Overflow, Pattern, Topic};

const SUBSCRIPTIONS: u32 = 1_000_000;
const LIMITS: Limits = Limits {
    max_subscriptions: SUBSCRIPTIONS as usize,
    max_wildcards: 4,
    outbox_bytes: 1 << 20,
    outbox_messages: 1_000,
};

/// Bytes for each of a million subscriptions to topics of 32 bytes, spread evenly over connections.
fn bytes_for_each(connections: u32) -> i64 {
    let mut router = Router::new(LIMITS);
    let used = measure(|| {
        let keys: Vec<_> = (0..connections).map(|_| router.connect()).collect();
        let mut name = String::with_capacity(32);
        for (key, n) in keys.iter().cycle().zip(0..SUBSCRIPTIONS) {
            name.clear();
            write!(name, "sensors.building-7.room.{n:08}").unwrap();
            assert_eq!(name.len(), 32);
            router.subscribe(*key, Id::from(n), Pattern::new(&name).unwrap(), Overflow::DropOldest).unwrap();
        }
    });
    assert_eq!(router.counts().subscriptions, SUBSCRIPTIONS.into());
    used.bytes_current / i64::from(SUBSCRIPTIONS)
}

#[test]
fn a_subscription_takes_at_most_200_bytes_on_one_connection() {
    let bytes = bytes_for_each(1);
    println!("{bytes} bytes for each subscription");
    assert!(bytes <= 200, "{bytes}");
}

#[test]
fn a_subscription_takes_at_most_200_bytes_on_a_thousand_connections() {
    let bytes = bytes_for_each(1_000);
    println!("{bytes} bytes for each subscription");
    assert!(bytes <= 200, "{bytes}");
}

#[test]
fn idle_connection_holds_less_than_a_kibibyte_after_a_flood() {
    const CONNECTIONS: u32 = 100;
    let mut router = Router::new(LIMITS);
    let topic = Topic::new("a").unwrap();
    let used = measure(|| {
        let keys: Vec<_> = (0..CONNECTIONS).map(|_| router.connect()).collect();
        for key in &keys {
            router.subscribe(*key, Id::from(1), Pattern::new(">").unwrap(), Overflow::DropOldest).unwrap();
        }
        for _ in 0..2 * LIMITS.outbox_messages {
            router.publish(topic, 0, || [0; 10].into());
        }
        for key in &keys {
            while router.next(*key).is_some() {}
        }
        for sequence in 1..=2 * LIMITS.outbox_messages as u64 {
            router.publish_in_stream(topic, StreamSequence { stream: 0, sequence }, 0, || [0; 10].into());
        }
        let mut fallen = Vec::new();
        router.take_fallen(&mut fallen);
        assert_eq!(fallen.len(), keys.len());
        for it in fallen {
            for _ in 0..100 {
                router.push_aside(it.connection, Aside { head: [0; 100].into(), ..Aside::default() });
            }
            while router.next(it.connection).is_some() {}
            router.release(it.connection, it.subscription, it.stream);
        }
        router.take_ready(&mut Vec::new());
    });
    let bytes = used.bytes_current / i64::from(CONNECTIONS);
    println!("{bytes} bytes for each connection");
    assert!(bytes < 1_024, "{bytes}");
}

#[test]
fn subscriptions_that_come_and_go_leave_nothing() {
    let mut router = Router::new(LIMITS);
    let turn = |router: &mut Router| {
        let key = router.connect();
        for n in 0..10_000_u32 {
            let pattern = match n % 3 {
                0 => format!("sensors.{n}"),
                1 => format!("sensors.{n}.>"),
                _ => format!("*.{n}.*"),
            };
            router.subscribe(key, Id::from(n), Pattern::new(&pattern).unwrap(), Overflow::DropOldest).unwrap();
        }
        router.disconnect(key);
    };
    turn(&mut router);
    let used = measure(|| turn(&mut router));
    assert!(used.bytes_current <= 0, "{} bytes", used.bytes_current);
    let all = measure(|| drop(router));
    assert!(all.bytes_current > -32_768, "{} bytes were still held", -all.bytes_current);
}
