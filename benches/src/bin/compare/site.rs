//! What all servers share, and the program that is built here beside Carillon's.

use std::{
    io,
    path::{Path, PathBuf},
};

use carillon_benches::site::Site as Files;

/// Files, and the programs that are built here.
pub(crate) struct Site {
    pub(crate) files: Files,
    pub(crate) floor: PathBuf,
}

impl Site {
    pub(crate) fn make(carillon: &Path, floor: &Path) -> io::Result<Self> {
        Ok(Self { files: Files::make("carillon-compare-", carillon)?, floor: floor.to_owned() })
    }
}
