//! Puts load on a pub/sub broker over secure WebSockets, and measures what comes back.
//!
//! Publications are due at times that are fixed beforehand, and latencies count from then (see [`stamp`]); every payload is
//! checked to come once and in order; the load itself is watched, and what it may have falsified is told in
//! [`Warning`](outcome::Warning)s. It knows a broker by its [`Dialect`] alone, and brings Carillon's, [`Carillon`].
//!
//! It does not start or configure brokers, print, or judge: who calls it does. It does not check TLS as a strict
//! client must do beyond the certificate, and takes the answers of HTTP and WebSocket as a cooperating server gives them.
//!
//! Start with [`Run`] and [`FanOut`]; `connection` is one connection, `tls` and `websocket` are what it is made of.

mod carillon;
mod check;
mod clock;
mod connection;
mod crew;
mod dialect;
mod latency;
mod load;
mod meter;
pub mod outcome;
mod pace;
pub mod process;
pub mod progress;
mod run;
pub mod stamp;
mod target;
mod tickets;
mod timer;
mod tls;
mod upgrade;
mod websocket;
mod workload;

pub use carillon::Carillon;
pub use clock::now_ns;
pub use dialect::{Dialect, Heard, Order, Role, Upgrade};
pub use latency::Quantiles;
pub use pace::{Framing, Pace};
pub use run::{Run, RunError};
pub use target::{KeyExchange, Target, TargetError, Tickets, Trust};
pub use timer::Timer;
pub use workload::{
    churn::{Churn, ChurnOf},
    connect::{Arrivals, Connect},
    fan_out::FanOut,
    idle::Idle,
    publish::Publish,
    replay::Replay,
    storm::Storm,
};
