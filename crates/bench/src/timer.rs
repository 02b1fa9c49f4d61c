//! A timer by the clock of the load, to the microsecond. The runtime's own timers round up to milliseconds, which would be
//! in every latency.

use std::{io, os::fd::OwnedFd};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;

/// A timer of a thread's runtime.
#[derive(Debug)]
pub struct Timer(AsyncFd<OwnedFd>);

impl Timer {
    /// Needs a runtime around it.
    pub fn new() -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        #[allow(deprecated, reason = "it is unsound for descriptors that somebody else may close; this one is owned")]
        AsyncFd::new(fd).map(Self)
    }

    /// Waits until a time of `CLOCK_MONOTONIC`, in nanoseconds. Cancel safe: the next call sets another time.
    pub async fn until(&mut self, at_ns: u64) -> io::Result<()> {
        const SECOND: u64 = 1_000_000_000;
        // A time of 0 would disarm it.
        let at_ns = at_ns.max(1);
        let at = Timespec { tv_sec: (at_ns / SECOND).cast_signed(), tv_nsec: (at_ns % SECOND).cast_signed() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: at };
        timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &once)?;
        loop {
            let mut ready = self.0.readable().await?;
            let read = ready.try_io(|fd| Ok(rustix::io::read(fd, &mut [0_u8; 8])?));
            if let Ok(read) = read {
                return read.map(|_| ());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::now_ns;

    #[tokio::test]
    async fn never_early_and_again() {
        let mut timer = Timer::new().unwrap();
        for wait_ns in [0, 300_000, 2_000_000, 1] {
            let at_ns = now_ns() + wait_ns;
            timer.until(at_ns).await.unwrap();
            assert!(now_ns() >= at_ns);
        }
    }

    #[tokio::test]
    async fn one_that_was_given_up_does_not_shorten_the_next() {
        let mut timer = Timer::new().unwrap();
        let soon = now_ns() + 1_000_000;
        tokio::select! {
            biased;
            () = std::future::ready(()) => {}
            _ = timer.until(soon) => unreachable!(),
        }
        let at_ns = now_ns() + 5_000_000;
        timer.until(at_ns).await.unwrap();
        assert!(now_ns() >= at_ns);
    }
}
