//! What `serve --dev` keeps between runs, in a place that `pub` and `sub` know without being told.

use std::{
    env,
    path::{Path, PathBuf},
};

use crate::certs::DevCertificates;

/// The directory of the development certificates: `$XDG_DATA_HOME/carillon/dev`, or `~/.local/share/carillon/dev`.
///
/// It does not depend on any configuration, so that every command of one user agrees on it. A user without a home gets one in
/// the working directory.
pub fn dev_dir() -> PathBuf {
    data_home(env::var_os("XDG_DATA_HOME").map(PathBuf::from), env::home_dir()).join("carillon").join("dev")
}

/// The certificate of the development authority, which clients of `serve --dev` trust. It may not be there.
pub fn dev_ca_path() -> PathBuf {
    DevCertificates::in_directory(&dev_dir()).ca
}

/// As the XDG base directory specification says: a relative path there is as good as none.
fn data_home(xdg: Option<PathBuf>, home: Option<PathBuf>) -> PathBuf {
    let absolute = |path: &PathBuf| path.is_absolute();
    xdg.filter(absolute).unwrap_or_else(|| {
        home.filter(absolute).unwrap_or_else(|| Path::new(".").to_owned()).join(".local").join("share")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_xdg_directory_is_passed_over() {
        let home = Some(PathBuf::from("/home/u"));
        assert_eq!(data_home(Some("/data".into()), home.clone()), Path::new("/data"));
        assert_eq!(data_home(Some("data".into()), home.clone()), Path::new("/home/u/.local/share"));
        assert_eq!(data_home(Some("".into()), home), Path::new("/home/u/.local/share"));
        assert_eq!(data_home(None, None), Path::new("./.local/share"));
    }
}
