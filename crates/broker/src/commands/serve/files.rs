//! Warns of files that the wrong people can read or write, and of disks that will be full. The files of `[access]` are
//! looked at where they are read.

use std::path::Path;

use crate::{
    access::{OTHERS_READ, OTHERS_WRITE, has_mode},
    config::{Config, Sources},
};

/// What to log at the start: about the modes of the files that the configuration names, and of its own, and about streams
/// that nothing bounds.
pub(super) fn warnings(config: &Config, sources: &Sources) -> Vec<String> {
    let secrets = [
        (&config.tls.key, "pretend to be this broker"),
        (&config.admin.key, "pretend to be this broker's admin listener"),
        (&config.admin.token_file, "ask the admin listener, and remove what streams keep"),
    ];
    let readable = secrets.into_iter().filter_map(|(path, could)| {
        let path = path.as_deref().filter(|path| has_mode(path, OTHERS_READ))?;
        Some(format!(
            "{} can be read by every user of this machine, who could {could}; chmod o-r it, and replace it if that was so \
             for long",
            path.display()
        ))
    });
    let trusted = [&sources.file, &config.tls.client_ca].into_iter().flatten().chain(&config.tls.client_crls);
    let writable = trusted.filter(|path| has_mode(path, OTHERS_WRITE)).map(|path| writable(path));
    let kept = config.data_dir.iter().filter(|path| has_mode(path, OTHERS_READ | OTHERS_ENTER)).map(|path| {
        format!(
            "{} can be read by every user of this machine, and so can what streams keep there; chmod o-rx it",
            path.display()
        )
    });
    readable.chain(writable).chain(kept).chain(config.stream_warnings()).collect()
}

/// Of a directory: whoever knows a name in it may open that.
const OTHERS_ENTER: u32 = 0o001;

fn writable(path: &Path) -> String {
    format!(
        "{} can be written by every user of this machine, who could let themselves in; chmod o-w it",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::unix::fs::PermissionsExt,
    };

    use super::*;

    #[test]
    fn files_that_others_can_read_or_write_are_warned_of() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let set = |name: &str, mode| fs::set_permissions(path(name), Permissions::from_mode(mode)).unwrap();
        let mode = |name: &str, mode| {
            fs::write(path(name), "").unwrap();
            set(name, mode);
        };
        let mut config = Config::default();
        config.tls.key = Some(path("key.pem"));
        config.admin.token_file = Some(path("token"));
        config.tls.client_crls = vec![path("crl.pem")];
        let sources = Sources { file: Some(path("carillon.toml")), ..Sources::default() };
        for name in ["key.pem", "token", "crl.pem", "carillon.toml"] {
            mode(name, 0o640);
        }
        config.data_dir = Some(path("data"));
        fs::create_dir(path("data")).unwrap();
        set("data", 0o750);
        assert_eq!(warnings(&config, &sources), Vec::<String>::new());
        for (name, bits, text) in [
            ("key.pem", 0o644, "pretend to be this broker;"),
            ("token", 0o604, "ask the admin listener"),
            ("crl.pem", 0o646, "let themselves in"),
            ("carillon.toml", 0o642, "let themselves in"),
            ("data", 0o751, "what streams keep"),
        ] {
            set(name, bits);
            let told = warnings(&config, &sources);
            assert!(told.len() == 1 && told[0].contains(name) && told[0].contains(text), "{told:?}");
            set(name, if name == "data" { 0o750 } else { 0o640 });
        }
    }
}
