//! Definitions survive what a log survives.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::faulty::{Fault, FaultyDisk};
use super::super::{Definitions, DefinitionsError, Disk, Stored};
use crate::stream::{Durability, Epoch, EpochReason, Epochs, StreamName};

fn open(disk: &FaultyDisk) -> Result<Definitions, DefinitionsError> {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    Definitions::open(&disk)
}

fn name(text: &str) -> StreamName {
    StreamName::new(text).unwrap()
}

fn stored(number: u32, epochs: u64) -> Stored {
    let first = Epochs::new(Epoch::new("first").unwrap(), EpochReason::Created);
    let next = |epochs: Epochs, n: u64| {
        epochs.followed_by(Epoch::new(&format!("e{n}")).unwrap(), EpochReason::Renewed, Some(n * 10))
    };
    let epochs = (1..=epochs).fold(first, next);
    // How many a run has seen is not kept.
    let epochs = Epochs::restore(epochs.current().clone(), epochs.reason(), epochs.past().to_vec());
    Stored { number, durability: Durability::Disk, epochs, purged_through: u64::from(number) * 7 }
}

#[test]
fn what_was_put_is_there_again_and_numbers_are_never_used_again() {
    let disk = FaultyDisk::new();
    let mut definitions = open(&disk).unwrap();
    let (orders, prices) = (name("orders"), name("prices"));
    assert_eq!(definitions.next_number(), 1);
    definitions.put_all([(&orders, &stored(1, 3)), (&prices, &stored(2, 0))]).unwrap();
    definitions.put(&orders, &stored(1, 40)).unwrap();
    definitions.remove(&prices).unwrap();
    drop(definitions);
    let mut definitions = open(&disk).unwrap();
    assert_eq!(definitions.all(), &BTreeMap::from([(orders.clone(), stored(1, 40))]));
    assert_eq!(definitions.next_number(), 3);
    for number in [1, 2, u32::MAX] {
        let taken = definitions.put(&prices, &stored(number, 0)).unwrap_err();
        assert_eq!(taken, DefinitionsError::NumberTaken { name: prices.clone(), number });
    }
    definitions.put(&prices, &stored(3, 0)).unwrap();
}

#[test]
fn a_failed_commit_refuses_changes_until_it_is_opened_again() {
    let disk = FaultyDisk::new();
    let mut definitions = open(&disk).unwrap();
    definitions.put(&name("kept"), &stored(1, 1)).unwrap();
    disk.fail(Fault::Call(0, io::ErrorKind::Other));
    let failed = definitions.put(&name("lost"), &stored(2, 1)).unwrap_err();
    assert!(matches!(failed, DefinitionsError::Failed { .. }));
    assert_eq!(definitions.put(&name("kept"), &stored(1, 2)), Err(failed));
    assert_eq!(definitions.get(&name("kept")), Some(&stored(1, 1)));
    drop(definitions);
    let mut definitions = open(&disk).unwrap();
    assert_eq!(definitions.get(&name("kept")), Some(&stored(1, 1)));
    definitions.put(&name("kept"), &stored(1, 2)).unwrap();
}

#[test]
fn a_file_that_is_damaged_or_missing_is_refused_untouched() {
    let disk = FaultyDisk::new();
    let mut definitions = open(&disk).unwrap();
    definitions.put(&name("orders"), &stored(1, 1)).unwrap();
    drop(definitions);
    let bytes = disk.bytes("definitions.redb").unwrap();
    let content = bytes.windows(6).position(|window| window == b"orders").unwrap();
    let mut damaged = bytes.clone();
    damaged[content] ^= 1;
    for broken in [damaged, bytes[..bytes.len() / 2].to_vec(), Vec::new(), vec![0; 5000]] {
        disk.set_bytes("definitions.redb", &broken);
        assert!(matches!(open(&disk), Err(DefinitionsError::Damaged { .. })));
        assert_eq!(disk.bytes("definitions.redb").unwrap(), broken);
    }
    disk.unlink("definitions.redb").unwrap();
    disk.set_bytes("0000000000000000-0.log", b"a segment");
    assert!(matches!(open(&disk), Err(DefinitionsError::Missing { .. })));
}

#[test]
fn a_file_of_a_newer_version_is_refused_untouched() {
    let disk = FaultyDisk::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("newer");
    let database = redb::Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    let numbers = redb::TableDefinition::<&str, u32>::new("numbers");
    transaction.open_table(numbers).unwrap().insert("version", 2).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let bytes = std::fs::read(&path).unwrap();
    disk.set_bytes("definitions.redb", &bytes);
    assert!(matches!(open(&disk), Err(DefinitionsError::Newer { found: 2, known: 1, .. })));
    assert_eq!(disk.bytes("definitions.redb").unwrap(), bytes);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: crate::long_runs::cases(40), ..ProptestConfig::default() })]

    /// After a power loss at any call, what was put before is there, and of the last change all or nothing.
    #[test]
    fn a_power_loss_undoes_no_change_that_returned(fails_at in 0_u64..60, seed in any::<u64>()) {
        let disk = FaultyDisk::new();
        disk.fail(Fault::Call(fails_at, io::ErrorKind::Other));
        let (mut kept, mut tried) = (BTreeMap::new(), BTreeMap::new());
        if let Ok(mut definitions) = open(&disk) {
            for number in 1..6 {
                tried.insert(name(&format!("s{number}")), stored(number, u64::from(number)));
                if definitions.put(&name(&format!("s{number}")), &stored(number, u64::from(number))).is_err() {
                    break;
                }
                kept = tried.clone();
            }
        }
        let mut state = seed;
        disk.heal();
        disk.crash(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 33
        });
        let definitions = open(&disk).unwrap();
        prop_assert!(*definitions.all() == kept || *definitions.all() == tried);
    }
}
