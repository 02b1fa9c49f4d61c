//! Streams in which newer messages of a topic replace older ones.

use super::*;

fn sequences(page: &HistoryPage) -> Vec<u64> {
    let mut sequences = Vec::new();
    for part in &page.parts {
        let Part::Messages { bytes, .. } = part else { panic!("{part:?}") };
        let text = std::str::from_utf8(bytes).unwrap();
        sequences.extend(text.split('<').skip(1).map(|it| it.split('/').nth(1).unwrap().parse::<u64>().unwrap()));
    }
    sequences
}

#[test]
fn what_was_replaced_since_a_page_was_read_is_not_in_it_any_more() {
    let mut world = World::with(definition(Durability::Disk, NonZeroU32::new(1)), small_options());
    let all = |world: &World| sequences(&world.page(">", all_behind(0)));
    world.publish(["a.x", "a.y"], 0);
    assert_eq!(all(&world), [1, 2]);
    world.publish(["a.x"], 0);
    assert_eq!(all(&world), [1, 2, 3], "nobody has said so yet");
    world.log.replace_beyond(1, NonZeroU32::MIN, ["a.x"]);
    assert_eq!(all(&world), [2, 3]);
    let once = world.counts.disk_bytes();
    assert_eq!(all(&world), [2, 3]);
    assert_eq!(world.counts.disk_bytes(), once);
}
