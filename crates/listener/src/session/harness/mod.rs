//! Sessions without sockets: clients of two shards who do whatever the operations say, and what must hold all the same.
//!
//! It serves the fuzz target and a property test. What is checked is worded in the specification:
//! - each request gets exactly one reply, and a publication without an id only a refusal;
//! - nothing is done for a client that is not connected, and nobody is let in by credentials that are not good;
//! - a client gets what was published to its live subscriptions, in that order, once; what is missing is told by gaps;
//! - nobody gets, or publishes, what they may not, by an evaluation of the rules that is too simple to be wrong;
//! - when all have gone, nothing is left of them in gauges, outboxes and quotas, and every loss was counted.
//!
//! `operations` is what the bytes mean, `world` does it, `rules` has who there is, `outbox` what a client has coming, and
//! `answers` what each message must be answered with.

#![expect(clippy::indexing_slicing, reason = "a panic is how this tells what it found")]

mod answers;
mod operations;
mod outbox;
mod rules;
mod world;

use self::{
    operations::Bytes,
    world::{PLACES, World},
};

/// Does what the bytes say, operation after operation.
///
/// # Panics
/// When something is not as it must be.
pub fn run(operations: &[u8]) {
    let mut world = World::new();
    let mut operations = Bytes(operations);
    while let Some(byte) = operations.next() {
        world.operate(byte & 15, usize::from(byte >> 4) % PLACES, &mut operations);
    }
    world.finish();
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// The inputs that the fuzz target begins with: each leads somewhere that chance seldom does.
    #[test]
    fn sessions_hold_to_the_specification_in_what_the_seeds_of_the_fuzz_target_do() {
        let seeds = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/session")).unwrap();
        let seeds: Vec<_> = seeds.map(|seed| std::fs::read(seed.unwrap().path()).unwrap()).collect();
        assert!(!seeds.is_empty());
        for seed in seeds {
            super::run(&seed);
        }
    }

    proptest! {
        #[test]
        fn sessions_hold_to_the_specification_whatever_their_clients_do(
            operations in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            super::run(&operations);
        }
    }
}
