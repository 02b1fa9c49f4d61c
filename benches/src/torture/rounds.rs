//! One misfortune after the other, each under load and at any moment; and after each a look at what is there.

use std::{io, time::Duration};

use tokio::time::sleep;

use super::{run::Run, subscriber::Habits};

/// The most that is published in a round, so that the streams of a long run do not get too long to be read.
pub(super) const PUBLICATIONS: usize = 30_000;
/// One of so many rounds settles everything, and reads all from the beginning.
const WHOLE_ONE_OF: u32 = 10;
/// A bit of everything.
const DISTURBED: Habits = Habits {
    stall: Duration::from_millis(300),
    stall_one_of: 50,
    stay: Duration::from_secs(2),
    away: Duration::from_millis(400),
};

/// What happens to a broker again and again.
pub(super) struct Misfortune {
    /// How many read meanwhile.
    pub(super) subscribers: usize,
    /// The longest that a broker lives under load.
    pub(super) life: Duration,
    /// Ends the broker.
    pub(super) strike: fn(&mut Run) -> io::Result<()>,
    /// Makes that there can be a broker again, while nobody publishes.
    pub(super) recover: fn(&mut Run) -> io::Result<()>,
}

impl Misfortune {
    /// Lets it happen so many times.
    pub(super) async fn happen(&self, run: &mut Run, rounds: u32) -> io::Result<()> {
        run.begin(self.subscribers, DISTURBED)?;
        for round in 1..=rounds {
            run.rounds = round;
            let load = run.load(PUBLICATIONS, false);
            sleep(run.some_time(self.life)).await;
            (self.strike)(run)?;
            run.end_load(load).await?;
            (self.recover)(run)?;
            run.room.set_checking(true);
            run.start()?;
            look(run, round.is_multiple_of(WHOLE_ONE_OF) || round == rounds).await?;
            run.tell(format_args!("round {round} of {rounds}"));
        }
        run.terminate().await
    }
}

async fn look(run: &mut Run, is_whole: bool) -> io::Result<()> {
    run.check(is_whole).await?;
    if is_whole {
        run.settle().await?;
        run.check(true).await?;
    }
    Ok(())
}
