//! What is measured: the curves, their points, and how each figure may grow.

/// One curve: what grows, and what is measured meanwhile.
#[derive(Debug)]
pub(crate) struct Curve {
    pub(crate) growing: Growing,
    /// What it is called on the command line, and its picture.
    pub(crate) name: &'static str,
    /// What it is called on the page.
    pub(crate) title: &'static str,
    /// What is done at each point.
    pub(crate) work: &'static str,
    points: &'static [u64],
    /// Those of a quick run.
    quick: &'static [u64],
    pub(crate) figures: &'static [Figure],
}

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Growing {
    Subscribers,
    Topics,
    Patterns,
    Payload,
    Shards,
    Connections,
}

impl Growing {
    pub(crate) fn is_bytes(self) -> bool {
        self == Self::Payload
    }

    /// Whether its axis is logarithmic; one that begins at 0 cannot be.
    pub(crate) fn is_logarithmic(self) -> bool {
        !matches!(self, Self::Shards | Self::Connections)
    }
}

/// A figure of a curve, and how it may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Figure {
    pub(crate) quantity: Quantity,
    pub(crate) may: May,
}

/// How a figure may grow without that being a defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum May {
    /// What one of something costs, however many there are.
    Flat,
    /// What the whole of it costs.
    Linear,
    /// It is told, and nothing follows from it.
    Anything,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Quantity {
    CpuForDelivery,
    CpuForPublication,
    CpuForByte,
    CpuForSubscription,
    MemoryForSubscription,
    MemoryForConnection,
    CpuWhileIdle,
    LatencyP50,
    LatencyP99,
    CpuForDeliverySaturated,
    DeliveriesPerSecond,
    DeliveriesPossible,
}

impl Quantity {
    /// For people; the unit apart.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::CpuForDelivery => "CPU for each delivery",
            Self::CpuForPublication => "CPU for each publication",
            Self::CpuForByte => "CPU for each byte delivered",
            Self::CpuForSubscription => "CPU for each subscription made",
            Self::MemoryForSubscription => "memory for each subscription",
            Self::MemoryForConnection => "memory for each connection",
            Self::CpuWhileIdle => "CPU of the idle connections",
            Self::LatencyP50 => "latency, p50",
            Self::LatencyP99 => "latency, p99",
            Self::CpuForDeliverySaturated => "CPU for each delivery, saturated",
            Self::DeliveriesPerSecond => "deliveries, saturated",
            Self::DeliveriesPossible => "deliveries that the cores allow",
        }
    }

    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::CpuForDelivery | Self::CpuForByte | Self::CpuForDeliverySaturated => "ns",
            Self::CpuForPublication | Self::CpuForSubscription => "µs",
            Self::MemoryForSubscription => "B",
            Self::MemoryForConnection => "KiB",
            Self::CpuWhileIdle => "ms each second",
            Self::LatencyP50 | Self::LatencyP99 => "ms",
            Self::DeliveriesPerSecond | Self::DeliveriesPossible => "each second",
        }
    }

    /// What its line is called beside another one.
    pub(crate) fn line(self) -> &'static str {
        match self {
            Self::LatencyP50 => "p50",
            Self::LatencyP99 => "p99",
            Self::CpuForDeliverySaturated | Self::DeliveriesPerSecond => "saturated",
            Self::DeliveriesPossible => "what the cores allow",
            _ => "at a rate",
        }
    }

    /// For programs, with the unit.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::CpuForDelivery => "cpu_ns_for_each_delivery",
            Self::CpuForPublication => "cpu_us_for_each_publication",
            Self::CpuForByte => "cpu_ns_for_each_byte",
            Self::CpuForSubscription => "cpu_us_for_each_subscription",
            Self::MemoryForSubscription => "resident_bytes_for_each_subscription",
            Self::MemoryForConnection => "resident_kib_for_each_connection",
            Self::CpuWhileIdle => "idle_cpu_ms_each_second",
            Self::LatencyP50 => "p50_ms",
            Self::LatencyP99 => "p99_ms",
            Self::CpuForDeliverySaturated => "saturated_cpu_ns_for_each_delivery",
            Self::DeliveriesPerSecond => "saturated_deliveries_each_second",
            Self::DeliveriesPossible => "possible_deliveries_each_second",
        }
    }
}

const fn figure(quantity: Quantity, may: May) -> Figure {
    Figure { quantity, may }
}

const P50: Figure = figure(Quantity::LatencyP50, May::Anything);
const P99: Figure = figure(Quantity::LatencyP99, May::Anything);
/// Of both curves of what is subscribed to.
const OF_SUBSCRIPTIONS: &[Figure] = &[
    figure(Quantity::CpuForDelivery, May::Flat),
    figure(Quantity::CpuForSubscription, May::Flat),
    figure(Quantity::MemoryForSubscription, May::Flat),
    P50,
    P99,
];
const DECADES: &[u64] = &[1, 10, 100, 1000, 10_000, 100_000, 1_000_000];

