//! What came and was not consumed is there, byte for byte, wherever it lies; and an idle connection has no memory for it.

use std::rc::Rc;

use proptest::prelude::*;

use crate::tls::buffers::{Buffers, Received};

/// What is done with one of two connections of a thread. Its records are just bytes.
#[derive(Debug, Clone)]
enum Step {
    Receive(Vec<u8>),
    /// A record of so many bytes, with so many of them plain text, from so far on.
    Open {
        record: usize,
        start: usize,
        plain: usize,
    },
    Skip(usize),
    Consume(usize),
    Park,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 1..3_000).prop_map(Step::Receive),
        4 => (1..2_000_usize, 0..20_usize, 0..2_000_usize)
            .prop_map(|(record, start, plain)| Step::Open { record, start, plain }),
        1 => (1..500_usize).prop_map(Step::Skip),
        4 => (0..2_500_usize).prop_map(Step::Consume),
        3 => Just(Step::Park),
        1 => Just(Step::Clear),
    ]
}

/// What must be there.
#[derive(Default)]
struct Model {
    plain: Vec<u8>,
    records: Vec<u8>,
}

proptest! {
    #[test]
    fn nothing_is_lost_or_mixed_up(
        first in prop::collection::vec(any::<u8>(), 0..100),
        steps in prop::collection::vec((0..2_usize, step()), 0..60),
    ) {
        let buffers = Rc::new(Buffers::default());
        let mut received = [Received::new(Rc::clone(&buffers), first.clone()), Received::new(buffers, vec![])];
        let mut models = [Model { plain: vec![], records: first }, Model::default()];
        for (which, step) in steps {
            let (received, model) = (&mut received[which], &mut models[which]);
            match step {
                // A socket is read only when all before was consumed, and no whole record is left.
                Step::Receive(bytes) if model.plain.is_empty() && model.records.len() < 10_000 => {
                    received.room()[..bytes.len()].copy_from_slice(&bytes);
                    received.received(bytes.len());
                    model.records.extend(bytes);
                }
                Step::Open { record, start, plain } if model.plain.is_empty() && record <= model.records.len() => {
                    let start = start.min(record);
                    let end = (start + plain).min(record);
                    received.opened(start..end, record);
                    model.plain = model.records.drain(..record).collect::<Vec<_>>()[start..end].to_vec();
                }
                Step::Skip(record) if model.plain.is_empty() && record <= model.records.len() => {
                    received.skip(record);
                    model.records.drain(..record);
                }
                Step::Consume(bytes) => {
                    received.consume(bytes);
                    model.plain.drain(..bytes.min(model.plain.len()));
                }
                Step::Park => received.park(),
                Step::Clear => {
                    received.clear();
                    *model = Model::default();
                }
                _ => {}
            }
            prop_assert_eq!(received.plain(), &model.plain[..]);
            prop_assert_eq!(received.records_mut(), &model.records[..]);
        }
        for (received, model) in received.iter_mut().zip(models) {
            received.park();
            prop_assert_eq!(received.plain(), &model.plain[..]);
            prop_assert_eq!(received.records_mut(), &model.records[..]);
            received.clear();
            prop_assert_eq!(received.own_bytes(), 0);
        }
    }
}

#[test]
fn what_is_kept_has_the_size_of_what_is_left_and_none_is_kept_of_nothing() {
    let mut received = Received::new(Rc::default(), Vec::with_capacity(4_096));
    assert_eq!(received.own_bytes(), 0);
    received.room()[..100].fill(1);
    received.received(100);
    received.opened(5..50, 60);
    received.consume(10);
    received.park();
    // 35 of plain text, the end of its record, and the 40 behind it.
    assert_eq!(received.own_bytes(), 85);
    received.consume(35);
    received.skip(40);
    received.park();
    received.consume(0);
    assert_eq!(received.own_bytes(), 0);
}
