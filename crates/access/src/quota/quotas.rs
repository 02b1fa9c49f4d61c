//! What bounds one connection, identity or address.

use super::{bucket::Rate, outcome::Mode};

/// A thing that is bounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quota {
    /// Connections at once.
    Connections,
    /// Handshakes at once: connections on their way to being a WebSocket.
    Handshakes,
    /// Live subscriptions.
    Subscriptions,
    /// Payload and headers of one publication, in bytes.
    PayloadBytes,
    /// Publications for each second.
    Publications,
    /// Bytes of payload and headers of publications, for each second.
    Bytes,
    /// Requests that are no publications, for each second.
    Requests,
    /// Credentials that were refused, for each second.
    FailedLogins,
}

impl Quota {
    /// Every one.
    pub const ALL: [Self; 8] = [
        Self::Connections,
        Self::Handshakes,
        Self::Subscriptions,
        Self::PayloadBytes,
        Self::Publications,
        Self::Bytes,
        Self::Requests,
        Self::FailedLogins,
    ];
}

/// A bound on how many or how large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Most {
    /// The largest number that is within it.
    pub most: u64,
    /// What happens beyond.
    pub mode: Mode,
}

/// A bound on how many in a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// How many.
    pub rate: Rate,
    /// What happens beyond.
    pub mode: Mode,
}

/// How much one connection, identity or address may do. `None` is no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quotas {
    /// See [`Quota::Connections`].
    pub connections: Option<Most>,
    /// See [`Quota::Handshakes`].
    pub handshakes: Option<Most>,
    /// See [`Quota::Subscriptions`].
    pub subscriptions: Option<Most>,
    /// See [`Quota::PayloadBytes`].
    pub payload_bytes: Option<Most>,
    /// See [`Quota::Publications`].
    pub publications: Option<Pace>,
    /// See [`Quota::Bytes`].
    pub bytes: Option<Pace>,
    /// See [`Quota::Requests`].
    pub requests: Option<Pace>,
    /// See [`Quota::FailedLogins`].
    pub failed_logins: Option<Pace>,
}

impl Quotas {
    /// Whether publications are to be measured at all.
    pub const fn bound_publications(&self) -> bool {
        self.payload_bytes.is_some() || self.publications.is_some() || self.bytes.is_some()
    }

    /// For whoever has both: of each bound the one that lets more through.
    #[must_use]
    pub fn or_more(&self, other: &Self) -> Self {
        Self {
            connections: more(self.connections, other.connections, |it| (it.mode, it.most)),
            handshakes: more(self.handshakes, other.handshakes, |it| (it.mode, it.most)),
            subscriptions: more(self.subscriptions, other.subscriptions, |it| (it.mode, it.most)),
            payload_bytes: more(self.payload_bytes, other.payload_bytes, |it| (it.mode, it.most)),
            publications: more(self.publications, other.publications, pace),
            bytes: more(self.bytes, other.bytes, pace),
            requests: more(self.requests, other.requests, pace),
            failed_logins: more(self.failed_logins, other.failed_logins, pace),
        }
    }
}

const fn pace(pace: &Pace) -> (Mode, u64, u64) {
    (pace.mode, pace.rate.per_second(), pace.rate.burst())
}

/// No bound lets more through than any, one that is only reported more than one that is enforced.
fn more<T, K: Ord>(one: Option<T>, other: Option<T>, generosity: impl Fn(&T) -> K) -> Option<T> {
    let (one, other) = (one?, other?);
    Some(if generosity(&other) > generosity(&one) { other } else { one })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(most: u64, mode: Mode) -> Quotas {
        Quotas { connections: Some(Most { most, mode }), ..Quotas::default() }
    }

    #[test]
    fn whoever_has_two_roles_gets_the_larger_of_each_bound() {
        let (five, seven) = (with(5, Mode::Enforce), with(7, Mode::Enforce));
        let reported = with(1, Mode::ReportOnly);
        let none = Quotas::default();
        for (one, other, expected) in
            [(&five, &seven, &seven), (&five, &none, &none), (&seven, &reported, &reported), (&five, &five, &five)]
        {
            assert_eq!(one.or_more(other), *expected);
            assert_eq!(other.or_more(one), *expected);
        }
    }

    #[test]
    fn of_two_paces_the_faster_counts_before_the_larger_burst() {
        let of = |per_second, burst| Quotas {
            publications: Rate::new(per_second, burst).ok().map(|rate| Pace { rate, mode: Mode::Enforce }),
            ..Quotas::default()
        };
        assert_eq!(of(10, 100).or_more(&of(20, 30)), of(20, 30));
        assert_eq!(of(10, 100).or_more(&of(10, 30)), of(10, 100));
    }
}
