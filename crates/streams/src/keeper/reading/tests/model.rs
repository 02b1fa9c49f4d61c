//! Random operations on a stream while readers go through it.

use proptest::{collection::vec, prelude::*};

use super::*;

#[derive(Debug, Clone)]
enum Step {
    Publish {
        topics: Vec<usize>,
        padding: usize,
    },
    Retain {
        back: u64,
    },
    Purge {
        back: u64,
    },
    Remove,
    RenewEpoch,
    Damage {
        at: u64,
    },
    /// A reader goes on, or begins somewhere.
    Read {
        reader: usize,
        jump: Option<u64>,
    },
    /// Everything from a position on, with nothing in between.
    Walk {
        reader: usize,
        from: u64,
    },
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (vec(0..TOPICS.len(), 1..12), 0..120_usize)
            .prop_map(|(topics, padding)| Step::Publish { topics, padding }),
        1 => (0..60_u64).prop_map(|back| Step::Retain { back }),
        1 => (0..60_u64).prop_map(|back| Step::Purge { back }),
        1 => Just(Step::RenewEpoch),
        1 => Just(Step::Remove),
        2 => any::<u64>().prop_map(|at| Step::Damage { at }),
        14 => (0..READERS, proptest::option::of(any::<u64>())).prop_map(|(reader, jump)| Step::Read { reader, jump }),
        3 => (0..READERS, any::<u64>()).prop_map(|(reader, from)| Step::Walk { reader, from }),
    ]
}

/// Of each pattern two: one of all messages, one of last values.
const READERS: usize = 2 * PATTERNS.len();

struct Reader {
    position: u64,
    /// Of all messages, how far it reads; of last values, as of when.
    end: u64,
}

impl Reader {
    fn read(&self, number: usize) -> (&'static str, Read) {
        let select = match number % 2 {
            0 => Select::All,
            _ => Select::LastByTopic { as_of: self.end },
        };
        (PATTERNS[number / 2], Read { after: self.position, through: self.end, select })
    }

    fn begin(&mut self, at: u64, number: usize, world: &World) {
        let last = world.bounds().last;
        self.position = at % (last + 2);
        let is_bounded = number % 2 == 1 || at.is_multiple_of(3);
        self.end = if is_bounded { (self.position + (at >> 32) % 40).min(last) } else { MAX_SEQUENCE };
    }

    /// One page.
    fn step(&mut self, number: usize, world: &World) {
        let (pattern, read) = self.read(number);
        let page = world.page(pattern, read);
        let messages = world.check(pattern, &read, &page);
        assert!(messages <= 6);
        assert!(messages <= 1 || page.size_bytes() <= 300);
        self.position = page.complete_through;
    }
}

fn run(durability: Durability, steps: Vec<Step>) {
    let mut world = World::new(durability, small_options());
    let mut readers: Vec<_> = (0..READERS).map(|_| Reader { position: 0, end: 0 }).collect();
    for step in steps {
        match step {
            Step::Publish { topics, padding } => world.publish(topics.into_iter().map(|at| TOPICS[at]), padding),
            Step::Retain { back } if durability == Durability::Disk => {
                world.remove_before((world.bounds().last + 1).saturating_sub(back), LossReason::Retention);
            }
            Step::Retain { back } | Step::Purge { back } => {
                world.remove_before((world.bounds().last + 1).saturating_sub(back), LossReason::Purge);
            }
            Step::Remove if durability == Durability::Disk => {
                world.remove();
                for reader in &mut readers {
                    (reader.position, reader.end) = (0, 0);
                }
            }
            Step::Damage { at } if durability == Durability::Disk && world.bounds().first <= world.bounds().last => {
                let Bounds { first, last, .. } = world.bounds();
                let sequence = first + at % (last + 1 - first);
                if !world.damaged.contains(&sequence) {
                    world.damage(sequence);
                }
            }
            Step::Remove | Step::Damage { .. } => {}
            Step::RenewEpoch => world.renew_epoch(),
            Step::Read { reader, jump } => {
                if let Some(at) = jump {
                    readers[reader].begin(at, reader, &world);
                }
                readers[reader].step(reader, &world);
            }
            Step::Walk { reader, from } => {
                let walker = &mut readers[reader];
                walker.begin(from, reader, &world);
                let (_, read) = walker.read(reader);
                while walker.position < read.through.min(world.bounds().last) {
                    walker.step(reader, &world);
                }
            }
        }
        assert!(world.reading.cached_bytes() <= small_options().cache_bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::long_runs::cases(400), ..ProptestConfig::default() })]

    #[test]
    fn pages_of_a_stream_on_disk_have_exactly_what_is_kept_and_name_what_is_lost(steps in vec(steps(), 1..80)) {
        run(Durability::Disk, steps);
    }

    #[test]
    fn pages_of_a_stream_in_memory_have_exactly_what_is_kept_and_name_what_is_lost(steps in vec(steps(), 1..80)) {
        run(Durability::Memory, steps);
    }
}
