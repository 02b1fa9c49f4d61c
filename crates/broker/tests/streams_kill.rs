//! Streams outlive brokers that are killed: see `carillon_benches::torture`, whose program does it hundreds of times.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    path::PathBuf,
    time::{SystemTime, UNIX_EPOCH},
};

use carillon_benches::torture::{self, Options, Torture};

/// Any seed will do; the one that found something is told.
fn options() -> Options {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let seed = u64::from(now.subsec_nanos());
    Options { broker: PathBuf::from(env!("CARGO_BIN_EXE_carillon")), seed, is_quiet: true, keeps_files: false }
}

#[test]
fn killed_brokers_lose_nothing_that_they_acknowledged_or_delivered() {
    match torture::kill(&options(), 10) {
        Ok(summary) => println!("{summary}"),
        Err(Torture::Broken(what) | Torture::NotMade(what)) => panic!("{what}"),
    }
}

#[test]
fn a_loss_would_be_noticed() {
    match torture::kill_and_damage(&options()) {
        Ok(noticed) => println!("{}", noticed.expect("a part of the log is gone, and nobody noticed")),
        Err(Torture::Broken(what) | Torture::NotMade(what)) => panic!("{what}"),
    }
}
