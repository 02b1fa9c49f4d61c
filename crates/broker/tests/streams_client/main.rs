//! Streams through the Rust client, or `carillon pub` and `sub`, and a real broker that is killed, purged, or full.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod commands;
mod losing;
mod publishing;
mod reading;
mod resuming;
mod site;
mod slow;
#[path = "../support/mod.rs"]
mod support;
