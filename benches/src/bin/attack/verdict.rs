//! What is measured of an attack, and when it counts as held off.

use std::time::Duration;

use carillon_bench::process::Usage;

use crate::{
    attacks::{Attack, Complaints, Evidence},
    pair::Window,
};

/// How many times the quiet latency the attacked one may be.
const RATIO: u32 = 2;
/// The 99th percentile of a few hundred messages is that of a handful of them, and one of the machine's own pauses (a time
/// slice of its host is some milliseconds) moves it. So it may always be this much above the quiet one, and only what is
/// beyond is held against the ratio. The median has no allowance.
const P99_ALLOWANCE: Duration = Duration::from_millis(5);

/// What is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Check {
    /// All of it.
    All,
    /// What does not depend on the machine's speed: nothing lost, nobody disconnected, memory, the broker's answers.
    Structure,
}

/// Percentiles of a window.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Latency {
    /// Half of the messages took at most so long.
    pub(crate) p50: Duration,
    /// 99 of 100 took at most so long.
    pub(crate) p99: Duration,
    /// All of them did.
    pub(crate) max: Duration,
}

impl Latency {
    /// Of all messages that came.
    pub(crate) fn of(latencies: &[Duration]) -> Self {
        let mut sorted = latencies.to_vec();
        sorted.sort_unstable();
        let at = |hundredths: usize| {
            let last = sorted.len().saturating_sub(1);
            sorted.get(last * hundredths / 100).copied().unwrap_or_default()
        };
        Self { p50: at(50), p99: at(99), max: at(100) }
    }
}

/// All that was measured around one attack.
pub(crate) struct Measured<'a> {
    pub(crate) attack: &'a Attack,
    /// The windows before and after, together.
    pub(crate) quiet: Window,
    pub(crate) attacked: Window,
    pub(crate) lasted: Duration,
    pub(crate) before: Usage,
    pub(crate) after: Usage,
    pub(crate) peak_kib: u64,
    /// What was there before, and what the configuration allows beyond it.
    pub(crate) allowed_kib: u64,
    /// When the attackers had gone.
    pub(crate) left_kib: u64,
    pub(crate) evidence: Evidence,
    pub(crate) is_alive: bool,
}

/// Whether it was held off.
pub(crate) struct Verdict {
    pub(crate) quiet: Latency,
    pub(crate) attacked: Latency,
    pub(crate) newcomers: Latency,
    /// Of a processor that the broker had.
    pub(crate) processor_share: f64,
    /// Of a processor that it was ready for and did not get: the machine had other work, and latencies tell of that too.
    pub(crate) waiting_share: f64,
    /// Why not; empty where it was.
    pub(crate) complaints: Vec<String>,
}

impl Measured<'_> {
    /// Judges what was measured.
    pub(crate) fn judge(&self, check: Check) -> Verdict {
        let mut complaints = Complaints::default();
        let (quiet, attacked) = (Latency::of(&self.quiet.latencies), Latency::of(&self.attacked.latencies));
        for (when, window) in [("meanwhile", &self.attacked), ("around it", &self.quiet)] {
            complaints.unless(window.lost == 0, || format!("the pair lost {} messages {when}", window.lost));
            complaints.0.extend(window.incidents.iter().map(|incident| format!("the pair's {incident} ({when})")));
        }
        complaints.unless(self.is_alive, || "the broker has ended".to_owned());
        let (peak, allowed) = (self.peak_kib, self.allowed_kib);
        complaints.unless(peak <= allowed, || format!("memory of {peak} KiB; the configuration allows {allowed} KiB"));
        (self.attack.judge)(&self.evidence, &mut complaints);
        if check == Check::All {
            let p50 = quiet.p50 * RATIO;
            complaints.unless(attacked.p50 <= p50, || format!("p50 of {:?}; at most {p50:?}", attacked.p50));
            let p99 = (quiet.p99 * RATIO).max(quiet.p99 + P99_ALLOWANCE);
            complaints.unless(attacked.p99 <= p99, || format!("p99 of {:?}; at most {p99:?}", attacked.p99));
        }
        let share = |of: fn(&Usage) -> Duration| {
            of(&self.after).saturating_sub(of(&self.before)).as_secs_f64() / self.lasted.as_secs_f64()
        };
        Verdict {
            quiet,
            attacked,
            newcomers: Latency::of(&self.attacked.newcomers),
            processor_share: share(|usage| usage.cpu),
            waiting_share: share(|usage| usage.waiting),
            complaints: complaints.0,
        }
    }
}
