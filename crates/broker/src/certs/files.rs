//! Writing keys and certificates: whole or not at all, and keys for their owner alone.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process,
};

use super::MakeError;

const OWNER_DIRECTORY: u32 = 0o700;
const OWNER_FILE: u32 = 0o600;
const PUBLIC_FILE: u32 = 0o644;

/// Makes the directory, for its owner alone, where it is missing, and waits until nobody else writes certificates into it.
pub(super) fn lock_directory(directory: &Path) -> Result<File, MakeError> {
    let locked = || {
        DirBuilder::new().recursive(true).mode(OWNER_DIRECTORY).create(directory)?;
        let path = directory.join(".lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(OWNER_FILE).open(path)?;
        file.lock()?;
        Ok(file)
    };
    locked().map_err(|source| MakeError::Write { path: directory.into(), source })
}

/// Writes what only the owner may read.
pub(super) fn write_private(path: &Path, text: &str) -> Result<(), MakeError> {
    write(path, text, OWNER_FILE)
}

/// Writes what anybody may read.
pub(super) fn write_public(path: &Path, text: &str) -> Result<(), MakeError> {
    write(path, text, PUBLIC_FILE)
}

/// Writes beside the place and renames, so that a reader sees the old file or the new one.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), MakeError> {
    let beside = beside(path);
    let written = || -> io::Result<()> {
        // A file that an earlier crash left would keep its mode.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    written().map_err(|source| MakeError::Write { path: path.into(), source })
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}.new", process::id()));
    name.into()
}
