//! What a process has used, as Linux tells it in `/proc`.

use std::{fs, io, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;

/// A reading of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all its threads that live, in user and kernel mode.
    pub cpu: Duration,
    /// CPU time of the whole process, with threads that have ended; counted in ticks of 10 ms.
    pub cpu_in_ticks: Duration,
    /// Time that its threads were ready to run and had no core.
    pub waiting: Duration,
    /// Memory in RAM, in KiB.
    pub resident_kib: u64,
    /// The most memory in RAM that it ever had, in KiB.
    pub peak_kib: u64,
}

impl Usage {
    /// Reads what a process on this machine has used so far.
    pub fn of(pid: u32) -> io::Result<Self> {
        let of_process = |error: io::Error| {
            io::Error::new(error.kind(), format!("process {pid} cannot be looked at on this machine: {error}"))
        };
        let (mut cpu, mut waiting) = (Duration::ZERO, Duration::ZERO);
        for task in fs::read_dir(format!("/proc/{pid}/task")).map_err(of_process)? {
            // A thread may end between the two reads.
            let Ok(line) = task.and_then(|task| fs::read_to_string(task.path().join("schedstat"))) else { continue };
            let (ran, waited) = scheduled(&line);
            cpu += ran;
            waiting += waited;
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).map_err(of_process)?;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(of_process)?;
        Ok(Self {
            cpu,
            cpu_in_ticks: ticks(&stat),
            waiting,
            resident_kib: kib(&status, "VmRSS:"),
            peak_kib: kib(&status, "VmHWM:"),
        })
    }
}

/// Lets this process open as many files, and with them connections, as the system lets it, and returns how many those are;
/// none: as many as it likes.
pub fn raise_file_limit() -> io::Result<Option<u64>> {
    let limits = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limits.maximum, maximum: limits.maximum })?;
    Ok(limits.maximum)
}

/// What a thread of this process has used.
pub(crate) fn own_thread_cpu(thread: i32) -> Duration {
    let line = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).unwrap_or_default();
    scheduled(&line).0
}

/// `schedstat`: nanoseconds that the thread ran, and that it waited for a core. `stat` counts ticks of 10 ms instead.
fn scheduled(line: &str) -> (Duration, Duration) {
    let mut nanos = line.split_whitespace().map(|nanos| Duration::from_nanos(nanos.parse().unwrap_or_default()));
    (nanos.next().unwrap_or_default(), nanos.next().unwrap_or_default())
}

/// `utime` and `stime` of `stat`: the 14th and 15th field, where the second one, the name, is in parentheses and may hold
/// anything. Ticks are hundredths of a second on every Linux that Rust knows.
fn ticks(stat: &str) -> Duration {
    let behind_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let both = behind_name.split_whitespace().skip(11).take(2);
    Duration::from_millis(10 * both.map(|ticks| ticks.parse().unwrap_or(0)).sum::<u64>())
}

fn kib(status: &str, name: &str) -> u64 {
    let rest = status.lines().find_map(|line| line.strip_prefix(name));
    rest.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}

/// What a measured part cost the server's process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Cost {
    /// CPU time of all its threads, in nanoseconds.
    pub cpu_ns: u64,
    /// The same by the process' own count, in ticks of 10 ms: it counts threads that ended too.
    pub cpu_in_ticks_ns: u64,
    /// CPU time for each second: how many cores it used.
    pub cores: f64,
    /// Time that its threads were ready to run and had no core, in nanoseconds.
    pub waiting_ns: u64,
    /// Memory in RAM before the load came, in KiB.
    pub resident_before_kib: u64,
    /// Memory in RAM after the measured part, in KiB.
    pub resident_after_kib: u64,
    /// The most that it ever had, in KiB.
    pub resident_peak_kib: u64,
}

impl Cost {
    /// `idle` is a reading from before the load came.
    pub(crate) fn between(idle: Usage, before: Usage, after: Usage, seconds: f64) -> Self {
        let nanos = |later: Duration, earlier: Duration| {
            u64::try_from(later.saturating_sub(earlier).as_nanos()).unwrap_or(u64::MAX)
        };
        Self {
            cpu_ns: nanos(after.cpu, before.cpu),
            cpu_in_ticks_ns: nanos(after.cpu_in_ticks, before.cpu_in_ticks),
            cores: after.cpu.saturating_sub(before.cpu).as_secs_f64() / seconds.max(f64::MIN_POSITIVE),
            waiting_ns: nanos(after.waiting, before.waiting),
            resident_before_kib: idle.resident_kib,
            resident_after_kib: after.resident_kib,
            resident_peak_kib: after.peak_kib,
        }
    }

    /// Share of the time in which its threads ran or waited that they waited.
    #[allow(clippy::cast_precision_loss, reason = "a share for people")]
    pub(crate) fn waiting_share(&self) -> f64 {
        self.waiting_ns as f64 / (self.waiting_ns + self.cpu_ns).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_something() {
        let mut usage = Usage::of(std::process::id()).unwrap();
        while usage.cpu.is_zero() {
            usage = Usage::of(std::process::id()).unwrap();
        }
        assert!(usage.resident_kib > 0 && usage.peak_kib >= usage.resident_kib, "{usage:?}");
    }

    #[test]
    fn name_of_a_process_may_hold_anything() {
        let stat = "1 (a) b (c) S 1 1 1 0 -1 0 0 0 0 0 12 30 0 0 20 0";
        assert_eq!(ticks(stat), Duration::from_millis(420));
    }

    #[test]
    fn process_that_is_not_there_is_named() {
        let error = Usage::of(u32::MAX).unwrap_err().to_string();
        assert!(error.contains("process 4294967295"), "{error}");
    }
}
