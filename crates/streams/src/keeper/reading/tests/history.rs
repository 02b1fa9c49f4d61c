//! Starts of subscriptions, and history without one.

use std::time::Duration;

use super::*;
use crate::stream::{Origin, Position, Resumed};

const BOTH: [Durability; 2] = [Durability::Disk, Durability::Memory];

fn filled(durability: Durability) -> World {
    let mut world = World::new(durability, small_options());
    for _ in 0..8 {
        world.publish(TOPICS, 20);
    }
    world
}

fn origin(world: &World, pattern: &str, start: Start) -> Origin {
    match world.find(pattern, &What::Start(start)) {
        Ok(Found::Origin(origin)) => origin,
        other => panic!("{other:?}"),
    }
}

struct History {
    origin: Origin,
    page: HistoryPage,
    is_end: bool,
}

fn history(world: &World, pattern: &str, start: HistoryStart, through: Option<u64>, max: Option<u32>) -> History {
    match world.find(pattern, &What::History { start, through, max_messages: max }) {
        Ok(Found::History { origin, page, is_end }) => History { origin, page, is_end },
        other => panic!("{other:?}"),
    }
}

fn behind(world: &World, sequence: u64) -> Start {
    let epoch = world.kept.read().stream().epochs().current().clone();
    Start::Behind(Position { epoch, sequence })
}

#[test]
fn starts_are_where_the_messages_are() {
    for durability in BOTH {
        let world = filled(durability);
        assert_eq!(origin(&world, ">", Start::Now).position, 40);
        assert_eq!(origin(&world, ">", Start::Beginning).position, 0);
        assert_eq!(origin(&world, ">", Start::Newest(3)).position, 37);
        assert_eq!(origin(&world, "rare", Start::Newest(2)).position, 34);
        assert_eq!(origin(&world, "rare", Start::Newest(100)).position, 4);
        assert_eq!(origin(&world, ">", Start::Time(time_of(12))).position, 11);
        assert_eq!(origin(&world, ">", Start::Time(time_of(12) + 1)).position, 12);
        assert_eq!(origin(&world, ">", Start::Time(time_of(99))).position, 40);
        let last_values = origin(&world, ">", Start::LastByTopic);
        assert_eq!((last_values.position, last_values.last_by_topic_as_of), (0, 40));
        assert_eq!(origin(&world, ">", behind(&world, 7)).resumed, Resumed::Continued);
    }
}

#[test]
fn history_through_a_sequence_ends_there() {
    for durability in BOTH {
        let world = filled(durability);
        let start = HistoryStart::Start(behind(&world, 4));
        let first = history(&world, ">", start, Some(12), None);
        assert_eq!((first.page.complete_through, first.is_end, first.page.message_count()), (10, false, 6));
        let start = HistoryStart::Start(behind(&world, 10));
        let second = history(&world, ">", start, Some(12), None);
        assert_eq!((second.page.complete_through, second.is_end, second.page.message_count()), (12, true, 2));
        let start = HistoryStart::Start(behind(&world, 38));
        let end = history(&world, ">", start, Some(1_000), None);
        assert_eq!((end.page.complete_through, end.is_end, end.page.message_count()), (40, true, 2));
    }
}

#[test]
fn history_has_no_more_messages_than_asked_for() {
    for durability in BOTH {
        let world = filled(durability);
        let first = history(&world, "a.x", HistoryStart::Start(Start::Newest(5)), None, Some(3));
        let read = Read { after: first.origin.position, ..all_behind(0) };
        assert_eq!(world.check("a.x", &read, &first.page), 3);
        assert!(!first.is_end);
        let none = history(&world, "none", HistoryStart::Start(Start::Newest(5)), None, Some(3));
        assert_eq!((none.page.message_count(), none.is_end), (0, true));
    }
}

#[test]
fn last_values_go_on_page_by_page_as_of_one_sequence() {
    for durability in BOTH {
        let mut world = filled(durability);
        let first = history(&world, ">", HistoryStart::Start(Start::LastByTopic), None, Some(2));
        let as_of = first.origin.last_by_topic_as_of;
        assert_eq!((as_of, first.page.message_count(), first.is_end), (40, 2, false));
        world.publish(TOPICS, 0);
        let epoch = first.page.epochs.current().clone();
        let start = HistoryStart::LastByTopic { epoch, as_of, after: first.page.complete_through };
        let second = history(&world, ">", start, None, None);
        assert_eq!((second.page.message_count(), second.is_end), (3, true));
        assert_eq!((second.origin.resumed, second.page.complete_through), (Resumed::Continued, 40));
        let read = Read { after: first.page.complete_through, through: as_of, select: Select::LastByTopic { as_of } };
        assert_eq!(world.check(">", &read, &second.page), 3);
    }
}

