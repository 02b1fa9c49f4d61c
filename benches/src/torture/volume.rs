//! A file system of one's own in a file, whose power can be cut.

use std::{
    fs::{self, File},
    io::{self, Error},
    path::{Path, PathBuf},
    process::Command,
};

use super::trouble::Torture;

/// What file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4, with its defaults.
    Ext4,
    /// XFS, with its defaults. It takes 300 MiB at least.
    Xfs,
}

/// A mounted image. It is unmounted when this is dropped.
#[derive(Debug)]
pub(super) struct Volume {
    image: PathBuf,
    mount: PathBuf,
    is_mounted: bool,
}

/// Whether this can be done here, and if not, why.
pub(super) fn is_possible(file_system: FileSystem, has_power_cut: bool) -> Result<(), Torture> {
    if !rustix::process::geteuid().is_root() {
        return Err(Torture::NotMade("mounting a file system needs root".to_owned()));
    }
    let cut: &[_] = if has_power_cut { &["xfs_io"] } else { &[] };
    for command in ["mount", "umount", file_system.maker()].iter().chain(cut) {
        let found = Command::new("sh").args(["-c", &format!("command -v {command}")]).output()?;
        if !found.status.success() {
            return Err(Torture::NotMade(format!(
                "there is no command {command}; it is in e2fsprogs, xfsprogs or mount"
            )));
        }
    }
    Ok(())
}

impl FileSystem {
    fn maker(self) -> &'static str {
        match self {
            Self::Ext4 => "mkfs.ext4",
            Self::Xfs => "mkfs.xfs",
        }
    }
}

impl Volume {
    /// Makes one in a directory, and mounts it there.
    pub(super) fn make(directory: &Path, file_system: FileSystem, bytes: u64) -> Result<Self, Torture> {
        let (image, mount) = (directory.join("disk.img"), directory.join("disk"));
        File::create_new(&image)?.set_len(bytes)?;
        run(Command::new(file_system.maker()).arg("-q").arg(&image))?;
        fs::create_dir(&mount)?;
        let mut volume = Self { image, mount, is_mounted: false };
        // Not every machine that lets root run lets it mount.
        volume.mount().map_err(|error| Torture::NotMade(error.to_string()))?;
        Ok(volume)
    }

    pub(super) fn path(&self) -> &Path {
        &self.mount
    }

    pub(super) fn mount(&mut self) -> io::Result<()> {
        run(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.mount))?;
        self.is_mounted = true;
        Ok(())
    }

    /// From here on nothing reaches the image any more: neither what is written, nor what waits in memory.
    pub(super) fn cut_power(&self) -> io::Result<()> {
        run(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(&self.mount))
    }

    /// Nobody may have a file open on it.
    pub(super) fn unmount(&mut self) -> io::Result<()> {
        run(Command::new("umount").arg(&self.mount))?;
        self.is_mounted = false;
        Ok(())
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.is_mounted && self.unmount().is_err() {
            // Whoever still has a file open keeps it; the loop device goes with the last of them.
            let _ = run(Command::new("umount").arg("-l").arg(&self.mount));
        }
    }
}

fn run(command: &mut Command) -> io::Result<()> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&output.stderr);
    Err(Error::other(format!("{} failed: {told}", command.get_program().display())))
}
