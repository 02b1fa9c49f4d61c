//! What is measured, and what Carillon is to reach.

use std::fmt;

use carillon_benches::numbers::{digits, thousands};

/// One work, which all servers do in turn.
#[derive(Debug)]
pub(crate) struct Work {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it is called in tables.
    pub(crate) what: &'static str,
    /// What is done.
    pub(crate) load: Load,
    /// What is measured.
    pub(crate) figure: Figure,
    /// What Carillon must and is to reach.
    pub(crate) goals: &'static [Goal],
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Load {
    /// Publications at a rate, in all, to topics that the subscribers share.
    FanOut { topics: usize, subscribers: usize, per_second: f64, payload_bytes: usize },
    /// The same, as fast as the server delivers.
    Saturate { subscribers: usize, payload_bytes: usize },
    /// The same, at half of the rate at which some server is saturated.
    HalfOf { whose: Whose, subscribers: usize, payload_bytes: usize },
    /// Connections that are subscribed, each to a topic of its own, and idle.
    Idle { connections: usize },
    /// Connections, from TCP until requests may follow.
    Connect { connections: usize, resumed: bool, tokens: Tokens },
}

/// What clients show who come, where the server knows tokens. Elsewhere they have one name and password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tokens {
    /// All the same: the connections of one service.
    Shared,
    /// Each its own, which the server has not seen before: a crowd of browsers.
    Own,
}

/// Whose saturation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Of the server that is measured.
    Own,
    /// Of nats-server.
    Nats,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// CPU nanoseconds of the server, all its threads, for each delivery.
    CpuForDelivery,
    /// CPU microseconds of the server for each connection.
    CpuForConnection,
    /// KiB of the server in RAM for each connection.
    MemoryForConnection,
    /// Deliveries in each second.
    DeliveriesPerSecond,
    /// Milliseconds from when a publication was due until it had come, that 99 of 100 deliveries took at most.
    LatencyP99,
}

impl Figure {
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::CpuForDelivery => "ns",
            Self::CpuForConnection => "µs",
            Self::MemoryForConnection => "KiB",
            Self::DeliveriesPerSecond => "/s",
            Self::LatencyP99 => "ms",
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CpuForDelivery => "CPU for each delivery",
            Self::CpuForConnection => "CPU for each connection",
            Self::MemoryForConnection => "memory for each connection",
            Self::DeliveriesPerSecond => "deliveries",
            Self::LatencyP99 => "p99",
        }
    }

    /// With as many digits as mean something.
    pub(crate) fn text(self, value: f64) -> String {
        let unit = self.unit();
        match self {
            Self::DeliveriesPerSecond => format!("{}{unit}", thousands(value)),
            _ => format!("{} {unit}", digits(value)),
        }
    }
}

/// A bound on Carillon's figure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Goal {
    /// How much is asked: what must be, or what is aimed at.
    pub(crate) kind: Kind,
    /// Against what.
    pub(crate) against: Against,
    pub(crate) bound: Bound,
}

/// How much is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Must,
    Goal,
}

/// Against what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Against {
    Nats,
    Floor,
    /// The figure itself.
    Nothing,
}

/// What a value has to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    pub(crate) fn is_kept_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(formatter, "≤ {bound}"),
            Self::AtLeast(bound) => write!(formatter, "≥ {bound}"),
        }
    }
}

const fn at_most(kind: Kind, against: Against, bound: f64) -> Goal {
    Goal { kind, against, bound: Bound::AtMost(bound) }
}

const fn at_least(kind: Kind, against: Against, bound: f64) -> Goal {
    Goal { kind, against, bound: Bound::AtLeast(bound) }
}

