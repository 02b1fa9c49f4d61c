//! The broker's files: certificate, configuration, and where its data is.

use std::{
    fmt::Write,
    fs,
    io::{self, Error},
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use super::{plan::STREAMS, run::Options, volume::Volume};

/// Small, so that files are begun and left all the time.
const SEGMENT_BYTES: u64 = 128 << 10;
/// Held for retention on a full disk.
const RESERVE_BYTES: u64 = 256 << 10;
/// A slow reader falls behind soon.
const OUTBOX_BYTES: u64 = 96 << 10;

/// A temporary directory with all of it. It is taken away at the end, unless something was wrong.
#[derive(Debug)]
pub(super) struct Site {
    /// A disk of its own, which is unmounted before the directory is taken away.
    pub(super) volume: Option<Volume>,
    home: TempDir,
    pub(super) broker: PathBuf,
    /// What each stream has beside its plan, by name.
    pub(super) extra: Vec<(&'static str, String)>,
    /// Where the streams are.
    pub(super) data: PathBuf,
}

impl Site {
    /// Makes the certificates with the broker's own command, and writes the configuration.
    pub(super) fn make(options: &Options) -> io::Result<Self> {
        let home = tempfile::Builder::new().prefix("carillon-torture-").tempdir()?;
        let made = Command::new(&options.broker)
            .env_clear()
            .args(["certs", "dev", "--out"])
            .arg(home.path())
            .output()
            .map_err(|error| Error::other(format!("{} does not start: {error}", options.broker.display())))?;
        if !made.status.success() {
            return Err(Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        let data = home.path().join("data");
        let broker = options.broker.clone();
        let site = Self { volume: None, home, broker, extra: Vec::new(), data };
        site.write_config()?;
        Ok(site)
    }

    pub(super) fn path(&self) -> &Path {
        self.home.path()
    }

    pub(super) fn authority(&self) -> PathBuf {
        self.path().join("ca.pem")
    }

    pub(super) fn config(&self) -> PathBuf {
        self.path().join("carillon.toml")
    }

    /// Writes the configuration as it is to be now.
    pub(super) fn write_config(&self) -> io::Result<()> {
        let path = |name: &str| self.path().join(name).display().to_string();
        let mut text = format!(
            "data_dir = {:?}\n[listen]\naddress = \"127.0.0.1:0\"\nshards = 2\n[admin]\naddress = \"127.0.0.1:0\"\n\
             [tls]\ncertificate = {:?}\nkey = {:?}\n\
             [limits]\nmax_payload_bytes = 16384\nmax_message_bytes = 65536\nreply_bytes = 16384\n\
             outbox_bytes = {OUTBOX_BYTES}\n\
             [deadlines]\nheartbeat_seconds = 1.5\nwrite_seconds = 2\ndrain_seconds = 2\nreturn_spread_seconds = 0.1\n\
             [store]\nsegment_bytes = {SEGMENT_BYTES}\nreserve_bytes = {RESERVE_BYTES}\n\
             [log]\nformat = \"json\"\nlevel = \"warn,carillon=info\"\n",
            self.data.display().to_string(),
            path("server.pem"),
            path("server-key.pem"),
        );
        for stream in &STREAMS {
            text += &stream.section();
            for (_, line) in self.extra.iter().filter(|(name, _)| *name == stream.name) {
                let _ = writeln!(text, "{line}");
            }
        }
        fs::write(self.config(), text)
    }

    /// Puts the streams on a disk of their own.
    pub(super) fn use_volume(&mut self, volume: Volume) -> io::Result<()> {
        self.data = volume.path().join("data");
        self.volume = Some(volume);
        self.write_config()
    }

    /// Leaves everything where it is, for whoever looks what was wrong.
    pub(super) fn keep(self) -> PathBuf {
        drop(self.volume);
        self.home.keep()
    }
}
