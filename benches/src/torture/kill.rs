//! SIGKILL at any moment, again and again.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use rand::Rng;
use tokio::time::sleep;

use super::{
    broker::Broker,
    run::{Options, Run, Summary},
    site::Site,
    subscriber::Habits,
    trouble::Torture,
};

/// The longest that a broker lives under load.
const LIFE: Duration = Duration::from_millis(600);
/// The most that is published in a round, so that the streams of a long run do not get too long to be read.
const PUBLICATIONS: usize = 30_000;
const SUBSCRIBERS: usize = 8;
/// One of so many rounds settles everything, and reads all from the beginning.
const WHOLE_ONE_OF: u32 = 10;

/// Kills a broker under load so many times. After each time it looks whether everything is there that was promised.
pub fn kill(options: &Options, rounds: u32) -> Result<Summary, Torture> {
    let site = Site::make(options)?;
    Run::conduct(options, site, async |run| rounds_of(run, rounds).await)
}

/// Shows that a loss would be noticed: damages what a killed broker left, and tells what was found to be wrong; nothing where
/// nobody noticed.
pub fn kill_and_damage(options: &Options) -> Result<Option<String>, Torture> {
    let site = Site::make(options)?;
    let ended = Run::conduct(options, site, async |run| {
        run.add_publishers();
        run.start()?;
        let load = run.load(PUBLICATIONS, false);
        let acknowledged = || run.room.books(|books| books.counts.acknowledged);
        run.room.wait_until(|| acknowledged() > 1000, || "nothing is acknowledged".to_owned()).await?;
        run.kill();
        run.end_load(load).await?;
        damage(&run.site.data.join("streams"))?;
        run.start()?;
        run.check(true).await
    });
    match ended {
        Ok(_) => Ok(None),
        Err(Torture::Broken(what)) => Ok(Some(what)),
        Err(not_made) => Err(not_made),
    }
}

/// Writes zeros over a tenth of the largest file, in its middle.
fn damage(streams: &Path) -> io::Result<()> {
    let mut largest: Option<(u64, PathBuf)> = None;
    for entry in fs::read_dir(streams)? {
        let entry = entry?;
        let (path, bytes) = (entry.path(), entry.metadata()?.len());
        if path.extension().is_some_and(|extension| extension == "log") {
            largest = largest.max(Some((bytes, path)));
        }
    }
    let (bytes, path) = largest.ok_or_else(|| io::Error::other("the broker has written nothing"))?;
    let zeros = vec![0; usize::try_from(bytes / 10).unwrap_or(1)];
    File::options().write(true).open(path)?.write_all_at(&zeros, bytes / 3)
}

async fn rounds_of(run: &mut Run, rounds: u32) -> io::Result<()> {
    run.add_publishers();
    run.start()?;
    run.add_subscribers(SUBSCRIBERS);
    run.set_habits(DISTURBED);
    for round in 1..=rounds {
        run.rounds = round;
        let load = run.load(PUBLICATIONS, false);
        sleep(run.some_time(LIFE)).await;
        run.kill();
        run.end_load(load).await?;
        die_while_starting(run)?;
        run.room.set_checking(true);
        run.start()?;
        after(run, round, rounds).await?;
        run.tell(format_args!("round {round} of {rounds}"));
    }
    run.terminate().await
}

/// A bit of everything.
pub(super) const DISTURBED: Habits = Habits {
    stall: Duration::from_millis(300),
    stall_one_of: 50,
    stay: Duration::from_secs(2),
    away: Duration::from_millis(400),
};

/// What is looked at when the broker is there again after a misfortune.
pub(super) async fn after(run: &mut Run, round: u32, rounds: u32) -> io::Result<()> {
    let is_whole = round.is_multiple_of(WHOLE_ONE_OF) || round == rounds;
    run.check(is_whole).await?;
    if is_whole {
        run.settle().await?;
        run.check(true).await?;
    }
    Ok(())
}

/// A broker can be killed while it repairs what the last one left.
fn die_while_starting(run: &mut Run) -> io::Result<()> {
    while run.random.random_bool(0.25) {
        let broker = Broker::launch(&run.site)?;
        thread::sleep(run.some_time(Duration::from_millis(250)));
        broker.kill();
    }
    Ok(())
}
