//! What a process has used, as Linux tells it in `/proc`.

use std::{fs, io, time::Duration};

/// A reading of one process.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// CPU time of all its threads, in user and kernel mode.
    pub cpu: Duration,
    /// Time that its threads were ready to run and had no processor: above a few percent, the machine does other work, and
    /// latencies tell of that.
    pub waiting: Duration,
    /// Memory in RAM, in KiB.
    pub resident_kib: u64,
}

/// Reads what the process has used so far.
pub fn usage(pid: u32) -> io::Result<Usage> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))?;
    // schedstat counts nanoseconds, where stat counts ticks of 10 ms.
    let (mut cpu, mut waiting) = (Duration::ZERO, Duration::ZERO);
    for line in tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok()) {
        let mut nanos = line.split_whitespace().map(|nanos| Duration::from_nanos(nanos.parse().unwrap_or_default()));
        cpu += nanos.next().unwrap_or_default();
        waiting += nanos.next().unwrap_or_default();
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident_kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    Ok(Usage { cpu, waiting, resident_kib })
}