/// All of it, in the order in which it is done: what needs a saturation comes behind that.
pub(crate) const ALL: [Work; 11] = [
    Work {
        name: "wide",
        what: "1,000 subscribers, 50 msg/s, 128 B",
        load: Load::FanOut { topics: 1, subscribers: 1000, per_second: 50.0, payload_bytes: 128 },
        figure: Figure::CpuForDelivery,
        goals: &[
            at_most(Kind::Must, Against::Nats, 0.55),
            at_most(Kind::Goal, Against::Nats, 0.42),
            at_most(Kind::Goal, Against::Floor, 1.1),
        ],
    },
    Work {
        name: "fast",
        what: "100 subscribers, 10,000 msg/s, 128 B",
        load: Load::FanOut { topics: 1, subscribers: 100, per_second: 10_000.0, payload_bytes: 128 },
        figure: Figure::CpuForDelivery,
        goals: &[
            at_most(Kind::Must, Against::Nats, 0.55),
            at_most(Kind::Goal, Against::Nats, 0.45),
            at_most(Kind::Goal, Against::Floor, 1.0),
        ],
    },
    Work {
        name: "large",
        what: "100 subscribers, 2,000 msg/s, 1 KiB",
        load: Load::FanOut { topics: 1, subscribers: 100, per_second: 2000.0, payload_bytes: 1024 },
        figure: Figure::CpuForDelivery,
        goals: &[
            at_most(Kind::Must, Against::Nats, 0.45),
            at_most(Kind::Goal, Against::Nats, 0.35),
            at_most(Kind::Goal, Against::Floor, 0.9),
        ],
    },
    Work {
        name: "topics",
        what: "1,000 topics with one subscriber each, 20,000 msg/s, 128 B",
        load: Load::FanOut { topics: 1000, subscribers: 1000, per_second: 20_000.0, payload_bytes: 128 },
        figure: Figure::CpuForDelivery,
        goals: &[at_most(Kind::Must, Against::Nats, 0.65), at_most(Kind::Goal, Against::Nats, 0.5)],
    },
    Work {
        name: "idle",
        what: "idle subscribed connection (of 5,000)",
        load: Load::Idle { connections: 5000 },
        figure: Figure::MemoryForConnection,
        goals: &[at_most(Kind::Must, Against::Nothing, 14.0), at_most(Kind::Goal, Against::Nothing, 10.0)],
    },
    Work {
        name: "handshake",
        what: "full handshake, to where requests may follow",
        load: Load::Connect { connections: 3000, resumed: false, tokens: Tokens::Shared },
        figure: Figure::CpuForConnection,
        goals: &[at_most(Kind::Must, Against::Nats, 0.7), at_most(Kind::Goal, Against::Nats, 0.55)],
    },
    Work {
        name: "strangers",
        what: "full handshake, clients with a new token each",
        load: Load::Connect { connections: 3000, resumed: false, tokens: Tokens::Own },
        figure: Figure::CpuForConnection,
        goals: &[at_most(Kind::Must, Against::Nats, 0.7)],
    },
    Work {
        name: "resumed",
        what: "resumed handshake, to where requests may follow",
        load: Load::Connect { connections: 3000, resumed: true, tokens: Tokens::Shared },
        figure: Figure::CpuForConnection,
        goals: &[],
    },
    Work {
        name: "saturation",
        what: "saturation, 100 subscribers, 128 B",
        load: Load::Saturate { subscribers: 100, payload_bytes: 128 },
        figure: Figure::DeliveriesPerSecond,
        goals: &[at_least(Kind::Must, Against::Nats, 2.0), at_least(Kind::Goal, Against::Nats, 2.5)],
    },
    Work {
        name: "half",
        what: "p99 at half of its own saturation",
        load: Load::HalfOf { whose: Whose::Own, subscribers: 100, payload_bytes: 128 },
        figure: Figure::LatencyP99,
        goals: &[at_most(Kind::Must, Against::Nats, 1.0), at_most(Kind::Goal, Against::Nats, 0.5)],
    },
    Work {
        name: "half-nats",
        what: "p99 at half of nats-server's saturation",
        load: Load::HalfOf { whose: Whose::Nats, subscribers: 100, payload_bytes: 128 },
        figure: Figure::LatencyP99,
        goals: &[at_most(Kind::Must, Against::Nats, 1.0), at_most(Kind::Goal, Against::Nats, 0.5)],
    },
];
