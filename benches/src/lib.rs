//! What Carillon's benchmarks share: a lean subscriber that keeps no message, and a look at the broker's process.
//!
//! The load comes from its own process and counts every delivery; a run in which one is missing, or comes twice or out of
//! order, fails. The figures are of the broker's process alone, from `/proc`, so they do not depend on what the load
//! costs.
//!
//! Start with the program `load`. `attack` attacks a broker of its own instead, and tells what that costs others; `torture`
//! kills one, takes its power and its disk away, and tells whether its streams lost anything ([`torture`]).

pub mod connection;
pub mod machine;
pub mod process;
pub mod torture;
