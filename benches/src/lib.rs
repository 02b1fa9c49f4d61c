//! What the programs that measure and attack brokers share: this machine, a broker's process, and a lean client that keeps no
//! message.
//!
//! The load comes from a process of its own, on another processor, and counts every delivery; what is missing, or comes twice
//! or out of order, is no figure. The figures are of the broker's process alone, from `/proc`, so they do not depend on what
//! the load costs.
//!
//! The programs: `compare` holds Carillon against what one could install instead; `curves` tells how its cost grows; `streams` measures streams against their
//! goals; `attack` attacks a broker, and tells what that costs others; `torture` kills one, takes its power and its disk away,
//! and tells whether its streams lost anything ([`torture`]). To put load on a broker that runs already, there is `carillon
//! bench`.

pub mod broker;
pub mod carillon;
pub mod connection;
pub mod drawing;
pub mod histogram;
pub mod live;
pub mod machine;
pub mod metrics;
pub mod numbers;
pub mod others;
pub mod page;
pub mod server;
pub mod site;
pub mod torture;