#[test]
fn last_values_of_an_epoch_that_is_gone_begin_anew() {
    let mut world = filled(Durability::Disk);
    let gone = world.kept.read().stream().epochs().current().clone();
    world.remove();
    world.publish(TOPICS, 0);
    let start = HistoryStart::LastByTopic { epoch: gone, as_of: 40, after: 37 };
    let History { origin, page, is_end } = history(&world, ">", start, None, None);
    let Resumed::OtherEpoch(change) = origin.resumed else { panic!("{origin:?}") };
    assert_eq!((change.from, change.reason, origin.last_by_topic_as_of), (1, EpochReason::Created, 5));
    assert_eq!((page.message_count(), is_end), (5, true));
}

#[test]
fn history_names_what_is_lost_once_and_only_as_far_as_asked_for() {
    for durability in BOTH {
        let mut world = filled(durability);
        world.remove_before(21, LossReason::Purge);
        let start = HistoryStart::Start(behind(&world, 5));
        let beyond = history(&world, ">", start.clone(), None, None);
        let gap = Gap { first: 6, last: 20, reason: LossReason::Purge };
        assert_eq!(beyond.origin.resumed, Resumed::AfterGap(gap));
        assert_eq!(beyond.page.parts[0], Part::Lost(gap));
        assert_eq!(world.check(">", &all_behind(5), &beyond.page), 6);
        let within = history(&world, ">", start, Some(9), None);
        assert_eq!(within.page.parts, [Part::Lost(Gap { last: 9, ..gap })]);
        assert!(within.is_end && within.page.complete_through == 9);
    }
}

#[test]
fn what_is_newest_or_last_up_to_a_sequence_is_decided_there() {
    for durability in BOTH {
        let world = filled(durability);
        let newest = history(&world, ">", HistoryStart::Start(Start::Newest(3)), Some(12), None);
        assert_eq!((newest.origin.position, newest.page.complete_through, newest.is_end), (9, 12, true));
        assert_eq!(newest.page.message_count(), 3);
        let last_values = history(&world, ">", HistoryStart::Start(Start::LastByTopic), Some(12), None);
        let as_of = last_values.origin.last_by_topic_as_of;
        assert_eq!((as_of, last_values.page.complete_through, last_values.is_end), (12, 12, true));
        let read = Read { after: 0, through: 12, select: Select::LastByTopic { as_of } };
        assert_eq!(world.check(">", &read, &last_values.page), 5);
    }
}

#[test]
fn history_is_never_complete_behind_what_was_asked_for() {
    for durability in BOTH {
        let mut world = filled(durability);
        world.remove_before(21, LossReason::Retention);
        for start in [Start::Beginning, Start::LastByTopic, Start::Newest(9), behind(&world, 30)] {
            let found = history(&world, ">", HistoryStart::Start(start.clone()), Some(12), None);
            assert_eq!((found.page.complete_through, found.is_end), (12, true), "{start:?}");
            assert_eq!(found.page.message_count(), 0);
        }
    }
}

#[test]
fn last_values_of_an_empty_stream_stay_none_whatever_is_published_meanwhile() {
    for durability in BOTH {
        let mut world = World::new(durability, small_options());
        let first = history(&world, ">", HistoryStart::Start(Start::LastByTopic), None, None);
        let as_of = first.origin.last_by_topic_as_of;
        assert_eq!((as_of, first.page.message_count(), first.is_end), (0, 0, true));
        world.publish(TOPICS, 0);
        let epoch = first.page.epochs.current().clone();
        let start = HistoryStart::LastByTopic { epoch, as_of, after: 0 };
        let second = history(&world, ">", start, None, None);
        assert_eq!((second.page.message_count(), second.page.complete_through, second.is_end), (0, 0, true));
    }
}

#[test]
fn an_error_of_the_disk_is_no_gap() {
    let mut world = filled(Durability::Disk);
    let all = world.page(">", all_behind(0));
    // Two pages further on, which nobody has read yet.
    let next = all.complete_through + 12;
    world.disk.fail_reads("", 0);
    let found = world.find(">", &What::Start(Start::Time(time_of(12))));
    assert_eq!(found.err(), Some(ReadFailed::Unreadable));
    assert_eq!(world.find(">", &What::Page(all_behind(next))).err(), Some(ReadFailed::Unreadable));
    let cached = world.page(">", Read { after: all.complete_through - 1, ..all_behind(0) });
    assert_eq!(cached.message_count(), 1, "what is in memory is still handed on");
    world.disk.heal();
    assert!(world.find(">", &What::Page(all_behind(next))).is_err(), "the disk has just been asked");
    world.now += Duration::from_secs(1);
    assert_eq!(world.check(">", &all_behind(next), &world.page(">", all_behind(next))), 6);
}

#[test]
fn a_stream_that_is_not_there_is_named() {
    let world = filled(Durability::Disk);
    let failed = world.reading.find(3, &pattern(">"), &What::Start(Start::Now), world.now);
    assert_eq!(failed, Err(ReadFailed::NoStream { stream: 3 }));
}

#[test]
fn what_the_store_has_lost_unnoticed_is_named_in_the_end() {
    let mut world = filled(Durability::Disk);
    // Behind the stream's back.
    world.log.remove(1).unwrap();
    let page = world.page(">", all_behind(0));
    assert!(matches!(page.parts[..], [Part::Lost(Gap { first: 1, last: 40, .. })]), "{page:?}");
}
