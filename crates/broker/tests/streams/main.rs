//! Streams through the Rust client, `carillon pub`, `sub` and `stream`, and a real broker that is killed, purged, or full.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod commands;
mod events;
mod keeping;
mod losing;
mod operating;
mod publishing;
mod reading;
mod resuming;
mod site;
mod slow;
#[path = "../support/mod.rs"]
mod support;
