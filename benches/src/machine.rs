//! This machine: what it is, how many files a process may open, who runs on which processor, and what others do on it.

use std::{
    fs, io,
    time::{Duration, SystemTime},
};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setpriority_process, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};
use serde::Serialize;

/// The highest priority that there is.
const FIRST: i32 = -20;
/// What `/proc/stat` counts in, which has been the same on every Linux since processors had names.
const TICK: Duration = Duration::from_millis(10);

/// Raises this process' limit on open files as far as it may, at least to `needed`; children inherit it.
pub fn raise_open_files(needed: u64) -> io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None is no limit.
    if current.is_some_and(|current| current < needed) {
        setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    }
    match maximum {
        Some(allowed) if allowed < needed => Err(io::Error::other(format!(
            "a process may open {allowed} files here, and {needed} are needed; allow more with `ulimit -Hn {needed}`, as root"
        ))),
        _ => Ok(()),
    }
}

/// The processors that this process may use.
pub fn allowed() -> Vec<usize> {
    let allowed = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|&processor| allowed.is_set(processor)).collect()
}

/// Who runs where: servers on the first processor, the load on the second one. Where there is one, they share it, which is told.
pub fn processors() -> io::Result<(Vec<usize>, Vec<usize>)> {
    match allowed().as_slice() {
        [] => Err(io::Error::other("this process may use no processor")),
        [one] => {
            eprintln!("there is one processor for the servers and the load: rates and latencies say little");
            Ok((vec![*one], vec![*one]))
        }
        [first, second, ..] => Ok((vec![*first], vec![*second])),
    }
}

/// Moves this thread, and the threads and processes that it starts from now on.
pub fn enter(processors: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    for &processor in processors {
        set.set(processor);
    }
    Ok(sched_setaffinity(None, &set)?)
}

/// Sets the priority of this thread, and of the threads and processes that it starts from now on. Raising one needs root.
pub fn set_priority(nice: i32) -> io::Result<()> {
    Ok(setpriority_process(None, nice)?)
}

/// Goes before others on a busy machine, where that is allowed, which needs root. Children do too.
pub fn go_first() {
    // Where the system shares processors among sessions first, the session's priority is what counts.
    let _ = fs::write("/proc/self/autogroup", FIRST.to_string());
    if set_priority(FIRST).is_err() {
        eprintln!("measured beside all others, because only root may go before them: see how much they did");
    }
}

/// How long all processors together have worked, for whomever.
pub fn busy() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    // user, nice, system, idle, iowait, irq, softirq, steal; of the rest user and nice have a part already.
    let all = stat.lines().next().unwrap_or_default();
    let ticks = all.split_whitespace().skip(1).take(8).map(|ticks| ticks.parse::<u32>().unwrap_or_default());
    let busy = ticks.enumerate().filter(|(place, _)| !matches!(place, 3 | 4)).map(|(_, ticks)| ticks).sum::<u32>();
    Ok(TICK * busy)
}

/// What a reader of figures has to know of where they come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The processor's name.
    pub processor: String,
    /// How many of them.
    pub processors: usize,
    /// Linux' release.
    pub kernel: String,
    /// RAM in MiB.
    pub memory_mib: u64,
}

impl Description {
    /// Of this machine.
    pub fn read() -> io::Result<Self> {
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        let memory = field(&fs::read_to_string("/proc/meminfo")?, "MemTotal").unwrap_or_default();
        let kib: u64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or_default();
        Ok(Self {
            processor: field(&processors, "model name").unwrap_or_else(|| "unknown".to_owned()),
            processors: processors.lines().filter(|line| line.starts_with("processor")).count(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            memory_mib: kib >> 10,
        })
    }
}

/// Today in UTC, as in `2031-05-02`.
pub fn today() -> String {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    civil(since.as_secs() / 86_400)
}

/// The date of so many days after 1970-01-01.
fn civil(days: u64) -> String {
    // Years begin in March here, so that a leap day is the last of its year; eras of 400 years are all alike.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_their_dates() {
        for (days, date) in [(0, "1970-01-01"), (11_016, "2000-02-29"), (11_017, "2000-03-01"), (20_818, "2026-12-31")]
        {
            assert_eq!(civil(days), date);
        }
    }

    #[test]
    fn this_machine_says_what_it_is() {
        let description = Description::read().unwrap();
        assert!(description.processors > 0 && description.memory_mib > 0, "{description:?}");
    }
}
