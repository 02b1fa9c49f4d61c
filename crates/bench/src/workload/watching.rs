//! Watches how far a run is, tells it, and knows when to give up.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    RunError,
    progress::{Progress, Report},
};

/// How often is looked. What is measured by time has its own clock; only the server's CPU time is taken so much later.
const LOOK: Duration = Duration::from_millis(5);
/// How often is told.
const TELL: Duration = Duration::from_millis(250);

/// So many in each second.
#[allow(clippy::cast_precision_loss, reason = "a rate for people")]
pub(crate) fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// Tells how far something is.
pub(crate) struct Teller<'a> {
    progress: &'a dyn Progress,
    what: &'a str,
    of: u64,
    last: (Instant, u64),
}

impl<'a> Teller<'a> {
    pub(crate) fn new(progress: &'a dyn Progress, what: &'a str, of: u64) -> Self {
        Self { progress, what, of, last: (Instant::now(), 0) }
    }

    /// Tells, unless that was done a moment ago and it is not done yet.
    pub(crate) fn tell(&mut self, done: u64, is_over: bool) {
        let now = Instant::now();
        let (last, done_before) = self.last;
        if now - last >= TELL || is_over {
            let per_second = per_second(done.saturating_sub(done_before), (now - last).as_secs_f64());
            self.progress.report(Report { what: self.what, done, of: self.of, per_second });
            self.last = (now, done);
        }
    }
}

/// Tells how far something is until it is over.
pub(crate) async fn watched<T>(
    over: impl Future<Output = Result<T, RunError>>,
    progress: &dyn Progress,
    what: &str,
    of: u64,
    done: impl Fn() -> u64,
) -> Result<T, RunError> {
    let mut teller = Teller::new(progress, what, of);
    let mut over = std::pin::pin!(over);
    loop {
        tokio::select! {
            result = &mut over => {
                teller.tell(done(), true);
                return result;
            }
            () = sleep(TELL) => teller.tell(done(), false),
        }
    }
}

/// Waits for what a part of a run brings.
pub(crate) struct Watch<'a> {
    pub(crate) progress: &'a dyn Progress,
    pub(crate) what: &'a str,
    /// It is done with so many.
    pub(crate) of: u64,
    /// It is given up when nothing has changed for so long...
    pub(crate) patience: Duration,
    /// ...after all of it was due.
    pub(crate) scheduled: Duration,
}

impl Watch<'_> {
    /// Waits until all is done; false: it was given up. `moving` is a second number that shows that it goes on.
    pub(crate) async fn until_done(&self, done: impl Fn() -> u64, moving: impl Fn() -> u64) -> bool {
        let mut teller = Teller::new(self.progress, self.what, self.of);
        let begun = Instant::now();
        let mut last = (0, 0);
        let mut changed = begun;
        loop {
            let now = (done(), moving());
            if now.0 >= self.of {
                teller.tell(now.0, true);
                return true;
            }
            if now != last {
                (last, changed) = (now, Instant::now());
            }
            if begun.elapsed() > self.scheduled && changed.elapsed() > self.patience {
                teller.tell(now.0, true);
                return false;
            }
            teller.tell(now.0, false);
            sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::progress::Silent;

    fn watch(scheduled_s: u64) -> Watch<'static> {
        Watch {
            progress: &Silent,
            what: "done",
            of: 10,
            patience: Duration::from_secs(5),
            scheduled: Duration::from_secs(scheduled_s),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn is_given_up_when_nothing_changes() {
        let begun = Instant::now();
        assert!(!watch(0).until_done(|| 9, || 0).await);
        assert!(begun.elapsed() > Duration::from_secs(5) && begun.elapsed() < Duration::from_secs(6));
    }

    #[tokio::test(start_paused = true)]
    async fn is_not_given_up_while_more_is_to_come() {
        let begun = Instant::now();
        assert!(!watch(60).until_done(|| 9, || 0).await);
        assert!(begun.elapsed() > Duration::from_mins(1));
    }

    #[tokio::test(start_paused = true)]
    async fn goes_on_while_either_number_moves() {
        let begun = Instant::now();
        let looked = Cell::new(0);
        let moving = || {
            looked.set(looked.get() + 1);
            looked.get()
        };
        let done = || if begun.elapsed() > Duration::from_secs(30) { 10 } else { 0 };
        assert!(watch(0).until_done(done, moving).await);
    }
}
