//! The floor.

use std::{io, process::Command};

use carillon_benches::server::{Running, free_ports};

use crate::site::Site;

pub(crate) fn start(site: &Site) -> io::Result<Running> {
    let [port] = free_ports()?;
    let mut command = Command::new(&site.floor);
    command.args(["--address", &format!("127.0.0.1:{port}")]);
    command.arg("--certificate").arg(site.files.certificate()).arg("--key").arg(site.files.key());
    Running::start(&mut command, port, &site.files.path("floor.log"))
}
