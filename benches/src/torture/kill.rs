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

use super::{
    broker::Broker,
    rounds::{Misfortune, PUBLICATIONS},
    run::{Options, Run, Summary},
    site::Site,
    trouble::Torture,
};

const KILL: Misfortune = Misfortune {
    subscribers: 8,
    life: Duration::from_millis(600),
    strike: |run| {
        run.kill();
        Ok(())
    },
    recover: die_while_starting,
};

/// Kills a broker under load so many times. After each time it looks whether everything is there that was promised.
pub fn kill(options: &Options, rounds: u32) -> Result<Summary, Torture> {
    let site = Site::make(options)?;
    Run::conduct(options, site, async |run| KILL.happen(run, rounds).await)
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

/// A broker can be killed while it repairs what the last one left.
fn die_while_starting(run: &mut Run) -> io::Result<()> {
    while run.random.random_bool(0.25) {
        let broker = Broker::launch(&run.site)?;
        thread::sleep(run.some_time(Duration::from_millis(250)));
        broker.kill();
    }
    Ok(())
}
