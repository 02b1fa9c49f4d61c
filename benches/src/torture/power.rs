//! Loss of power: what was not synced is gone.

use std::{io, time::Duration};

use tokio::time::sleep;

use super::{
    kill::{DISTURBED, after},
    run::{Options, Run, Summary},
    site::Site,
    trouble::Torture,
    volume::{self, FileSystem, Volume},
};

/// The longest that power lasts.
const LIFE: Duration = Duration::from_millis(700);
const PUBLICATIONS: usize = 30_000;
const SUBSCRIBERS: usize = 6;
/// The image's, of which only what is written takes room.
const DISK_BYTES: u64 = 2 << 30;

/// Cuts the power of the broker's disk so many times, and looks whether everything is there that was promised.
///
/// Needs root, and the commands `mount`, `xfs_io` and that which makes the file system.
pub fn power(options: &Options, rounds: u32, file_system: FileSystem) -> Result<Summary, Torture> {
    volume::is_possible(file_system, true)?;
    let mut site = Site::make(options)?;
    let volume = Volume::make(site.path(), file_system, DISK_BYTES)?;
    site.use_volume(volume)?;
    Run::conduct(options, site, async |run| rounds_of(run, rounds).await)
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
        // Machine and disk lose their power at once. A file system that is shut down beneath a program that goes on may tell
        // it that all was synced.
        run.broker()?.freeze()?;
        volume(run)?.cut_power()?;
        run.kill();
        run.end_load(load).await?;
        volume(run)?.unmount()?;
        volume(run)?.mount()?;
        run.room.set_checking(true);
        run.start()?;
        after(run, round, rounds).await?;
        run.tell(format_args!("round {round} of {rounds}"));
    }
    run.terminate().await
}

fn volume(run: &mut Run) -> io::Result<&mut Volume> {
    run.site.volume.as_mut().ok_or_else(|| io::Error::other("the broker has no disk of its own"))
}
