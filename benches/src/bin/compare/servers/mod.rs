//! The servers, and how each is configured: one file each.

mod carillon;
mod floor;
mod mosquitto;
mod nats;
mod nchan;
mod process;

use std::{io, process::Command};

use clap::ValueEnum;

pub(crate) use self::{carillon::token, process::Running};
use crate::site::Site;

/// Who the servers let in, where a name is asked for.
pub(crate) const USER: &str = "bench";
/// It is good on loopback, for minutes.
pub(crate) const PASSWORD: &str = "carillon-benches";
/// What the topics of all works begin with, and all that the user may do.
pub(crate) const TOPICS: &str = "bench";

/// Who is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Server {
    Carillon,
    Nats,
    Mosquitto,
    Nchan,
    Floor,
}

impl Server {
    /// In the order in which they take turns.
    pub(crate) const ALL: [Self; 5] = [Self::Carillon, Self::Nats, Self::Mosquitto, Self::Nchan, Self::Floor];

    /// As its users call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Carillon => "Carillon",
            Self::Nats => "nats-server",
            Self::Mosquitto => "Mosquitto",
            Self::Nchan => "nginx+Nchan",
            Self::Floor => "floor",
        }
    }

    /// Its programs and files where it is installed, and Debian's packages that bring them.
    pub(crate) fn parts(self) -> &'static [Part] {
        match self {
            Self::Carillon | Self::Floor => &[],
            Self::Nats => &nats::PARTS,
            Self::Mosquitto => &mosquitto::PARTS,
            Self::Nchan => &nchan::PARTS,
        }
    }

    /// Starts it on the processor that this thread is on.
    pub(crate) fn start(self, site: &Site) -> io::Result<Running> {
        match self {
            Self::Carillon => carillon::start(site),
            Self::Nats => nats::start(site),
            Self::Mosquitto => mosquitto::start(site),
            Self::Nchan => nchan::start(site),
            Self::Floor => floor::start(site),
        }
    }

    /// Which version it says it is.
    pub(crate) fn version(self, site: &Site) -> String {
        match self {
            Self::Carillon => first_line(Command::new(&site.carillon).arg("--version")),
            Self::Nats => first_line(Command::new(nats::PROGRAM).arg("-v")),
            Self::Mosquitto => first_line(Command::new(mosquitto::PROGRAM).arg("-h")),
            Self::Nchan => {
                let mut package = Command::new("dpkg-query");
                let nchan = first_line(package.args(["-W", "-f", "Nchan ${Version}", "libnginx-mod-nchan"]));
                format!("{}, {nchan}", first_line(Command::new(nchan::PROGRAM).arg("-v")))
            }
            Self::Floor => "rustls and aws-lc-rs as in Carillon".to_owned(),
        }
    }
}

/// Something that must be there.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) file: &'static str,
    pub(crate) package: &'static str,
}

/// What a program says first, wherever it says it.
fn first_line(command: &mut Command) -> String {
    let told = command.output().map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
    let told = String::from_utf8_lossy(&told);
    told.lines().next().map_or_else(|| "unknown".to_owned(), |line| line.trim().to_owned())
}
