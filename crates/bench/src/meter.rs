//! What the server and the load itself used in a part of a run.

use std::{io, time::Duration};

use crate::{
    clock::now_ns,
    latency::Latencies,
    outcome::{Common, Own, Warning},
    process::{Cost, Usage, own_thread_cpu},
};

/// A thread of the load that is busy for a greater share of the time may be the limit.
const BUSY_SHARE: f64 = 0.85;
/// The load may be so late, in milliseconds...
const MAX_LAG_MS: f64 = 2.0;
/// ...or so late against the latency that it measures.
const MAX_LAG_SHARE: f64 = 0.1;
/// The server's threads may wait for a core for this share of their time.
const MAX_WAITING_SHARE: f64 = 0.2;

/// Looks at the server's process and at the threads of the load.
#[derive(Debug)]
pub(crate) struct Meter {
    server: Option<u32>,
    threads: Vec<i32>,
    /// Before the load came.
    idle: Option<Usage>,
}

/// One look.
#[derive(Debug)]
pub(crate) struct Reading {
    at_ns: u64,
    server: Option<Usage>,
    threads: Vec<Duration>,
}

impl Reading {
    /// The server's memory in RAM, in KiB.
    pub(crate) fn resident_kib(&self) -> Option<u64> {
        self.server.map(|usage| usage.resident_kib)
    }
}

/// What was used between two looks.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) seconds: f64,
    pub(crate) server: Option<Cost>,
    shares: Vec<f64>,
}

impl Meter {
    pub(crate) fn new(server: Option<u32>, threads: Vec<i32>) -> io::Result<Self> {
        Ok(Self { server, threads, idle: server.map(Usage::of).transpose()? })
    }

    pub(crate) fn read(&self) -> io::Result<Reading> {
        Ok(Reading {
            at_ns: now_ns(),
            server: self.server.map(Usage::of).transpose()?,
            threads: self.threads.iter().map(|thread| own_thread_cpu(*thread)).collect(),
        })
    }

    /// What was used from `before` until now.
    pub(crate) fn since(&self, before: &Reading) -> io::Result<Used> {
        let after = self.read()?;
        let seconds = Duration::from_nanos(after.at_ns.saturating_sub(before.at_ns)).as_secs_f64();
        let server = self.idle.zip(before.server).zip(after.server);
        let server = server.map(|((idle, before), after)| Cost::between(idle, before, after, seconds));
        let share = |(after, before): (&Duration, &Duration)| after.saturating_sub(*before).as_secs_f64() / seconds;
        Ok(Used { seconds, server, shares: after.threads.iter().zip(&before.threads).map(share).collect() })
    }
}

impl Used {
    /// CPU time of the server for each of so many, in nanoseconds.
    #[allow(clippy::cast_precision_loss, reason = "a mean for people")]
    pub(crate) fn server_ns_for_each(&self, count: u64) -> Option<f64> {
        self.server.filter(|_| count > 0).map(|cost| cost.cpu_ns as f64 / count as f64)
    }

    /// Puts it into an outcome, and warns where the load may have been the limit. `lag`: how late the load was; `p99_ms` is
    /// the latency that it measured.
    pub(crate) fn tell(self, common: &mut Common, lag: Option<&Latencies>, p99_ms: f64) {
        let lag_p99_ms = lag.map(Latencies::quantiles).filter(|lag| lag.count > 0).map(|lag| lag.p99_ms);
        for (thread, share) in self.shares.iter().copied().enumerate() {
            if share > BUSY_SHARE {
                common.warnings.push(Warning::ThreadBusy { thread, share });
            }
        }
        if let Some(lag_p99_ms) = lag_p99_ms
            && lag_p99_ms > MAX_LAG_MS.max(p99_ms * MAX_LAG_SHARE)
        {
            common.warnings.push(Warning::PublisherLate { lag_p99_ms });
        }
        if let Some(share) = self.server.map(|cost| cost.waiting_share())
            && share > MAX_WAITING_SHARE
        {
            common.warnings.push(Warning::ServerWaited { share });
        }
        common.server = self.server;
        common.own = Own { thread_shares: self.shares, lag_p99_ms };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(share: f64, lag_ms: u64, p99_ms: f64, server: Option<Cost>) -> Vec<Warning> {
        let mut lag = Latencies::new();
        lag.record(lag_ms * 1_000_000);
        let mut common = Common::default();
        Used { seconds: 1.0, server, shares: vec![0.1, share] }.tell(&mut common, Some(&lag), p99_ms);
        common.warnings
    }

    #[test]
    fn busy_thread_is_told() {
        assert_eq!(warnings(0.84, 0, 1.0, None), []);
        assert_eq!(warnings(0.86, 0, 1.0, None), [Warning::ThreadBusy { thread: 1, share: 0.86 }]);
    }

    #[test]
    fn lag_is_told_where_it_matters() {
        assert_eq!(warnings(0.0, 1, 1.0, None), []);
        assert!(matches!(warnings(0.0, 3, 1.0, None)[..], [Warning::PublisherLate { .. }]));
        assert_eq!(warnings(0.0, 3, 100.0, None), [], "a tenth of the latency changes little");
    }

    #[test]
    fn server_that_waited_for_a_core_is_told() {
        let cost = |waiting_ns| Cost { cpu_ns: 75, waiting_ns, ..Cost::default() };
        assert_eq!(warnings(0.0, 0, 1.0, Some(cost(10))), []);
        assert_eq!(warnings(0.0, 0, 1.0, Some(cost(25))), [Warning::ServerWaited { share: 0.25 }]);
    }
}
