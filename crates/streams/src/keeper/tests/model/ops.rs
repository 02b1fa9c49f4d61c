//! What may happen to a keeper, at random.

use proptest::prelude::*;

use super::SHARDS;

#[derive(Debug, Clone)]
pub(super) enum Op {
    /// Submissions, each of a shard.
    Group(Vec<(u32, Vec<Publication>)>),
    Maintain,
    Compact,
    Purge {
        stream: u32,
        keep: u64,
    },
    Remove {
        stream: u32,
    },
    Renew {
        stream: u32,
    },
    Fail {
        after: u64,
        full: bool,
    },
    Reopen,
    Restart,
    Crash {
        seed: u64,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Publication {
    pub(super) stream: u32,
    pub(super) topic: u8,
    pub(super) id: Option<u8>,
    /// Whether it expects what is so, or something else.
    pub(super) expects: Option<bool>,
    pub(super) bytes: usize,
}

fn publication() -> impl Strategy<Value = Publication> {
    let id = prop_oneof![2 => Just(None), 1 => (0..12_u8).prop_map(Some)];
    let expects = prop_oneof![4 => Just(None), 1 => any::<bool>().prop_map(Some)];
    let bytes = prop_oneof![8 => 0..60_usize, 1 => 300..900_usize];
    (0..3_u32, 0..3_u8, id, expects, bytes).prop_map(|(stream, topic, id, expects, bytes)| Publication {
        stream,
        topic,
        id,
        expects,
        bytes,
    })
}

pub(super) fn op() -> impl Strategy<Value = Op> {
    let submissions = (0..SHARDS, prop::collection::vec(publication(), 1..6));
    prop_oneof![
        30 => prop::collection::vec(submissions, 1..4).prop_map(Op::Group),
        4 => Just(Op::Maintain),
        3 => Just(Op::Compact),
        2 => (0..3_u32, 0..20_u64).prop_map(|(stream, keep)| Op::Purge { stream, keep }),
        1 => (0..3_u32).prop_map(|stream| Op::Remove { stream }),
        1 => (0..3_u32).prop_map(|stream| Op::Renew { stream }),
        3 => (0..14_u64, any::<bool>()).prop_map(|(after, full)| Op::Fail { after, full }),
        3 => Just(Op::Reopen),
        2 => Just(Op::Restart),
        3 => any::<u64>().prop_map(|seed| Op::Crash { seed }),
    ]
}
