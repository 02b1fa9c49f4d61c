//! This machine: open files, processors, and what others do on it.

use std::{fs, io, time::Duration};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// For the most connections that are made, and some to spare. The broker needs as many.
const OPEN_FILES: u64 = 7_000;
/// Of the broker and the load, beside which nothing else is to be measured.
const FIRST: i32 = -20;
/// What `/proc/stat` counts in, which has been the same on every Linux since processors had names.
const TICK: Duration = Duration::from_millis(10);

/// Raises this process' limit on open files as far as it may; children inherit it.
pub(crate) fn raise_open_files() -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None is no limit.
    if current.is_some_and(|current| current < OPEN_FILES) {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    match maximum {
        Some(allowed) if allowed < OPEN_FILES => Err(io::Error::other(format!(
            "a process may open {allowed} files here, and {OPEN_FILES} are needed; allow more with `ulimit -Hn {OPEN_FILES}`, as root"
        ))),
        _ => Ok(()),
    }
}

/// The processors that this process may use.
pub(crate) fn allowed() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|&processor| allowed.is_set(processor)).collect()
}

/// Moves this thread, and the threads and processes that it starts from now on.
pub(crate) fn enter(processors: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &processor in processors {
        set.set(processor);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Goes before others on a busy machine, where that is allowed, which needs root. Children do too.
pub(crate) fn go_first() {
    // Where the system shares processors among sessions first, the session's priority is what counts.
    let _ = fs::write("/proc/self/autogroup", FIRST.to_string());
    if setpriority_process(None, FIRST).is_err() {
        eprintln!("measured beside all others, because only root may go before them: see how much they did");
    }
}

/// How long all processors together have worked, for whomever.
pub(crate) fn busy() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    // user, nice, system, idle, iowait, irq, softirq, steal; of the rest user and nice have a part already.
    let all = stat.lines().next().unwrap_or_default();
    let ticks = all.split_whitespace().skip(1).take(8).map(|ticks| ticks.parse::<u32>().unwrap_or_default());
    let busy = ticks.enumerate().filter(|(place, _)| !matches!(place, 3 | 4)).map(|(_, ticks)| ticks).sum::<u32>();
    Ok(TICK * busy)
}