/// All of them, in the order in which they are measured.
pub(crate) const ALL: [Curve; 6] = [
    Curve {
        growing: Growing::Subscribers,
        name: "subscribers",
        title: "Subscribers of one topic",
        work: "each subscriber has a connection of its own; 4 msg/s of 128 B",
        points: &[1, 10, 100, 1000, 5000, 10_000, 20_000],
        quick: &[1, 100, 1000],
        figures: &[
            figure(Quantity::CpuForDelivery, May::Flat),
            figure(Quantity::CpuForPublication, May::Linear),
            P50,
            figure(Quantity::LatencyP99, May::Linear),
        ],
    },
    Curve {
        growing: Growing::Topics,
        name: "topics",
        title: "Topics",
        work: "one connection subscribes to all of them; 40,000 msg/s of 128 B, spread over all topics, each to another one \
               than the last",
        points: DECADES,
        quick: &[1, 1000, 100_000],
        figures: OF_SUBSCRIPTIONS,
    },
    Curve {
        growing: Growing::Patterns,
        name: "patterns",
        title: "Patterns",
        work: "the same with patterns, a third each of the kinds `name.*`, `group.*.name.x` and `name.>`; each message matches one",
        points: DECADES,
        quick: &[1, 1000, 100_000],
        figures: OF_SUBSCRIPTIONS,
    },
    Curve {
        growing: Growing::Payload,
        name: "payloads",
        title: "Bytes of a payload",
        work: "20 subscribers, 20 msg/s",
        points: &[16, 64, 256, 1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20],
        quick: &[16, 1 << 10, 64 << 10],
        figures: &[
            figure(Quantity::CpuForDelivery, May::Linear),
            figure(Quantity::CpuForByte, May::Flat),
            P50,
            figure(Quantity::LatencyP99, May::Linear),
        ],
    },
    Curve {
        growing: Growing::Shards,
        name: "shards",
        title: "Shards",
        work: "100 subscribers of 128 B: at 5,000 msg/s, with the broker on one core however many shards it has; and saturated, \
               with a core for each shard, where the load shares the last core",
        points: &[1, 2],
        quick: &[1, 2],
        figures: &[
            figure(Quantity::CpuForDelivery, May::Flat),
            figure(Quantity::CpuForDeliverySaturated, May::Flat),
            figure(Quantity::DeliveriesPerSecond, May::Anything),
            figure(Quantity::DeliveriesPossible, May::Anything),
            P50,
            P99,
        ],
    },
    Curve {
        growing: Growing::Connections,
        name: "connections",
        title: "Idle connections",
        work: "each is subscribed to a topic of its own, and answers heartbeats; beside them 100 subscribers, 1,000 msg/s of \
               128 B, whose CPU is told without that of the idle ones",
        points: &[0, 1000, 3000, 6000, 12_000, 18_000],
        quick: &[0, 1000],
        figures: &[
            figure(Quantity::CpuForDelivery, May::Flat),
            figure(Quantity::CpuWhileIdle, May::Linear),
            figure(Quantity::MemoryForConnection, May::Flat),
            P50,
            P99,
        ],
    },
];

impl Curve {
    /// What its axis is called.
    pub(crate) fn axis(&self) -> &'static str {
        match self.growing {
            Growing::Subscribers => "subscribers",
            Growing::Topics => "topics",
            Growing::Patterns => "patterns",
            Growing::Payload => "bytes of a payload",
            Growing::Shards => "shards",
            Growing::Connections => "idle connections",
        }
    }

    /// Where it is measured.
    pub(crate) fn points(&self, is_quick: bool) -> &'static [u64] {
        if is_quick { self.quick } else { self.points }
    }

    /// As many as a machine allows that lets a process have so many connections; the last point is moved down where it must be.
    pub(crate) fn points_within(&self, is_quick: bool, most: u64) -> Vec<u64> {
        let points = self.points(is_quick).iter().copied();
        if !matches!(self.growing, Growing::Subscribers | Growing::Connections) {
            return points.collect();
        }
        let mut within: Vec<_> = points.map(|point| point.min(most)).collect();
        within.dedup();
        within
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_keys_are_unique_and_points_rise() {
        assert_eq!(ALL.iter().map(|curve| curve.name).collect::<BTreeSet<_>>().len(), ALL.len());
        for curve in &ALL {
            assert!(
                curve.points.is_sorted_by(|a, b| a < b) && curve.quick.is_sorted_by(|a, b| a < b),
                "{}",
                curve.name
            );
            let keys: BTreeSet<_> = curve.figures.iter().map(|figure| figure.quantity.key()).collect();
            assert_eq!(keys.len(), curve.figures.len(), "{}", curve.name);
        }
    }

    #[test]
    fn what_the_machine_does_not_allow_is_measured_as_far_as_it_does() {
        let subscribers = &ALL[0];
        assert_eq!(subscribers.points_within(false, 19_700).last(), Some(&19_700));
        assert_eq!(subscribers.points_within(false, 5000), [1, 10, 100, 1000, 5000]);
        assert_eq!(ALL[1].points_within(false, 10), ALL[1].points);
    }
}
