//! The servers, and how each is configured: one file each.

mod floor;
mod mosquitto;
mod nats;
mod nchan;

use std::{io, process::Command};

use carillon_benches::carillon::{self, Settings};
pub(crate) use carillon_benches::{
    carillon::{TOPICS, USER, own_tokens, token},
    server::{Running, first_line},
};
use clap::ValueEnum;

use crate::site::Site;

/// It is good on loopback, for minutes.
pub(crate) const PASSWORD: &str = "carillon-benches";

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
            Self::Carillon => carillon::start(&site.files, &Settings::default()),
            Self::Nats => nats::start(site),
            Self::Mosquitto => mosquitto::start(site),
            Self::Nchan => nchan::start(site),
            Self::Floor => floor::start(site),
        }
    }

    /// Which version it says it is.
    pub(crate) fn version(self, site: &Site) -> String {
        match self {
            Self::Carillon => carillon::version(&site.files),
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
