//! What a process has used, as Linux tells it in `/proc`.

use std::{fs, io, time::Duration};

/// A reading of one process.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// CPU time of all its threads, in user and kernel mode.
    pub cpu: Duration,
    /// Memory in RAM, in KiB.
    pub resident_kib: u64,
}

/// Reads what the process has used so far.
pub fn usage(pid: u32) -> io::Result<Usage> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))?;
    // schedstat counts nanoseconds, where stat counts ticks of 10 ms.
    let nanos = tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
        .sum();
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let resident_kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    Ok(Usage { cpu: Duration::from_nanos(nanos), resident_kib })
}
