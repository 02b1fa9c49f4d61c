//! What reading costs the disk, in bytes.

use super::super::super::read::ReadRequest;
use super::super::Readers;
use super::threads::{reply, shards};
use super::*;

/// As a broker has them by default, but for pages, which are smaller so that there are many.
fn options() -> Options {
    Options { page_bytes: 32 << 10, page_messages: 500, reader_threads: 4, ..Options::default() }
}

/// Random numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A stream of 20,000 messages in many segments.
fn filled() -> World {
    let mut world = World::new(Durability::Disk, Options { segment_bytes: 100_000, ..options() });
    for _ in 0..200 {
        world.publish((0..100).map(|n| TOPICS[n % TOPICS.len()]), 100);
    }
    world
}

/// What one reader makes the disk read of the last messages.
fn cost_of_one_reader(world: &World, from: u64) -> u64 {
    let reading = Reading::new(Arc::clone(&world.reading.shared));
    let before = world.counts.disk_bytes();
    let mut position = from;
    while position < world.bounds().last {
        match reading.find(0, &pattern(">"), &What::Page(all_behind(position)), Instant::now()) {
            Ok(Found::Page(page)) => position = page.complete_through,
            other => panic!("{other:?}"),
        }
    }
    world.counts.disk_bytes() - before
}

#[test]
fn a_storm_of_resumes_reads_the_disk_about_as_much_as_one_reader() {
    const REQUESTS: u64 = 5_000;
    let world = filled();
    let last = world.bounds().last;
    let one = cost_of_one_reader(&world, last - 2_000);
    let before = world.counts.disk_bytes();
    let (shards, events) = shards(1);
    let readers = Readers::start(&world.reading.shared, &shards).unwrap();
    let mut random = Random(1);
    let mut positions = Vec::new();
    for request in 0..REQUESTS {
        let after = last - 2_000 + random.below(2_000);
        positions.push(after);
        let what = What::Page(all_behind(after));
        let pattern = pattern(">");
        readers.request(ReadRequest { shard: 0, ticket: 7, request, stream: 0, pattern, what, asker: None });
    }
    for reply in events[0].iter().map(reply).take(as_index(REQUESTS)) {
        let Ok(Found::Page(page)) = reply.found else { panic!("{reply:?}") };
        let after = positions[as_index(reply.request)];
        assert!(world.check(">", &all_behind(after), &page) > 0);
    }
    readers.stop();
    let storm = world.counts.disk_bytes() - before;
    assert!(storm <= 3 * one, "the storm read {storm} bytes, one reader {one}");
    assert_eq!(world.counts.page_hits() + world.counts.page_misses(), REQUESTS + pages_of_one_reader(&world));
}

fn pages_of_one_reader(world: &World) -> u64 {
    let before = world.counts.page_misses();
    cost_of_one_reader(world, world.bounds().last - 2_000);
    world.counts.page_misses() - before
}

#[test]
fn what_was_read_once_is_not_read_again() {
    let world = filled();
    let read = |after: u64| {
        let page = world.page(">", all_behind(after));
        world.check(">", &all_behind(after), &page);
    };
    (0..500).rev().for_each(read);
    (0..500).for_each(read);
    let once = world.counts.disk_bytes();
    let mut random = Random(2);
    (0..500).for_each(|_| read(random.below(500)));
    assert_eq!(world.counts.disk_bytes(), once);
}

#[test]
fn damage_is_asked_of_the_disk_again_and_all_around_it_is_not() {
    let mut world = World::new(Durability::Disk, small_options());
    world.publish(TOPICS, 20);
    world.damage(3);
    let read = |world: &World| {
        let page = world.page(">", all_behind(0));
        world.check(">", &all_behind(0), &page);
        page
    };
    assert_eq!(read(&world).parts.len(), 3);
    let all_bytes = world.counts.disk_bytes();
    let again = read(&world);
    assert!(again.parts.contains(&Part::Lost(Gap { first: 3, last: 3, reason: LossReason::Damage })));
    assert!(world.counts.disk_bytes() - all_bytes < all_bytes / 2, "only what was damaged");
    world.damage(3);
    world.damaged.clear();
    let [Part::Messages { count: 5, .. }] = read(&world).parts[..] else { panic!("it can be read again") };
}

#[test]
fn steps_of_one_message_are_handed_on_as_few_parts() {
    let world = filled();
    for after in (0..400).rev() {
        world.page(">", all_behind(after));
    }
    let page = world.page(">", all_behind(0));
    assert!(page.message_count() > 50 && page.parts.len() <= 10, "{} parts", page.parts.len());
}

#[test]
fn a_few_messages_of_a_page_do_not_keep_all_of_it_in_memory() {
    let world = filled();
    let whole = world.page(">", all_behind(0));
    let what = What::History { start: HistoryStart::Start(Start::Beginning), through: None, max_messages: Some(2) };
    let Ok(Found::History { page, .. }) = world.find(">", &what) else { panic!() };
    let ([Part::Messages { bytes: whole, .. }], [Part::Messages { bytes: few, .. }]) =
        (&whole.parts[..], &page.parts[..])
    else {
        panic!("{page:?}")
    };
    assert!(whole.starts_with(few));
    assert!(!whole.as_ptr_range().contains(&few.as_ptr()), "a copy");
}
