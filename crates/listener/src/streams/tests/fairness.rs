//! Nobody waits for ever, and nobody makes others wait.

use carillon_wire::{
    Id, Overflow, PatternBuf, Start,
    client_message::{Subscribe, Unsubscribe},
};

use super::world::World;

/// Between the reader and what it waits for are more messages than are looked at in one step.
#[test]
fn a_reader_of_a_rare_topic_becomes_live_without_being_woken_by_others() {
    let mut world = World::new();
    world.subscribe(0, "a.2", 2);
    world.settle();
    world.publish(0, 2);
    world.take_events();
    world.hub.shrink_outboxes(0);
    world.after();
    for _ in 0..9_000 {
        world.publish(0, 0);
    }
    world.settle();
    let subscription = world.connections[0].subscriptions.values().next().unwrap();
    assert!(subscription.ways.values().all(|way| !way.is_catching_up), "{subscription:?}");
}

#[test]
fn a_subscription_starts_while_another_one_of_its_connection_reads_much() {
    let mut world = World::new();
    for _ in 0..300 {
        world.publish(0, 0);
    }
    world.publish(1, 0);
    world.settle();
    world.subscribe(0, "a.>", 2);
    world.subscribe(0, "b.*", 2);
    let mut asked = Vec::new();
    while !asked.iter().any(|pattern| pattern == "b.*") {
        asked.extend(world.poll_and_answer(0));
        assert!(asked.len() < 5, "{asked:?}");
    }
}

#[test]
fn a_connection_has_one_read_under_way_however_often_it_asks() {
    let mut world = World::new();
    let key = world.connections[0].key.unwrap();
    let pattern = PatternBuf::new("a.*").unwrap();
    let start = Start::Newest(1 << 50);
    let mut under_way = 0;
    for n in 0..1_000_u32 {
        let (id, end) = (Id::from(n * 2 + 1), Id::from(n * 2 + 2));
        let overflow = Overflow::DropOldest;
        let subscribe = Subscribe { id, pattern: pattern.as_pattern(), overflow, start: Some(start) };
        world.hub.begin_turn(1);
        world.hub.subscribe_from(key, &subscribe, &start).unwrap();
        world.hub.read_on(key);
        world.hub.unsubscribe(key, &Unsubscribe { id: end, subscription: id }).unwrap();
        while world.hub.next(key).is_some() {}
        under_way += world.hub.take_reads().count();
    }
    assert_eq!(under_way, 1);
}
