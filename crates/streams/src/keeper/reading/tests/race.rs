//! Readers on their own threads, while the stream is published to, purged, removed and given new epochs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use super::*;

/// Every message of a page names its epoch and its sequence, so a page tells by itself whether it can be.
fn check(page: &HistoryPage, after: u64) {
    let mut position = after;
    for part in &page.parts {
        match part {
            Part::Lost(gap) => {
                assert_ne!(gap.reason, LossReason::Damage, "{page:?}");
                assert_eq!(gap.first, position + 1);
                position = gap.last;
            }
            Part::Messages { bytes, first, .. } => {
                assert_eq!(*first, position + 1, "{page:?}");
                let text = std::str::from_utf8(bytes).unwrap();
                for delivery in text.split('<').skip(1) {
                    let mut fields = delivery.split('/');
                    assert_eq!(fields.next(), Some(page.epochs.current().as_str()), "of another epoch");
                    position += 1;
                    assert_eq!(fields.next(), Some(position.to_string().as_str()));
                }
            }
        }
    }
    assert_eq!(page.complete_through, position);
}

#[test]
fn a_page_has_messages_of_its_own_epoch_only_whatever_happens_meanwhile() {
    let mut world = World::new(Durability::Disk, small_options());
    world.publish(TOPICS, 10);
    let shared = Arc::clone(&world.reading.shared);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 0..3_u64 {
            let (shared, is_over) = (Arc::clone(&shared), &is_over);
            scope.spawn(move || {
                let reading = Reading::new(shared);
                let mut after = 0;
                while !is_over.load(Ordering::Relaxed) {
                    let Ok(Found::Page(page)) =
                        reading.find(0, &pattern(">"), &What::Page(all_behind(after)), Instant::now())
                    else {
                        panic!()
                    };
                    check(&page, after);
                    after = if page.complete_through == after { seed } else { page.complete_through };
                    after = after.min(page.bounds.last);
                }
            });
        }
        for round in 0..600_u64 {
            world.publish(TOPICS, 10);
            match round % 10 {
                3 => world.remove_before(world.bounds().last.saturating_sub(20), LossReason::Retention),
                6 => world.remove_before(world.bounds().last.saturating_sub(15), LossReason::Purge),
                9 => world.remove(),
                _ => {}
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
}
