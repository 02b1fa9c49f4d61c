//! A disk that gives errors for a place, and goes on giving them.

use std::time::Duration;

use super::*;

const GIVEN_UP_AFTER_S: u64 = 120;
const BAD: std::ops::RangeInclusive<u64> = 17..=19;

/// The disk gives errors for some messages in the middle of a segment.
fn with_bad_place() -> World {
    let mut world = World::new(Durability::Disk, small_options());
    for _ in 0..16 {
        world.publish(TOPICS, 20);
    }
    let (name, begin) = world.place_of(*BAD.start());
    let (same, end) = world.place_of(*BAD.end());
    assert_eq!(name, same);
    world.disk.fail_reads_of(&name, begin..end + 1);
    world
}

impl World {
    fn place_of(&self, sequence: u64) -> (String, u64) {
        let delivery = &self.messages[as_index(sequence) - 1].delivery;
        let in_file = |name: &String| {
            self.disk.bytes(name).unwrap().windows(delivery.len()).position(|window| window == delivery)
        };
        let names = store::Disk::list(&self.disk).unwrap();
        names.into_iter().find_map(|name| in_file(&name).map(|at| (name, at as u64))).unwrap()
    }

    /// Asks each second, as those do who wait. When the answer came, in seconds, and what it was.
    fn wait_for(&mut self, pattern_name: &str, read: &Read, at_most_s: u64) -> Option<(u64, HistoryPage)> {
        for second in 0..at_most_s {
            match self.find(pattern_name, &What::Page(*read)) {
                Ok(Found::Page(page)) => return Some((second, page)),
                Err(ReadFailed::Unreadable) => {}
                other => panic!("{other:?}"),
            }
            self.now += Duration::from_secs(1);
        }
        None
    }
}

fn lost(page: &HistoryPage) -> Vec<(u64, u64)> {
    let lost = page.parts.iter().filter_map(|part| match part {
        Part::Lost(gap) => Some((gap.first, gap.last)),
        Part::Messages { .. } => None,
    });
    lost.collect()
}

#[test]
fn what_the_disk_does_not_give_for_long_is_told_as_lost_and_given_again_when_it_does() {
    for pattern_name in [">", "a.*", "b.x"] {
        let mut world = with_bad_place();
        let is_wanted = |sequence: &u64| world.is_asked_for(pattern_name, Select::All, *sequence);
        let bad: Vec<u64> = BAD.filter(is_wanted).collect();
        let before = all_behind(bad[0] - 1);
        let (waited_s, page) = world.wait_for(pattern_name, &before, 1_000).unwrap();
        assert_eq!(waited_s, GIVEN_UP_AFTER_S);
        assert_eq!(lost(&page).first().map(|gap| gap.0), bad.first().copied());
        world.damaged = BAD.collect();
        assert!(world.check(pattern_name, &before, &page) > 0, "it goes on behind it");
        // The next one does not wait, though what is behind it is in memory now.
        let (waited_s, page) = world.wait_for(pattern_name, &before, 1_000).unwrap();
        assert_eq!((waited_s, lost(&page).is_empty()), (0, false));
        world.disk.heal();
        world.damaged.clear();
        let page = world.page(pattern_name, before);
        assert_eq!(lost(&page), []);
        world.check(pattern_name, &before, &page);
        // An error now is another one.
        world.disk.fail_reads("", 0);
        world.reading = Reading::new(Arc::clone(&world.reading.shared));
        assert_eq!(world.find(pattern_name, &What::Page(before)).err(), Some(ReadFailed::Unreadable));
    }
}

#[test]
fn last_values_that_the_disk_does_not_give_for_long_are_told_as_lost() {
    let mut world = with_bad_place();
    let read = Read { after: 16, through: 20, select: Select::LastByTopic { as_of: 20 } };
    let (waited_s, page) = world.wait_for(">", &read, 1_000).unwrap();
    assert_eq!((waited_s, lost(&page)), (GIVEN_UP_AFTER_S, vec![(17, 19)]));
}

#[test]
fn a_segment_that_the_disk_gives_nothing_of_is_never_told_as_lost() {
    let mut world = with_bad_place();
    let (name, begin) = world.place_of(*BAD.start());
    world.disk.fail_reads(&name, begin);
    assert!(world.wait_for(">", &all_behind(16), 10 * GIVEN_UP_AFTER_S).is_none());
    world.disk.heal();
    assert_eq!(lost(&world.wait_for(">", &all_behind(16), 2).unwrap().1), []);
}

#[test]
fn the_disk_is_asked_once_a_second_however_many_wait() {
    let mut world = with_bad_place();
    let failed = |world: &World| world.find(">", &What::Page(all_behind(16))).is_err();
    assert!(failed(&world));
    let reads = world.counts.disk_reads();
    for _ in 0..100 {
        assert!(failed(&world));
    }
    assert_eq!(world.counts.disk_reads(), reads);
    world.now += Duration::from_secs(1);
    assert!(failed(&world) && world.counts.disk_reads() > reads);
}

#[test]
fn starts_are_found_beside_what_the_disk_does_not_give_for_long() {
    for (start, position) in [(Start::Time(time_of(18)), 16), (Start::Newest(3), 11)] {
        let mut world = with_bad_place();
        let pattern = pattern("*.*");
        let find = |world: &World| world.reading.origin(&world.kept, &start, pattern.as_pattern(), 20, world.now);
        for _ in 0..GIVEN_UP_AFTER_S {
            assert_eq!(find(&world).err(), Some(ReadFailed::Unreadable), "{start:?}");
            world.now += Duration::from_secs(1);
        }
        assert_eq!(find(&world).unwrap().position, position, "{start:?}");
        world.disk.heal();
        assert!(find(&world).unwrap().position > position, "{start:?}");
    }
}
