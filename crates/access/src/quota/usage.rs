//! What one connection, identity or address has used of its quotas.

use super::{
    bucket::Bucket,
    count::Count,
    outcome::{Excess, Outcome},
    quotas::{Most, Pace, Quota, Quotas},
};

/// What one connection, identity or address has used.
///
/// Each question takes the [`Quotas`] as an argument. Whoever is refused has used nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    connections: Count,
    handshakes: Count,
    subscriptions: Count,
    publications: Bucket,
    bytes: Bucket,
    requests: Bucket,
    failed_logins: Bucket,
}

/// It goes over a quota, and is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverQuota {
    /// Which.
    pub quota: Quota,
    /// How.
    pub excess: Excess,
}

/// The quotas that are only reported which were gone over; mostly none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "what is only reported is to be counted"]
pub struct Reported(u8);

impl Reported {
    const NONE: Self = Self(0);

    const fn of(quota: Quota) -> Self {
        Self(1 << quota as u8)
    }

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Quota> {
        Quota::ALL.into_iter().filter(move |quota| self.0 & Self::of(*quota).0 != 0)
    }
}

/// The answer to a question: within the quotas, but perhaps for those that are only reported; or not.
pub type Answer = Result<Reported, OverQuota>;

impl Usage {
    /// Of somebody who has used nothing yet.
    pub fn new(now_ns: u64) -> Self {
        let full = Bucket::full(now_ns);
        Self {
            connections: Count::default(),
            handshakes: Count::default(),
            subscriptions: Count::default(),
            publications: full,
            bytes: full,
            requests: full,
            failed_logins: full,
        }
    }

    /// One connection more.
    pub fn enter_connection(&mut self, quotas: &Quotas) -> Answer {
        count(&mut self.connections, Quota::Connections, quotas.connections)
    }

    /// A connection has ended that had entered.
    pub fn leave_connection(&mut self) {
        self.connections.leave(1);
    }

    /// One handshake more.
    pub fn enter_handshake(&mut self, quotas: &Quotas) -> Answer {
        count(&mut self.handshakes, Quota::Handshakes, quotas.handshakes)
    }

    /// A handshake has ended that had entered.
    pub fn leave_handshake(&mut self) {
        self.handshakes.leave(1);
    }

    /// One subscription more.
    pub fn enter_subscription(&mut self, quotas: &Quotas) -> Answer {
        count(&mut self.subscriptions, Quota::Subscriptions, quotas.subscriptions)
    }

    /// So many subscriptions have ended that had entered.
    pub fn leave_subscriptions(&mut self, number: u64) {
        self.subscriptions.leave(number);
    }

    /// Live subscriptions.
    pub const fn subscriptions(&self) -> u64 {
        self.subscriptions.get()
    }

    /// A publication of so many bytes.
    pub fn publish(&mut self, quotas: &Quotas, bytes: u64, now_ns: u64) -> Answer {
        let size = size(bytes, quotas.payload_bytes)?;
        let number = pace(&mut self.publications, Quota::Publications, quotas.publications, 1, now_ns)?;
        match pace(&mut self.bytes, Quota::Bytes, quotas.bytes, bytes, now_ns) {
            Ok(reported) => Ok(size.and(number).and(reported)),
            Err(over) => {
                self.publications.give_back(1);
                Err(over)
            }
        }
    }

    /// Takes a publication back that somebody else's quota refused.
    pub fn unpublish(&mut self, bytes: u64) {
        self.publications.give_back(1);
        self.bytes.give_back(bytes);
    }

    /// A request that is no publication.
    pub fn request(&mut self, quotas: &Quotas, now_ns: u64) -> Answer {
        pace(&mut self.requests, Quota::Requests, quotas.requests, 1, now_ns)
    }

    /// Takes a request back that somebody else's quota refused.
    pub fn unrequest(&mut self) {
        self.requests.give_back(1);
    }

    /// Credentials are about to be looked at. They count as refused until [`Usage::login_not_refused`], so that a thousand
    /// attempts at once do not all pass before the first was refused.
    pub fn begin_login(&mut self, quotas: &Quotas, now_ns: u64) -> Answer {
        pace(&mut self.failed_logins, Quota::FailedLogins, quotas.failed_logins, 1, now_ns)
    }

    /// Credentials were not refused.
    pub fn login_not_refused(&mut self) {
        self.failed_logins.give_back(1);
    }

    /// The quotas were configured anew: whatever they make smaller is missing at most whole, see [`Bucket::fit`].
    pub fn fit(&mut self, quotas: &Quotas) {
        for (bucket, pace) in [
            (&mut self.publications, quotas.publications),
            (&mut self.bytes, quotas.bytes),
            (&mut self.requests, quotas.requests),
            (&mut self.failed_logins, quotas.failed_logins),
        ] {
            if let Some(pace) = pace {
                bucket.fit(&pace.rate);
            }
        }
    }

    /// Whether a new one in its place would answer everything as this one does.
    pub fn is_idle(&self, quotas: &Quotas, now_ns: u64) -> bool {
        let is_full = |bucket: &Bucket, pace: Option<Pace>| pace.is_none_or(|pace| bucket.is_full(&pace.rate, now_ns));
        [self.connections, self.handshakes, self.subscriptions].iter().all(|count| count.get() == 0)
            && is_full(&self.publications, quotas.publications)
            && is_full(&self.bytes, quotas.bytes)
            && is_full(&self.requests, quotas.requests)
            && is_full(&self.failed_logins, quotas.failed_logins)
    }
}

fn count(count: &mut Count, quota: Quota, bound: Option<Most>) -> Answer {
    // What is not bounded is counted all the same: a bound may come while it is there.
    let bound = bound.unwrap_or(Most { most: u64::MAX, mode: super::Mode::ReportOnly });
    answer(quota, count.enter(bound.most, bound.mode))
}

fn pace(bucket: &mut Bucket, quota: Quota, bound: Option<Pace>, cost: u64, now_ns: u64) -> Answer {
    let Some(Pace { rate, mode }) = bound else { return Ok(Reported::NONE) };
    answer(quota, bucket.take(&rate, mode, cost, now_ns))
}

fn size(bytes: u64, bound: Option<Most>) -> Answer {
    let outcome = match bound {
        Some(Most { most, mode }) if bytes > most => Outcome::over(mode, Excess::TooLarge),
        _ => Outcome::Within,
    };
    answer(Quota::PayloadBytes, outcome)
}

const fn answer(quota: Quota, outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Within => Ok(Reported::NONE),
        Outcome::Reported(_) => Ok(Reported::of(quota)),
        Outcome::Refused(excess) => Err(OverQuota { quota, excess }),
    }
}
