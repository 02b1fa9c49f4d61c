//! Loss of power: what was not synced is gone.

use std::{io, time::Duration};

use super::{
    rounds::Misfortune,
    run::{Options, Run, Summary},
    site::Site,
    trouble::Torture,
    volume::{self, FileSystem, Volume},
};

const POWER: Misfortune =
    Misfortune { subscribers: 6, life: Duration::from_millis(700), strike: cut, recover: mount_again };
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
    Run::conduct(options, site, async |run| POWER.happen(run, rounds).await)
}

fn cut(run: &mut Run) -> io::Result<()> {
    // Machine and disk lose their power at once. A file system that is shut down beneath a program that goes on may tell it
    // that all was synced.
    run.broker()?.freeze()?;
    volume(run)?.cut_power()?;
    run.kill();
    Ok(())
}

fn mount_again(run: &mut Run) -> io::Result<()> {
    volume(run)?.unmount()?;
    volume(run)?.mount()
}

fn volume(run: &mut Run) -> io::Result<&mut Volume> {
    run.site.volume.as_mut().ok_or_else(|| io::Error::other("the broker has no disk of its own"))
}
