//! Who runs where and how urgently, so that what attackers cost themselves is not taken for what they cost the pair.

use std::io;

use carillon_benches::machine::{allowed, enter};

/// What the largest attack needs: 10,000 connections, and some to spare. The broker needs as many.
pub(crate) const OPEN_FILES: u64 = 12_500;
/// Of the pair, which is to measure the broker and not its own waiting for a processor, and of the broker, beside which
/// nothing else is to be measured.
pub(crate) const FIRST: i32 = -10;
/// Of the attackers. Not the last of all: on a busy machine they would not come to attack.
pub(crate) const USUAL: i32 = 0;

/// Which processor each part has to itself, as far as there are enough.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processors {
    broker: Option<usize>,
    pair: Option<usize>,
    attackers: Option<usize>,
}

/// Who is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Broker,
    Pair,
    Attackers,
}

impl Processors {
    /// Shares out those that this process may use.
    pub(crate) fn share() -> Self {
        let mut free = allowed().into_iter();
        match (free.next(), free.next(), free.next()) {
            (Some(broker), Some(pair), attackers) => {
                Self { broker: Some(broker), pair: Some(pair), attackers: attackers.or(Some(pair)) }
            }
            _ => Self { broker: None, pair: None, attackers: None },
        }
    }

    /// What a person has to know of the shares.
    pub(crate) fn describe(self) -> String {
        match (self.broker, self.pair, self.attackers) {
            (Some(broker), Some(pair), Some(attackers)) => {
                format!("processors: broker {broker}, pair {pair}, attackers {attackers}")
            }
            _ => "processors: one for all, so that the attackers' own work counts in the pair's latency".to_owned(),
        }
    }

    /// Moves this thread, and the threads and processes that it starts from now on.
    pub(crate) fn enter(self, part: Part) -> io::Result<()> {
        let processor = match part {
            Part::Broker => self.broker,
            Part::Pair => self.pair,
            Part::Attackers => self.attackers,
        };
        processor.map_or(Ok(()), |processor| enter(&[processor]))
    }
}
