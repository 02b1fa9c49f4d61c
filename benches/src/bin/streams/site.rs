//! The broker's files: certificate, access, configuration, and where its data is.

use std::{
    fmt::Write,
    fs,
    io::{self, Error},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

/// The stream that most of the load goes to.
pub(crate) const STREAM: &str = "bench";
/// Its topics.
pub(crate) const PATTERN: &str = "bench.>";

const ACCESS: &str = r#"
[roles.bench]
publish.allow = ["bench.>"]
subscribe.allow = ["bench.>"]
history.allow = ["bench.>"]
"#;

/// One stream, or many small ones, over the same topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streams {
    /// All topics are in one.
    One,
    /// Each has those of one number.
    Small(usize),
}

/// What differs between brokers.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// `listen.shards`.
    pub(crate) shards: String,
    /// `streams`.
    pub(crate) streams: Streams,
}

/// A temporary directory with all of it, which is taken away at the end.
pub(crate) struct Site {
    home: TempDir,
}

impl Site {
    /// Makes the certificates with the broker's own command, and writes the configuration.
    pub(crate) fn make(carillon: &Path, directory: &Path, settings: &Settings) -> io::Result<Self> {
        let home = tempfile::Builder::new().prefix("carillon-streams-").tempdir_in(directory)?;
        let made = Command::new(carillon)
            .args(["certs", "dev", "--out"])
            .arg(home.path())
            .output()
            .map_err(|error| Error::other(format!("{} does not start: {error}", carillon.display())))?;
        if !made.status.success() {
            return Err(Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        fs::write(home.path().join("access.toml"), ACCESS)?;
        let site = Self { home };
        fs::write(site.config(), settings.config(site.home.path()))?;
        Ok(site)
    }

    /// The authority of the broker's certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.home.path().join("ca.pem")
    }

    /// The broker's configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.home.path().join("carillon.toml")
    }

    /// The files that streams are in.
    pub(crate) fn data_files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = fs::read_dir(self.home.path().join("data/streams"))?;
        entries.map(|entry| entry.map(|entry| entry.path())).collect()
    }
}

impl Settings {
    fn config(&self, home: &Path) -> String {
        let path = |name: &str| home.join(name).display().to_string();
        let shards = if self.shards == "auto" { "\"auto\"" } else { &self.shards };
        // Beside where things are: stalled readers are to stall, and not to be gone before they are measured.
        let mut text = format!(
            "data_dir = {:?}\n[listen]\naddress = \"127.0.0.1:0\"\nshards = {shards}\n[admin]\naddress = \"127.0.0.1:0\"\n\
             [tls]\ncertificate = {:?}\nkey = {:?}\n\
             [access]\nfile = {:?}\nanonymous = true\nanonymous_roles = [\"bench\"]\n\
             [deadlines]\nwrite_seconds = 120\nheartbeat_seconds = 120\ndrain_seconds = 2\nreturn_spread_seconds = 0\n\
             [log]\nformat = \"json\"\nlevel = \"warn,carillon=info\"\n",
            path("data"),
            path("server.pem"),
            path("server-key.pem"),
            path("access.toml"),
        );
        match self.streams {
            Streams::One => {
                let _ = writeln!(text, "[streams.{STREAM}]\ntopics = [{PATTERN:?}]");
            }
            Streams::Small(count) => {
                for number in 0..count {
                    let _ = writeln!(text, "[streams.{STREAM}-{number}]\ntopics = [\"bench.site{number}.>\"]");
                }
            }
        }
        text
    }
}

/// So many topics, spread over so many sites.
pub(crate) fn topics(count: usize, sites: usize) -> Vec<String> {
    (0..count).map(|topic| format!("bench.site{}.room{topic}", topic % sites)).collect()
}
